"""Payment workers: one thread asks for money while a driver waits, another settles in the background."""

import queue
from collections.abc import Mapping

from terminal_app.ports import Clock, Increment, PaymentGateway
from terminal_app.session import actions
from terminal_app.session.events import AuthorizationAnswered, IncrementAnswered, SettlementAnswered
from terminal_app.values import Declined, DeclineReason, Outcome, OutcomeUnknown
from terminal_app.workers.base import Post, Worker
from terminal_app.workers.reach import Reach

SETTLE_DEADLINE_S = 30.0
IDLE_S = 1.0
LEAST_S = 1.0
Step = actions.Capture | actions.Void | actions.Refund | actions.Increment


class PaymentWorker(Worker):
    """Runs gateway calls one after another. Never raises for the network: the port's answers are values."""

    longest_step_s = 60.0

    def __init__(
        self,
        name: str,
        gateways: Mapping[str, PaymentGateway],
        deadline_s: float,
        clock: Clock,
        inbox: Post,
        reach: Reach | None = None,
    ) -> None:
        """`reach`: what is learned about a gateway while drivers wait decides whether it is offered to the next one."""
        super().__init__(name, inbox)
        self._gateways, self._deadline_s, self._clock, self._reach = gateways, deadline_s, clock, reach

    def step(self) -> None:
        try:
            self.jobs.get(timeout=IDLE_S)()
        except queue.Empty:
            if self._reach is not None:
                self._reach.look()

    def order(self, action: actions.Authorize | Step) -> None:
        """Any thread; the intent is committed already."""
        if isinstance(action, actions.Authorize):
            self.submit(lambda: self._authorize(action))
        else:
            self.submit(lambda: self._settle(action))

    def _authorize(self, action: actions.Authorize) -> None:
        """The card goes back only if certainly nobody has seen it: it may be sent elsewhere."""
        hold, gateway = action.hold, self._gateways.get(action.hold.gateway)
        left_s = (action.not_after_mono_ms - self._clock.now().mono_ms) / 1000
        if gateway is None or left_s <= LEAST_S:
            answer = Declined(DeclineReason.UNREACHABLE, "not sent")
            self.inbox.post(AuthorizationAnswered(hold.hold_id, answer, action.card))
            return
        outcome: Outcome = OutcomeUnknown("broken off")
        try:
            outcome = gateway.authorize(hold, action.card, min(self._deadline_s, left_s))
        finally:
            unsent = isinstance(outcome, Declined) and outcome.reason is DeclineReason.UNREACHABLE
            if not unsent:
                action.card.wipe()
        if self._reach is not None and unsent:
            self._reach.learn(hold.gateway, outcome)  # known before the rules look for another gateway
        self.inbox.post(AuthorizationAnswered(hold.hold_id, outcome, action.card if unsent else None))
        if self._reach is not None and not unsent:
            self._reach.learn(hold.gateway, outcome)  # may ask the gateway: the driver was told before

    def _settle(self, action: Step) -> None:
        hold, step = action.hold, action.step
        gateway = self._gateways.get(hold.gateway)
        outcome: Outcome
        if gateway is None:
            outcome = OutcomeUnknown(f"gateway {hold.gateway} is no longer configured")
        elif isinstance(action, actions.Capture):
            outcome = gateway.capture(hold, step, self._deadline_s)
        elif isinstance(action, actions.Void):
            outcome = gateway.void(hold, step, self._deadline_s)
        elif isinstance(action, actions.Refund):
            outcome = gateway.refund(hold, step, self._deadline_s)
        elif isinstance(gateway, Increment):
            outcome = gateway.increment(hold, step, self._deadline_s)
        else:
            outcome = Declined(DeclineReason.GATEWAY_REFUSED, "cannot raise a hold")
        answer = IncrementAnswered if isinstance(action, actions.Increment) else SettlementAnswered
        self.inbox.post(answer(hold.hold_id, step.key, outcome))
