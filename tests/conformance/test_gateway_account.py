"""The account gateway through the gateway kit, against a real office process behind the fault proxy."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terminal_app.billing.balance_slice import BalanceSlice, free_minor
from terminal_app.config import AccountSection
from terminal_app.office import store
from terminal_app.office.account_tables import postings
from terminal_app.office.accounts import Who
from terminal_app.payments.account import AccountGateway
from terminal_app.payments.offline import Offline
from terminal_app.ports import PaymentGateway
from terminal_app.session.pocket import Taken
from terminal_app.values import Approved, CardFacts, Declined, DeclineReason, EntryMode, Hold, Outcome, OutcomeUnknown, PaymentCard
from tests.conformance.fault_kit import FaultLine, HttpFaultKit
from tests.conformance.fault_proxy import UNKNOWN_AFTER, Fault, FaultProxy, Front, Reply, Request
from tests.conformance.gateway_kit import Act, Bench, GatewayKit, a_card, a_hold, a_step, held
from tests.conformance.http_rules_kit import HttpRulesKit
from tests.conformance.tls_kit import TlsKit, TlsLine
from tests.peers.venvs import free_port
from tests.unit.account_samples import OfficeProcess

FAULT = {
    Act.SLOW: Fault.SLOW, Act.SILENT: Fault.SILENT, Act.CLOSE: Fault.LOST, Act.GARBAGE: Fault.GARBAGE,
    Act.DUPLICATE: Fault.DOUBLED_ANSWER, Act.UNDECIDED: Fault.BUSY_503,
}  # fmt: skip
DECLINES = (
    DeclineReason.INSUFFICIENT_FUNDS,
    DeclineReason.CARD_INVALID,
    DeclineReason.REFUSED,
    DeclineReason.LIMIT_EXCEEDED,
)


class AccountPeer:
    """One terminal's view of the office. A decline or a partial approval is brought about by the card that is shown."""

    def __init__(self, office: OfficeProcess, proxy: FaultProxy, terminal: str) -> None:
        self.desk, self.proxy, self.terminal = office.desk, proxy, terminal
        self.seen: list[Any] = []
        self.cards: list[str] = []
        self.good = self.desk.account(1_000_000)[1]

    def next(self, *acts: Act | DeclineReason) -> None:
        self.proxy.next(*(FAULT.get(act, Fault.NONE) if isinstance(act, Act) else Fault.NONE for act in acts))
        self.cards = [self._card_for(act) for act in acts]

    def _card_for(self, act: Act | DeclineReason) -> str:
        match act:
            case Act.PARTIAL:
                return self.desk.account(3000)[1]
            case DeclineReason.INSUFFICIENT_FUNDS:
                return self.desk.account(0)[1]
            case DeclineReason.CARD_INVALID:
                return "0" * 32
            case DeclineReason.REFUSED:
                return self.desk.account(9000, blocked=True)[1]
            case DeclineReason.LIMIT_EXCEEDED:
                name, card = self.desk.account(9000, day_max_minor=4000)
                self.desk.accounts.add_card(name, card)
                used = self.desk.accounts.hold(self.terminal, f"used-{card}", Who(card=card), 4000, "EUR", False)
                self.desk.accounts.capture(self.terminal, used["hold"], f"taken-{card}", 4000)
                return card
            case _:
                return self.good

    def card(self) -> PaymentCard:
        return card_of(self.cards.pop(0) if self.cards else self.good)

    def _mine(self) -> list[dict[str, Any]]:
        return [row for row in self.desk.holds(terminal=self.terminal) if not row["key"].startswith("used-")]

    def held_minor(self) -> int:
        return sum(row["captured_minor"] if row["state"] == "captured" else row["held_minor"] for row in self._mine() if _open(row))

    def captures(self) -> list[int]:
        return [row["captured_minor"] for row in self._mine() if row["state"] == "captured"]

    def refunds(self) -> list[int]:
        mine = self.desk.rows(postings, source=self.terminal, kind="refund")
        return [int(row["amount_minor"]) for row in mine]


def _open(row: dict[str, Any]) -> bool:
    return bool(row["state"] != "voided")


def card_of(token: str) -> PaymentCard:
    card = a_card()
    card.facts = CardFacts("Fleet", "", token, "", "", EntryMode.ACCOUNT)
    return card


@pytest.fixture(scope="module")
def office() -> Iterator[OfficeProcess]:
    process = OfficeProcess()
    yield process
    assert process.desk.trouble() == []
    process.close()


class Stage:
    """Gateway, proxy and peer of one test, with a terminal of its own."""

    def __init__(self, office: OfficeProcess, folder: Path, front: Front | None = None) -> None:
        self.office, self.folder = office, folder
        self.proxy = FaultProxy(office.port, front)
        self.terminal, self.token = office.desk.terminal()
        (folder / "token").write_text(self.token)
        self.peer = AccountPeer(office, self.proxy, self.terminal)
        self.pocket = MemoryPocket()
        self.made: list[AccountGateway] = []
        self.gateway = self.at(self.proxy.url)
        self.unreachable = self.at(f"http://127.0.0.1:{free_port()}")

    def at(self, url: str) -> AccountGateway:
        offline = Offline(self.terminal, self.office.desk.key.public_pem, self.pocket)
        section = AccountSection(url=url, token_file=self.folder / "token")
        self.made.append(AccountGateway("account", section, True, offline=offline))
        return self.made[-1]

    def close(self) -> None:
        for gateway in self.made:
            gateway.close()
        self.proxy.close()


class MemoryPocket:
    """payments.offline.SlicePocket without the durability. `busy`: as if the engine did not answer."""

    def __init__(self) -> None:
        self.slices: dict[str, BalanceSlice] = {}
        self.used: dict[str, Taken] = {}
        self.cards: dict[str, str] = {}
        self.busy = False
        self._guard = threading.Lock()

    def _answer(self) -> None:
        if self.busy:
            raise TimeoutError("the engine did not answer in time")

    def put(self, key: str, slice_: BalanceSlice, jws: str, wait_s: float) -> None:
        self._answer()
        self.slices[slice_.slice_id] = slice_

    def take(self, hold_key: str, card: str, currency: str, amount_minor: int, wait_s: float) -> Taken | None:
        self._answer()
        with self._guard:
            if hold_key in self.used:
                return self.used[hold_key]
            now_utc_ms = store.now_ms()
            mine = [one for one in self.slices.values() if (one.card, one.currency) == (card, currency)]
            free = {one.slice_id: free_minor(one, self._used(one.slice_id), now_utc_ms) for one in mine}
            best = max(free, key=free.__getitem__, default=None)
            if best is None or not free[best]:
                return None
            self.used[hold_key] = Taken(best, min(free[best], amount_minor))
            return self.used[hold_key]

    def settle(self, hold_key: str, spent_minor: int, wait_s: float) -> None:
        self._answer()
        with self._guard:
            if before := self.used.get(hold_key):
                self.used[hold_key] = Taken(before.slice_id, spent_minor)

    def card(self, hold_key: str) -> str:
        return self.cards.get(hold_key, "")

    def _used(self, slice_id: str) -> list[int]:
        return [one.amount_minor for one in self.used.values() if one.slice_id == slice_id]


@pytest.fixture
def stage(office: OfficeProcess, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(office, tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def bench(stage: Stage) -> Bench:
    never = {
        DeclineReason.AUTHENTICATION_WANTED: "the office wants no second factor",
        DeclineReason.GATEWAY_REFUSED: "a wrong token: test_a_wrong_token_is_told",
    }
    return Bench(stage.gateway, stage.unreachable, stage.peer, DECLINES, stage.peer.card, never)


class TestAccount(GatewayKit):
    gateway = "account"


@pytest.fixture
def line(stage: Stage) -> FaultLine:
    """The office's postings know each key for ever: there is nothing to forget. The gateway has no clock of its own."""

    def ask(gateway: PaymentGateway, hold: Hold, deadline_s: float) -> Outcome:
        return gateway.authorize(hold, stage.peer.card(), deadline_s)

    return FaultLine(stage.gateway, stage.proxy, stage.peer, ask, lambda off_ms: stage.at(stage.proxy.url), lambda: None)


class TestAccountFaults(HttpFaultKit):
    gateway = "account"


@pytest.fixture
def tls_line(stage: Stage) -> TlsLine:
    def secure(url: str, ca_file: Path | None) -> AccountGateway:
        section = AccountSection(url=url, token_file=stage.folder / "token", ca_file=ca_file)
        return AccountGateway("account", section, False)

    return TlsLine(stage.office.port, secure)


class TestAccountTls(TlsKit):
    gateway = "account"


@pytest.fixture
def make(stage: Stage) -> Callable[[str], AccountGateway]:
    return stage.at


class TestAccountHttp(HttpRulesKit):
    gateway = "account"


def test_a_request_that_arrives_twice_holds_once(stage: Stage) -> None:
    stage.proxy.next(Fault.DOUBLED_REQUEST)
    assert isinstance(stage.gateway.authorize(a_hold(), stage.peer.card(), 5), Approved)
    assert len(stage.peer.desk.holds(terminal=stage.terminal)) == 1


class _Other(Front):
    """Answers every question as if it were another's: only one name differs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def answer(self, request: Request, proxy: FaultProxy) -> Reply:
        reply = proxy.forward(request)
        return Reply.of(reply.status, {**json.loads(reply.body), self.name: "key-of-another"})


@pytest.mark.parametrize("name", ["request", "key"])
def test_an_answer_that_names_another_request_or_hold_is_not_believed(office: OfficeProcess, tmp_path: Path, name: str) -> None:
    stage = Stage(office, tmp_path, _Other(name))
    try:
        assert isinstance(stage.gateway.authorize(a_hold(), stage.peer.card(), 5), OutcomeUnknown)
        assert isinstance(stage.gateway.void(a_hold(), a_step(5000), 5), OutcomeUnknown)
        if name == "key":
            assert isinstance(stage.gateway.look_up(a_hold(), 5), OutcomeUnknown)
        else:
            stage.peer.next(DeclineReason.CARD_INVALID)
            assert isinstance(stage.gateway.authorize(a_hold(5), stage.peer.card(), 5), OutcomeUnknown)
    finally:
        stage.close()


def test_the_office_killed_in_the_middle_of_everything_neither_loses_nor_doubles(tmp_path: Path) -> None:
    """kill -9 while holds are placed and captured; afterwards every step is repeated with its key, as the engine does."""
    office = OfficeProcess()
    stage = Stage(office, tmp_path)
    gateway = stage.at(office.url)
    try:
        for round_no in range(3):
            killer = threading.Timer(0.05 + 0.07 * round_no, office.kill)
            killer.start()
            outcomes: dict[int, Any] = {}
            for n in range(round_no * 10, round_no * 10 + 10):
                hold = a_hold(n)
                outcomes[n] = gateway.authorize(hold, stage.peer.card(), 2)
                if isinstance(outcomes[n], Approved):
                    gateway.capture(held(hold, outcomes[n]), a_step(100 + n, serial=1000 + n), 2)
            killer.join()
            office.start()
            for n, outcome in outcomes.items():
                if isinstance(outcome, Approved):
                    step = a_step(100 + n, serial=1000 + n, attempt=2)
                    assert isinstance(gateway.capture(held(a_hold(n), outcome), step, 10), Approved)
                else:
                    assert isinstance(gateway.void(a_hold(n), a_step(5000, serial=2000 + n), 10), Approved)
            taken = sorted(100 + n for n, outcome in outcomes.items() if isinstance(outcome, Approved))
            mine = [f"key-{n}" for n in outcomes]
            rows = [row for row in office.desk.holds(terminal=stage.terminal) if row["key"] in mine]
            assert sorted(row["captured_minor"] for row in rows if row["state"] == "captured") == taken
            assert {row["state"] for row in rows} <= {"captured", "voided"}
            assert office.desk.trouble() == []
    finally:
        gateway.close()
        stage.close()
        office.close()


# --- what only this gateway can -------------------------------------------------------------------------------------


def test_look_up_tells_what_became_of_a_hold(stage: Stage) -> None:
    gateway, hold = stage.gateway, a_hold()
    assert gateway.look_up(hold, 5) == Declined(DeclineReason.TOO_LATE, "unknown_hold")
    stage.proxy.next(Fault.LOST)
    gateway.authorize(hold, stage.peer.card(), 1)
    found = gateway.look_up(hold, 5)
    assert isinstance(found, Approved)
    assert found.amount_minor == 5000
    assert isinstance(gateway.capture(held(hold, found), a_step(1), 5), Approved)


def test_a_reversal_that_overtakes_its_hold_wins(stage: Stage) -> None:
    assert isinstance(stage.gateway.void(a_hold(), a_step(5000), 5), Approved)
    late = stage.gateway.authorize(a_hold(), stage.peer.card(), 5)
    assert isinstance(late, Declined)
    assert stage.peer.held_minor() == 0


def test_more_than_held_is_never_taken_and_more_than_taken_never_given_back(stage: Stage) -> None:
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), stage.peer.card(), 5))
    assert stage.gateway.capture(hold, a_step(5001, serial=1), 5) == Declined(DeclineReason.LIMIT_EXCEEDED, "above_hold")
    assert isinstance(stage.gateway.capture(hold, a_step(500, serial=2), 5), Approved)
    assert stage.gateway.refund(hold, a_step(501, serial=3), 5) == Declined(DeclineReason.LIMIT_EXCEEDED, "above_captured")
    assert stage.gateway.capture(hold, a_step(1, serial=4), 5) == Declined(DeclineReason.ALREADY_DONE, "already_captured")


def test_a_raised_hold_is_booked_and_the_limits_count_the_whole_of_it(stage: Stage) -> None:
    desk = stage.peer.desk
    name, card = desk.account(9000, hold_max_minor=6000)
    hold = a_hold()
    hold = held(hold, stage.gateway.authorize(hold, card_of(card), 5))
    assert stage.gateway.increment(hold, a_step(2500, serial=1), 5) == Approved(1000, {"held_minor": "6000"})
    assert stage.gateway.increment(hold, a_step(2500, serial=1, attempt=2), 5) == Approved(1000, {"held_minor": "6000"})
    assert stage.gateway.increment(hold, a_step(1, serial=2), 5) == Declined(DeclineReason.LIMIT_EXCEEDED, "limit_exceeded")
    reused = stage.gateway.increment(hold, a_step(2400, serial=1), 5)
    assert reused == Declined(DeclineReason.GATEWAY_REFUSED, "key_reused")
    assert [line for line in desk.entries_of(name) if line[0] == "hold"] == [("hold", 5000), ("hold", 1000)]
    assert isinstance(stage.gateway.capture(hold, a_step(6000, serial=3), 5), Approved)
    assert stage.gateway.increment(hold, a_step(1, serial=4), 5) == Declined(DeclineReason.ALREADY_DONE, "already_captured")
    assert desk.trouble() == []


def test_an_empty_account_raises_nothing_and_the_hold_stands(stage: Stage) -> None:
    card = card_of(stage.peer.desk.account(5000)[1])
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), card, 5))
    outcome = stage.gateway.increment(hold, a_step(1, serial=1), 5)
    assert outcome == Declined(DeclineReason.INSUFFICIENT_FUNDS, "insufficient_funds")
    assert isinstance(stage.gateway.capture(hold, a_step(5000, serial=2), 5), Approved)


def test_a_slice_is_not_raised(stage: Stage) -> None:
    with_slice(stage)
    hold = held(a_hold(1, 2500), stage.unreachable.authorize(a_hold(1, 2500), stage.peer.card(), 1))
    assert isinstance(stage.gateway.increment(hold, a_step(100, serial=1), 5), Declined)


def test_a_wrong_token_is_told_and_decides_nothing_about_held_money(stage: Stage) -> None:
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), stage.peer.card(), 5))
    (stage.folder / "token").write_text("some-other-token-0000000000")
    assert stage.gateway.authorize(a_hold(9), stage.peer.card(), 5) == Declined(DeclineReason.GATEWAY_REFUSED, "unknown_token")
    assert isinstance(stage.gateway.capture(hold, a_step(100), 5), OutcomeUnknown)
    assert "token" in stage.gateway.check(5)
    assert isinstance(stage.at(f"http://127.0.0.1:{free_port()}").void(hold, a_step(5000), 1), OutcomeUnknown)


def test_one_terminal_cannot_touch_the_holds_of_another(office: OfficeProcess, stage: Stage, tmp_path: Path) -> None:
    hold = held(a_hold(), stage.gateway.authorize(a_hold(), stage.peer.card(), 5))
    (tmp_path / "other").mkdir()
    stranger = Stage(office, tmp_path / "other")
    try:
        assert isinstance(stranger.gateway.capture(hold, a_step(100), 5), Declined)
        assert isinstance(stranger.gateway.void(hold, a_step(5000, serial=5), 5), Approved)  # releases its own, which is nothing
    finally:
        stranger.close()
    assert stage.peer.held_minor() == 5000


# --- offline ----------------------------------------------------------------------------------------------------------


def with_slice(stage: Stage, amount_minor: int = 4000) -> str:
    granted = stage.gateway.fetch_slice("slice-1", stage.peer.good, amount_minor, "EUR", 7, 5)
    assert isinstance(granted, Approved)
    return granted.trace["slice"]


def test_a_slice_pays_while_the_office_is_away_and_is_booked_when_it_is_back(stage: Stage) -> None:
    slice_id = with_slice(stage)
    first, second, third = a_hold(1, 2500), a_hold(2, 2500), a_hold(3, 2500)
    paid = stage.unreachable.authorize(first, stage.peer.card(), 1)
    assert paid == Approved(2500, {"slice": slice_id, "held_minor": "2500"})
    rest = stage.unreachable.authorize(second, stage.peer.card(), 1)
    assert isinstance(rest, Approved)
    assert rest.amount_minor == 1500
    refused = stage.unreachable.authorize(third, stage.peer.card(), 1)
    assert refused == Declined(DeclineReason.UNREACHABLE)  # the slice is used up
    assert isinstance(stage.unreachable.capture(held(first, paid), a_step(2000, serial=11), 1), OutcomeUnknown)
    assert isinstance(stage.unreachable.void(held(second, rest), a_step(1500, serial=12), 1), Approved)
    again = stage.unreachable.authorize(a_hold(4, 2500), stage.peer.card(), 1)
    assert isinstance(again, Approved)
    assert again.amount_minor == 2000  # what the first charge did not use and the second gave back
    assert isinstance(stage.gateway.capture(held(first, paid), a_step(2000, serial=11, attempt=2), 5), Approved)
    assert isinstance(stage.gateway.capture(held(first, paid), a_step(2000, serial=11, attempt=3), 5), Approved)
    (row,) = stage.peer.desk.slice_rows(slice_id=slice_id)
    assert row["spent_minor"] == 2000
    assert stage.peer.captures() == [2000]


def test_a_charge_paid_by_a_slice_can_be_refunded(stage: Stage) -> None:
    with_slice(stage)
    hold = held(a_hold(1, 2500), stage.unreachable.authorize(a_hold(1, 2500), stage.peer.card(), 1))
    assert isinstance(stage.gateway.capture(hold, a_step(2000, serial=11), 5), Approved)
    assert isinstance(stage.gateway.refund(hold, a_step(2000, serial=12), 5), Approved)
    assert isinstance(stage.gateway.refund(hold, a_step(1, serial=13), 5), Declined)


def test_a_returned_slice_pays_nothing_more_and_the_attempt_raises_an_alarm(stage: Stage) -> None:
    slice_id = with_slice(stage)
    hold = held(a_hold(1, 2500), stage.unreachable.authorize(a_hold(1, 2500), stage.peer.card(), 1))
    assert stage.gateway.return_slice(slice_id, 5)
    assert stage.gateway.return_slice(slice_id, 5)
    assert stage.gateway.capture(hold, a_step(2000), 5) == Declined(DeclineReason.TOO_LATE, "slice_closed")
    assert [row["kind"] for row in stage.peer.desk.rows(store.alarms, terminal=stage.terminal)] == ["slice"]


def test_a_slice_is_only_kept_if_the_office_signed_it_for_this_terminal(stage: Stage) -> None:
    other = Offline("T-OTHER", stage.office.desk.key.public_pem, stage.pocket)
    gateway = AccountGateway("account", AccountSection(url=stage.proxy.url, token_file=stage.folder / "token"), True, offline=other)
    outcome = gateway.fetch_slice("slice-2", stage.peer.good, 1000, "EUR", 7, 5)
    gateway.close()
    assert isinstance(outcome, OutcomeUnknown)
    assert stage.pocket.slices == {}


def test_a_lost_answer_to_a_grant_sets_money_aside_once(stage: Stage) -> None:
    stage.proxy.next(Fault.LOST)
    assert isinstance(stage.gateway.fetch_slice("slice-1", stage.peer.good, 4000, "EUR", 7, 2), OutcomeUnknown)
    with_slice(stage)
    assert len(stage.peer.desk.slice_rows(terminal=stage.terminal)) == 1


def test_a_pocket_that_does_not_answer_leaves_everything_unknown_and_settles_later(stage: Stage) -> None:
    slice_id = with_slice(stage)
    stage.pocket.busy = True
    assert isinstance(stage.unreachable.authorize(a_hold(1, 2500), stage.peer.card(), 1), OutcomeUnknown)
    assert isinstance(stage.unreachable.void(a_hold(1, 2500), a_step(2500), 1), OutcomeUnknown)
    assert isinstance(stage.gateway.fetch_slice("slice-2", stage.peer.good, 100, "EUR", 7, 5), OutcomeUnknown)
    stage.pocket.busy = False
    paid = held(a_hold(2, 4000), stage.unreachable.authorize(a_hold(2, 4000), stage.peer.card(), 1))
    stage.pocket.busy = True
    assert isinstance(stage.gateway.capture(paid, a_step(3000), 5), OutcomeUnknown)
    assert stage.peer.desk.slice_rows(slice_id=slice_id)[0]["spent_minor"] == 0  # not told before it is written down
    stage.pocket.busy = False
    assert isinstance(stage.gateway.capture(paid, a_step(3000, attempt=2), 5), Approved)


# --- granted offline without a slice ----------------------------------------------------------------------------------


def offline_granted(stage: Stage, n: int = 1, card: str = "") -> Hold:
    hold = msgspec.structs.replace(a_hold(n), trace={"offline": "granted"})
    stage.pocket.cards[hold.key] = card or stage.peer.good
    return hold


@pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.value)
def test_a_charge_granted_offline_is_owed_once_and_can_be_given_back(stage: Stage, fault: Fault) -> None:
    hold = offline_granted(stage)
    assert isinstance(stage.unreachable.capture(hold, a_step(1900, serial=11), 1), OutcomeUnknown)
    stage.proxy.next(fault)
    stage.gateway.capture(hold, a_step(1900, serial=11, attempt=2), 1)
    taken = stage.gateway.capture(hold, a_step(1900, serial=11, attempt=3), 5)
    assert isinstance(taken, Approved) and taken.amount_minor == 1900
    assert stage.peer.captures() == [1900]
    stage.proxy.next(fault)
    stage.gateway.refund(hold, a_step(400, serial=12), 1)
    assert isinstance(stage.gateway.refund(hold, a_step(400, serial=12, attempt=2), 5), Approved)
    (row,) = stage.peer.desk.holds(terminal=stage.terminal)
    assert row["refunded_minor"] == 400


def test_a_charge_granted_offline_of_a_stranger_is_booked_all_the_same(stage: Stage) -> None:
    hold = offline_granted(stage, card="e" * 32)
    assert isinstance(stage.gateway.capture(hold, a_step(1900), 5), Approved)
    assert [row["kind"] for row in stage.peer.desk.rows(store.alarms, terminal=stage.terminal)] == ["receivable"]


def test_a_charge_granted_offline_is_released_without_asking_anybody(stage: Stage) -> None:
    assert isinstance(stage.unreachable.void(offline_granted(stage), a_step(5000), 1), Approved)
    hold = msgspec.structs.replace(a_hold(3), trace={"offline": "granted"})
    unknown = stage.gateway.capture(hold, a_step(1), 5)
    assert isinstance(unknown, OutcomeUnknown) and "who owes" in unknown.why  # a card this terminal does not know
    assert stage.peer.desk.holds(terminal=stage.terminal) == []


def test_no_card_data_is_sent_but_the_token(stage: Stage) -> None:
    card = stage.peer.card()
    stage.gateway.authorize(a_hold(), card, 5)
    sent = b"".join(request.body for request in stage.proxy.seen)
    assert card.facts.token.encode() in sent
    assert bytes(card.track2).hex().encode() not in sent.lower()
    assert b"5413330089020011" not in sent
