"""The engine: take an event, decide, commit, evolve, hand out, publish. The only place that changes state and writes.

One thread runs it. A turn that decides nothing durable commits nothing. If the commit fails the turn has not happened:
nothing is handed out, all contactors are wished open, and the process ends (its restart tells what is true).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from terminal_app.billing.tariff import Tariff
from terminal_app.config import Config
from terminal_app.engine.inbox import Inbox, Job
from terminal_app.engine.snapshots import WORTH_ENTRIES, Snapshots, folded
from terminal_app.errors import ConfigError, LedgerBroken
from terminal_app.ledger.reading import Point
from terminal_app.ledger.store import Ledger
from terminal_app.ports import Clock
from terminal_app.screens import Screen
from terminal_app.session import book, chain_care, events, machine, presenter
from terminal_app.session.actions import Action, EvseWish, PrintReceipt, ReaderWish
from terminal_app.session.facts import (
    CdrDelivered,
    CdrOrderedAgain,
    CdrRejected,
    CommandAnswered,
    CommandTaken,
    DenyListSet,
    EnergyBalance,
    Fact,
    FaultCleared,
    LawOverridden,
    MeterAccepted,
    OfficeAcknowledged,
    PullerAcknowledged,
    ServiceAct,
    SliceKept,
    SliceRefused,
    SliceReturned,
    SliceReturning,
    SliceSettled,
    SliceTaken,
    TariffTaken,
    TerminalBooted,
)
from terminal_app.session.state import Terms, initial
from terminal_app.values import ClockState, Stamp

log = logging.getLogger("charge.engine")
T = TypeVar("T")
TICK_MS = 1000
INTERRUPTED = "interrupted; look at the terminal"
SliceFact = SliceKept | SliceRefused | SliceTaken | SliceSettled | SliceReturning | SliceReturned
TermsFact = TariffTaken | LawOverridden
CarriedFact = PullerAcknowledged | CdrDelivered | CdrRejected | CdrOrderedAgain
AcceptFact = EnergyBalance | MeterAccepted | FaultCleared  # with the ServiceAct of the technician who says so
OfficeFact = OfficeAcknowledged | CommandTaken | CommandAnswered | DenyListSet
OutsideFact = TerminalBooted | ServiceAct | OfficeFact | SliceFact | CarriedFact | AcceptFact | TermsFact


@dataclass(frozen=True)
class Outside:
    """What the engine hands to: all return at once and never raise."""

    act: Callable[[Action], None]
    wish_evse: Callable[[int, EvseWish], None]
    wish_reader: Callable[[ReaderWish | None], None]
    publish: Callable[[Screen], None]


@dataclass(frozen=True)
class Standing:
    """What does not change while the process lives."""

    config: Config
    tariffs: Mapping[int, Tariff]  # of the files in the configuration
    record_key_id: str
    record_spki: bytes
    ocmf_spki: bytes
    ocmf_key_id: str
    software: str
    config_sha256: str
    out_of_service: bool = False
    incrementing: frozenset[str] = frozenset()  # gateways that can raise a live hold
    without_refund: frozenset[str] = frozenset()  # gateways that give nothing back: such an order is refused at once
    signing: frozenset[int] = frozenset()  # connectors whose meter signs its own records
    signed_files: Mapping[int, book.Listing] = field(default_factory=dict)  # those of `tariffs` that the operator signed
    spare_tariffs: Mapping[int, Tariff] = field(default_factory=dict)  # sold by while the clock is not synchronised
    tariff_spki: bytes = b""  # whose signature a tariff from outside needs; b"" = none is taken
    previous_key_id: str = ""  # the record key before this one, while it is still there
    previous_spki: bytes = b""
    change_reason: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256, for checkpoints


class Engine:
    """See the module. `chance` gives a fresh UUID text and a fresh receipt code; clock and chance are arguments."""

    def __init__(
        self,
        standing: Standing,
        ledger: Ledger,
        clock: Clock,
        chance: Callable[[], tuple[str, str]],
        outside: Outside,
        snapshots: Snapshots | None = None,
    ) -> None:
        self._snapshots = snapshots
        self.standing, self.ledger = standing, ledger
        self.inbox = Inbox()
        self.out_of_service = standing.out_of_service
        self.state = initial(standing.config)
        self.screen: Screen | None = None
        self.turns = 0
        self._clock, self._chance, self._out = clock, chance, outside
        self._meaning = ""
        self._screen_no = 0
        self._revision = 0
        self._evse: dict[int, EvseWish] = {}
        self._reader: ReaderWish | None = None
        self._stopping = False
        self._next_tick_ms = 0
        self._known_utc_ms = 0  # the last moment of this process at which somebody vouched for the clock
        self._amid = False  # a turn has begun and not ended: if it stays so, the turn broke

    # --- start -------------------------------------------------------------------------------------------------------

    def start(self, resumed_after_crash: bool) -> None:
        """Replay the verified ledger, commit the start, resolve what a crash left open. LedgerBroken."""
        self._replay()
        self._leave_out_connectors_that_are_gone()
        new = tuple(self._terms_of_sale())
        sold = self._prices(self._clock.now(), new)
        self._refuse_keys_that_do_not_fit()
        booted = TerminalBooted(
            software=self.standing.software,
            config_sha256=self.standing.config_sha256,
            tariffs={str(number): tariff.fingerprint for number, tariff in sold.tariffs.items()},
            resumed_after_crash=resumed_after_crash,
            hold_minor=self.standing.config.policy.hold_minor,
            ocmf_key_id=self.standing.ocmf_key_id,
            record_keys=self._record_keys(),
            ocmf_keys={self.standing.ocmf_key_id: self.standing.ocmf_spki.hex()},
        )
        self.commit_outside_a_turn(booted, *new)
        for command_id in self.state.chain.commands_open:  # never again by itself
            self.commit_outside_a_turn(self._broken_off(command_id))
        self.turn(events.Booted())

    def _terms_of_sale(self) -> Iterator[TariffTaken | LawOverridden]:
        """What has changed in the files since the last start: tariffs, and rules of law that somebody answers for. ConfigError."""
        for number, tariff in self.standing.tariffs.items():
            taken = self.standing.signed_files.get(number, book.Listing(tariff)).taken(number, book.FILE, "")
            if book.has_file(self.state.book, taken):
                continue
            if why := book.refusal(self.state.book, taken):
                raise ConfigError("terminal.toml", f"[[connector]] number {number} tariff", why)
            yield taken
        overrides = {one.rule: one for one in self.standing.config.law.override}
        for rule, known in self.state.overrides.items():
            if rule not in overrides:
                yield msgspec.structs.replace(known, ended=True)
        for rule, one in overrides.items():
            wanted = LawOverridden(rule, one.by, one.why)
            if self.state.overrides.get(rule) != wanted:
                yield wanted

    def _prices(self, now: Stamp, new: Sequence[Fact] = ()) -> book.Prices:
        """What is sold by at `now`, with tariffs that are about to be taken."""
        known_utc_ms, listed = max(self._known_utc_ms, self.state.known_utc_ms), self.state.book
        for fact in new:
            if isinstance(fact, TariffTaken):
                listed = book.taken(listed, fact, now.utc_ms)
        return book.prices(listed, self.standing.tariffs, self.standing.spare_tariffs, now, known_utc_ms)

    def _note_time(self, stamp: Stamp) -> None:
        if stamp.clock is ClockState.SYNCHRONISED:
            self._known_utc_ms = max(self._known_utc_ms, stamp.utc_ms)

    def _replay(self) -> None:
        """From the newest snapshot, or from the first entry; what took long is not read again by the next start."""
        found = self._snapshots.newest(self.ledger) if self._snapshots else None
        self.state, point = found or (self.state, Point())
        known = point.seq
        for entry in self.ledger.verified_entries(point):
            self.state = folded(self.state, entry, self.standing.software)
            point = point.after(entry)
        if self._snapshots and point.seq - known >= WORTH_ENTRIES:
            self._snapshots.keep(self.state, point)

    def _broken_off(self, command_id: str) -> CommandAnswered:
        """A command without an answer: a start tells by its hold whether it was done; of others nobody knows how far they came."""
        taken = (entry.fact for entry in self.ledger.about(command_id, ("command_taken",)))
        keys = [one.args.get("key") for one in taken if isinstance(one, CommandTaken) and one.act == "session.start"]
        done = any(one.hold.key in keys for one in self.state.settlements.values())
        return CommandAnswered(command_id, done, "{}" if done else INTERRUPTED)

    def _leave_out_connectors_that_are_gone(self) -> None:
        """A connector taken out of the configuration is history; an unfinished charge on it must be finished first."""
        configured = {one.number for one in self.standing.config.connector}
        if stray := sorted(set(self.state.sessions) - configured):
            reason = f"connector {stray[0]} has an unfinished charge in the ledger: put it back until that has ended"
            raise ConfigError("terminal.toml", "[[connector]] number", reason)
        live = {number: one for number, one in self.state.live.items() if number in configured}
        self.state = msgspec.structs.replace(self.state, live=live)

    def _record_keys(self) -> dict[str, str]:
        one = self.standing
        old = {one.previous_key_id: one.previous_spki.hex()} if one.previous_key_id else {}
        return {one.record_key_id: one.record_spki.hex()} | old

    def _refuse_keys_that_do_not_fit(self) -> None:
        """The chain goes on only with the key it is under, or one to which that key hands over. ConfigError."""
        one = self.standing
        keys = {"record": one.record_key_id, "ocmf": one.ocmf_key_id, "previous_record": one.previous_key_id}
        if found := chain_care.trouble(self.state, keys, one.change_reason):
            raise ConfigError("terminal.toml", f"[keys] {found[0]}", found[1])

    def commit_outside_a_turn(self, *facts: OutsideFact) -> None:
        """For facts no machine decides: start, acknowledgement, service act, command, deny list, slices. One commit.

        Engine's thread."""
        self._amid = True
        now = self._clock.now()
        self._commit(facts, now, "")
        for fact in facts:
            self.state = machine.evolve(self.state, fact, now)
        self._amid = False

    # --- turns -------------------------------------------------------------------------------------------------------

    def turn(self, event: events.Event) -> None:
        """One event, start to finish. LedgerBroken ends the process; ImpossibleEvent too (never appended)."""
        self._amid = True
        terms = self.terms()
        turn = machine.decide(self.state, event, terms)
        if turn.facts:
            self._commit(turn.facts, terms.now, turn.sealed_jws)
        self.state = turn.state
        self.turns += 1
        self._hand_out(terms, turn.actions)
        self.present(force=isinstance(event, events.Ticked))
        self._amid = False

    def terms(self) -> Terms:
        """Time, chance and configuration for one turn."""
        fresh_id, receipt_code = self._chance()
        standing, now = self.standing, self._clock.now()
        self._note_time(now)
        sold = self._prices(now)
        return Terms(
            now=now,
            fresh_id=fresh_id,
            receipt_code=receipt_code,
            config=standing.config,
            tariffs=sold.tariffs,
            chain_id=self.ledger.chain_id,
            record_key_id=standing.record_key_id,
            record_spki=standing.record_spki,
            ocmf_spki=standing.ocmf_spki,
            ocmf_key_id=standing.ocmf_key_id,
            software=standing.software,
            screen_no=self._screen_no,
            screen_meaning=self._meaning,
            out_of_service=self.out_of_service,
            incrementing=standing.incrementing,
            signing=standing.signing,
            clock_wanted=sold.clock_wanted,
            previous_key_id=standing.previous_key_id,
            previous_spki=standing.previous_spki,
            change_reason=standing.change_reason,
            ledger_entries=self.ledger.head[0],
            ledger_sha256=self.ledger.head[1],
            digests=standing.digests,
        )

    def _commit(self, facts: Sequence[Fact], at: Stamp, sealed_jws: str) -> None:
        try:
            self.ledger.append(facts, at, sealed_jws)
        except LedgerBroken:
            self.open_everything()
            raise

    def print_again(self, order: PrintReceipt) -> None:
        """Paper on a person's order; no turn decides it, for nothing follows from it. Engine's thread."""
        self._out.act(order)

    def open_everything(self) -> None:
        """Wish every contactor open and the reader at rest, whatever the state says."""
        for connector in self.standing.config.connector:
            self._out.wish_evse(connector.number, EvseWish(False, connector.max_current_a))
        self._out.wish_reader(None)

    def _hand_out(self, terms: Terms, actions: list[Action]) -> None:
        for connector, wish in machine.evse_wishes(self.state, terms).items():
            if self._evse.get(connector) != wish:
                self._evse[connector] = wish
                self._out.wish_evse(connector, wish)
        reader = machine.reader_wish(self.state)
        if reader != self._reader:
            self._reader = reader
            self._out.wish_reader(reader)
        for action in actions:
            self._out.act(action)

    def present(self, force: bool = False) -> None:
        """Publish the screen if anything on it changed; at least once a second (`force`), so that the UI knows we live."""
        terms = self.terms()
        view = presenter.view_of(self.state, terms)
        meaning = presenter.meaning(self.state, terms, view)
        if meaning != self._meaning:
            self._meaning = meaning
            self._screen_no += 1
            self._revision = 0
        screen = presenter.present(self.state, terms, self._screen_no, self._revision, view)
        if self.screen is not None and not force and _same(screen, self.screen):
            return
        self._revision += 1
        self.screen = msgspec.structs.replace(screen, revision=self._revision)
        self._out.publish(self.screen)

    # --- loop --------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until `stop`. Ticks once a second between events."""
        self._next_tick_ms = self._clock.now().mono_ms
        while not self._stopping:
            now_ms = self._clock.now().mono_ms
            if now_ms >= self._next_tick_ms:
                self._next_tick_ms = max(self._next_tick_ms + TICK_MS, now_ms + TICK_MS // 2)
                self.turn(events.Ticked())
                continue
            item = self.inbox.take((self._next_tick_ms - now_ms) / 1000)
            if isinstance(item, Job):
                item.run()
                if self._amid:
                    item.wait(0)  # its asker has been told; a turn that broke inside ends the process like any other
            elif item is not None:
                self.turn(item)

    def stop(self) -> None:
        """From any thread: end `run` after the present turn."""
        self._stopping = True
        self.inbox.post(Job(lambda: None))

    def ask(self, question: Callable[[], T], timeout_s: float = 5.0) -> T:
        """Run `question` on the engine's thread and wait for its answer; for sockets and tools."""
        job = Job(question)
        self.inbox.post(job)
        return job.wait(timeout_s)

    # --- what the UI says --------------------------------------------------------------------------------------------

    def touched(self, touch: events.Touched, screen_no: int) -> bool:
        """A touch made on `screen_no`: refused (False) if the meaning has changed since. Engine's thread."""
        if screen_no != self._screen_no:
            log.info("touch %s on screen %d refused: now %d", touch.button.value, screen_no, self._screen_no)
            return False
        self.turn(touch)
        return True


def _same(one: Screen, other: Screen) -> bool:
    replace = msgspec.structs.replace
    return replace(one, revision=0, utc_ms=0) == replace(other, revision=0, utc_ms=0)
