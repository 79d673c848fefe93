"""Commands at the office: numbered without a gap, signed for one terminal, and what became of them is what its facts tell."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing.command import Command, open_command
from terminal_app.office import command_api, store
from terminal_app.office import commands as office_commands
from terminal_app.office.access import Access, hash_of
from terminal_app.office.accounts import Refused
from terminal_app.office.command_api import CommandApi
from terminal_app.office.command_tables import gateway_references
from terminal_app.office.commands import MAX_WAITING, RELAY, RELAYS_PER_MINUTE, Commands, Issued
from terminal_app.office.ingest import SentFact
from tests.unit.office_samples import CHAIN, TERMINAL, Desk, Terminal, desk_at

OTHER = "T-0002"
STOP: dict[str, Any] = {"connector": 1}


class Counter:
    """A person at the office with one terminal, and another one that is only registered."""

    def __init__(self, folder: Path) -> None:
        self.terminal = Terminal()
        self.desk: Desk = desk_at(folder, self.terminal)
        with self.desk.database.write() as db:
            db.execute(store.terminals.insert().values(terminal=OTHER, token_sha256=hash_of("x"), added_utc_ms=1))
        self.commands = Commands(self.desk.database, self.desk.key)
        self.sent = 0

    def issue(self, act: str = "session.stop", args: dict[str, Any] = STOP, **changes: Any) -> Issued:
        said = {"terminal": TERMINAL, "actor": "Office", "reason": "the driver called", "ttl_s": 600, "command_id": ""}
        return self.commands.issue(act=act, args=args, **(said | changes))

    def fetched(self, after: int = 0, terminal: str = TERMINAL) -> list[Command]:
        return [open_command(jws, self.desk.key.public_pem, terminal) for jws in self.commands.waiting(terminal, after)]

    def tell(self, kind: str, body: dict[str, Any]) -> None:
        """A fact of TERMINAL arrives."""
        after, self.sent = self.sent, self.sent + 1
        fact = SentFact(self.sent, 1_767_348_000_000, kind, "", json.dumps({"type": kind} | body))
        self.desk.take(self.terminal.batch(facts=(fact,), facts_after=after))

    def state(self, issued: Issued) -> tuple[str, str]:
        found = self.commands.state(issued.command_id)
        assert found is not None
        return found["state"], found["answer"]


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    one = Counter(tmp_path)
    yield one
    one.desk.database.close()


def test_numbers_have_no_gap_and_belong_to_one_terminal(counter: Counter) -> None:
    assert [counter.issue().number, counter.issue(terminal=OTHER).number, counter.issue().number] == [1, 1, 2]
    assert [one.number for one in counter.fetched()] == [1, 2] and [one.number for one in counter.fetched(1)] == [2]
    (other,) = counter.fetched(terminal=OTHER)
    assert (other.terminal, other.args, other.actor, other.reason) == (OTHER, STOP, "Office", "the driver called")
    assert other.expires_utc_ms - other.issued_utc_ms == 600_000


def test_many_hands_at_once_make_no_gap_and_no_twin(counter: Counter) -> None:
    numbers: list[int] = []

    def hand() -> None:
        for _ in range(5):
            numbers.append(counter.issue().number)

    threads = [threading.Thread(target=hand) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(numbers) == list(range(1, 31))


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"terminal": "T-0009"}, "not known here"),
    ({"act": "coffee.make"}, "there is no act"),
    ({"args": {}}, "connector"),
    ({"args": {"connector": 9}}, "connector"),
    ({"args": {"connector": 1, "also": 1}}, "also"),
    ({"args": {"connector": 1.0}}, "connector"),
    ({"act": "payment.refund", "args": {"hold_id": "H", "amount_minor": 0}}, "amount_minor"),
    ({"act": "payment.refund", "args": {"hold_id": "H", "amount_minor": 1.5}}, "amount_minor"),
    ({"act": "cards.deny", "args": {"tokens": ["4111"], "version": 1}}, "tokens"),
    ({"act": RELAY, "args": {"gateway": "a", "body": "x" * 65_537}}, "body"),
    ({"act": "session.start", "args": {"connector": 1, "more": 0.5}}, "no integer"),
    ({"ttl_s": 9}, "lives 10 to"),
    ({"ttl_s": 31 * 86_400}, "lives 10 to"),
    ({"reason": " "}, "a name and a reason"),
    ({"actor": ""}, "a name and a reason"),
    ({"actor": "x" * 65}, "not a command"),
)


@pytest.mark.parametrize(("changes", "why"), REFUSED)
def test_what_is_not_issued(counter: Counter, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        counter.issue(**changes)
    assert counter.issue().number == 1


def test_an_order_with_a_name_is_issued_once(counter: Counter) -> None:
    first = counter.issue(command_id="order-7")
    assert counter.issue(command_id="order-7") == first
    with pytest.raises(Refused, match="another one"):
        counter.issue(command_id="order-7", args={"connector": 2})
    assert len(counter.fetched()) == 1


def test_taken_done_and_refused_come_back_as_facts(counter: Counter) -> None:
    done, refused, open_ = counter.issue(), counter.issue(), counter.issue()
    for one in (done, refused):
        counter.tell("command_taken", {"command_id": one.command_id, "number": one.number})
    assert counter.state(done) == ("taken", "")
    assert [one.number for one in counter.fetched()] == [3], "what was taken is not handed out again"
    counter.tell("command_answered", {"command_id": done.command_id, "done": True, "answer": '{"connector":1}'})
    counter.tell("command_answered", {"command_id": refused.command_id, "done": False, "answer": "nothing to stop"})
    assert counter.state(done) == ("done", '{"connector":1}') and counter.state(refused) == ("refused", "nothing to stop")
    assert counter.state(open_) == ("waiting", "")
    counter.tell("command_answered", {"command_id": done.command_id, "done": False, "answer": "never mind"})
    assert counter.state(done)[0] == "done", "what is known for good stays"


def test_a_terminal_answers_only_for_its_own_commands(counter: Counter) -> None:
    theirs = counter.issue(terminal=OTHER)
    counter.tell("command_answered", {"command_id": theirs.command_id, "done": True, "answer": "mine"})
    assert counter.state(theirs) == ("waiting", "")


def test_what_nobody_fetched_in_time_has_expired(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    late = counter.issue()
    now_ms = store.now_ms()
    monkeypatch.setattr(office_commands.store, "now_ms", lambda: now_ms + 601_000)
    assert counter.fetched() == [] and counter.state(late)[0] == "expired"
    assert counter.issue().number == 2
    assert [row["state"] for row in counter.commands.newest(10)] == ["waiting", "expired"]
    counter.tell("command_answered", {"command_id": late.command_id, "done": True, "answer": "{}"})
    assert counter.state(late)[0] == "done", "it had it in time, only its word was late"


def test_strangers_notifications_keep_no_order_from_getting_through(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    relay: dict[str, Any] = {"act": RELAY, "args": {"gateway": "adyen", "body": "{}"}}
    began_ms, issued = store.now_ms(), 0
    with pytest.raises(Refused, match="wait for terminal"):
        for minute in range(10):
            monkeypatch.setattr(office_commands.store, "now_ms", lambda minute=minute: began_ms + minute * 60_000)
            with pytest.raises(Refused, match=f"{RELAYS_PER_MINUTE} notifications|wait for terminal") as refused:
                for _ in range(RELAYS_PER_MINUTE + 1):
                    counter.issue(**relay, ttl_s=86_400)
                    issued += 1
            if "wait for" in str(refused.value):
                raise refused.value
    assert issued == MAX_WAITING
    assert counter.issue().number == MAX_WAITING + 1


def test_an_answer_to_a_terminal_stays_small_and_moves_on(counter: Counter) -> None:
    for _ in range(12):
        counter.issue(RELAY, {"gateway": "adyen", "body": "x" * 65_536})
    seen, after = list[int](), 0
    while found := counter.fetched(after):
        assert len(found) <= 6
        seen += [one.number for one in found]
        after = seen[-1]
    assert seen == list(range(1, 13))


def test_bodies_and_tokens_are_shown_to_nobody(counter: Counter) -> None:
    counter.issue(RELAY, {"gateway": "adyen", "body": "secret words"})
    counter.issue("cards.deny", {"tokens": ["5e" * 16], "version": 3})
    told = json.dumps(counter.commands.newest(10))
    assert "secret words" not in told and "5e5e" not in told and "eyJ" not in told and '"version": 3' in told


def test_references_that_gateways_know_lead_to_the_hold_and_stay_with_who_came_first(counter: Counter) -> None:
    hold = {"hold_id": "H-1", "gateway": "adyen", "amount_minor": 5000, "currency": "EUR", "utc_ms": 1, "key": "a" * 32}
    counter.tell("authorization_intended", {"session_id": "S-1", "hold": hold, "card": {}})
    counter.tell("capture_intended", {"hold_id": "H-1", "step": {"key": "b" * 32, "amount_minor": 100}})
    past = {"hold": hold, "session_id": "S-1"}
    counter.tell("refund_intended", {"past": past, "step": {"key": "c" * 32, "amount_minor": 50}})
    counter.tell("void_intended", {"hold_id": "H-9", "step": {"key": "a" * 32, "amount_minor": 100}})
    found = {row["reference"]: (row["terminal"], row["chain_id"], row["hold_id"]) for row in counter.desk.rows(gateway_references)}
    assert found == {"a" * 32: (TERMINAL, CHAIN, "H-1"), "b" * 32: (TERMINAL, CHAIN, "H-1"), "c" * 32: (TERMINAL, CHAIN, "H-1")}


def test_an_order_wakes_who_waits_without_waiting_for_the_next_look(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_api, "RECHECK_S", 3600.0)
    api = CommandApi(counter.commands, Access(counter.desk.database, "", True), lambda: False)

    async def wait_and_order() -> list[str]:
        waiting = asyncio.create_task(api._fetched(TERMINAL, 0, 3600))
        await asyncio.sleep(0.2)  # it has looked once
        await asyncio.to_thread(counter.issue, terminal=OTHER)
        await asyncio.sleep(0.2)
        assert not waiting.done(), "another terminal's order is not for it"
        await asyncio.to_thread(counter.issue)
        return await asyncio.wait_for(waiting, 60)

    assert len(asyncio.run(wait_and_order())) == 1
    assert counter.commands.bell._waiters == {} and counter.commands.bell._count == 0


def test_a_fact_of_another_version_in_any_form_stops_no_batch(counter: Counter) -> None:
    for body in ("[" * 100_000, "[]", "null", '{"hold": 1, "step": {"key": 2}}', '{"step": {"key": "k"}, "hold_id": {}}', "{"):
        after, counter.sent = counter.sent, counter.sent + 1
        fact = SentFact(counter.sent, 1, "from_the_future", "", body)
        assert counter.desk.take(counter.terminal.batch(facts=(fact,), facts_after=after)).facts_through == counter.sent
    assert counter.desk.rows(gateway_references) == []
