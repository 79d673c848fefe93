"""The rules alone, fed with events by hand: no engine, no ledger, no threads. After every turn the committed facts are
replayed, and what they make must equal the living state in everything that is not volatile."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from terminal_app import screens
from terminal_app.billing.tariff import Tariff
from terminal_app.config import Config
from terminal_app.session import actions, events, machine, presenter
from terminal_app.session.facts import Fact, TerminalBooted, decode, encode
from terminal_app.session.state import Phase, Session, Settlement, State, Terms, initial
from terminal_app.session.turn import Turn
from terminal_app.values import (
    Approved,
    CardRequest,
    EvseStatus,
    MeterIdentity,
    MeterValue,
    Outcome,
    Pilot,
    Stamp,
)
from tests.simulation import stage
from tests.simulation.signing_meter import SigningMeter

replace = msgspec.structs.replace
SERIAL = "21130042"
IDENTITY = MeterIdentity("Eastron", "SDM630-Modbus V2", SERIAL, "1.15")


def durable(state: State) -> tuple[Any, ...]:
    """What a crash must not change: sessions, settlements, counters, the outstanding seal; volatile parts taken out."""
    return (
        {connector: _durable_session(one) for connector, one in state.sessions.items()},
        {hold_id: _durable_settlement(one) for hold_id, one in state.settlements.items()},
        state.chain,
        dict(state.registers),
        dict(state.meters),
        dict(state.energy),
        dict(state.latched),
        state.slices,
        state.deny,
        {connector: (one.ordered_a, one.ordered_by, one.in_force_a, one.grid_a) for connector, one in state.limits.items()},
        None if state.seal is None else replace(state.seal, asked=False, asked_mono_ms=0),
    )


def _durable_session(one: Session) -> Session:
    if one.phase is Phase.STARTING:
        return replace(one, phase=Phase.AUTHORIZED)
    if one.phase is Phase.SIGNING:
        return replace(one, phase=Phase.STOPPING, stop=None, stop_source="", stop_why="")
    return one


VOLATILE = ("answer_due", "first_try_mono_ms", "in_flight", "next_try_mono_ms", "tries")


def _durable_settlement(one: Settlement) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__ if name not in VOLATILE}


class Rules:
    """One terminal's rules. `feed` runs a turn; `committed` is its ledger as stored bytes."""

    def __init__(
        self, settings: Config | None = None, tariffs: Mapping[int, Tariff] | None = None, signing: SigningMeter | None = None
    ) -> None:
        self.settings = settings or stage.configuration()
        self.tariffs = {one.number: stage.tariff() for one in self.settings.connector} if tariffs is None else tariffs
        self.clock, self.chance = stage.FakeClock(), stage.Chance()
        self.committed: list[tuple[bytes, Stamp]] = []
        self.jws: list[str] = []
        self.todo: list[actions.Action] = []
        self.screen_no, self.shown_meaning = 1, ""
        self.incrementing: frozenset[str] = frozenset()
        self.signing = signing  # the meter of connector 1, if it signs
        self.power_w = 11_000
        self.register_wh = {one.number: 1_000_000 for one in self.settings.connector}
        self.state: State = initial(self.settings)
        self.boot(first=True)

    # --- turns -------------------------------------------------------------------------------------------------------

    def terms(self) -> Terms:
        changes = {"tariffs": self.tariffs, "screen_no": self.screen_no, "incrementing": self.incrementing}
        changes["signing"] = frozenset({1} if self.signing else ())
        return stage.terms(self.settings, self.clock, self.chance, **changes)

    def feed(self, event: events.Event) -> Turn:
        """One event through decide; its facts are stored, its actions put on the list; replay is compared."""
        turn = machine.decide(self.state, event, self.terms())
        self._store(turn.facts)
        if turn.sealed_jws:
            self.jws.append(turn.sealed_jws)
        self.state = turn.state
        self.todo += turn.actions
        meaning = presenter.meaning(self.state, self.terms())
        if meaning != self.shown_meaning:
            self.shown_meaning, self.screen_no = meaning, self.screen_no + 1
        told = durable(self.replayed()) if turn.facts else self._told
        assert told == durable(self.state), "replay of the facts gives another state than living did"
        self._told = told
        return turn

    def outside(self, fact: Fact) -> None:
        """A fact that no machine decides, as the engine commits it between two turns."""
        self._store([fact])
        self.state = machine.evolve(self.state, fact, self.clock.now())
        self._told = durable(self.replayed())

    def _store(self, facts: list[Fact]) -> None:
        self.committed += [(encode(fact), self.clock.now()) for fact in facts]

    def replayed(self) -> State:
        state = initial(self.settings)
        for body, at in self.committed:
            state = machine.evolve(state, decode(body), at)
        return state

    @property
    def facts(self) -> list[Fact]:
        return [decode(body) for body, _ in self.committed]

    def count(self, kind: type) -> int:
        return sum(isinstance(fact, kind) for fact in self.facts)

    def boot(self, first: bool = False, new_boot: bool = False) -> None:
        """Lose everything volatile, then start as the engine does."""
        if not first:
            self.clock.restart() if new_boot else self.clock.advance(3_000)
        self.state = self.replayed()
        self.todo, self.shown_meaning = [], ""
        booted = TerminalBooted("0.0-test", "0" * 64, {}, not first)
        self._store([booted])
        self.state = machine.evolve(self.state, booted, self.clock.now())
        self._told = durable(self.state)
        self.feed(events.Booted())

    def tick(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            self.clock.advance(1000)
            self.feed(events.Ticked())

    # --- what comes from outside ---------------------------------------------------------------------------------------

    def evse(self, pilot: Pilot, relay: bool = False, authorized: bool = False, fault: str = "", connector: int = 1) -> Turn:
        status = EvseStatus(pilot, relay, authorized, 32, self.clock.now(), fault)
        return self.feed(events.EvseReported(connector, status))

    def value(self, wh: int | None = None, connector: int = 1, serial: str = SERIAL) -> MeterValue:
        return MeterValue(self.register_wh[connector] if wh is None else wh, self.power_w, serial, self.clock.now())

    def meter(self, wh: int | None = None, connector: int = 1, serial: str = SERIAL) -> Turn:
        return self.feed(events.MeterReported(connector, self.value(wh, connector, serial)))

    def show(self) -> Turn:
        return self.feed(events.FrameShown(self.screen_no))

    def touch(self, button: screens.Button, value: str = "") -> Turn:
        return self.feed(events.Touched(button, value))

    def tap(self, number: int = 1, tap: int = 1, authenticated: bool = False) -> Turn:
        """A card is read for whatever the reader is armed for (a payment of the hold if it is not armed at all)."""
        wish = machine.reader_wish(self.state)
        request = wish.request if wish else CardRequest(True, self.settings.policy.hold_minor, "EUR", "276", 0, 1)
        arm_no = wish.arm_no if wish else self.state.kiosk.arm_no
        return self.feed(events.CardRead(arm_no, request.pay, stage.card(request, number, tap, authenticated)))

    def take(self, kind: type[actions.Action]) -> Any:
        """The oldest action of this kind, taken off the list."""
        found = next(one for one in self.todo if isinstance(one, kind))
        self.todo.remove(found)
        return found

    def has(self, kind: type[actions.Action]) -> bool:
        return any(isinstance(one, kind) for one in self.todo)

    def answer_bank(self, outcome: Outcome | None = None) -> Turn:
        asked = self.take(actions.Authorize)
        approved = Approved(asked.hold.amount_minor, {"rrn": "000000000001"})
        return self.feed(events.AuthorizationAnswered(asked.hold.hold_id, outcome or approved))

    def answer_step(self, outcome: Outcome | None = None) -> Turn:
        asked = self.take(next(kind for kind in (actions.Capture, actions.Void, actions.Refund) if self.has(kind)))
        approved = Approved(asked.step.amount_minor, {"rrn": "000000000002"})
        return self.feed(events.SettlementAnswered(asked.hold.hold_id, asked.step.key, outcome or approved))

    def answer_register(self, first_wh: int | None = None, second_wh: int | None = None) -> Turn:
        asked = self.take(actions.ReadRegister)
        first = self.value(first_wh, asked.connector)
        self.clock.advance(250)
        second = self.value(second_wh if second_wh is not None else first_wh, asked.connector)
        return self.feed(events.RegisterRead(asked.connector, asked.session_id, asked.purpose, first, second, IDENTITY))

    def fail_register(self) -> Turn:
        asked = self.take(actions.ReadRegister)
        return self.feed(events.RegisterUnreadable(asked.connector, asked.session_id, asked.purpose, "no answer"))

    def read_key(self, spki: bytes = b"", serial: str = SERIAL) -> Turn:
        assert self.signing is not None
        return self.feed(events.MeterKeyRead(1, serial, (spki or self.signing.spki).hex()))

    def begin(self) -> Turn:
        """The meter begins to sign."""
        asked, now = self.take(actions.BeginSigned), self.clock.now()
        assert self.signing is not None
        left = self.signing.begin(asked.reference, asked.tariff_text, self.register_wh[1], now.utc_ms)
        return self.feed(events.SignedBegun(1, asked.session_id, left))

    def end(self, record: str = "") -> Turn:
        """The meter's record, or another one in its place."""
        asked, now = self.take(actions.EndSigned), self.clock.now()
        assert self.signing is not None
        made = self.signing.end(self.register_wh[1], now.utc_ms)
        return self.feed(events.SignedEnded(1, asked.session_id, record or made))

    def refuse(self, kind: type[actions.Action], refused: bool = True) -> Turn:
        asked = self.take(kind)
        purpose = "begin" if kind is actions.BeginSigned else "end"
        return self.feed(events.SignedRefused(1, asked.session_id, purpose, "no", refused))

    def sign_ocmf(self) -> Turn:
        asked = self.take(actions.SignOcmf)
        return self.feed(events.OcmfSigned(asked.session_id, stage.ocmf_key().sign(asked.payload)))

    def sign_record(self) -> Turn:
        asked = self.take(actions.SignRecord)
        return self.feed(events.RecordSigned(asked.record_seq, stage.record_key().sign(asked.signing_input)))

    # --- shortcuts through a charge ------------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        session = self.state.sessions.get(1)
        return session.phase if session else Phase.NONE

    @property
    def view(self) -> screens.View:
        return presenter.view_of(self.state, self.terms())

    def to_offer(self) -> None:
        """Telemetry of an idle connector, and its offer on the glass."""
        for connector in self.state.live:
            self.evse(Pilot.A, connector=connector)
            self.meter(connector=connector)
        if self.signing:
            self.read_key()
        self.show()

    def to_authorizing(self) -> None:
        self.to_offer()
        self.tap()

    def to_authorized(self) -> None:
        self.to_authorizing()
        self.answer_bank()

    def to_starting(self) -> None:
        self.to_authorized()
        self.evse(Pilot.B)

    def to_charging(self) -> None:
        self.to_starting()
        self.answer_register()
        if self.signing:
            self.begin()
        self.clock.advance(500)
        self.evse(Pilot.C, relay=True, authorized=True)

    def charge(self, seconds: int, power_w: int = 18_000) -> None:
        """Energy flows: a second at a time, with all that is reported in one."""
        for _ in range(seconds):
            self.clock.advance(1000)
            self.register_wh[1] += power_w // 3600
            self.evse(Pilot.C, relay=True, authorized=True)
            self.meter()
            self.feed(events.Ticked())

    def to_stopping(self, seconds: int = 10) -> None:
        self.to_charging()
        self.charge(seconds)
        self.touch(screens.Button.STOP)

    def open_contactor(self, pilot: Pilot = Pilot.B) -> None:
        self.clock.advance(500)
        self.evse(pilot)

    def to_signing(self, seconds: int = 10) -> None:
        self.to_stopping(seconds)
        self.open_contactor()
        self.answer_register()

    def to_sealing(self, seconds: int = 10) -> None:
        self.to_signing(seconds)
        self.end() if self.signing else self.sign_ocmf()

    def finish(self) -> None:
        """From sealing to the sealed settlement record."""
        self.sign_record()
        self.tick()
        self.answer_step()
        self.sign_record()


def fingerprint(secret: bytes) -> str:
    """Names a secret in a failure message without showing it."""
    return hmac.new(b"test", secret, hashlib.sha256).hexdigest()[:8]
