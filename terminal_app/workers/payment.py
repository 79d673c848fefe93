"""Payment workers: one thread asks for money while a driver waits, another settles in the background."""

import queue
from collections.abc import Mapping

from terminal_app.ports import Clock, PaymentGateway
from terminal_app.session.actions import Authorize, Capture, Void
from terminal_app.session.events import AuthorizationAnswered, SettlementAnswered
from terminal_app.values import Declined, DeclineReason, Outcome, OutcomeUnknown
from terminal_app.workers.base import Post, Worker

SETTLE_DEADLINE_S = 30.0
IDLE_S = 1.0
LEAST_S = 1.0


class PaymentWorker(Worker):
    """Runs gateway calls one after another. Never raises for the network: the port's answers are values."""

    longest_step_s = 60.0

    def __init__(self, name: str, gateways: Mapping[str, PaymentGateway], deadline_s: float, clock: Clock, inbox: Post) -> None:
        super().__init__(name, inbox)
        self._gateways, self._deadline_s, self._clock = gateways, deadline_s, clock

    def step(self) -> None:
        try:
            self.jobs.get(timeout=IDLE_S)()
        except queue.Empty:
            return

    def order(self, action: Authorize | Capture | Void) -> None:
        """Any thread; the intent is committed already."""
        self.submit(lambda: self._call(action))

    def _call(self, action: Authorize | Capture | Void) -> None:
        gateway = self._gateways.get(action.hold.gateway)
        outcome: Outcome
        if isinstance(action, Authorize):
            left_s = (action.not_after_mono_ms - self._clock.now().mono_ms) / 1000
            try:
                if gateway is None or left_s <= LEAST_S:  # nothing was sent: certainly nothing is held
                    outcome = Declined(DeclineReason.UNREACHABLE, "not sent")
                else:
                    outcome = gateway.authorize(action.hold, action.card, min(self._deadline_s, left_s))
            finally:
                action.card.wipe()
            self.inbox.post(AuthorizationAnswered(action.hold.hold_id, outcome))
            return
        if gateway is None:
            outcome = OutcomeUnknown(f"gateway {action.hold.gateway} is no longer configured")
        elif isinstance(action, Capture):
            outcome = gateway.capture(action.hold, action.step, self._deadline_s)
        else:
            outcome = gateway.void(action.hold, action.step, self._deadline_s)
        self.inbox.post(SettlementAnswered(action.hold.hold_id, action.step.key, outcome))
