"""The conformance kit every payment gateway passes: what must hold whatever the peer does with a request.

A gateway's test module subclasses `GatewayKit` and gives a `bench` fixture: the gateway, wired to a peer that does what
`bench.peer.next(...)` says, and keeps `bench.peer.books` of what took effect.
"""

import enum
import io
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest

from terminal_app.ports import PaymentGateway
from terminal_app.values import (
    Approved,
    CardFacts,
    Declined,
    DeclineReason,
    EntryMode,
    Hold,
    MoneyStep,
    Outcome,
    OutcomeUnknown,
    PaymentCard,
)
from tests.conformance.scenarios import offered, scenario

PAN = "5413330089020011"
TRACK2 = bytes.fromhex("5413330089020011D4912201000000000F")
EMV = bytes.fromhex(
    "9F26080102030405060708" "9F270180" "9F100706010A03A0B000" "9F3704DEADBEEF" "9F36020001" "95050000000000" "9A03261123"
    "9C0100" "9F0206000000005000" "5F2A020978" "82021980" "9F1A020276" "8407A0000000041010"
)  # fmt: skip


REASONS = set(DeclineReason) - {DeclineReason.UNREACHABLE, DeclineReason.TOO_LATE, DeclineReason.ALREADY_DONE}
"""The classes of refusal of a payment; the other three say what became of a hold."""


class Act(enum.Enum):
    APPROVE = "approve"
    PARTIAL = "partial"  # approves 3000 minor units
    SLOW = "slow"  # approves, 300 ms late
    SILENT = "silent"  # takes effect, never answers
    CLOSE = "close"  # takes effect, closes the connection
    GARBAGE = "garbage"
    LATE = "late"  # an answer to somebody else comes first, then ours
    DUPLICATE = "duplicate"  # the answer comes twice
    UNDECIDED = "undecided"  # "system out of order"


class Peer(Protocol):
    seen: list[Any]

    def next(self, *acts: Act | DeclineReason) -> None:
        """What to do with the requests to come; afterwards: approve."""

    def held_minor(self) -> int:
        """What the peer's own books say is held or captured for the hold under test."""

    def captures(self) -> list[int]:
        """Amounts captured, as the peer's own books say."""


@dataclass
class Bench:
    gateway: PaymentGateway
    unreachable: PaymentGateway
    peer: Peer
    declines: tuple[DeclineReason, ...]
    card: Callable[[], PaymentCard]
    """A card fresh from the reader: its cryptogram is good for one authorization of 5000 minor units."""
    never: Mapping[DeclineReason, str] = field(default_factory=dict)
    """Classes of refusal that this gateway has no answer for, and why."""
    ask: Callable[[PaymentGateway, Hold, float], Outcome] | None = None
    """How to authorize where the gateway reads the card itself."""

    def authorize(self, hold: Hold, deadline_s: float, gateway: PaymentGateway | None = None) -> Outcome:
        gateway = gateway or self.gateway
        return self.ask(gateway, hold, deadline_s) if self.ask else gateway.authorize(hold, self.card(), deadline_s)


def a_hold(serial: int = 1000041, amount_minor: int = 5000, **more: Any) -> Hold:
    return Hold(f"hold-{serial}", "bank", serial, 1795405529123, amount_minor, "EUR", 1, f"key-{serial}", **more)


def a_step(amount_minor: int, serial: int = 1000042, attempt: int = 1) -> MoneyStep:
    return MoneyStep(serial, 1795409129000, amount_minor, f"key-{serial}", attempt)


def a_card() -> PaymentCard:
    facts = CardFacts("Mastercard", "0011", "00" * 16, "A0000000041010", "MASTERCARD", EntryMode.CONTACTLESS)
    return PaymentCard(facts, 5000, "EUR", bytearray(TRACK2), bytearray(EMV), 1)


def held(hold: Hold, outcome: object) -> Hold:
    assert isinstance(outcome, Approved)
    return Hold(**{**{f: getattr(hold, f) for f in hold.__struct_fields__}, "trace": outcome.trace})


class GatewayKit:
    @scenario("approve", "authorize")
    def test_an_approval_holds_the_asked_amount(self, bench: Bench) -> None:
        outcome = bench.authorize(a_hold(), 5)
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 5000 == bench.peer.held_minor()

    @scenario("decline, each class", "authorize")
    def test_every_class_of_refusal_reaches_the_driver_as_its_own(self, bench: Bench) -> None:
        assert {*bench.declines, *bench.never} == REASONS
        for n, reason in enumerate(bench.declines):
            bench.peer.next(reason)
            outcome = bench.authorize(a_hold(2000 + n), 5)
            assert isinstance(outcome, Declined), reason
            assert outcome.reason is reason
            assert outcome.code

    @scenario("partial", "authorize")
    def test_a_partial_approval_names_what_is_held(self, bench: Bench) -> None:
        offered(bench.gateway, "partial_approval")
        bench.peer.next(Act.PARTIAL)
        outcome = bench.authorize(a_hold(), 5)
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 3000 == bench.peer.held_minor()

    @scenario("slow", "authorize")
    def test_a_slow_answer_counts(self, bench: Bench) -> None:
        bench.peer.next(Act.SLOW)
        assert isinstance(bench.authorize(a_hold(), 10), Approved)

    @pytest.mark.parametrize("act", [Act.SILENT, Act.CLOSE, Act.GARBAGE, Act.UNDECIDED])
    def test_no_trustworthy_answer_is_unknown_and_the_reversal_releases(self, bench: Bench, act: Act) -> None:
        bench.peer.next(act)
        began = time.monotonic()
        outcome = bench.authorize(a_hold(), 1)
        assert isinstance(outcome, OutcomeUnknown), act
        assert outcome.why
        assert time.monotonic() - began < 10
        assert isinstance(bench.gateway.void(a_hold(), a_step(5000), 5), Approved)
        assert bench.peer.held_minor() == 0

    @pytest.mark.parametrize("act", [Act.SILENT, Act.CLOSE, Act.GARBAGE, Act.UNDECIDED])
    def test_a_capture_repeated_after_no_answer_takes_the_money_once(self, bench: Bench, act: Act) -> None:
        hold = held(a_hold(), bench.authorize(a_hold(), 5))
        bench.peer.next(act)
        assert isinstance(bench.gateway.capture(hold, a_step(1234), 1), OutcomeUnknown)
        again = bench.gateway.capture(hold, a_step(1234, attempt=2), 5)
        assert isinstance(again, Approved)
        assert again.amount_minor == 1234
        assert bench.peer.captures() == [1234]

    @pytest.mark.parametrize("act", [Act.SILENT, Act.CLOSE, Act.GARBAGE, Act.UNDECIDED])
    def test_a_release_is_repeated_until_answered(self, bench: Bench, act: Act) -> None:
        hold = held(a_hold(), bench.authorize(a_hold(), 5))
        bench.peer.next(act)
        assert isinstance(bench.gateway.void(hold, a_step(5000), 1), OutcomeUnknown)
        assert isinstance(bench.gateway.void(hold, a_step(5000, attempt=2), 5), Approved)
        assert bench.peer.held_minor() == 0
        assert bench.peer.captures() == []

    def test_an_answer_to_somebody_else_is_never_taken_for_ours(self, bench: Bench) -> None:
        bench.peer.next(Act.LATE)
        outcome = bench.authorize(a_hold(), 5)
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 5000

    @scenario("duplicate", "authorize")
    def test_a_doubled_answer_does_not_answer_the_next_question(self, bench: Bench) -> None:
        bench.peer.next(Act.DUPLICATE, DeclineReason.REFUSED)
        assert isinstance(bench.authorize(a_hold(3001), 5), Approved)
        assert isinstance(bench.authorize(a_hold(3002), 5), Declined)

    def test_releasing_what_the_host_never_saw_is_done(self, bench: Bench) -> None:
        assert isinstance(bench.gateway.void(a_hold(4001), a_step(5000), 5), Approved)

    @scenario("wrong order", "void")
    def test_a_captured_hold_is_not_released_any_more(self, bench: Bench) -> None:
        hold = held(a_hold(), bench.authorize(a_hold(), 5))
        assert isinstance(bench.gateway.capture(hold, a_step(777), 5), Approved)
        outcome = bench.gateway.void(hold, a_step(5000, serial=1000043), 5)
        assert outcome == Declined(DeclineReason.ALREADY_DONE, outcome.code)  # type: ignore[union-attr]
        assert bench.peer.captures() == [777]

    @scenario("wrong order", "capture")
    def test_a_released_hold_is_not_captured_any_more(self, bench: Bench) -> None:
        hold = held(a_hold(), bench.authorize(a_hold(), 5))
        assert isinstance(bench.gateway.void(hold, a_step(5000), 5), Approved)
        outcome = bench.gateway.capture(hold, a_step(777, serial=1000043), 5)
        assert isinstance(outcome, Declined)
        assert outcome.reason in {DeclineReason.ALREADY_DONE, DeclineReason.TOO_LATE}
        assert bench.peer.captures() == []

    @scenario("unreachable", "authorize")
    def test_an_unreachable_host_certainly_holds_nothing(self, bench: Bench) -> None:
        outcome = bench.authorize(a_hold(), 2, bench.unreachable)
        assert isinstance(outcome, Declined)
        assert outcome.reason is DeclineReason.UNREACHABLE

    def test_follow_ups_to_an_unreachable_host_stay_unknown(self, bench: Bench) -> None:
        assert isinstance(bench.unreachable.capture(a_hold(), a_step(1), 2), OutcomeUnknown)
        assert isinstance(bench.unreachable.void(a_hold(), a_step(1), 2), OutcomeUnknown)

    def test_check_says_nothing_when_all_is_well_and_what_is_wrong_otherwise(self, bench: Bench) -> None:
        assert bench.gateway.check(5) == ""
        assert bench.unreachable.check(2) != ""

    @scenario("no secret written", "authorize")
    def test_no_card_number_in_any_log_repr_or_answer(self, bench: Bench) -> None:
        page = io.StringIO()
        listening = logging.StreamHandler(page)
        logging.getLogger().addHandler(listening)
        level = logging.getLogger().level
        logging.getLogger().setLevel(logging.DEBUG)
        try:
            said = []
            for act in (Act.APPROVE, Act.GARBAGE, Act.CLOSE, DeclineReason.REFUSED):
                bench.peer.next(act)
                said += [repr(bench.authorize(a_hold(), 2)), repr(bench.card()), repr(bench.gateway)]
        finally:
            logging.getLogger().removeHandler(listening)
            logging.getLogger().setLevel(level)
        everything = page.getvalue() + "".join(said)
        assert PAN not in everything
        assert TRACK2.hex() not in everything.lower()
