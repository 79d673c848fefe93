"""What the payment watch compares and finds, as plain values. Money in integer minor units, times in UTC ms. PURE."""

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from terminal_app import units

ACCOUNT_BOOKS = "account"
"""The gateway name of rows that come from the office's own account books."""
KINDS = ("hold", "capture", "void", "refund")
CLOCKS_DIFFER_MS = 3_600_000
BOOKED_LATER_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class GatewayRow:
    """One line of what a gateway says it did. `reference` names it there, `about` the payment it changes ("" = its own),
    `ours` is our hold id or key if the gateway carries it, `terminal` "" if it does not say."""

    gateway: str
    reference: str
    kind: str
    amount_minor: int
    currency: str
    utc_ms: int
    about: str = ""
    ours: str = ""
    terminal: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be matched by, the surest first."""
        return tuple(name for name in (self.ours, self.about, self.reference) if name)


@dataclass(frozen=True, slots=True)
class Settled:
    """One settlement record of a hold; `how` may be a word of a newer terminal."""

    how: str
    amount_minor: int
    currency: str
    utc_ms: int


@dataclass(frozen=True, slots=True)
class Payment:
    """One hold as its terminal told it. `state` and `gateway` "" and the session's times: only its records came.

    `references` are all its names, `known_as` those that the gateway gave it. `live`: its session is still under way.
    `billed_minor` None: no session record (yet). `offline`: granted without asking the gateway.
    """

    terminal: str
    chain_id: str
    hold_id: str
    session_id: str
    gateway: str
    state: str
    amount_minor: int
    currency: str
    opened_utc_ms: int
    changed_utc_ms: int
    capture_before_utc_ms: int | None = None
    references: frozenset[str] = frozenset()
    known_as: tuple[str, ...] = ()
    offline: bool = False
    live: bool = False
    billed_minor: int | None = None
    settled: tuple[Settled, ...] = ()

    @property
    def place(self) -> tuple[str, str, str]:
        return self.terminal, self.chain_id, self.hold_id

    def total(self, how: str) -> int:
        return sum(one.amount_minor for one in self.settled if one.how == how)

    def ended(self, how: str) -> bool:
        return any(one.how == how for one in self.settled)


@dataclass(frozen=True, slots=True)
class Queue:
    """What a terminal may still have for the office: `claimed_seq` its newest record, `stored_utc_ms` when the last one came."""

    terminal: str
    chain_id: str
    seen_utc_ms: int
    through_seq: int
    claimed_seq: int
    stored_utc_ms: int
    open_holds: int
    live_sessions: int


class Coverage:
    """For which times a gateway's reports are complete, per kind of row. Adjoining reports count as one."""

    def __init__(self, spans: Iterable[tuple[str, str, int, int]]) -> None:
        """`spans`: gateway, kind, from (inclusive), until (exclusive)."""
        self._spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for gateway, kind, begin, end in sorted(spans, key=lambda span: span[2]):
            mine = self._spans.setdefault((gateway, kind), [])
            if mine and begin <= mine[-1][1]:
                mine[-1] = (mine[-1][0], max(mine[-1][1], end))
            else:
                mine.append((begin, end))

    def covers(self, gateway: str, kind: str, utc_ms: int) -> bool:
        """Would the gateway list what happened then? Clocks differ, and some acts are booked the next day."""
        first, last = utc_ms - CLOCKS_DIFFER_MS, utc_ms + BOOKED_LATER_MS
        return any(begin <= first and last < end for begin, end in self._spans.get((gateway, kind), ()))


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take before somebody is told."""

    asked_ms: int = 15 * 60_000  # a gateway's answer to an authorization
    over_ms: int = 3_600_000  # from the end of a session to the release of its hold; what a terminal has not told yet
    queue_ms: int = 3_600_000  # a capture or release; a terminal that says nothing


class Class(enum.Enum):
    """The classes of discrepancies, the gravest first."""

    DUPLICATE = "duplicate"
    AMOUNT_MISMATCH = "amount_mismatch"
    MISSING_CAPTURE = "missing_capture"
    UNKNOWN_AT_GATEWAY = "unknown_at_gateway"
    REFUND_WITHOUT_ENTRY = "refund_without_entry"
    ORPHAN_HOLD = "orphan_hold"
    AGED_QUEUE = "aged_queue"


GRAVE = (Class.DUPLICATE, Class.AMOUNT_MISMATCH, Class.MISSING_CAPTURE, Class.UNKNOWN_AT_GATEWAY)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree, and what to do next. `ours_minor` is what terminals say, `theirs_minor` the gateway;
    None where a side says nothing. `command` (in the office) and `at_terminal` are exact; "" if there is none to type."""

    kind: Class
    terminal: str
    chain_id: str
    hold_id: str
    session_id: str
    gateway: str
    reference: str
    ours_minor: int | None
    theirs_minor: int | None
    currency: str
    since_utc_ms: int
    sentence: str
    next_action: str
    command: str
    at_terminal: str

    @property
    def id(self) -> str:
        """The same for the same question, whatever its amounts and age."""
        what = (self.kind.value, self.gateway, self.terminal, self.chain_id, self.hold_id or self.reference)
        return hashlib.sha256("\n".join(what).encode()).hexdigest()[:12]

    @property
    def figures(self) -> str:
        """What a person judges when accepting it."""
        return f"{self.ours_minor}/{self.theirs_minor} {self.currency}"

    @property
    def severity(self) -> str:
        return "grave" if self.kind in GRAVE else "soon"


def money_text(minor: int, currency: str) -> str:
    """12.50 EUR; the plain figure for a currency this office does not know."""
    try:
        return f"{units.major(minor, currency)} {currency}"
    except ValueError:
        return f"{minor} {currency or 'minor units'}"
