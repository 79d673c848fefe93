"""charge-service payments against a running core: what became of the money, and what a person orders about it."""

import getpass
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from terminal_app.billing.record import open_record
from terminal_app.engine.money_orders import payment_refund
from terminal_app.engine.pocket import LedgerPocket
from terminal_app.session import actions, events
from terminal_app.session.facts import (
    AuthorizationIntended,
    CommandTaken,
    HoldEnded,
    RefundIntended,
    ServiceAct,
    StopReason,
    Terminated,
)
from terminal_app.session.words import NO_CHARGE
from terminal_app.values import Declined, DeclineReason, OutcomeUnknown
from tests.service_tool import Tool, answering
from tests.sessions import Paper, terminal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str]) -> Tool:
    return Tool(site.path, capsys)


def hold_of(site: Paper) -> str:
    """The newest hold."""
    return next(one.fact.hold.hold_id for one in site.ledger.entries(kinds=("authorization_intended",), newest_first=True))  # type: ignore[union-attr]


def gateway_of(site: Paper) -> str:
    return next(one.fact.hold.gateway for one in site.ledger.entries(kinds=("authorization_intended",)))  # type: ignore[union-attr]


def settle(site: Paper) -> None:
    """Whatever was ordered is answered and sealed."""
    for _ in range(4):
        site.pass_time(2)
        site.turn(events.Ticked())


def newest_record(site: Paper) -> dict[str, object]:
    return newest_records(site, 1)[0]


def newest_records(site: Paper, many: int) -> list[dict[str, Any]]:
    return [open_record(one.jws, site.keys.records.public_key_spki()) for one in list(site.ledger.records())[-many:]]


def test_show_tells_a_holds_whole_life(site: Paper, tool: Tool) -> None:
    site.paid_session()
    with answering(site):
        code, text = tool("payments", "show", hold_of(site)[:8])
        _, found = tool.json("payments", "show", hold_of(site))
    assert code == 0 and "shall be held on visa ending in 1111" in text and "was taken; the rest of the hold is free" in text
    assert found["phase"] == "captured" and found["moved_minor"] > 0 and found["entries"][0]["kind"] == "authorization_intended"
    assert "shall be held on visa" in found["entries"][0]["said"]
    assert "5e" * 16 not in text


@pytest.mark.parametrize("given", ["", "zzzzzz", "x"])
def test_a_hold_nobody_knows_is_said(site: Paper, tool: Tool, given: str) -> None:
    site.paid_session()
    with answering(site):
        code, _ = tool("payments", "show", given)
        assert code == 2 and "there is no hold" in tool.stderr
        code, _ = tool("payments", "refund", given, "--reason", "test")
    assert code == 2 and ("hold" in tool.stderr)


def test_a_refund_is_named_recorded_and_never_above_what_was_taken(site: Paper, tool: Tool) -> None:
    site.paid_session()
    hold = hold_of(site)
    with answering(site):
        code, text = tool("payments", "refund", hold[:8], "--amount", "2.50", "--reason", "charger stopped twice")
        assert code == 0 and "2.50 EUR shall be given back" in text
    settle(site)
    (act,) = (one.fact for one in site.ledger.entries(kinds=("service_act",)))
    assert isinstance(act, ServiceAct) and (act.act, act.target, act.actor) == ("payment.refund", hold, getpass.getuser())
    told, credit = newest_records(site, 2)
    assert (credit["type"], credit["totals"]["total_minor"], credit["credits"]["seq"]) == ("credit", -250, 1)
    assert (told["type"], told["how"], told["amount_minor"], told["authorization_reference"]) == (
        "settlement",
        "refunded",
        250,
        hold,
    )
    assert getpass.getuser() in str(told["detail"]) and "charger stopped twice" in str(told["detail"])
    with answering(site):
        taken = tool.json("payments", "show", hold)[1]["moved_minor"]
        code, _ = tool("payments", "refund", hold, "--amount", "100.00", "--reason", "all of it")
        assert code == 2 and "left of it" in tool.stderr
        assert tool("payments", "refund", hold, "--reason", "the rest")[0] == 0
    settle(site)
    told, credit = newest_records(site, 2)
    assert told["amount_minor"] == taken - 250 == -credit["totals"]["total_minor"] and credit["number"] == 2
    with answering(site):
        for more in ((), ("--amount", "0.01")):
            code, _ = tool("payments", "refund", hold, *more, "--reason", "once more")
            assert code == 2 and "all that was captured has been given back" in tool.stderr
        assert tool.json("payments", "show", hold)[1]["refunded_minor"] == taken


def test_a_refund_is_refused_at_once_where_the_gateway_takes_none(site: Paper, tool: Tool) -> None:
    """Else each order would end in a signed record that says nothing was given back."""
    site.paid_session()
    site.engine.standing = replace(site.engine.standing, without_refund=frozenset({"visa"}))
    with answering(site):
        assert tool("payments", "refund", hold_of(site), "--reason", "test")[0] == 0, "another gateway"
    settle(site)
    site.engine.standing = replace(site.engine.standing, without_refund=frozenset({gateway_of(site)}))
    before = len(list(site.ledger.records()))
    with answering(site):
        code, _ = tool("payments", "refund", hold_of(site), "--reason", "test")
    assert code == 2 and "takes no refunds from this terminal" in tool.stderr
    settle(site)
    assert len(list(site.ledger.records())) == before


@pytest.mark.parametrize("amount", ["-1", "0.001", "nan", "1e3x", ""])
def test_an_amount_that_is_none_is_refused(site: Paper, tool: Tool, amount: str) -> None:
    site.paid_session()
    with answering(site):
        code, _ = tool("payments", "refund", hold_of(site), f"--amount={amount}", "--reason", "test")
    assert code in (2, 3) and not list(site.ledger.entries(kinds=("refund_intended", "service_act")))


def test_orders_need_a_reason(site: Paper, tool: Tool) -> None:
    site.paid_session()
    with answering(site):
        for act in ("retry", "release", "refund"):
            assert tool("payments", act, hold_of(site))[0] == 3
            code, _ = tool("payments", act, hold_of(site), "--reason", " ")
            assert code == 2 and "needs a reason" in tool.stderr
    assert not list(site.ledger.entries(kinds=("service_act",)))


def test_a_refused_capture_is_a_persons_and_can_be_tried_again(site: Paper, tool: Tool) -> None:
    site.outcomes[actions.Capture] = Declined(DeclineReason.GATEWAY_REFUSED, "12")
    site.paid_session()
    hold = hold_of(site)
    settle(site)
    with answering(site):
        code, text = tool("status")
        assert code == 1 and f"needs a person: hold {hold}" in text and "open holds 0" in text, "sealed, and yet not forgotten"
        code, text = tool("payments", "list")
        assert code == 1 and "needs a person" in text and f"payments retry {hold[:8]}" in text.replace("\n", " ")
        code, _ = tool("payments", "refund", hold, "--reason", "test")
        assert code == 2 and "nothing was captured" in tool.stderr
        site.outcomes.clear()
        assert tool("payments", "retry", hold, "--reason", "acquirer mended its tables")[0] == 0
    settle(site)
    captures = [one.fact for one in site.ledger.entries(kinds=("capture_intended",))]
    assert len({msgspec.json.encode(one) for one in captures}) == 1 and len(captures) == 2, "the same serial, key and amount"
    with answering(site):
        assert tool("status")[0] == 0
        code, found = tool.json("payments", "show", hold)
        assert code == 0 and found["phase"] == "captured" and found["moved_minor"] == captures[0].step.amount_minor  # type: ignore[union-attr]
        code, _ = tool("payments", "retry", hold, "--reason", "again")
        assert code == 2 and "nothing to do" in tool.stderr


def test_a_hold_that_waits_for_its_plug_is_released_by_order(site: Paper, tool: Tool) -> None:
    site.tap()
    hold = hold_of(site)
    with answering(site):
        assert tool("payments", "retry", hold, "--reason", "test")[0] == 2
        assert tool("payments", "release", hold, "--reason", "driver left")[0] == 0
    settle(site)
    ended = [one.fact for one in site.ledger.entries(kinds=("hold_ended",))]
    assert [one.how for one in ended if isinstance(one, HoldEnded)] == [Terminated.VOIDED] and not site.engine.state.sessions
    assert newest_record(site)["detail"] == "no charge: released by order (driver left)"


def test_every_reason_to_end_before_the_charge_has_words_for_the_record() -> None:
    assert set(NO_CHARGE) == set(StopReason)


def test_a_running_charge_keeps_its_hold(site: Paper, tool: Tool) -> None:
    site.tap()
    site.charge(1_000, seconds=600)
    with answering(site):
        code, _ = tool("payments", "release", hold_of(site), "--reason", "test")
    assert code == 2 and "stop that first" in tool.stderr and not list(site.ledger.entries(kinds=("service_act",)))


def test_the_register_is_watched_live_and_an_overdue_hold_is_a_warning(site: Paper, tool: Tool) -> None:
    site.outcomes[actions.Capture] = OutcomeUnknown("silence")
    site.paid_session()
    with answering(site):
        code, (one,) = tool.json("payments", "open")
        assert code == 0 and not one["overdue"]
        site.pass_time(4 * 86_400)
        code, text = tool("payments", "watch", "--count", 2, "--every", 0.2)
        assert code == 1 and "overdue" in text
        code, text = tool("payments", "watch", "--count", 2, "--every", 0.2, "--json")
        assert code == 1 and len([line for line in text.splitlines() if line.startswith("[")]) == 2


def test_a_refund_in_flight_is_open_also_without_a_core(site: Paper, tool: Tool) -> None:
    site.paid_session()
    site.outcomes[actions.Refund] = OutcomeUnknown("silence")
    with answering(site):
        assert tool("payments", "refund", hold_of(site), "--amount", "1.00", "--reason", "test")[0] == 0
    settle(site)
    assert isinstance(next(iter(site.ledger.entries(kinds=("refund_intended",)))).fact, RefundIntended)
    site.close()
    _, (one,) = tool.json("payments", "open")
    assert (one["phase"], one["hold_id"]) == ("refunding", hold_of(site))


def test_an_order_is_checked_against_what_is_true_when_it_is_carried_out(site: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the ledger and the order another one gave everything back."""
    site.paid_session()
    arguments = {"hold_id": hold_of(site), "reason": "twice"}
    asked: list[int] = []

    def ask(question: Callable[[], object], timeout_s: float = 5.0) -> object:
        asked.append(1)
        if len(asked) == 1:
            payment_refund(site.engine, arguments, "the other")
            settle(site)
        return question()

    monkeypatch.setattr(site.engine, "ask", ask)
    with pytest.raises(ValueError, match="has been given back"):
        payment_refund(site.engine, arguments, "technician")
    assert len(list(site.ledger.entries(kinds=("refund_intended",)))) == 1


def test_an_order_that_the_engine_had_no_time_for_is_not_done_later(site: Paper, monkeypatch: pytest.MonkeyPatch) -> None:
    site.paid_session()
    ask = site.engine.ask
    monkeypatch.setattr(site.engine, "ask", lambda question, timeout_s=5.0: ask(question, 0.05))
    with pytest.raises(TimeoutError, match="nothing was done"):
        payment_refund(site.engine, {"hold_id": hold_of(site), "reason": "nobody turns"}, "technician")
    with answering(site):
        ask(lambda: None)
    assert not list(site.ledger.entries(kinds=("refund_intended", "service_act")))


def test_a_start_by_phone_that_a_crash_left_unanswered_is_answered_by_its_hold(site: Paper) -> None:
    for number, (command_id, key) in enumerate({"came-through": "key-a", "did-not": "key-b"}.items(), 1):
        args = {"connector": 1, "key": key}
        site.engine.commit_outside_a_turn(CommandTaken(number, command_id, "session.start", args, "office", "r", 2**52))
    site.turn(events.StartCommanded(1, "acquirer", "key-a", "AH-1", 2500, "fleet", "office"))
    site.engine.start(resumed_after_crash=True)
    answers = {one.fact.command_id: one.fact.done for one in site.ledger.entries(kinds=("command_answered",))}  # type: ignore[union-attr]
    assert answers == {"came-through": True, "did-not": False}


def test_the_card_of_a_sealed_charge_is_still_known_to_its_own_terminal(site: Paper) -> None:
    """A debt that became a person's matter can be booked on its account later."""
    site.paid_session()
    intended = next(one.fact for one in site.ledger.entries(kinds=("authorization_intended",)))
    pocket = LedgerPocket(site.engine, "accounts")
    assert isinstance(intended, AuthorizationIntended) and pocket.card(intended.hold.key) == "5e" * 16
    assert pocket.card("another key") == ""
