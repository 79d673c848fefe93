"""All that may happen next to a node. The network: each question may be lost, its answer may be lost or late (after our own
deadlines), it may arrive after it was given up, and be answered twice; all that at every try. Time passes in classes of waits.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from terminal_app.screens import Button, DeclineWords
from terminal_app.session import events, machine, presenter
from terminal_app.session import facts as f
from terminal_app.session.state import KioskPhase, Phase, SettlementPhase
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, OutcomeUnknown
from tests.simulation import stage
from tests.simulation.gateways import Account, Adyen
from tests.simulation.node import DAY_MS, HOUR_MS, MINUTE_MS, STEPS, Call, Node
from tests.simulation.orders import ordered
from tests.simulation.system import HOLD_MINOR, PARTIAL_MINOR, TINY_MINOR, System

replace = msgspec.structs.replace
NO_ANSWER = OutcomeUnknown("no answer")
Steps = Iterator[tuple[str, str, Callable[[], list[Node]], bool]]
"""Name, fault, what it does, and whether it is what happens when nothing goes wrong and everybody goes home."""


def asks_again(node: Node) -> bool:
    """The charge did not start, its hold is kept, and the screen asks for the same card."""
    kiosk = node.living.kiosk
    return kiosk.phase is KioskPhase.DECLINED and kiosk.declined is DeclineWords.HOLD_KEPT


@dataclass
class Move:
    """One thing that may happen next. `quiet`: it is what happens when nothing goes wrong and everybody goes home."""

    name: str
    fault: str
    to: list[Node]
    quiet: bool = False


class Outside(System):
    """`moves` is the only way on from a node."""

    def moves(self, node: Node) -> Iterator[Move]:
        """All that can happen next. A device that was asked answers at once; only a crash is quicker."""
        for one in self._possible(node):
            self.fault = one[1]
            yield Move(one[0], one[1], one[2](), one[3])

    def _possible(self, node: Node) -> Steps:
        if node.crashes < self.bounds.crashes:
            yield "killed", "kill", lambda: self.crashed(node, power=False), False
            yield "power cut", "power", lambda: self.crashed(node, power=True), False
        if node.asked:
            yield f"{type(node.asked[0]).__name__} is answered", "-", lambda: self.device_answered(node), True
            if node.misread < self.bounds.misreads and getattr(node.asked[0], "purpose", "") == "start":
                yield "the meter is silent", "meter", lambda: self.misread(node), False
            if not self.bounds.prompt:
                yield from self._network(node)
                yield from self._driver(node)
            return
        stale = node.phase is Phase.STOPPING and node.living.live[1].asked_read == ""
        if node.relay != (self.wished(node) and node.plugged) or node.relay != node.seen_relay or stale:
            if node.relay and not node.late:
                yield "the contactor is slow", "slow contactor", lambda: self.flowed(node), False
            yield "the controller obeys", "-", lambda: self.and_then(self.obeyed(node), self.ticked), True
            if not self.bounds.prompt:
                yield from self._network(node)
            return
        yield from self._network(node)
        yield from self._driver(node)
        yield from self._time(node)

    def _time(self, node: Node) -> Steps:
        if node.relay:
            yield "a second of energy", "-", lambda: self.flowed(node), False
            return

        def passes(long_ms: int) -> list[Node]:
            later = replace(
                node,
                utc_ms=node.utc_ms + long_ms,
                mono_ms=node.mono_ms + long_ms,
                calls=tuple(replace(one, waited=one.kind != "watch") for one in node.calls),
                net=(),  # what has not arrived within a minute never does
                books=tuple(self._aged(one, long_ms) for one in node.books),
            )
            return self.and_then(self.ticked(later), self.reported)

        waited = any(one.waited for one in node.calls)
        settling = [one for one in node.living.settlements.values() if one.phase is not SettlementPhase.ENDED]
        if (node.net or node.living.sessions or settling) and not waited:
            yield "a minute passes", "-", lambda: passes(MINUTE_MS), True
        if not node.calls and not node.living.sessions and settling and not node.net:
            yield "an hour passes", "-", lambda: passes(HOUR_MS), True
            yield "a day passes", "a day", lambda: passes(DAY_MS), True

    def _aged(self, account: Account, long_ms: int) -> Account:
        """A hold that nobody has taken for a day expires."""
        return replace(account, lapsed=True) if long_ms == DAY_MS and account.held else account

    # --- the driver --------------------------------------------------------------------------------------------------------

    def _driver(self, node: Node) -> Steps:
        if node.phase is not Phase.NONE:
            stop = events.StopCommanded(1, f.StopReason.TOUCH, "driver", "")
            yield "stops or cancels", "-", lambda: self.deliver(node, stop), True
        if node.phase in (Phase.SIGNING, Phase.SEALING) or (node.last and node.phase is Phase.NONE):
            pass  # the plug decides nothing here
        elif node.plugged:
            yield "unplugs", "-", lambda: self.reported(replace(node, plugged=False, relay=False)), False
        else:
            yield "plugs in", "-", lambda: self.reported(replace(node, plugged=True)), False
        kept = all(one.phase is SettlementPhase.HELD for one in node.living.settlements.values())
        settled = kept and not (node.calls or node.net or node.living.seal)
        if node.phase is Phase.NONE and node.visits < self.bounds.visits and (settled or not self.bounds.prompt):
            last = node.visits + 1 == self.bounds.visits
            yield "pays", "-", lambda: self._pays(replace(node, visits=node.visits + 1, last=last)), False
        if asks_again(node):
            yield "does not try again", "-", lambda: self.deliver(node, events.Touched(Button.OK, "")), False
        for account in node.books:
            if account.page == "open" and account.scanned:
                paid = self.route[0].pay(account, HOLD_MINOR)
                yield "the phone pays", "-", lambda paid=paid: [node.with_account(paid)], False  # type: ignore[misc]
        if node.orders < self.bounds.orders:
            yield from self._orders(node)

    def _orders(self, node: Node) -> Steps:
        """A person looks at the holds. What the rules refuse is told, and nothing happens."""
        for which in range(len(node.intended)):
            for what, percent in (("refund", 100), ("refund", 50), ("retry", 100), ("release", 100)):
                if event := ordered(node.living, (*node.bills, *node.money), what, which, percent):
                    after = replace(node, orders=node.orders + 1)
                    yield f"{what} {percent} %", "order", lambda event=event, after=after: self.deliver(after, event), False  # type: ignore[misc]

    def _pays(self, node: Node) -> list[Node]:
        """The offer is brought to the glass; then a card is held out, or a page asked for. A refusal takes nothing."""
        if not asks_again(node):  # the screen that asks for the same card takes it as it stands
            for button in (Button.OK, Button.DONE):
                node = self.deliver(node, events.Touched(button, ""))[0]
            node = replace(node, living=replace(node.living, kiosk=replace(node.living.kiosk, phase=KioskPhase.FOCUSED)))
        node = self.deliver(node, events.FrameShown(1))[0]
        assert node.living.kiosk.shown == presenter.meaning(node.living, self.terms(node))
        if self.by_phone:
            return self.deliver(node, events.Touched(Button.PAY_BY_PHONE, ""))
        wish = machine.reader_wish(node.living)
        if wish is None:
            return [node]
        card = stage.card(wish.request, 1, node.visits, authenticated=self.bounds.offline)
        return self.deliver(node, events.CardRead(wish.arm_no, wish.request.pay, card))

    # --- the network -------------------------------------------------------------------------------------------------------

    def _network(self, node: Node) -> Steps:
        for call in node.calls:
            yield from self._called(node, call)
        for late in node.net:
            rest = replace(node, net=tuple(one for one in node.net if one is not late))
            yield f"{late.kind} arrives late", "arrives late", lambda late=late, rest=rest: [self._done(rest, late)[0]], False  # type: ignore[misc]
        for account in node.books:
            if account.received != account.confirmed:
                told = Adyen().notify(account)
                yield "the notification comes", "notification", lambda told=told: [node.with_account(told)], True  # type: ignore[misc]

    def _called(self, node: Node, call: Call) -> Steps:
        """How one question may fare."""
        rest = replace(node, calls=tuple(one for one in node.calls if one is not call))
        kind = call.kind
        if call.answer is not None:
            fault = "late answer" if call.waited else "slow answer"
            yield f"{kind}: the answer comes", fault, lambda: self._answer(rest, call, call.answer), True
            return
        if kind == "watch":
            hold = call.action.hold
            answer = self.gateway(hold).poll(node.account(hold.hold_id), hold)
            if answer is not None:
                yield "the page's end is seen", "-", lambda: self._answer(rest, call, answer), True
            return

        def done(**how: int) -> list[Node]:
            after, answer = self._done(rest, call, **how)
            return self._answer(after, call, answer)

        def held_back() -> list[Node]:
            after, answer = self._done(rest, call)
            return [replace(after, calls=(*after.calls, replace(call, answer=answer)))]

        def twice() -> list[Node]:
            after, answer = self._done(rest, call)
            return self.and_then(self._answer(after, call, answer), lambda one: self._answer(one, call, answer))

        yield f"{kind}: ok", "-", done, True
        yield f"{kind}: request lost", "request lost", lambda: self._answer(rest, call, NO_ANSWER), False
        yield f"{kind}: reply lost", "reply lost", lambda: self._answer(self._done(rest, call)[0], call, NO_ANSWER), False
        given_up = replace(rest, net=(*rest.net, replace(call, waited=False)))
        if not call.waited:
            yield f"{kind}: given up, still travelling", "overtaken", lambda: self._answer(given_up, call, NO_ANSWER), False
            yield f"{kind}: done, the answer is slow", "slow answer", held_back, False
        if kind == "authorize":
            yield "authorize: partial", "partial", lambda: done(most_minor=PARTIAL_MINOR), False
            yield "authorize: tiny", "tiny", lambda: done(most_minor=TINY_MINOR), False
            yield "authorize: refused", "refused", lambda: done(most_minor=0), False
        if kind in ("authorize", "open"):
            unreachable = Declined(DeclineReason.UNREACHABLE)
            yield f"{kind}: unreachable", "unreachable", lambda: self._answer(rest, call, unreachable), False
        if kind == "increment":
            yield "increment: refused", "refused", lambda: done(most_minor=0), False
            yield "increment: partial", "partial", lambda: done(most_minor=1), False
        if kind in STEPS:
            yield f"{kind}: answered twice", "twice", twice, False
        if kind == "capture" and not node.account(call.action.hold.hold_id).captures:
            account = replace(node.account(call.action.hold.hold_id), refused=True)
            no = Declined(DeclineReason.TOO_LATE, "54")
            yield "capture: refused", "refused", lambda: self._answer(rest.with_account(account), call, no), False

    def _done(self, node: Node, call: Call, most_minor: int = HOLD_MINOR) -> tuple[Node, Any]:
        """The request arrives: the gateway's books after it, and its answer."""
        hold, account = call.action.hold, node.account(call.action.hold.hold_id)
        answer: Any
        gateway = self.gateway(hold)
        match call.kind:
            case "authorize":
                account, answer = gateway.authorize(account, hold, hold.serial, most_minor)
            case "open":
                account, answer = gateway.open_page(account, hold)
            case "expire":
                account, answer = gateway.expire(account, hold)
            case "increment":
                account, answer = gateway.increment(account, hold, call.action.step, most_minor)
            case _ if call.kind == "void" and "offline" in hold.trace:  # nothing is held anywhere
                answer = Approved(call.action.step.amount_minor, {})
            case _:
                account, answer = getattr(gateway, call.kind)(account, hold, call.action.step, node.utc_ms)
        return node.with_account(account), answer

    def _answer(self, node: Node, call: Call, answer: Any) -> list[Node]:
        hold_id = call.action.hold.hold_id
        if call.kind in STEPS:
            named = call.action.step.key.partition("/")[0]  # as the terminal knows it (`renamed` puts a suffix to it)
            kind = events.IncrementAnswered if call.kind == "increment" else events.SettlementAnswered
            return self.deliver(node, kind(hold_id, named, answer))
        if call.kind == "open":
            if isinstance(answer, Checkout) and node.phase is Phase.CHECKOUT:  # the code is on the screen
                node = node.with_account(replace(node.account(hold_id), scanned=not node.living.live[1].checkout_ends))
            return self.deliver(node, events.CheckoutAnswered(hold_id, answer))
        unsent = isinstance(answer, Declined) and answer.reason is DeclineReason.UNREACHABLE
        card = stage.again(call.action.card) if unsent else None  # it goes back: nobody has seen it
        return self.deliver(node, events.AuthorizationAnswered(hold_id, answer, card))
