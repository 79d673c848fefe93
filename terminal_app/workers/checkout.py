"""The checkout worker: opens, watches and ends pages for drivers' phones. A thread of its own: no page keeps a card waiting.

Money may be held while it watches; the rules have committed the intent before the page is opened and its name before it is watched.
"""

import queue
import time
from collections.abc import Mapping
from dataclasses import dataclass

from terminal_app.ports import CheckoutGateway, Clock, PaymentGateway
from terminal_app.session.actions import ExpireCheckout, OpenCheckout, WatchCheckout
from terminal_app.session.events import AuthorizationAnswered, CheckoutAnswered
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, Outcome, OutcomeUnknown
from terminal_app.workers.base import Post, Worker
from terminal_app.workers.reach import Reach

FIRST_PAUSE_S, PAUSE_GROWTH, LONGEST_PAUSE_S = 2.0, 1.2, 5.0
POLL_DEADLINE_S = 5.0
EXPIRE_DEADLINE_S = 10.0
IDLE_S = 1.0
LEAST_S = 1.0


@dataclass
class _Watched:
    """An open page: when to ask next, how long to pause then, when to stop asking (monotonic seconds)."""

    hold: Hold
    due: float
    pause_s: float
    until: float


class CheckoutWorker(Worker):
    """At most one gateway call at a time; orders go before watching. `longest_watch_s` is a bound, the rules end pages before.

    A gateway that cannot be reached is a fault until it answers a check again: the screen offers only what works.
    """

    longest_step_s = 60.0

    def __init__(
        self, gateways: Mapping[str, PaymentGateway], deadline_s: float, longest_watch_s: float, clock: Clock, inbox: Post
    ) -> None:
        super().__init__("checkout", inbox)
        self._gateways = {name: one for name, one in gateways.items() if isinstance(one, CheckoutGateway)}
        self._deadline_s, self._longest_watch_s, self._clock = deadline_s, longest_watch_s, clock
        self._reach = Reach(gateways, inbox)
        self._watched: dict[str, _Watched] = {}

    def order(self, action: OpenCheckout | WatchCheckout | ExpireCheckout) -> None:
        """Any thread; what must be committed is committed already."""
        match action:
            case OpenCheckout():
                self.submit(lambda: self._open(action))
            case WatchCheckout(hold=hold):
                self.submit(lambda: self._watch(hold))
            case ExpireCheckout(hold=hold):
                self.submit(lambda: self._expire(hold))

    def step(self) -> None:
        now = time.monotonic()
        soonest = min((one.due for one in self._watched.values()), default=now + IDLE_S)
        try:
            self.jobs.get(timeout=min(IDLE_S, max(0.01, soonest - now)))()
        except queue.Empty:
            self._poll_one()
            self._reach.look()

    def _open(self, action: OpenCheckout) -> None:
        hold, gateway = action.hold, self._gateways.get(action.hold.gateway)
        left_s = (action.not_after_mono_ms - self._clock.now().mono_ms) / 1000
        answer: Checkout | Declined | OutcomeUnknown
        if gateway is None or left_s <= LEAST_S:  # nothing was sent: there is no page
            answer = Declined(DeclineReason.UNREACHABLE, "not sent")
        else:
            answer = gateway.open_checkout(hold, action.station, min(self._deadline_s, left_s))
            self._reach.learn(hold.gateway, None if isinstance(answer, Checkout) else answer)
        self.inbox.post(CheckoutAnswered(hold.hold_id, answer))

    def _watch(self, hold: Hold) -> None:
        now = time.monotonic()
        self._watched[hold.hold_id] = _Watched(hold, now + FIRST_PAUSE_S, FIRST_PAUSE_S, now + self._longest_watch_s)

    def _expire(self, hold: Hold) -> None:
        self._watched.pop(hold.hold_id, None)
        gateway = self._gateways.get(hold.gateway)
        outcome: Outcome = OutcomeUnknown(f"gateway {hold.gateway} is no longer configured")
        if gateway is not None:
            outcome = gateway.expire_checkout(hold, EXPIRE_DEADLINE_S)
        self.inbox.post(AuthorizationAnswered(hold.hold_id, outcome))

    def _poll_one(self) -> None:
        """The page that has waited longest. An unknown state says nothing: it is asked again."""
        due = [one for one in self._watched.values() if one.due <= time.monotonic()]
        if not due:
            return
        one = min(due, key=lambda each: each.due)
        outcome = self._gateways[one.hold.gateway].poll_checkout(one.hold, POLL_DEADLINE_S)
        now = time.monotonic()
        if isinstance(outcome, Approved | Declined):
            del self._watched[one.hold.hold_id]
            self.inbox.post(AuthorizationAnswered(one.hold.hold_id, outcome))
        elif now > one.until:
            del self._watched[one.hold.hold_id]
        else:
            one.pause_s = min(LONGEST_PAUSE_S, one.pause_s * PAUSE_GROWTH)
            one.due = now + one.pause_s
