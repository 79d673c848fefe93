"""The checkout worker with a gateway that does as it is told: one answer per page, nothing asked after the end, faults told."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from terminal_app.ports import GatewayCapabilities
from terminal_app.session import actions, events
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard
from terminal_app.workers import checkout, reach
from tests.simulation.stage import FakeClock


class Pages:
    """ports.PaymentGateway and CheckoutGateway."""

    name, capabilities = "phone", GatewayCapabilities()

    def __init__(self) -> None:
        self.said: list[str] = []
        self.opens: Checkout | Declined | OutcomeUnknown = Checkout("https://pay.example/1", "page-1", 1)
        self.polls: list[Outcome | None] = []
        self.ends: Outcome = Declined(DeclineReason.TOO_LATE, "expired")
        self.trouble = ""

    def open_checkout(self, hold: Hold, station: str, deadline_s: float) -> Checkout | Declined | OutcomeUnknown:
        self.said.append(f"open {station}")
        return self.opens

    def poll_checkout(self, hold: Hold, deadline_s: float) -> Outcome | None:
        self.said.append(f"poll {hold.trace['checkout']}")
        return self.polls.pop(0) if self.polls else None

    def expire_checkout(self, hold: Hold, deadline_s: float) -> Outcome:
        self.said.append(f"expire {hold.trace['checkout']}")
        return self.ends

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        raise NotImplementedError

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        raise NotImplementedError

    void = refund = capture

    def check(self, deadline_s: float) -> str:
        return self.trouble

    def close(self) -> None:
        pass


class Box:
    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def post(self, event: events.Event, droppable: bool = False) -> bool:
        self.events.append(event)
        return True

    def post_latest(self, source: object, event: events.Event) -> None:
        raise NotImplementedError


@pytest.fixture
def pages() -> Pages:
    return Pages()


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def worker(pages: Pages, box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[checkout.CheckoutWorker]:
    monkeypatch.setattr(checkout, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(checkout, "LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(reach, "FIRST_CHECK_S", 0.02)
    monkeypatch.setattr(reach, "LONGEST_CHECK_S", 0.02)
    monkeypatch.setattr(checkout, "IDLE_S", 0.02)
    one = checkout.CheckoutWorker({"phone": pages}, 5.0, 60.0, FakeClock(), box)
    one.start()
    yield one
    one.stop()
    one.join(10)
    assert not one.running


def wait_for(what: Callable[[], Any]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until, "never happened"
        time.sleep(0.01)


def hold(number: int = 1) -> Hold:
    return Hold(f"hold-{number}", "phone", number, 0, 5000, "EUR", 1, "key", {"checkout": f"page-{number}"})


def open_it(not_after_ms: int = 100_000) -> actions.OpenCheckout:
    return actions.OpenCheckout(hold(), "Station / 1 / K7RM", not_after_ms)


def test_opens_and_answers(worker: checkout.CheckoutWorker, pages: Pages, box: Box) -> None:
    worker.order(open_it())
    wait_for(lambda: box.events)
    assert box.events == [events.CheckoutAnswered("hold-1", pages.opens)] and pages.said == ["open Station / 1 / K7RM"]


def test_nothing_is_sent_too_late(worker: checkout.CheckoutWorker, pages: Pages, box: Box) -> None:
    worker.order(open_it(not_after_ms=50_500))
    wait_for(lambda: box.events)
    assert box.events == [events.CheckoutAnswered("hold-1", Declined(DeclineReason.UNREACHABLE, "not sent"))] and not pages.said


def test_asks_until_it_is_paid_and_then_no_more(worker: checkout.CheckoutWorker, pages: Pages, box: Box) -> None:
    """Open and unknown say nothing; the first true answer is the only one."""
    pages.polls = [None, OutcomeUnknown("no answer"), None, Approved(5000, {"payment": "1"})]
    worker.order(actions.WatchCheckout(hold()))
    wait_for(lambda: box.events)
    asked = len(pages.said)
    worker.order(actions.ExpireCheckout(hold(2)))
    wait_for(lambda: len(box.events) == 2)
    assert asked == 4 and box.events[0] == events.AuthorizationAnswered("hold-1", Approved(5000, {"payment": "1"}))
    assert pages.said[4:] == ["expire page-2"]


def test_several_pages_are_watched_side_by_side(worker: checkout.CheckoutWorker, pages: Pages, box: Box) -> None:
    worker.order(actions.WatchCheckout(hold(1)))
    worker.order(actions.WatchCheckout(hold(2)))
    wait_for(lambda: {"poll page-1", "poll page-2"} <= set(pages.said))


def test_an_ended_page_is_watched_no_longer(worker: checkout.CheckoutWorker, pages: Pages, box: Box) -> None:
    worker.order(actions.WatchCheckout(hold()))
    wait_for(lambda: pages.said)
    worker.order(actions.ExpireCheckout(hold()))
    wait_for(lambda: box.events)
    assert pages.said[-1] == "expire page-1" and box.events == [events.AuthorizationAnswered("hold-1", pages.ends)]
    time.sleep(0.2)
    assert pages.said[-1] == "expire page-1"


def test_watching_is_bounded(pages: Pages, box: Box, worker: checkout.CheckoutWorker) -> None:
    worker._longest_watch_s = 0.1
    worker.order(actions.WatchCheckout(hold()))
    wait_for(lambda: pages.said and not worker._watched)
    assert not box.events, "the rules know what to do without an answer"


def test_a_gateway_that_cannot_be_reached_is_a_fault_until_it_answers(
    worker: checkout.CheckoutWorker, pages: Pages, box: Box
) -> None:
    pages.opens, pages.trouble = Declined(DeclineReason.UNREACHABLE), "no answer"
    worker.order(open_it())
    worker.order(open_it())
    wait_for(lambda: len(box.events) == 3)
    raised = [one for one in box.events if isinstance(one, events.FaultSeen)]
    assert len(raised) == 1 and raised[0].raised and raised[0].fault.kind == "phone"
    pages.trouble = ""
    wait_for(lambda: box.events[-1] == events.FaultSeen(raised[0].fault, False))
