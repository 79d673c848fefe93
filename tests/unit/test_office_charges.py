"""Charges by phone at the office: what becomes of a start in any order of events, stopping, and what the driver is shown."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from terminal_app.office import books, store
from terminal_app.office.access import hash_of
from terminal_app.office.accounts import NewAccount, Refused, Who
from terminal_app.office.charge_fate import NEXT, Fate, Heard
from terminal_app.office.charges import START_TTL_S, STOP_TTL_S, WATCHED_MS
from terminal_app.session import facts as f
from terminal_app.values import CardFacts, EntryMode, Hold, MeterIdentity, MeterValue, Stamp
from tests.unit.billing_samples import KWH_TARIFF, tariff
from tests.unit.office_samples import TERMINAL, Terminal, desk_at
from tests.unit.phone_samples import ACCOUNT, WHO, Phone

TARIFF = tariff(KWH_TARIFF)
AT = Stamp(1_767_344_400_000, 1000, "boot-1")
CARD = CardFacts("", "0042", "", "", "", EntryMode.ACCOUNT)
OTHER = Who(account="A-OTHER-1", secret_sha256=hash_of("another"))


def value(energy_wh: int) -> MeterValue:
    return MeterValue(energy_wh, 0, "21130042", AT)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    terminal = Terminal()
    phone = Phone(desk_at(tmp_path, terminal), terminal, monkeypatch)
    yield phone
    with phone.desk.database.read() as db:
        assert books.trouble(db) == []
    phone.desk.database.close()


def seen_by_terminal(phone: Phone, token: str, hold_id: str = "H-7", session_id: str = "S-1") -> None:
    """The terminal tells of a session with this very hold."""
    hold = Hold(hold_id, "fleet", 1, AT.utc_ms, 2000, "EUR", 1, phone.charge(token)["key"])
    phone.tell(f.AuthorizationIntended(session_id, hold, CARD), session_id)


# --- the fate of a start ----------------------------------------------------------------------------------------------


def test_the_table_knows_every_case_and_nothing_leads_back() -> None:
    assert set(NEXT) == set(itertools.product(Fate, Heard))
    for (before, _), after in NEXT.items():
        assert before is Fate.ASKED or after is before
    assert all(NEXT[Fate.ASKED, heard] is not Fate.RELEASED for heard in (Heard.SEEN, Heard.DONE, Heard.NOTHING))


def test_a_start_holds_and_orders_at_once(phone: Phone) -> None:
    token = phone.start()
    (order,) = phone.orders("session.start")
    charge = phone.charge(token)
    assert (charge["state"], phone.hold(token), order["state"]) == ("asked", "held", "waiting")
    assert order["expires_utc_ms"] - order["issued_utc_ms"] == START_TTL_S * 1000
    assert len(phone.commands.waiting(TERMINAL, 0)) == 1
    state = phone.commands.state(order["command_id"])
    assert state is not None
    assert state["args"] == {
        "connector": 1, "gateway_kind": "account", "key": charge["key"], "hold": charge["hold"],
        "held_minor": 2000, "currency": "EUR", "label": "prepaid account ···· 0042", "tariff": "",
    }  # fmt: skip


class Events:
    """What may happen to one start; each at most once, in any order that the world allows."""

    def __init__(self, phone: Phone, token: str) -> None:
        self.phone, self.token = phone, token
        self.command_id = phone.charge(token)["command_id"]
        self.number = phone.orders("session.start")[-1]["number"]
        self.handed = self.seen = self.expired = False

    def fetched(self) -> None:
        """The terminal asks for commands; it has none of ours yet."""
        self.handed |= bool(self.phone.commands.waiting(TERMINAL, self.number - 1))

    def time_passes(self) -> None:
        self.phone.later(START_TTL_S + 1)
        self.expired = True

    def session(self) -> None:
        self.seen = True
        seen_by_terminal(self.phone, self.token, f"H-{self.number}", f"S-{self.number}")

    def done(self) -> None:
        self.phone.answer(self.command_id, True)

    def refused(self) -> None:
        self.phone.answer(self.command_id, False)

    def settle(self) -> None:
        self.phone.charges.settle()


CERTAIN = {
    ("refused",): "released",
    ("time_passes",): "released",  # it never left
    ("fetched", "time_passes"): "asked",  # it left: it may have arrived
    ("fetched", "time_passes", "fetched"): "released",  # the terminal says that it has not taken it
    ("fetched", "time_passes", "session"): "taken",
    ("fetched", "time_passes", "refused"): "released",
    ("fetched", "session", "done"): "taken",
    ("fetched", "session", "refused"): "taken",  # a crash between the session and the answer
    ("fetched", "done"): "taken",
    ("session", "time_passes", "fetched"): "taken",
    (): "asked",
}


@pytest.mark.parametrize(
    ("events", "state"), CERTAIN.items(), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_what_is_certain_decides(phone: Phone, events: tuple[str, ...], state: str) -> None:
    token = phone.start()
    world = Events(phone, token)
    for one in events:
        getattr(world, one)()
    for _ in range(3):
        world.settle()
    assert phone.charge(token)["state"] == state
    assert (phone.hold(token), phone.voids(token)) == (("voided", 1) if state == "released" else ("held", 0))


def test_in_every_order_a_hold_is_released_once_or_taken_never_both(phone: Phone) -> None:
    """All orders in which a terminal can fetch, open, answer and time can pass, looked at after each step."""
    after = {"session": "fetched", "done": "session", "refused": "fetched"}  # what must have been before
    names = ("fetched", "time_passes", "session", "done", "refused")
    plans = [plan for n in range(len(names) + 1) for plan in itertools.permutations(names, n)]
    possible = [plan for plan in plans if all(after[one] in plan[:i] for i, one in enumerate(plan) if one in after)]
    possible = [plan for plan in possible if "fetched" not in plan or _in_time(plan)]
    possible = [plan for plan in possible if not {"done", "refused"} <= set(plan) and not _after(plan, "refused", "session")]
    assert len(possible) >= 19
    for number, plan in enumerate(possible):
        token = phone.start(once=f"{number:032x}", connector=1)
        world = Events(phone, token)
        for one in plan:
            getattr(world, one)()
            world.settle()
            if phone.charge(token)["state"] == "released":
                assert not world.seen, plan
        assert phone.voids(token) == (phone.hold(token) == "voided") == (phone.charge(token)["state"] == "released"), plan
        if world.seen:
            assert phone.charge(token)["state"] == "taken", plan
    assert phone.desk.rows(store.alarms) == []


def _in_time(plan: tuple[str, ...]) -> bool:
    """A session needs a command that was fetched before it expired."""
    late = "time_passes" in plan and plan.index("time_passes") < plan.index("fetched")
    return not (late and {"session", "done", "refused"} & set(plan))


def _after(plan: tuple[str, ...], first: str, second: str) -> bool:
    return first in plan and second in plan and plan.index(first) < plan.index(second)


def test_two_offices_that_look_at_once_release_once(phone: Phone) -> None:
    token = phone.start()
    phone.later(START_TTL_S + 1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: phone.charges.settle(), range(8)))
    assert (phone.charge(token)["state"], phone.voids(token)) == ("released", 1)


def test_what_must_not_happen_is_an_alarm(phone: Phone) -> None:
    token = phone.start()
    phone.answer(phone.charge(token)["command_id"], False)
    phone.charges.settle()
    seen_by_terminal(phone, token)
    phone.charges.settle()
    (alarm,) = phone.desk.rows(store.alarms)
    assert alarm["kind"] == "phone" and phone.charge(token)["key"] in alarm["detail"]


def test_what_the_terminal_captured_stays_captured(phone: Phone) -> None:
    token = phone.start()
    phone.accounts.capture(TERMINAL, phone.charge(token)["hold"], "capture-1", 500)
    phone.answer(phone.charge(token)["command_id"], False)
    phone.charges.settle()
    assert (phone.charge(token)["state"], phone.hold(token)) == ("taken", "captured")


# --- who may start ----------------------------------------------------------------------------------------------------


def test_a_form_that_is_sent_twice_starts_once(phone: Phone) -> None:
    with ThreadPoolExecutor(4) as pool:
        tokens = set(pool.map(lambda _: phone.start(), range(4)))
    assert len(tokens) == 1 == len(phone.orders("session.start"))
    assert phone.hold(tokens.pop()) == "held"
    phone.accounts.add(NewAccount(OTHER.account, "EUR", secret_sha256=OTHER.secret_sha256))
    with pytest.raises(Refused, match="another account"):
        phone.start(who=OTHER)


@pytest.mark.parametrize("code", ["unknown_account", "insufficient_funds", "busy", "currency"])
def test_a_refused_start_orders_nothing_and_holds_nothing(phone: Phone, code: str) -> None:
    if code == "busy":
        phone.tell(f.SessionOpened("S-9", 1, "{}", "00", False, "en", 0))
    if code == "currency":
        phone.accounts.add(NewAccount(OTHER.account, "CHF", secret_sha256=OTHER.secret_sha256))
    who = {"unknown_account": Who(account=ACCOUNT, secret_sha256="0" * 64), "currency": OTHER}.get(code, WHO)
    with pytest.raises(Refused) as refusal:
        phone.start(who=who, hold_minor=10**9 if code == "insufficient_funds" else 2000)
    assert refusal.value.code == code
    assert phone.orders("session.start") == []
    with phone.desk.database.read() as db:
        assert books.trouble(db) == []


def test_guessing_at_a_sticker_ends_soon_and_comes_back(phone: Phone) -> None:
    wrong = Who(account=ACCOUNT, secret_sha256=hash_of("guess"))
    codes = []
    for n in range(7):
        with pytest.raises(Refused) as refusal:
            phone.start(once=f"{n:032x}", who=wrong)
        codes.append(refusal.value.code)
    assert codes == ["unknown_account"] * 5 + ["too_many_tries"] * 2
    with pytest.raises(Refused, match="too many"):
        phone.start()
    phone.later(61)
    assert phone.hold(phone.start()) == "held"


# --- watch and stop ---------------------------------------------------------------------------------------------------


def test_a_charge_from_start_to_receipt_as_the_driver_sees_it(phone: Phone) -> None:
    token = phone.start()

    def shown() -> tuple[str, int | None, int | None]:
        seen = phone.charges.seen(token)
        assert seen is not None
        return seen.phase, seen.energy_wh, seen.cost_minor

    assert shown() == ("starting", None, None)
    phone.tell(f.SessionOpened("S-1", 1, TARIFF.raw, "00", False, "en", 0))
    seen_by_terminal(phone, token)
    phone.charges.settle()
    assert shown()[0] == "opened"
    phone.tell(f.StartRegistered("S-1", value(1000), value(1000), MeterIdentity("Eastron", "SDM630", "21130042")))
    assert shown() == ("charging", 0, None)
    phone.tell(f.EnergyCheckpoint("S-1", value(3500), 60_000, 0, False))
    phase, energy_wh, cost_minor = shown()
    assert (phase, energy_wh) == ("charging", 2500) and cost_minor
    phone.tell(f.StopIntended("S-1", f.StopReason.REMOTE, AT))
    assert shown()[0] == "stopping"
    phone.deliver(phone.terminal.session())
    seen = phone.charges.seen(token)
    assert seen is not None and seen.over and seen.receipt_code and not seen.can_stop
    assert seen.cost_minor == phone.desk.rows(store.sessions)[0]["total_minor"]
    phone.deliver(phone.terminal.settlement())
    settled = phone.charges.seen(token)
    assert settled is not None and settled.settled == "captured"


def test_the_address_is_good_until_a_day_after_the_end(phone: Phone) -> None:
    token = phone.start()
    phone.later(START_TTL_S + 1)
    phone.charges.settle()
    seen = phone.charges.seen(token)
    assert seen is not None and (seen.phase, seen.settled) == ("released", "voided")
    phone.later(WATCHED_MS / 1000 - 1)
    assert phone.charges.seen(token) is not None
    phone.later(2)
    assert phone.charges.seen(token) is None and phone.charges.seen("x" * 43) is None


def charging(phone: Phone) -> str:
    token = phone.start()
    phone.tell(f.SessionOpened("S-1", 1, TARIFF.raw, "00", False, "en", 0))
    seen_by_terminal(phone, token)
    phone.charges.settle()
    return token


def test_stop_pressed_often_is_ordered_once_and_only_for_this_charge(phone: Phone) -> None:
    token = charging(phone)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: phone.charges.stop(token), range(6)))
    (order,) = phone.orders("session.stop")
    state = phone.commands.state(order["command_id"])
    assert state is not None and state["args"] == {"connector": 1, "session_id": "S-1"}
    phone.answer(order["command_id"], True)
    phone.charges.stop(token)
    assert len(phone.orders("session.stop")) == 1


@pytest.mark.parametrize("why", ["refused", "expired"])
def test_a_stop_that_came_to_nothing_can_be_pressed_again(phone: Phone, why: str) -> None:
    token = charging(phone)
    phone.charges.stop(token)
    if why == "refused":
        phone.answer(phone.orders("session.stop")[0]["command_id"], False)
    else:
        phone.later(STOP_TTL_S + 1)
    phone.charges.stop(token)
    assert len(phone.orders("session.stop")) == 2


def test_nothing_is_ordered_for_a_charge_that_does_not_run(phone: Phone) -> None:
    token = phone.start()
    for one, code in ((token, "nothing_to_stop"), ("x" * 43, "unknown_charge")):
        with pytest.raises(Refused) as refusal:
            phone.charges.stop(one)
        assert refusal.value.code == code
    assert phone.orders("session.stop") == []
