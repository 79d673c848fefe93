"""The fault kit of gateways that take a card or have a reader: any fault at any step, through a proxy, ends each hold once.

Subclass `WireFaultKit` or `HttpFaultKit` with a `line` fixture. Holds are dated an hour ago (a timeout reversal waits a minute),
steps now. Whatever was asked is repeated as the settlement machine does it: the same step until it is answered, later and later.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec
import pytest

from terminal_app.ports import PaymentGateway
from terminal_app.values import Approved, Declined, Hold, MoneyStep, Outcome, OutcomeUnknown
from tests.conformance.fault_proxy import REFUSED_FOR_NOW, UNKNOWN_AFTER, WIRE_UNKNOWN_AFTER, Fault
from tests.conformance.scenarios import offered, scenario

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HARMLESS = (Fault.SLOW, Fault.DOUBLED_ANSWER, Fault.DOUBLED_REQUEST)
EACH_WIRE_FAULT = pytest.mark.parametrize("fault", WIRE_UNKNOWN_AFTER, ids=lambda fault: fault.name)
serials = itertools.count(2_000_001)


class Proxy(Protocol):
    def next(self, *faults: Fault) -> None: ...


class Books(Protocol):
    """The peer's own, of the hold under test."""

    def held_minor(self) -> int:
        """What is held or was captured."""

    def captures(self) -> list[int]: ...
    def refunds(self) -> list[int]: ...


@dataclass
class FaultLine:
    gateway: PaymentGateway
    proxy: Proxy
    books: Books
    ask: Callable[[PaymentGateway, Hold, float], Outcome]
    """Authorize with a card fresh from the reader."""
    at: Callable[[int], PaymentGateway]
    """The same gateway in another process whose clock is off by so many milliseconds."""
    forget: Callable[[], None]
    """A day passes at the peer: what it forgets in that time, it forgets now."""
    needs_clock: bool = False
    """The peer refuses requests of another day: then nothing is sold, and nothing is lost."""
    twice_by_others: tuple[str, ...] = ()
    """Steps of which the peer cannot know a copy that something in between made (it has no keys)."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def hold_of(off_ms: int = 0, **more: Any) -> Hold:
    serial = next(serials)
    return Hold(f"hold-{serial}", "bank", serial, now_ms() - HOUR_MS + off_ms, 5000, "EUR", 1, f"key-{serial}", **more)


def step_of(amount_minor: int, attempt: int = 1, off_ms: int = 0) -> MoneyStep:
    serial = next(serials)
    return MoneyStep(serial, now_ms() + off_ms, amount_minor, f"key-{serial}", attempt)


def again(step: MoneyStep, attempt: int = 2) -> MoneyStep:
    return msgspec.structs.replace(step, attempt=attempt)


def told(hold: Hold, outcome: object) -> Hold:
    """The hold as the ledger knows it after an approval."""
    assert isinstance(outcome, Approved), outcome
    return msgspec.structs.replace(hold, trace={**hold.trace, **outcome.trace})


def patience(fault: Fault) -> float:
    return 0.6 if fault is Fault.SILENT else 10


class FaultKit:
    UNKNOWN: ClassVar[tuple[Fault, ...]] = UNKNOWN_AFTER
    REFUSED: ClassVar[tuple[Fault, ...]] = REFUSED_FOR_NOW

    @classmethod
    def pytest_generate_tests(cls, metafunc: pytest.Metafunc) -> None:
        for name, faults in {"fault": cls.UNKNOWN, "refusal": cls.REFUSED, "harmless": HARMLESS}.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, faults, ids=lambda fault: fault.name)

    # --- lost and spoiled answers --------------------------------------------------------------------------------

    @scenario("lost reply", "authorize")
    @scenario("garbage", "authorize")
    @scenario("5xx", "authorize")
    def test_an_authorization_without_a_trustworthy_answer_is_released(self, line: FaultLine, fault: Fault) -> None:
        hold = hold_of()
        line.proxy.next(fault)
        outcome = line.ask(line.gateway, hold, patience(fault))
        if fault is not Fault.STRANGER:  # where only the service's own id is strange, nobody can know
            assert isinstance(outcome, OutcomeUnknown)
            assert outcome.why
        assert isinstance(self.repeated(line, "void", hold, step_of(5000)), Approved)
        assert line.books.held_minor() == 0
        assert line.books.captures() == []

    @scenario("lost reply", "capture")
    @scenario("garbage", "capture")
    @scenario("5xx", "capture")
    def test_a_capture_repeated_after_no_answer_takes_the_money_once(self, line: FaultLine, fault: Fault) -> None:
        hold, step = self.held(line), step_of(1234)
        self.spoiled(line, fault, "capture", hold, step)
        outcome = self.repeated(line, "capture", hold, again(step))
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 1234
        assert line.books.captures() == [1234]

    @scenario("lost reply", "void")
    @scenario("garbage", "void")
    @scenario("5xx", "void")
    def test_a_release_is_repeated_until_answered(self, line: FaultLine, fault: Fault) -> None:
        hold, step = self.held(line), step_of(5000)
        for attempt in (1, 2):
            self.spoiled(line, fault, "void", hold, again(step, attempt))
        assert isinstance(self.repeated(line, "void", hold, again(step, 3)), Approved)
        assert line.books.held_minor() == 0
        assert line.books.captures() == []

    @scenario("lost reply", "refund")
    @scenario("garbage", "refund")
    @scenario("5xx", "refund")
    def test_a_refund_repeated_after_no_answer_is_given_once(self, line: FaultLine, fault: Fault) -> None:
        offered(line.gateway, "refund")
        hold, step = self.captured(line, 1234), step_of(500)
        self.spoiled(line, fault, "refund", hold, step)
        assert isinstance(self.repeated(line, "refund", hold, again(step)), Approved)
        assert line.books.refunds() == [500]

    @scenario("lost reply", "increment")
    @scenario("garbage", "increment")
    @scenario("5xx", "increment")
    def test_an_increment_repeated_after_no_answer_adds_once(self, line: FaultLine, fault: Fault) -> None:
        offered(line.gateway, "increment")
        hold, step = self.held(line), step_of(700)
        self.spoiled(line, fault, "increment", hold, step)
        outcome = self.repeated(line, "increment", hold, again(step))
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 700
        assert line.books.held_minor() == 5700
        hold = told(hold, outcome)
        assert isinstance(self.repeated(line, "void", hold, step_of(5700)), Approved)
        assert line.books.held_minor() == 0

    @scenario("lost reply", "look_up")
    @scenario("garbage", "look_up")
    @scenario("5xx", "look_up")
    def test_a_look_up_without_a_trustworthy_answer_says_nothing(self, line: FaultLine, fault: Fault) -> None:
        offered(line.gateway, "look_up")
        hold = hold_of()
        assert isinstance(line.ask(line.gateway, hold, 10), Approved)
        line.proxy.next(fault)
        outcome = line.gateway.look_up(hold, patience(fault))  # type: ignore[attr-defined]
        assert isinstance(outcome, OutcomeUnknown) or fault is Fault.STRANGER
        found = line.gateway.look_up(hold, 10)  # type: ignore[attr-defined]
        assert isinstance(found, Approved)
        assert found.amount_minor == 5000

    @scenario("lost reply", "check")
    @scenario("garbage", "check")
    @scenario("5xx", "check")
    def test_a_check_without_a_trustworthy_answer_says_so(self, line: FaultLine, fault: Fault) -> None:
        line.proxy.next(fault)
        assert line.gateway.check(patience(fault)) or fault in (Fault.STRANGER, Fault.WRONG_FORM)
        assert line.gateway.check(10) == ""

    @scenario("slow", "authorize", "capture", "void", "refund", "increment")
    @scenario("duplicate", "authorize", "capture", "void", "refund", "increment")
    def test_slow_and_doubled_exchanges_move_the_money_once(self, line: FaultLine, harmless: Fault) -> None:
        hold = hold_of()
        line.proxy.next(harmless)
        outcome = line.ask(line.gateway, hold, 10)
        if isinstance(outcome, OutcomeUnknown):  # its copy was refused: nobody can tell which came first
            assert harmless is Fault.DOUBLED_REQUEST
        else:
            assert isinstance(outcome, Approved)
            assert line.books.held_minor() == 5000
        line.proxy.next(harmless)
        assert isinstance(line.gateway.void(hold, step_of(5000), 10), Approved)
        assert line.books.held_minor() == 0
        hold, total = self.held(line), 5000
        if line.gateway.capabilities.increment and self.knows_copies(line, "increment", harmless):
            line.proxy.next(harmless)
            hold, total = told(hold, line.gateway.increment(hold, step_of(700), 10)), 5700  # type: ignore[attr-defined]
            assert line.books.held_minor() == total
        line.proxy.next(harmless)
        captured = line.gateway.capture(hold, step_of(total - 1), 10)
        assert isinstance(captured, Approved)
        assert line.books.captures() == [total - 1]
        if line.gateway.capabilities.refund and self.knows_copies(line, "refund", harmless):
            line.proxy.next(harmless)
            assert isinstance(line.gateway.refund(told(hold, captured), step_of(500), 10), Approved)
            assert line.books.refunds() == [500]

    @scenario("random faults", "all")
    @pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.full) for n in range(3, 60))])
    def test_journeys_through_random_faults_end_each_hold_once(self, line: FaultLine, seed: int) -> None:
        """Any fault at any exchange; each hold ends as the peer's books say, once."""
        chance, taken, given = random.Random(seed), list[int](), list[int]()
        left_out = (Fault.SILENT, Fault.STRANGER)  # slow; and a lie about the service's own ids, which nobody could notice
        kinds = [one for one in (*self.UNKNOWN, *self.REFUSED, Fault.SLOW, Fault.DOUBLED_ANSWER) if one not in left_out]

        def through(what: str, hold: Hold, step: MoneyStep) -> Outcome:
            for attempt in range(1, 40):
                line.proxy.next(*chance.choices([Fault.NONE, *kinds], [len(kinds), *[1] * len(kinds)], k=6))
                gateway = line.gateway if attempt == 1 else line.at(attempt * HOUR_MS if not line.needs_clock else 0)
                outcome = getattr(gateway, what)(hold, again(step, attempt), 5)
                line.proxy.next()
                if isinstance(outcome, Approved | Declined):
                    return outcome  # type: ignore[no-any-return]
            return self.repeated(line, what, hold, again(step, 40))

        for _ in range(4):
            hold = hold_of()
            line.proxy.next(*chance.choices([Fault.NONE, *kinds], k=3))
            outcome = line.ask(line.gateway, hold, 5)
            line.proxy.next()
            if isinstance(outcome, Approved) and not chance.randrange(3):
                step = step_of(chance.randint(1, 5000))
                ended = through("capture", told(hold, outcome), step)
                assert ended == Approved(step.amount_minor, ended.trace)  # type: ignore[union-attr]
                taken.append(step.amount_minor)
                if line.gateway.capabilities.refund and chance.randrange(2):
                    back = step_of(chance.randint(1, step.amount_minor))
                    hold = told(told(hold, outcome), ended)
                    assert isinstance(through("refund", hold, back), Approved)
                    given.append(back.amount_minor)
            else:
                step = step_of(5000)
                hold = told(hold, outcome) if isinstance(outcome, Approved) else hold
                assert isinstance(through("void", hold, step), Approved), outcome
        assert sorted(line.books.captures()) == sorted(taken)
        assert sorted(line.books.refunds()) == sorted(given)

    # --- keys and clocks -----------------------------------------------------------------------------------------

    @scenario("key lapse", "capture", "void", "refund", "increment")
    @pytest.mark.parametrize("lost", [Fault.LOST, Fault.UNSENT], ids=lambda fault: fault.name)
    @pytest.mark.parametrize("what", ["capture", "void", "refund", "increment"])
    def test_a_day_later_a_repeat_still_takes_effect_once(self, line: FaultLine, what: str, lost: Fault) -> None:
        """The peer has forgotten by then that it saw this step; only what it holds tells."""
        if what in ("refund", "increment"):
            offered(line.gateway, what)
        hold = self.captured(line, 1234) if what == "refund" else self.held(line)
        step = step_of({"capture": 1234, "void": 5000, "refund": 500, "increment": 700}[what])
        self.spoiled(line, lost, what, hold, step)
        line.forget()
        outcome = getattr(line.at(0 if line.needs_clock else 25 * HOUR_MS), what)(hold, again(aged(step, line)), 10)
        assert isinstance(outcome, Approved), outcome
        books = line.books
        got = {"capture": books.captures, "refund": books.refunds, "void": books.held_minor, "increment": books.held_minor}[what]()
        assert got == {"capture": [1234], "refund": [500], "void": 0, "increment": 5700}[what]

    @scenario("clock skew", "authorize", "capture")
    @pytest.mark.parametrize("off_ms", [-DAY_MS, DAY_MS], ids=["a day behind", "a day ahead"])
    def test_a_clock_that_is_a_day_off_loses_nothing(self, line: FaultLine, off_ms: int) -> None:
        gateway, hold, step = line.at(off_ms), hold_of(off_ms), step_of(1234, off_ms=off_ms)
        outcome = line.ask(gateway, hold, 10)
        if line.needs_clock:
            assert isinstance(outcome, Declined)
            assert "clock" in gateway.check(10)
            hold = self.held(line)
            assert isinstance(gateway.capture(hold, step, 10), OutcomeUnknown)
            assert isinstance(line.gateway.capture(hold, again(step), 10), Approved)
        else:
            assert isinstance(gateway.capture(told(hold, outcome), step, 10), Approved)
        assert line.books.captures() == [1234]

    # --- words ---------------------------------------------------------------------------------------------------

    @staticmethod
    def held(line: FaultLine) -> Hold:
        hold = hold_of()
        return told(hold, line.ask(line.gateway, hold, 10))

    @classmethod
    def captured(cls, line: FaultLine, amount_minor: int) -> Hold:
        hold = cls.held(line)
        return told(hold, line.gateway.capture(hold, step_of(amount_minor), 10))

    @staticmethod
    def knows_copies(line: FaultLine, what: str, harmless: Fault) -> bool:
        return harmless is not Fault.DOUBLED_REQUEST or what not in line.twice_by_others

    @staticmethod
    def spoiled(line: FaultLine, fault: Fault, what: str, hold: Hold, step: MoneyStep) -> None:
        line.proxy.next(fault)
        outcome = getattr(line.gateway, what)(hold, step, patience(fault))
        line.proxy.next()
        assert isinstance(outcome, OutcomeUnknown) or fault is Fault.STRANGER, outcome

    @staticmethod
    def repeated(line: FaultLine, what: str, hold: Hold, step: MoneyStep) -> Outcome:
        """Until it is answered; an unknown one again two hours later, when what is found out late can be found out."""
        outcome: Outcome = getattr(line.gateway, what)(hold, step, 10)
        if isinstance(outcome, OutcomeUnknown):
            later = line.at(0 if line.needs_clock else 2 * HOUR_MS)
            outcome = getattr(later, what)(hold, again(aged(step, line, 2 * HOUR_MS), step.attempt + 1), 10)
        return outcome


def aged(step: MoneyStep, line: FaultLine, by_ms: int = 25 * HOUR_MS) -> MoneyStep:
    """Where the clock cannot be turned forward (the peer compares it with its own), the step is made older instead."""
    return msgspec.structs.replace(step, utc_ms=step.utc_ms - by_ms) if line.needs_clock else step


class WireFaultKit(FaultKit):
    """Over a wire without HTTP: there is no status to be refused with."""

    UNKNOWN = WIRE_UNKNOWN_AFTER
    REFUSED = ()


class HttpFaultKit(FaultKit):
    @scenario("4xx", "capture", "void", "refund", "increment")
    def test_a_refusal_that_says_nothing_about_the_money_is_asked_again(self, line: FaultLine, refusal: Fault) -> None:
        hold, step = self.held(line), step_of(1234)
        if line.gateway.capabilities.increment:
            more = step_of(700)
            self.spoiled(line, refusal, "increment", hold, more)
            hold = told(hold, self.repeated(line, "increment", hold, again(more)))
            assert line.books.held_minor() == 5700
        self.spoiled(line, refusal, "capture", hold, step)
        outcome = self.repeated(line, "capture", hold, again(step))
        hold = told(hold, outcome)
        assert line.books.captures() == [1234]
        if line.gateway.capabilities.refund:
            back = step_of(500)
            self.spoiled(line, refusal, "refund", hold, back)
            assert isinstance(self.repeated(line, "refund", hold, again(back)), Approved)
            assert line.books.refunds() == [500]

    @scenario("4xx", "authorize")
    def test_an_authorization_refused_by_something_in_between_holds_nothing(self, line: FaultLine, refusal: Fault) -> None:
        hold = hold_of()
        line.proxy.next(refusal)
        assert not isinstance(line.ask(line.gateway, hold, 10), Approved)
        line.proxy.next(refusal)
        assert isinstance(line.gateway.void(hold, step_of(5000), 10), OutcomeUnknown)
        assert isinstance(self.repeated(line, "void", hold, step_of(5000)), Approved)
        assert line.books.held_minor() == 0
