"""What lies between the terminal's payment workers and the gateways of a simulated world: every question may be lost, late,
doubled or refused, as the plan says. Answers die with the process that waits for them; requests travel on.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from terminal_app.session import actions, events
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Device, Fault, Hold, Outcome, OutcomeUnknown
from tests.simulation.books import BY_NAME, Books
from tests.simulation.gateways import Adyen

if TYPE_CHECKING:
    from tests.simulation.world import World

replace = msgspec.structs.replace
MOST_MINOR = {"decline": 0, "tiny": 3}
TELL_EXPIRY = ("cybersource", "stripe")  # these say until when a hold lives
NO_ANSWER = OutcomeUnknown("no answer")


class Lines:
    """One per world; `books` outlive the terminal, `watched` does not."""

    def __init__(self, world: "World") -> None:
        self.world, self.books = world, Books()
        self.watched: set[str] = set()
        self.refused: set[str] = set()  # holds whose end was refused for good, never told, or asked of a gateway that was away
        self.slice_minor = 400  # set aside for this terminal by the account office

    @property
    def _deadline_ms(self) -> int:
        return self.world.settings.policy.authorize_deadline_s * 1000

    def _way(self, kind: str, gateway: str) -> str:
        """How the next question of this kind fares. While a gateway is down nothing arrives there."""
        way = self.world.next_way(kind)
        if self._down(gateway):
            return "unreachable" if kind in ("authorize", "page") else "lost_request"
        return way

    def _down(self, gateway: str) -> bool:
        return "down" in self.world.troubled or f"down {gateway}" in self.world.troubled

    def _out_of_reach(self, gateway: str) -> None:
        """A fault until a check passes again, as the worker keeps it."""
        fault = Fault(Device.GATEWAY, 0, gateway, "out of reach")

        def check() -> None:
            if self._down(gateway):
                self.world.after(20_000, check)
            else:
                self.world.deliver(events.FaultSeen(fault, False))

        self.world.deliver(events.FaultSeen(fault, True))
        self.world.after(5_000, check)

    # --- a card ----------------------------------------------------------------------------------------------------------

    def authorize(self, action: actions.Authorize) -> None:
        hold, tap = action.hold, int.from_bytes(action.card.emv, "big")
        way = self._way("authorize", hold.gateway)
        answers: list[Outcome] = []

        def arrives() -> None:
            most = min(550, hold.amount_minor * 3 // 5) if way == "partial" else MOST_MINOR.get(way, 1_000_000)
            answers.append(self.books.ask(hold, lambda gateway, account: gateway.authorize(account, hold, tap, most)))
            if hold.gateway in TELL_EXPIRY and isinstance(answers[0], Approved):
                answers[0] = self._with_expiry(answers[0])
            self._lapses_later(hold.hold_id)

        def answer(outcome: Outcome | None) -> None:
            self.world.deliver(events.AuthorizationAnswered(hold.hold_id, outcome or answers[0]))

        def unreachable() -> None:
            """Known before the rules look for another gateway; the card goes back, for nobody has seen it."""
            if paid := self._from_slice(hold):
                answer(paid)
                return
            self._out_of_reach(hold.gateway)
            self.world.deliver(events.AuthorizationAnswered(hold.hold_id, Declined(DeclineReason.UNREACHABLE), action.card))

        if way != "unreachable":
            action.card.wipe()
        if way not in ("lost_request", "unreachable"):
            self.world.after(25_000 if way == "lag" else 200, arrives, outside=True)
        match way:
            case "unreachable":
                self.world.after(100, unreachable)
            case "lost_request" | "lost_reply" | "lag":
                self.world.after(self._deadline_ms, lambda: answer(NO_ANSWER))
            case "late_answer":
                self.world.after(self._deadline_ms + 5_000, lambda: answer(None))
            case "mumble":
                self.world.after(600, lambda: answer(Approved(hold.amount_minor + 1, {})))
            case _:
                self.world.after(9_000 if hold.gateway == "own_reader" else 600, lambda: answer(None))

    def _from_slice(self, hold: Hold) -> Outcome | None:
        """An account's card is paid from the slice that the office has set aside here."""
        if hold.gateway != "account" or self.slice_minor < hold.amount_minor // 4:
            return None
        taken = min(self.slice_minor, hold.amount_minor)
        self.slice_minor -= taken
        self.world.faults.add("slice")
        return Approved(taken, {"slice": "slice-1", "held_minor": str(taken)})

    def _with_expiry(self, approved: Approved) -> Approved:
        lapses_ms = self.world.visit.lapses_after_ms or 5 * 86_400_000
        return replace(approved, capture_before_utc_ms=self.world.clock.utc_ms + lapses_ms)

    def _lapses_later(self, hold_id: str) -> None:
        if lapses_ms := self.world.visit.lapses_after_ms:
            self.world.after(lapses_ms, lambda: self.books.change(hold_id, self._lapsed), outside=True)

    def _lapsed(self, account: Any) -> Any:
        if account.held:
            self.refused.add(account.hold_id)
            self.world.faults.add("hold expired")
            return replace(account, lapsed=True)
        return account

    # --- a page ----------------------------------------------------------------------------------------------------------

    def open_page(self, action: actions.OpenCheckout) -> None:
        hold = action.hold
        way = self._way("page", hold.gateway)
        pages: list[Checkout] = []

        def arrives() -> None:
            pages.append(self.books.ask(hold, lambda gateway, account: gateway.open_page(account, hold)))

        def answer(said: Checkout | Declined | OutcomeUnknown | None) -> None:
            self.world.deliver(events.CheckoutAnswered(hold.hold_id, said or pages[0]))

        if way not in ("lost_request", "unreachable", "decline"):
            self.world.after(200, arrives, outside=True)
        match way:
            case "unreachable" | "decline":
                reason = DeclineReason.UNREACHABLE if way == "unreachable" else DeclineReason.GATEWAY_REFUSED
                self.world.after(100, lambda: self._no_page(hold, reason))
            case "lost_request" | "lost_reply":
                self.world.after(self._deadline_ms, lambda: answer(NO_ANSWER))
            case "late_answer":
                self.world.after(self._deadline_ms + 5_000, lambda: answer(None))
            case _:
                self.world.after(600, lambda: answer(None))

    def _no_page(self, hold: Hold, reason: DeclineReason) -> None:
        if reason is DeclineReason.UNREACHABLE:
            self._out_of_reach(hold.gateway)
        self.world.deliver(events.CheckoutAnswered(hold.hold_id, Declined(reason, "no page")))

    def watch(self, action: actions.WatchCheckout) -> None:
        self.watched.add(action.hold.hold_id)
        self.world.after(2_000, lambda: self._look(action.hold))

    def _look(self, hold: Hold) -> None:
        if hold.hold_id not in self.watched:
            return
        outcome = BY_NAME[hold.gateway].poll(self.books.of(hold), hold)
        if hold.gateway in TELL_EXPIRY and isinstance(outcome, Approved):
            outcome = self._with_expiry(outcome)
        if outcome is None or self._down(hold.gateway):
            self.world.after(2_000, lambda: self._look(hold))
            return
        self.watched.discard(hold.hold_id)
        self.world.after(100, lambda: self.world.deliver(events.AuthorizationAnswered(hold.hold_id, outcome)))

    def scan(self, hold_id: str) -> bool:
        """The driver's phone reads the code; False if it has already."""
        if self.books.page(hold_id).scanned:
            return False
        self.books.change(hold_id, lambda account: replace(account, scanned=True))
        return True

    def pay(self, hold_id: str, amount_minor: int) -> None:
        self.books.change(hold_id, lambda account: BY_NAME["stripe"].pay(account, amount_minor))
        self._lapses_later(hold_id)

    def end_page(self, action: actions.ExpireCheckout) -> None:
        hold = action.hold
        way = self._way("expire", hold.gateway)
        self.watched.discard(hold.hold_id)
        assert hold.trace["checkout"] == f"page-{hold.hold_id}"
        answers: list[Outcome] = []

        def arrives() -> None:
            answers.append(self.books.ask(hold, lambda gateway, account: gateway.expire(account, hold)))

        if way != "lost_request":
            self.world.after(200, arrives, outside=True)

        def answer() -> None:
            outcome = NO_ANSWER if way in ("lost_request", "lost_reply") else answers[0]
            self.world.deliver(events.AuthorizationAnswered(hold.hold_id, outcome))

        self.world.after({"ok": 500, "slow": 20_000}.get(way, 10_000), answer)

    # --- the end ---------------------------------------------------------------------------------------------------------

    def increment(self, action: actions.Increment) -> None:
        """Raising a live hold fares like any step."""
        hold, step = action.hold, action.step
        way = self._way("increment", hold.gateway)
        done: list[Outcome] = []

        def arrives() -> None:
            most = {"decline": 0, "partial": 30}.get(way, 1_000_000)
            done.append(self.books.ask(hold, lambda gateway, account: gateway.increment(account, hold, step, most)))

        def answer() -> None:
            lost = way in ("lost_request", "lost_reply")
            self.world.deliver(events.IncrementAnswered(hold.hold_id, step.key, NO_ANSWER if lost else done[0]))

        if way != "lost_request":
            self.world.after(200, arrives, outside=True)
        self.world.after(12_000 if way in ("lost_request", "lost_reply") else 500, answer)

    def settle(self, action: actions.Capture | actions.Void | actions.Refund) -> None:
        hold, step = action.hold, action.step
        way = self._way("steps", hold.gateway)
        done: list[Outcome] = []

        def arrives() -> None:
            done.append(self._done(action))
            account = self.books.of(hold)
            if account.refused:
                self.refused.add(hold.hold_id)
            if account.received != account.confirmed:
                self._notify_later(hold)

        def answer(outcome: Outcome | None) -> None:
            self.world.deliver(events.SettlementAnswered(hold.hold_id, step.key, outcome or done[0]))

        if isinstance(action, actions.Void) and {"slice", "offline"} & set(hold.trace):  # nobody is asked
            self.slice_minor += int(hold.trace.get("held_minor", "0"))
            self.world.after(50, lambda: answer(Approved(step.amount_minor, {})))
            return
        if self._down(hold.gateway):
            self.refused.add(hold.hold_id)  # it may be away until a person must look
        if way != "lost_request":
            self.world.after(200, arrives, outside=True)
        if way in ("lost_request", "lost_reply"):
            self.world.after(30_000, lambda: answer(NO_ANSWER))
        elif way == "undecided":
            self.world.after(500, lambda: answer(OutcomeUnknown("code 91")))
        elif way == "slow":
            self.world.after(28_000, lambda: answer(None))
        else:
            self.world.after(500, lambda: answer(None))
            if way == "twice":
                self.world.after(900, lambda: answer(None))

    def _done(self, action: actions.Capture | actions.Void | actions.Refund) -> Outcome:
        match action:
            case actions.Capture():
                return self._capture(action)
            case actions.Void():
                return self._void(action)
        hold, step, now = action.hold, action.step, self.world.clock.utc_ms
        return self.books.ask(hold, lambda gateway, account: gateway.refund(account, hold, step, now))

    def _capture(self, action: actions.Capture) -> Outcome:
        hold, step, now = action.hold, action.step, self.world.clock.utc_ms
        known = step.key in dict(self.books.of(hold).captures)
        if self.world.visit.refuse_settlement and not known:
            self.refused.add(hold.hold_id)
            return Declined(DeclineReason.TOO_LATE, "54")
        return self.books.ask(hold, lambda gateway, account: gateway.capture(account, hold, step, now))

    def _void(self, action: actions.Void) -> Outcome:
        hold, step, now = action.hold, action.step, self.world.clock.utc_ms
        return self.books.ask(hold, lambda gateway, account: gateway.void(account, hold, step, now))

    def _notify_later(self, hold: Hold) -> None:
        """The gateway's notification, relayed: soon, late, twice, or never."""
        for delay_ms in self.world.visit.notices_ms:
            self.world.after(delay_ms, lambda: self.books.change(hold.hold_id, self._told), outside=True)
        if not self.world.visit.notices_ms:
            self.refused.add(hold.hold_id)

    @staticmethod
    def _told(account: Any) -> Any:
        return Adyen().notify(account)
