"""The system that is explored, one step: the terminal's real rules as values, its crashes, and prompt, honest devices.

Crashes. Before a commit is the same as without the event: every node can crash. After a commit and before the action went out
is a branch of its own, for only then an intent exists that nobody has sent.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from terminal_app.config import Config
from terminal_app.session import actions, events, machine
from terminal_app.session import facts as f
from terminal_app.session.past import past_of
from terminal_app.session.state import Phase, Terms, initial
from terminal_app.values import EvseStatus, Hold, MeterValue, Pilot
from tests.simulation import stage
from tests.simulation.coverage import Coverage
from tests.simulation.gateways import Gateway
from tests.simulation.node import MOMENT_MS, Call, End, Node
from tests.simulation.rules import IDENTITY, SERIAL, durable

replace = msgspec.structs.replace
POWER_W = 150_000
SECOND_WH = POWER_W // 3600
HOLD_MINOR, PARTIAL_MINOR, TINY_MINOR, RAISE_MINOR = 20, 16, 3, 3
OFFLINE = {"card_minor": 20, "terminal_minor": 40}
MONEY = (
    actions.Authorize,
    actions.OpenCheckout,
    actions.ExpireCheckout,
    actions.Increment,
    actions.Capture,
    actions.Void,
    actions.Refund,
)
KINDS = {
    actions.Authorize: "authorize",
    actions.OpenCheckout: "open",
    actions.WatchCheckout: "watch",
    actions.ExpireCheckout: "expire",
    actions.Increment: "increment",
    actions.Capture: "capture",
    actions.Void: "void",
    actions.Refund: "refund",
}


MONEY_FACTS = (
    f.AuthorizationIntended,
    f.AuthorizationRerouted,
    f.OfflineGranted,
    f.HoldReused,
    f.CheckoutOpened,
    f.AuthorizationApproved,
    f.IncrementEnded,
    f.CaptureIntended,
    f.VoidIntended,
    f.RefundIntended,
    f.CreditIntended,
    f.SettlementReopened,
    f.HoldEnded,
)


class Broken(AssertionError):
    """An invariant does not hold; the note tells the way there."""


@dataclass(frozen=True)
class Bounds:
    """What is explored: so many drivers one after another, so many crashes in all. `prompt`: meter, signer and controller
    answer before anything else happens (but a crash); else bank and driver may be quicker."""

    visits: int = 1
    crashes: int = 2
    prompt: bool = True
    orders: int = 0  # of a person about money: refund, retry, release
    misreads: int = 0  # of the meter before a charge
    offline: bool = False  # charging on the operator's risk; the cards prove themselves
    raised: int = 0  # how often a hold may be raised
    most_nodes: int = 1_000_000


def settings(route: tuple[Gateway, ...], bounds: Bounds) -> Config:
    """Waits that belong to one class each (see `node.py`), and a hold that three seconds of energy use up."""
    return stage.configuration(
        kinds=tuple(one.kind for one in route),
        sections={"offline": OFFLINE} if bounds.offline else {},
        max_power_w=POWER_W,
        hold_minor=HOLD_MINOR,
        min_useful_hold_minor=5,
        plug_window_s=60,
        checkout_window_s=60,
        settle_retry_s=3600,
        settle_deadline_s=86_400,
        checkpoint_wh=100_000,
        increment_minor=RAISE_MINOR if bounds.raised else 0,
        increments_most=max(bounds.raised, 1),
    )


@dataclass
class System:
    """Gateways of one way to pay, the preferred one first. `renamed` and `sends_first` are hooks for known-bad terminals."""

    route: tuple[Gateway, ...]
    bounds: Bounds = Bounds()
    renamed: Callable[[actions.Action, Node], actions.Action] = lambda action, node: action
    sends_first: bool = False
    coverage: Coverage = field(default_factory=Coverage)
    fault: str = "-"  # under which the present move is counted
    met: Counter[type[f.Fact]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.settings = settings(self.route, self.bounds)
        self.tariffs = {1: stage.tariff()}
        self.by_phone = self.route[0].by_phone
        raising = frozenset(one.kind for one in self.route if one.raises_holds)
        clock, chance = stage.FakeClock(), stage.Chance()
        self._base = stage.terms(self.settings, clock, chance, tariffs=self.tariffs, incrementing=raising)

    def gateway(self, hold: Hold) -> Gateway:
        return next(one for one in self.route if one.kind == hold.gateway)

    def terms(self, node: Node) -> Terms:
        number = f"{node.visits:032x}"
        return replace(self._base, now=node.stamp, fresh_id=number, receipt_code=number, screen_no=1)

    def first(self) -> Node:
        state = initial(self.settings)
        node = Node(living=state, told=state, utc_ms=stage.T0_UTC_MS, forgets=self.bounds.visits > 1)
        return self.reported(self._booted(node)[0])[0]

    def deliver(self, node: Node, event: events.Event) -> list[Node]:
        """One turn: the node after it, then what a crash between commit and action leaves."""
        self.coverage.note(node.living, event, [self.fault])
        turn = machine.decide(node.living, event, self.terms(node))
        told = node.told
        self.met.update(type(fact) for fact in turn.facts)
        for fact in turn.facts:
            told = machine.evolve(told, fact, node.stamp)
            self._no_card_in(fact)
        committed = self._noted(replace(node, living=turn.state, told=told), turn.facts)
        if durable(told) != durable(turn.state):
            raise Broken("a new process would find another state than the one that lives")
        sent = self._sent(committed, turn.actions)
        if not turn.facts or not any(isinstance(one, MONEY) for one in turn.actions) or node.crashes >= self.bounds.crashes:
            return [sent]
        cut = committed
        if self.sends_first:
            cut = replace(node, calls=sent.calls, intended=node.intended)
        return [sent, *(one for power in (False, True) for one in self.crashed(cut, power))]

    @staticmethod
    def _no_card_in(fact: f.Fact) -> None:
        if isinstance(fact, f.AuthorizationIntended) and stage.TRACK2.hex().encode() in f.encode(fact).lower():
            raise Broken("I12: a card number is committed")

    @staticmethod
    def _noted(node: Node, facts: list[f.Fact]) -> Node:
        """What the ledger tells of money, kept after the state has forgotten it."""
        for fact in facts:
            if isinstance(fact, MONEY_FACTS):
                node = replace(node, money=(*node.money, fact))
            match fact:
                case f.AuthorizationIntended(hold=hold):
                    node = replace(node, intended=(*node.intended, hold.hold_id))
                case f.AuthorizationDeclined(hold_id=hold_id):
                    node = replace(node, declined=(*node.declined, hold_id))
                case f.HoldEnded(hold_id=hold_id, how=how, amount_minor=amount):
                    past = past_of(hold_id, node.money)
                    kind = past.kind if past is not None else ""
                    node = replace(node, ended=(*node.ended, End(hold_id, how, amount, kind)))
                case f.BillFrozen():
                    node = replace(node, bills=(*node.bills, fact))
                case _:
                    pass
        return node

    def _sent(self, node: Node, todo: list[actions.Action]) -> Node:
        """The actions of a committed turn go out."""
        for action in todo:
            if isinstance(action, actions.ReadRegister | actions.SignOcmf | actions.SignRecord):
                node = replace(node, asked=(*node.asked, action))
                continue
            if isinstance(action, actions.SignReceipt):  # a signer that never gets to it: nothing depends on it
                continue
            if isinstance(action, actions.ExpireCheckout):  # it is watched no longer
                node = replace(node, calls=tuple(one for one in node.calls if one.kind != "watch"))
            node = replace(node, calls=(*node.calls, Call(KINDS[type(action)], self.renamed(action, node))))
        return node

    def crashed(self, node: Node, power: bool) -> list[Node]:
        """Everything volatile is gone; what was sent and not answered travels on. Then the terminal starts again."""
        travelling = tuple(one for one in node.calls if one.answer is None and one.kind != "watch" and not one.waited)
        node = replace(
            node,
            crashes=node.crashes + 1,
            living=node.told,
            calls=(),
            asked=(),
            net=(*node.net, *travelling),
            utc_ms=node.utc_ms + MOMENT_MS,
            mono_ms=3_000 if power else node.mono_ms + MOMENT_MS,
            boot=node.boot + power,
            register_wh=node.register_wh + (SECOND_WH if node.relay and not power else 0),
            relay=node.relay and not power,
        )
        return self.and_then(self._booted(node), self.reported)

    def _booted(self, node: Node) -> list[Node]:
        booted = f.TerminalBooted("0.0-test", "0" * 64, {}, node.crashes > 0)
        living, told = (machine.evolve(state, booted, node.stamp) for state in (node.living, node.told))
        return self.deliver(replace(node, living=living, told=told), events.Booted())

    @staticmethod
    def and_then(nodes: list[Node], *steps: Callable[[Node], list[Node]]) -> list[Node]:
        """Go on from the first; the others were cut off."""
        first, cut = nodes[0], nodes[1:]
        for step in steps:
            first, *more = step(first)
            cut += more
        return [first, *cut]

    # --- meter and controller --------------------------------------------------------------------------------------------

    def reported(self, node: Node) -> list[Node]:
        """Controller and meter say how it is now."""
        on = self.wished(node)
        pilot = Pilot.A if not node.plugged else Pilot.C if node.relay else Pilot.B
        node = replace(node, utc_ms=node.utc_ms + 200, mono_ms=node.mono_ms + 200, seen_relay=node.relay)
        status = EvseStatus(pilot, node.relay, on if on == node.relay or not node.plugged else node.relay, 32, node.stamp)
        value = MeterValue(node.register_wh, POWER_W if node.relay else 0, SERIAL, node.stamp)
        return self.and_then(
            self.deliver(node, events.EvseReported(1, status)),
            lambda one: self.deliver(one, events.MeterReported(1, value)),
        )

    def wished(self, node: Node) -> bool:
        return node.phase is Phase.CHARGING

    def obeyed(self, node: Node) -> list[Node]:
        return self.reported(replace(node, relay=self.wished(node) and node.plugged, late=False))

    def flowed(self, node: Node) -> list[Node]:
        """A second with the contactor closed."""
        late = not self.wished(node)
        node = replace(
            node,
            utc_ms=node.utc_ms + 1_000,
            mono_ms=node.mono_ms + 1_000,
            register_wh=node.register_wh + SECOND_WH,
            late=late,
        )
        return self.and_then(self.reported(node), self.ticked)

    def ticked(self, node: Node) -> list[Node]:
        return self.deliver(node, events.Ticked())

    def misread(self, node: Node) -> list[Node]:
        """The meter does not answer, three times; then the charge has failed before it began."""
        action, node = node.asked[0], replace(node, asked=(), misread=node.misread + 1)
        nodes = self.deliver(node, events.RegisterUnreadable(1, action.session_id, action.purpose, "no answer"))
        for _ in range(2):
            nodes = self.and_then(nodes, self._second, self.ticked, self._not_read)
        return nodes

    @staticmethod
    def _second(node: Node) -> list[Node]:
        return [replace(node, utc_ms=node.utc_ms + MOMENT_MS, mono_ms=node.mono_ms + MOMENT_MS)]

    def _not_read(self, node: Node) -> list[Node]:
        action, node = node.asked[0], replace(node, asked=())
        return self.deliver(node, events.RegisterUnreadable(1, action.session_id, action.purpose, "no answer"))

    def device_answered(self, node: Node) -> list[Node]:
        action, node = node.asked[0], replace(node, asked=node.asked[1:])
        match action:
            case actions.SignOcmf():
                return self.deliver(node, events.OcmfSigned(action.session_id, stage.ocmf_key().sign(action.payload)))
            case actions.SignRecord():
                signature = stage.record_key().sign(action.signing_input)
                return self.deliver(node, events.RecordSigned(action.record_seq, signature))
        first = MeterValue(node.register_wh, 0, SERIAL, node.stamp)
        node = replace(node, utc_ms=node.utc_ms + 250, mono_ms=node.mono_ms + 250)
        second = replace(first, stamp=node.stamp)
        return self.deliver(node, events.RegisterRead(1, action.session_id, action.purpose, first, second, IDENTITY))
