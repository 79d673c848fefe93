"""A hold on its own: how it and its steps are named, whom it serves, and how it is raised while energy flows. PURE.

What ends it is `settlement`. A hold serves one session at a time; after a failed start it may wait for the same card.
"""

import hashlib

import msgspec

from terminal_app.billing.receipt import receipt_code
from terminal_app.session import actions, events
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, Session, SettlementPhase, State, Terms
from terminal_app.session.turn import Turn
from terminal_app.values import Approved, CardFacts, Declined, Hold, MoneyStep, OutcomeUnknown

INCREMENT_TRIES = 3
INCREMENT_PAUSE_MS = 10_000


def operation_key(terms: Terms, hold_id: str, operation: str) -> str:
    """Idempotency key, H(terminal, hold, operation): the same for every repetition and after every reboot (I8)."""
    return hashlib.sha256(f"{terms.config.terminal.id}/{terms.chain_id}/{hold_id}/{operation}".encode()).hexdigest()[:32]


def new_hold(turn: Turn, session_id: str, connector: int, gateway: str, amount_minor: int) -> Hold:
    """How the hold of a session is named: the same for the same session, whenever it is asked for."""
    terms = turn.terms
    hold_id = hashlib.sha256(f"{terms.chain_id}/{session_id}/hold".encode()).hexdigest()[:32]
    return Hold(
        hold_id=hold_id,
        gateway=gateway,
        serial=turn.state.chain.next_serial,
        utc_ms=terms.now.utc_ms,
        amount_minor=amount_minor,
        currency=terms.config.terminal.currency,
        connector=connector,
        key=operation_key(terms, hold_id, "authorize"),
    )


def new_step(turn: Turn, hold_id: str, operation: str, amount_minor: int) -> MoneyStep:
    """A step with a serial and key of its own; to be committed before it is sent."""
    return MoneyStep(
        serial=turn.state.chain.next_serial,
        utc_ms=turn.terms.now.utc_ms,
        amount_minor=amount_minor,
        key=operation_key(turn.terms, hold_id, operation),
    )


def receipt_code_for(turn: Turn, hold_id: str) -> str:
    """A code of its own for a hold's receipt: one turn may release several holds, and has one fresh code."""
    return receipt_code(hashlib.sha256(f"{turn.terms.receipt_code}/{hold_id}".encode()).digest())


def keep(turn: Turn, hold_id: str, connector: int, for_s: int) -> None:
    """The charge could not start, and the driver is still here: the hold waits for the same card instead of being released."""
    turn.commit(f.HoldKept(hold_id, turn.terms.now.mono_ms + for_s * 1000, connector))


def reusable(state: State, card: CardFacts, least_minor: int) -> str:
    """The live hold of this card that serves no running charge, "" if there is none: a second one would block more money.

    Nobody asks the bank about this reading. So a hold that waits for its plug elsewhere moves only to a card that proved
    itself by chip: a copied number must not take it away.
    """
    for hold_id, one in state.settlements.items():
        if not card.token or one.card.token != card.token or one.phase is not SettlementPhase.HELD or one.offline:
            continue
        session = session_of(state, hold_id)
        waits = session is not None and session.phase is Phase.AUTHORIZED and card.authenticated
        if one.approved_minor >= least_minor and (session is None or waits):
            return hold_id
    return ""


def kept(state: State, connector: int) -> str:
    """The hold that waits for its card after a failed start on this connector, "" = none."""
    for hold_id, one in state.settlements.items():
        waits = one.phase is SettlementPhase.HELD and one.kept_until_mono_ms and session_of(state, hold_id) is None
        if waits and one.kept_for == connector:
            return hold_id
    return ""


def session_of(state: State, hold_id: str) -> Session | None:
    """The unfinished session that a hold pays for."""
    return next((one for one in state.sessions.values() if one.hold_id == hold_id), None)


# --- raised while energy flows ---------------------------------------------------------------------------------------


def intend_increment(turn: Turn, hold_id: str, amount_minor: int) -> None:
    """Commit to raise a live hold, then ask for it. Whatever comes of it, the charge goes on: the old limit stands."""
    one = turn.state.settlements[hold_id]
    assert one.phase is SettlementPhase.HELD and one.increment is None and amount_minor > 0, one
    turn.commit(f.IncrementIntended(hold_id, new_step(turn, hold_id, f"increment/{one.increments + 1}", amount_minor)))
    send_increment(turn, hold_id)


def send_increment(turn: Turn, hold_id: str) -> None:
    """Ask once more, with the same key, or give it up. After a restart there is no charge any more that needs it."""
    one, now = turn.state.settlements[hold_id], turn.terms.now
    assert one.increment is not None
    if one.in_flight or now.mono_ms < one.next_try_mono_ms:
        return
    if one.tries >= INCREMENT_TRIES:
        give_up_increment(turn, hold_id, "no answer")
        return
    tries = one.tries + 1
    turn.note_settlement(hold_id, in_flight=True, tries=tries)
    turn.do(actions.Increment(one.hold, msgspec.structs.replace(one.increment, attempt=tries)))


def give_up_increment(turn: Turn, hold_id: str, why: str) -> None:
    """The old limit stands. What the gateway may have added nevertheless is never used, and released with the rest."""
    if turn.state.settlements[hold_id].increment is not None:
        turn.commit(f.IncrementEnded(hold_id, 0, {}, why))


def increment_answered(turn: Turn, hold_id: str, event: events.Event) -> None:
    assert isinstance(event, events.IncrementAnswered)
    one = turn.state.settlements[hold_id]
    if one.increment is None or event.key != one.increment.key:
        return  # given up meanwhile
    match event.outcome:
        case Approved(amount_minor=added, trace=trace) if 0 < added <= one.increment.amount_minor:
            turn.commit(f.IncrementEnded(hold_id, added, trace, ""))
        case Declined(reason=reason, code=code):
            turn.commit(f.IncrementEnded(hold_id, 0, {}, f"{reason.value} {code}".strip()))
        case Approved() | OutcomeUnknown():
            turn.note_settlement(hold_id, in_flight=False, next_try_mono_ms=turn.terms.now.mono_ms + INCREMENT_PAUSE_MS)
