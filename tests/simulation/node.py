"""One state of the explored system: the terminal's living state, what its ledger makes of it, and all that is outside.

Two nodes are the same (`key`) if nothing the rules look at tells them apart: every field of the state counts, except what is
named in CONTENT (what is only carried into records). Times count by which waits they have outlasted: a moment, a minute (bank,
windows, gateway delay), an hour (pause between tries), a day (deadlines). So waits of one class never add up to the next one.
"""

import enum
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from terminal_app.session.facts import BillFrozen, Fact, Terminated
from terminal_app.session.settlement import ANSWER_LONGEST_MS, GATEWAY_DELAY_MS
from terminal_app.session.state import Finished, Kiosk, Phase, Session, State
from terminal_app.values import ClockState, MeterIdentity, MeterValue, Stamp
from tests.simulation.gateways import Account

replace = msgspec.structs.replace
MOMENT_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 61_000, 3_601_000, 25 * 3_600_000
STARTED_WH = 1_000_000

CONTENT = frozenset(
    (
        "tariff",
        "tariff_fingerprint",
        "language",
        "signing_input",
        "record_seq",
        "ocmf_payload",
        "ocmf_pagination",
        "identity",
        "serial",
        "charging_ms",
        "parking_ms",
        "marks",
        "card",
        "step_reason",
        "detail",
        "checkout_url",
        "stop_detail",
        "interrupted",
        "now",
        "chain",
        "registers",
        "finished",
        "kiosk",
        "utc_ms",
        "counted_mono_ms",
        "meter_seen_mono_ms",
        "since_mono_ms",
        "started",
        "limit_a",
        "connector",
    )
)
"""Carried into records and screens, or alike in all nodes: no rule that moves money asks for it. Kiosk and receipt are brought
to the offer before every tap, whatever they were."""
DEADLINES = ("plug_deadline_mono_ms", "next_try_mono_ms", "read_again_mono_ms", "capture_before_utc_ms", "kept_until_mono_ms")


STEPS = ("increment", "capture", "void", "refund")


class Call(msgspec.Struct, frozen=True):
    """A question to a gateway. `answer` is there once the gateway has done it; `waited`: our own deadlines have passed."""

    kind: str  # authorize, open, watch, expire, increment, capture, void, refund
    action: Any
    answer: Any = None
    waited: bool = False


class End(msgspec.Struct, frozen=True):
    """`kind`: the step it ended, as capture, void or refund."""

    hold_id: str
    how: Terminated
    amount_minor: int
    kind: str = ""


class Node(msgspec.Struct, frozen=True):
    """`told` is the fold of the committed facts: what a new process would find. `calls` and `asked` die with the process;
    `net` is what travels on without anybody waiting for its answer."""

    living: State
    told: State
    utc_ms: int
    mono_ms: int = 50_000
    boot: int = 1
    crashes: int = 0
    visits: int = 0
    last: bool = False  # no driver comes after this one
    forgets: bool = False  # a hold that is sealed, and that nothing travels to any more, tells nodes apart no longer
    plugged: bool = False
    relay: bool = False
    seen_relay: bool = False  # what the controller last reported
    late: bool = False  # energy flowed on after the stop already
    register_wh: int = STARTED_WH
    calls: tuple[Call, ...] = ()
    net: tuple[Call, ...] = ()
    asked: tuple[Any, ...] = ()  # of meter and signer
    books: tuple[Account, ...] = ()
    intended: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    ended: tuple[End, ...] = ()
    bills: tuple[BillFrozen, ...] = ()
    orders: int = 0  # of a person, so far
    misread: int = 0  # how often the meter has failed
    money: tuple[Fact, ...] = ()  # what a person's order about a sealed hold is built on; `ended` tells them apart

    @property
    def phase(self) -> Phase:
        session = self.living.sessions.get(1)
        return session.phase if session else Phase.NONE

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.utc_ms, self.mono_ms, f"boot-{self.boot}", ClockState.SYNCHRONISED)

    def account(self, hold_id: str) -> Account:
        return next((one for one in self.books if one.hold_id == hold_id), Account(hold_id))

    def with_account(self, account: Account) -> "Node":
        others = (one for one in self.books if one.hold_id != account.hold_id)
        return replace(self, books=tuple(sorted((*others, account), key=lambda one: one.hold_id)))

    @property
    def over(self) -> bool:
        """Nothing is open at the terminal, and nothing is on its way to it."""
        state = self.living
        return not (state.sessions or state.settlements or state.credits or state.seal or self.calls or self.net)


def key(node: Node) -> Any:
    """What tells this node from another one."""
    state = node.living
    gone = node.last and node.phase is Phase.NONE and not node.relay  # where the plug hangs matters no more
    live = None if gone else state.live[1]
    fresh = live is not None and live.evse is not None and live.evse.stamp.mono_ms >= live.stopping_since_mono_ms
    over = set[str]()
    if node.forgets and not node.net:
        over = {one.hold_id for one in node.ended if one.hold_id not in state.settlements}.union(node.declined)
    bank = tuple(_account(one) for one in node.books if one.hold_id not in over)
    told = tuple(tuple(one for one in ids if one not in over) for ids in (node.intended, node.declined))
    ended = tuple(one for one in node.ended if one.hold_id not in over)
    return (
        tuple(_shape(one, node, "") for one in (state.sessions, state.settlements, state.seal, live)),
        (tuple(state.faults), len(state.credits)),
        (node.crashes, node.visits, node.plugged and not gone, node.relay, node.seen_relay, node.late, fresh),
        frozenset(_called(one) for one in node.calls),
        frozenset(_called(one) for one in node.net),
        tuple(_asked(one) for one in node.asked),
        bank,
        (told, ended, node.orders, node.misread),
        () if over else tuple((one.energy_wh, one.capture_minor, one.shortfall_minor) for one in node.bills),
    )


def _account(one: Account) -> Any:
    return msgspec.structs.astuple(replace(one, first_key_utc_ms=0))


def _called(one: Call) -> Any:
    trace = tuple(sorted(one.action.hold.trace))
    step = one.action.step.key if one.kind in STEPS else ""
    return (
        one.kind,
        one.action.hold.hold_id,
        step,
        trace,
        type(one.answer).__name__,
        getattr(one.answer, "amount_minor", 0),
        one.waited,
    )


def _asked(one: Any) -> Any:
    return type(one).__name__, getattr(one, "purpose", ""), getattr(one, "session_id", "")


def age_class(age_ms: int) -> int:
    """How many kinds of waits have been outlasted since; negative: it is still to come, and how long."""
    size = abs(age_ms)
    return (1 if age_ms >= 0 else -1) * (0 if size < 30_000 else 1 if size < 1_800_000 else 2 if size < 43_200_000 else 3)


@cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(name for name in kind.__struct_fields__ if name not in CONTENT)  # type: ignore[attr-defined]


def _shape(value: Any, node: Node, name: str) -> Any:
    """A hashable likeness of a value, without its content and with times as classes."""
    if value is None or isinstance(value, bool | str | enum.Enum):
        return value
    if isinstance(value, int):
        if name.endswith("_mono_ms"):
            return _time(value, node.mono_ms, name)
        if name.endswith("_utc_ms"):
            return _time(value, node.utc_ms, name)
        return min(value, 2) if name == "tries" else value
    if isinstance(value, Stamp):
        return value.boot_id == node.stamp.boot_id, age_class(node.utc_ms - value.utc_ms)
    if isinstance(value, MeterValue):
        return node.register_wh - value.energy_wh
    if isinstance(value, BillFrozen):
        return value.energy_wh, value.capture_minor, value.shortfall_minor
    if isinstance(value, Session):
        asking = value.phase in (Phase.AUTHORIZING, Phase.CHECKOUT)
        value = value if asking else replace(value, opened=replace(value.opened, utc_ms=node.utc_ms))
    if isinstance(value, Mapping):
        if name == "trace":
            return tuple(sorted(value))
        return tuple((one, _shape(value[one], node, "")) for one in sorted(value))
    if isinstance(value, tuple | list):
        return tuple(_shape(one, node, name) for one in value)
    if isinstance(value, MeterIdentity | Kiosk | Finished):
        return ""
    if isinstance(value, bytes):
        return bool(value)
    if name == "hold":  # one.hold: its age decides whether it may still arrive
        age_ms = node.utc_ms - value.utc_ms
        arrived = age_ms >= GATEWAY_DELAY_MS + ANSWER_LONGEST_MS
        return value.hold_id, value.amount_minor, value.gateway, tuple(sorted(value.trace)), age_class(age_ms), arrived
    if name in ("step", "increment"):
        return value.key, value.amount_minor, age_class(node.utc_ms - value.utc_ms)
    if name == "evse":
        return value.pilot, value.relay, value.authorized, value.fault
    return tuple(_shape(getattr(value, field), node, field) for field in _fields(type(value)))


def _time(value: int, now: int, name: str) -> Any:
    if not value:
        return None
    if name in DEADLINES:
        return "past" if now > value else age_class(now - value)
    return age_class(now - value)
