"""Which gateways answer: the screen offers only what works. A gateway out of reach is a fault until it passes a check again."""

import time
from collections.abc import Mapping

from terminal_app.ports import PaymentGateway
from terminal_app.session.events import FaultSeen
from terminal_app.values import Approved, Declined, DeclineReason, Device, Fault, Outcome, OutcomeUnknown
from terminal_app.workers.base import Post

CHECK_DEADLINE_S = 5.0
FIRST_CHECK_S, LONGEST_CHECK_S = 5.0, 30.0
OURS = (DeclineReason.UNREACHABLE, DeclineReason.GATEWAY_REFUSED)


class Reach:
    """Used by one worker's thread. `check` moves no money; the pause between two checks grows to LONGEST_CHECK_S."""

    def __init__(self, gateways: Mapping[str, PaymentGateway], inbox: Post) -> None:
        self._gateways, self._inbox = gateways, inbox
        self._lame: dict[str, tuple[Fault, float, float]] = {}  # gateway -> its fault, when to check again, the pause then

    def learn(self, name: str, outcome: Outcome | None) -> None:
        """What an answer tells: silence may be one lost packet, so a check decides; None = it did what was asked."""
        if isinstance(outcome, OutcomeUnknown):
            if trouble := self._gateways[name].check(CHECK_DEADLINE_S):
                self._ill(name, trouble)
        elif isinstance(outcome, Declined) and outcome.reason in OURS:
            self._ill(name, outcome.code or outcome.reason.value)
        elif isinstance(outcome, Approved) and "slice" in outcome.trace:
            self._ill(name, "paid from a slice, out of reach")
        else:
            self._well(name)

    def look(self) -> None:
        """Check the gateway that has waited longest for it, if it is time."""
        due = [(at, name) for name, (_, at, _) in self._lame.items() if at <= time.monotonic()]
        if not due:
            return
        name = min(due)[1]
        fault, _, pause_s = self._lame[name]
        if not self._gateways[name].check(CHECK_DEADLINE_S):
            self._well(name)
        else:
            pause_s = min(LONGEST_CHECK_S, pause_s * 2)
            self._lame[name] = fault, time.monotonic() + pause_s, pause_s

    def _ill(self, name: str, why: str) -> None:
        if name not in self._lame:
            fault = Fault(Device.GATEWAY, 0, name, why)
            self._lame[name] = fault, time.monotonic() + FIRST_CHECK_S, FIRST_CHECK_S
            self._inbox.post(FaultSeen(fault, True))

    def _well(self, name: str) -> None:
        if name in self._lame:
            self._inbox.post(FaultSeen(self._lame.pop(name)[0], False))
