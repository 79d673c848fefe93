"""Commands of the office in the core: believed only when signed for this terminal, executed once, answered in every case."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.signers.keyfile import KeyFileSigner
from terminal_app.billing.command import make_command, seal_command
from terminal_app.billing.record import thumbprint
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.engine import INTERRUPTED
from terminal_app.engine.sync_link import SyncLink, told
from terminal_app.session.facts import (
    AuthorizationIntended,
    CommandAnswered,
    CommandTaken,
    RefundIntended,
    ServiceAct,
    StopIntended,
    StopReason,
)
from terminal_app.sync.core_link import CoreLink
from terminal_app.values import ClockState, Stamp
from terminal_app.wire import CommandsAfter, CommandsThrough, Deliver
from tests.sessions import T0, Paper, terminal
from tests.unit.command_samples import command


class Core:
    """A terminal whose engine turns on its own thread, with the end of the sync socket that takes commands."""

    def __init__(self, site: Paper) -> None:
        self.site = site
        self.office = KeyFileSigner(site.path.with_name("office-private.pem"))
        self.done: list[tuple[dict[str, Any], str]] = []
        self.link = self.fresh_link()

    def fresh_link(self) -> CommandLink:
        acts = acts_of(self.site.engine) | {"cards.deny": self._note, "relay.notification": self._note}
        return CommandLink(self.site.engine, self.office.public_key_spki(), acts | {"payment.refund": self._refund})

    def _note(self, arguments: Any, actor: str) -> dict[str, Any]:
        self.done.append((dict(arguments), actor))
        return {"count": len(self.done)}

    def _refund(self, arguments: Any, actor: str) -> dict[str, Any]:
        if arguments["amount_minor"] > 500:
            raise ValueError("more than was captured")
        return self._note(arguments, actor)

    def sign(self, **changes: Any) -> str:
        signing = make_command(command(**changes), thumbprint(self.office.public_key_spki()))
        return seal_command(signing, self.office.sign(signing))

    def deliver(self, **changes: Any) -> str:
        return self.link.deliver(Deliver(self.sign(**changes))).error

    def facts(self, kind: type) -> list[Any]:
        return [one.fact for one in self.site.ledger.entries() if isinstance(one.fact, kind)]

    def answers(self) -> list[tuple[bool, str]]:
        return [(one.done, one.answer) for one in self.facts(CommandAnswered)]

    @contextlib.contextmanager
    def turning(self) -> Iterator[None]:
        thread = threading.Thread(target=self.site.engine.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.site.engine.stop()
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def core(site: Paper) -> Core:
    return Core(site)


REFUND: dict[str, Any] = {"act": "payment.refund", "args": {"hold_id": "H", "amount_minor": 100}}


def test_a_stop_from_the_office_ends_the_charge_and_says_who_and_why(core: Core, site: Paper) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    with core.turning():
        assert core.deliver() == ""
        wait_until(lambda: core.facts(StopIntended) != [])
    (taken,), (act,), (stop,) = core.facts(CommandTaken), core.facts(ServiceAct), core.facts(StopIntended)
    assert (taken.number, taken.act, taken.actor, taken.reason) == (1, "session.stop", "Office", "the driver called")
    assert (stop.reason, act.actor) == (StopReason.REMOTE, "office: Office") and "Office" in stop.detail
    ((done, answer),) = core.answers()
    assert done and act.target in answer
    kinds = [one.kind for one in site.ledger.entries()]
    assert kinds.index("command_taken") < kinds.index("service_act")


def test_nothing_to_stop_is_answered_with_the_sentence(core: Core) -> None:
    with core.turning():
        assert core.deliver() == ""
    assert core.answers() == [(False, "connector 1 has no session; nothing was ordered")]


def test_a_stop_meant_for_another_charge_stops_nobody(core: Core, site: Paper) -> None:
    """A driver's phone that is late: on the connector the next one charges already."""
    site.tap()
    site.charge(1_000, seconds=600)
    mine = site.engine.state.sessions[1].session_id
    with core.turning():
        assert core.deliver(args={"connector": 1, "session_id": "S-of-somebody-before"}) == ""
        wait_until(lambda: core.answers() != [])
        assert core.facts(StopIntended) == []
        assert core.deliver(args={"connector": 1, "session_id": mine}, number=2) == ""
        wait_until(lambda: core.facts(StopIntended) != [])
    (refused, done) = core.answers()
    assert refused[0] is False and "that charge is over" in refused[1] and done[0] is True


def test_a_refund_from_the_office_is_ordered_with_its_name_and_once(core: Core, site: Paper) -> None:
    session_id = site.paid_session()
    (hold_id,) = {one.fact.hold.hold_id for one in site.ledger.entries() if isinstance(one.fact, AuthorizationIntended)}
    link = CommandLink(site.engine, core.office.public_key_spki(), acts_of(site.engine))
    refund = {"act": "payment.refund", "args": {"hold_id": hold_id, "amount_minor": 100}}
    late = {"issued_utc_ms": T0 + 3_600_000, "expires_utc_ms": T0 + 7_200_000}
    with core.turning():
        for number, jws in enumerate([core.sign(**refund, **late), core.sign(**refund, **late)]):
            assert bool(link.deliver(Deliver(jws)).error) is bool(number)
        too_much = {"act": "payment.refund", "args": {"hold_id": hold_id, "amount_minor": 100_000}}
        assert link.deliver(Deliver(core.sign(number=2, command_id="C-2", **too_much, **late))).error == ""
    (act,) = core.facts(ServiceAct)
    assert session_id and (act.act, act.target, act.actor) == ("payment.refund", hold_id, "office: Office")
    (intended,) = core.facts(RefundIntended)
    assert (intended.past.hold.hold_id, intended.step.amount_minor) == (hold_id, 100)
    assert [done for done, _ in core.answers()] == [True, False]


def test_a_command_works_once_however_often_it_comes(core: Core) -> None:
    with core.turning():
        assert core.deliver(number=3, **REFUND) == ""
        for number in (3, 2, 1):
            assert "not new" in core.deliver(number=number, command_id="other", **REFUND)
        assert core.link.after(CommandsAfter()) == CommandsThrough("T-0001", 3)
        assert core.deliver(number=7, command_id="C-7", **REFUND) == "", "the office does not deliver what expired meanwhile"
    assert [arguments["amount_minor"] for arguments, _ in core.done] == [100, 100]
    assert core.done[0][0]["reason"] == "the driver called"


def test_what_is_not_believed_leaves_no_trace(core: Core, site: Paper) -> None:
    before = site.ledger.head
    jws = core.sign(**REFUND)
    with core.turning():
        assert "another terminal" in core.deliver(terminal="T-0002", **REFUND)
        assert "verify" in core.link.deliver(Deliver(jws[:-6] + "AAAAAA")).error
        assert "compact JWS" in core.link.deliver(Deliver("nonsense")).error
        assert core.link.after(CommandsAfter()).number == 0
    assert site.ledger.head == before and core.done == []


def test_expired_unknown_and_failing_are_taken_and_answered(core: Core) -> None:
    with core.turning():
        assert core.deliver(number=1, command_id="a", issued_utc_ms=T0 - 1000, expires_utc_ms=T0, **REFUND) == ""
        assert core.deliver(number=2, command_id="b", act="coffee.make") == ""
        assert core.deliver(number=3, command_id="c", act="payment.refund", args={"amount_minor": 501}) == ""
        assert core.deliver(number=4, command_id="d", act="payment.refund", args={}) == ""
    assert core.answers() == [
        (False, "expired before it came"),
        (False, "coffee.make is not known here"),
        (False, "more than was captured"),
        (False, "there is no 'amount_minor'"),
    ]
    assert core.done == []


def test_without_a_clock_no_money_moves_but_a_stop_works(core: Core, site: Paper) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    site.clock.state = ClockState.UNKNOWN
    with core.turning():
        core.deliver(number=1, command_id="a", **REFUND)
        core.deliver(number=2, command_id="b", issued_utc_ms=1, expires_utc_ms=2)
    (refused, _), (stopped, _) = core.answers()
    assert (refused, stopped, core.done) == (False, True, [])


def test_a_clock_far_behind_the_office_is_not_trusted(core: Core) -> None:
    """A stopped clock would take a command of last year for a fresh one."""
    with core.turning():
        later = T0 + 86_400_000
        core.deliver(issued_utc_ms=later, expires_utc_ms=later + 60_000, **REFUND)
    ((done, answer),) = core.answers()
    assert not done and "clock" in answer


def test_a_crash_between_taken_and_answered_is_told_and_not_repeated(core: Core, site: Paper, tmp_path: Path) -> None:
    class PowerCut(BaseException):
        pass

    def cut(arguments: Any, actor: str) -> Any:
        core.done.append((dict(arguments), actor))
        raise PowerCut

    core.link = CommandLink(site.engine, core.office.public_key_spki(), {"payment.refund": cut})
    with core.turning(), pytest.raises(PowerCut):
        core.deliver(**REFUND)
    assert core.answers() == []
    jws = core.sign(**REFUND)
    site.close()
    again = Core(Paper(site.path))
    try:
        with again.turning():
            assert "not new" in again.link.deliver(Deliver(jws)).error
        assert again.answers() == [(False, INTERRUPTED)]
        assert again.site.engine.state.chain.commands_open == ()
        assert len(core.done) == 1 and again.done == []
    finally:
        again.site.close()
    third = Core(Paper(site.path))
    assert third.answers() == [(False, INTERRUPTED)], "said once"
    third.site.close()


def test_an_engine_that_is_busy_loses_no_command_and_repeats_none(core: Core, site: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = site.engine.ask
    monkeypatch.setattr(site.engine, "ask", lambda question, timeout_s=5.0: ask(question, 0.2))
    assert "nothing was done" in core.deliver(**REFUND), "nobody turns"
    with core.turning():
        assert core.link.after(CommandsAfter()).number == 0, "what its asker gave up does not happen behind its back"
        monkeypatch.setattr(site.engine, "ask", ask)
        assert core.deliver(**REFUND) == ""
    assert core.answers() == [(True, '{"count":1}')] and len(core.done) == 1


def wait_until(true: Any) -> None:
    for _ in range(600):
        if true():
            return
        threading.Event().wait(0.05)
    raise AssertionError("did not happen in time")


def test_tokens_of_cards_and_words_of_gateways_do_not_travel(core: Core, site: Paper) -> None:
    token, shopper = "5e" * 16, "shopper@example.com"
    with core.turning():
        core.deliver(number=1, command_id="a", act="cards.deny", args={"tokens": [token], "version": 9})
        core.deliver(number=2, command_id="b", act="relay.notification", args={"gateway": "adyen", "body": shopper})
    assert [one[0].get("tokens", one[0].get("body")) for one in core.done] == [[token], shopper]
    travelled = "".join(told(one) for one in site.ledger.public_entries(0, 1000))
    assert token not in travelled and '"args":{"count":1,"version":9}' in travelled
    stored = b"".join(file.read_bytes() for file in site.config.terminal.state_dir.rglob("*") if file.is_file())
    assert shopper.encode() not in stored and token.encode() in stored


def test_over_the_socket_as_sync_speaks_it(core: Core, site: Paper) -> None:
    path = site.config.terminal.runtime_dir / "sync.sock"
    listening = SyncLink(path, site.engine, core.link, core.office.public_key_spki(), frozenset({os.getuid()}))
    link = CoreLink(path)
    try:
        with core.turning():
            assert link.commands_after() == CommandsThrough("T-0001", 0)
            assert link.deliver(core.sign(**REFUND)) == ""
            assert "not new" in link.deliver(core.sign(**REFUND))
            assert link.commands_after().number == 1
            seen = link.look()
        assert seen.status["terminal"] == "T-0001" and seen.payments == ()
    finally:
        link.close()
        listening.close()


def test_the_clock_decides_in_the_same_way_at_every_edge() -> None:
    from terminal_app.engine.command_link import LONGEST_SKEW_MS, untimely

    for offset_ms, refused in ((-LONGEST_SKEW_MS - 1, True), (-LONGEST_SKEW_MS, False), (899_999, False), (900_000, True)):
        now = Stamp(T0 + offset_ms, 0, "boot", ClockState.SYNCHRONISED)
        assert bool(untimely(command(**REFUND), now)) is refused, offset_ms
