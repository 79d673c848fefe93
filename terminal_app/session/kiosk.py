"""Kiosk machine: what the person at the screen is doing. Volatile; it never commits, except by opening a session. PURE.

OVERVIEW (several connectors) -> FOCUSED on one -> READING a card -> FOCUSED (bank wait, charge, receipt) | DECLINED -> FOCUSED.
The reader is armed for a payment only while the offer's own frame is on the glass (AF-12: price before authorization).
"""

import msgspec

from terminal_app.billing.tariff import Tariff
from terminal_app.screens import Button, DeclineWords, Offer
from terminal_app.session import actions, arming, checkout, events, hold, presenter, receipts, sale, settlement, start
from terminal_app.session import facts as f
from terminal_app.session.state import KioskPhase, Phase, without
from terminal_app.session.turn import Ignored, Impossible, Step, Turn, apply_rule
from terminal_app.session.words import CARD_WORDS
from terminal_app.values import PaymentCard

READING_LONGEST_MS = 10_000
IDLE_TO_OVERVIEW_MS = 45_000


def decide(turn: Turn, event: events.Event) -> None:
    """Let the kiosk react."""
    phase = turn.state.kiosk.phase
    apply_rule(RULES[phase, type(event)], f"kiosk {phase.value} + {type(event).__name__}", turn, event)


# --- touches ---------------------------------------------------------------------------------------------------------


def _touched(turn: Turn, event: events.Event) -> None:
    """A touch on the meaning that is on the glass (older ones were refused by the engine)."""
    assert isinstance(event, events.Touched)
    kiosk, now = turn.state.kiosk, turn.terms.now.mono_ms
    if kiosk.phase is not KioskPhase.DECLINED:  # another language does not keep a refusal on the screen
        turn.note_kiosk(since_mono_ms=now)
    connector, several = kiosk.connector, len(turn.terms.config.connector) > 1
    session = turn.state.sessions.get(connector)
    phase = session.phase if session else Phase.NONE
    match event.button:
        case Button.LANGUAGE if event.value in turn.terms.config.terminal.languages:
            turn.note_kiosk(language=event.value)
        case Button.SELECT if kiosk.phase is KioskPhase.OVERVIEW and event.value.isdecimal():
            if int(event.value) in turn.state.live:
                turn.note_kiosk(phase=KioskPhase.FOCUSED, connector=int(event.value), hold_minor=0)
        case Button.BACK if several and kiosk.phase is KioskPhase.FOCUSED:
            turn.note_kiosk(phase=KioskPhase.OVERVIEW, hold_minor=0)
        case Button.HOLD if kiosk.phase is KioskPhase.FOCUSED and event.value.isdecimal() and _may_open(turn, connector):
            choices = sale.hold_choices(turn.terms, connector)
            if int(event.value) < len(choices):
                turn.note_kiosk(hold_minor=choices[int(event.value)].amount_minor)
        case Button.LOWER_HOLD if presenter.lower_hold_minor(turn.state, turn.terms):
            lower = presenter.lower_hold_minor(turn.state, turn.terms)
            turn.note_kiosk(phase=KioskPhase.FOCUSED, declined=None, hold_minor=lower, since_mono_ms=now)
        case Button.START if kiosk.phase is KioskPhase.FOCUSED and _may_open(turn, connector):
            if turn.terms.tariffs[connector].is_free:
                open_session(turn, connector, None)
        case Button.PAY_BY_PHONE if kiosk.phase is KioskPhase.FOCUSED:
            shown = arming.offer_is_on_the_glass(turn.state, turn.terms, connector)
            if shown and sale.takes_phones(turn.state, turn.terms):
                checkout.open_page(turn, connector, _commit_session(turn, connector, free=False))
        case Button.PAY_BY_PHONE if presenter.phone_may_help(turn.state, turn.terms) and _may_open(turn, connector):
            turn.note_kiosk(phase=KioskPhase.FOCUSED, declined=None, since_mono_ms=now)
            checkout.open_page(turn, connector, _commit_session(turn, connector, free=False))
        case Button.CANCEL if phase in (Phase.CHECKOUT, Phase.AUTHORIZED, Phase.STARTING):
            turn.then(events.StopCommanded(connector, f.StopReason.TOUCH, "driver", ""))
        case Button.STOP if phase in (Phase.CHARGING, Phase.STARTING):
            turn.then(events.StopCommanded(connector, f.StopReason.TOUCH, "driver", ""))
        case Button.OK if kiosk.phase is KioskPhase.DECLINED and kiosk.declined is DeclineWords.HOLD_KEPT:
            if kept := hold.kept(turn.state, connector):
                settlement.intend_void(turn, kept, "the driver does not try again", f.StopReason.FAULT)
            _decline(turn, DeclineWords.CANCELLED, kiosk.declined_hold_minor, kept)
        case Button.OK if kiosk.phase is KioskPhase.DECLINED:
            turn.note_kiosk(phase=KioskPhase.FOCUSED, declined=None)
        case Button.PRINT if connector in turn.state.finished:
            receipts.print_(turn, connector)
        case Button.DONE if connector in turn.state.finished:
            _put_receipt_away(turn, connector)
        case _:
            pass  # a button this screen does not have


def _put_receipt_away(turn: Turn, connector: int) -> None:
    turn.state = msgspec.structs.replace(turn.state, finished=without(turn.state.finished, connector))
    if turn.state.kiosk.connector == connector and turn.state.kiosk.phase is KioskPhase.FOCUSED:
        _back_to_start(turn)


def _back_to_start(turn: Turn) -> None:
    """The next driver: first language again, overview if there is one."""
    several = len(turn.terms.config.connector) > 1
    turn.note_kiosk(
        phase=KioskPhase.OVERVIEW if several else KioskPhase.FOCUSED,
        language=turn.terms.config.terminal.languages[0],
        declined=None,
        hold_minor=0,
        since_mono_ms=turn.terms.now.mono_ms,
    )


# --- cards -----------------------------------------------------------------------------------------------------------


def _frame_shown(turn: Turn, event: events.Event) -> None:
    assert isinstance(event, events.FrameShown)
    if event.screen_no == 0:
        turn.note_kiosk(shown="")
    elif event.screen_no == turn.terms.screen_no:
        meaning = presenter.meaning(turn.state, turn.terms)
        if turn.terms.screen_meaning not in ("", meaning):
            return  # a price has begun in this very moment: what is on the glass is another one
        turn.note_kiosk(shown=meaning)
        if isinstance(presenter.view_of(turn.state, turn.terms), Offer):
            connector = turn.state.kiosk.connector
            turn.note_kiosk(offered=turn.terms.tariffs[connector], offered_for=connector)


def _card_seen(turn: Turn, event: events.Event) -> None:
    assert isinstance(event, events.CardSeen)
    request = turn.state.kiosk.request
    if request is not None and request.pay and event.arm_no == turn.state.kiosk.arm_no:
        turn.note_kiosk(phase=KioskPhase.READING, since_mono_ms=turn.terms.now.mono_ms)


def _card_read(turn: Turn, event: events.Event) -> None:
    assert isinstance(event, events.CardRead)
    kiosk = turn.state.kiosk
    if event.arm_no != kiosk.arm_no or kiosk.request is None or kiosk.request.pay != event.pay:
        event.card.wipe()  # read for an offer that is no longer on the glass: nothing is sent anywhere
        return
    if not event.pay:
        _same_card(turn, event.card)
        return
    turn.note_kiosk(phase=KioskPhase.FOCUSED, declined=None, since_mono_ms=turn.terms.now.mono_ms)
    least_minor = turn.terms.config.policy.min_useful_hold_minor
    if kiosk.declined is DeclineWords.HOLD_KEPT and not hold.reusable(turn.state, event.card.facts, least_minor):
        event.card.wipe()  # only the same card was asked for; another one sees the price first
        return
    session = turn.state.sessions.get(kiosk.connector)
    if session is not None and session.phase is Phase.CHECKOUT and kiosk.card is None:
        turn.note_kiosk(card=event.card, card_connector=kiosk.connector)
        checkout.card_instead(turn, kiosk.connector)
        return
    if not _may_open(turn, kiosk.connector):
        event.card.wipe()
        return
    open_session(turn, kiosk.connector, event.card)


def send_waiting_card(turn: Turn) -> None:
    """A card tapped while a page was open: asked for money once the page has certainly ended unpaid, else forgotten."""
    kiosk = turn.state.kiosk
    if kiosk.card is None:
        return
    session = turn.state.sessions.get(kiosk.card_connector)
    if session is not None and session.phase is Phase.CHECKOUT:
        return
    turn.note_kiosk(card=None)
    here = kiosk.phase is KioskPhase.FOCUSED and kiosk.connector == kiosk.card_connector
    if session is None and here and _may_open(turn, kiosk.card_connector):
        open_session(turn, kiosk.card_connector, kiosk.card)
    else:
        kiosk.card.wipe()


def _same_card(turn: Turn, card: PaymentCard) -> None:
    """The card that pays for a running charge ends it."""
    token = card.facts.token
    card.wipe()
    paid = [
        connector
        for connector, session in turn.state.sessions.items()
        if session.phase is Phase.CHARGING and session.card is not None and session.card.token == token
    ]
    here = turn.state.kiosk.connector
    if here in paid or len(paid) == 1:  # with several, the driver chooses the connector first
        connector = here if here in paid else paid[0]
        turn.note_kiosk(connector=connector)
        turn.then(events.StopCommanded(connector, f.StopReason.SAME_CARD, "driver", ""))


def _card_failed(turn: Turn, event: events.Event) -> None:
    assert isinstance(event, events.CardFailed)
    kiosk = turn.state.kiosk
    if event.arm_no == kiosk.arm_no and kiosk.request is not None and kiosk.request.pay:
        _decline(turn, CARD_WORDS.get(event.reason, DeclineWords.CARD_ERROR), 0)


def _decline(turn: Turn, words: DeclineWords, held_minor: int, hold_id: str = "") -> None:
    one = turn.state.settlements.get(hold_id)
    turn.note_kiosk(
        phase=KioskPhase.DECLINED,
        declined=words,
        declined_hold_minor=held_minor,
        declined_receipt=one.no_charge.code if one is not None and one.no_charge is not None else "",
        since_mono_ms=turn.terms.now.mono_ms,
    )


def _session_failed(turn: Turn, event: events.Event) -> None:
    assert isinstance(event, events.SessionFailed)
    if event.connector == turn.state.kiosk.connector:
        one = turn.state.settlements.get(event.hold_id)
        held = (one.approved_minor or one.hold.amount_minor) if one and not one.offline else 0
        _decline(turn, event.words, held, event.hold_id)
        turn.note_kiosk(declined_kept_until_mono_ms=one.kept_until_mono_ms if one else 0)


def _may_open(turn: Turn, connector: int) -> bool:
    return (
        connector not in turn.state.sessions
        and sale.out_of_service(turn.state, turn.terms) is None
        and sale.not_for_sale(turn.state, turn.terms, connector) is None
    )


def _commit_session(turn: Turn, connector: int, free: bool) -> str:
    """Commit that a session begins; its id."""
    terms = turn.terms
    tariff = terms.tariffs[connector] if free else _seen_tariff(turn, connector)
    turn.commit(
        f.SessionOpened(
            session_id=terms.fresh_id,
            connector=connector,
            tariff=tariff.raw,
            tariff_fingerprint=tariff.fingerprint,
            free=free,
            language=turn.state.kiosk.language,
            plug_deadline_mono_ms=terms.now.mono_ms + terms.config.policy.plug_window_s * 1000,
            clock=terms.now.clock.value,
        )
    )
    return terms.fresh_id


def _seen_tariff(turn: Turn, connector: int) -> Tariff:
    """The prices that were on the glass when the driver tapped: they stay valid, whatever has begun in this moment."""
    kiosk = turn.state.kiosk
    seen = kiosk.offered is not None and kiosk.offered_for == connector
    return kiosk.offered if seen and kiosk.offered is not None else turn.terms.tariffs[connector]


def open_session(turn: Turn, connector: int, card: PaymentCard | None) -> None:
    """Commit the session (and the intent to ask for money), then ask the gateway."""
    session_id = _commit_session(turn, connector, free=card is None)
    if card is None:
        return
    if live := hold.reusable(turn.state, card.facts, turn.terms.config.policy.min_useful_hold_minor):
        card.wipe()
        start.reuse(turn, connector, live, session_id)
        return
    terms = turn.terms
    route = sale.card_route(turn.state, terms, card.facts.brand) or terms.config.card_gateways(card.facts.brand)
    asked = hold.new_hold(turn, session_id, connector, route[0], card.amount_minor)
    turn.commit(f.AuthorizationIntended(session_id, asked, card.facts))
    turn.note_settlement(asked.hold_id, answer_due=True)
    turn.do(actions.Authorize(asked, card, terms.now.mono_ms + terms.config.policy.authorize_deadline_s * 1000))


# --- time ------------------------------------------------------------------------------------------------------------


def _ticked(turn: Turn, event: events.Event) -> None:
    policy, now = turn.terms.config.policy, turn.terms.now.mono_ms
    for connector, done in turn.state.finished.items():
        if now - done.since_mono_ms > policy.receipt_show_s * 1000:
            _put_receipt_away(turn, connector)  # back to the start only for whoever looks at it
    kiosk = turn.state.kiosk
    here_ms = now - kiosk.since_mono_ms
    if kiosk.phase is KioskPhase.READING and here_ms > READING_LONGEST_MS:
        _decline(turn, DeclineWords.CARD_ERROR, 0)
    elif kiosk.phase is KioskPhase.DECLINED and (here_ms > presenter.declined_show_ms(kiosk, policy) or _no_longer_true(turn)):
        turn.note_kiosk(phase=KioskPhase.FOCUSED, declined=None, since_mono_ms=now)
    elif kiosk.phase is KioskPhase.FOCUSED and here_ms > IDLE_TO_OVERVIEW_MS and _nobody_acts(turn, kiosk.connector):
        _back_to_start(turn)


def _no_longer_true(turn: Turn) -> bool:
    """The screen says that a hold is kept, and it is not any more."""
    kiosk = turn.state.kiosk
    return kiosk.declined is DeclineWords.HOLD_KEPT and not hold.kept(turn.state, kiosk.connector)


def _nobody_acts(turn: Turn, connector: int) -> bool:
    session = turn.state.sessions.get(connector)
    quiet = session is None or (session.phase is Phase.CHARGING and len(turn.terms.config.connector) > 1)
    return quiet and connector not in turn.state.finished


P, E = KioskPhase, events
_NO_CARD_HERE = Ignored("the reader is not armed for a payment here; what it still reports belongs to an earlier arming")

RULES: dict[tuple[KioskPhase, type[events.Event]], Step | Ignored | Impossible] = {
    (P.OVERVIEW, E.Booted): Ignored("nobody is here yet"),
    (P.OVERVIEW, E.Ticked): _ticked,
    (P.OVERVIEW, E.Touched): _touched,
    (P.OVERVIEW, E.FrameShown): _frame_shown,
    (P.OVERVIEW, E.CardSeen): _NO_CARD_HERE,
    (P.OVERVIEW, E.CardRead): _card_read,
    (P.OVERVIEW, E.CardFailed): _NO_CARD_HERE,
    (P.OVERVIEW, E.SessionFailed): _session_failed,
    (P.FOCUSED, E.Booted): Ignored("nobody is here yet"),
    (P.FOCUSED, E.Ticked): _ticked,
    (P.FOCUSED, E.Touched): _touched,
    (P.FOCUSED, E.FrameShown): _frame_shown,
    (P.FOCUSED, E.CardSeen): _card_seen,
    (P.FOCUSED, E.CardRead): _card_read,
    (P.FOCUSED, E.CardFailed): _card_failed,
    (P.FOCUSED, E.SessionFailed): _session_failed,
    (P.READING, E.Booted): Impossible("a volatile state cannot be found after replay"),
    (P.READING, E.Ticked): _ticked,
    (P.READING, E.Touched): _touched,
    (P.READING, E.FrameShown): _frame_shown,
    (P.READING, E.CardSeen): Ignored("a card is being read already"),
    (P.READING, E.CardRead): _card_read,
    (P.READING, E.CardFailed): _card_failed,
    (P.READING, E.SessionFailed): _session_failed,
    (P.DECLINED, E.Booted): Impossible("a volatile state cannot be found after replay"),
    (P.DECLINED, E.Ticked): _ticked,
    (P.DECLINED, E.Touched): _touched,
    (P.DECLINED, E.FrameShown): _frame_shown,
    (P.DECLINED, E.CardSeen): _card_seen,
    (P.DECLINED, E.CardRead): _card_read,
    (P.DECLINED, E.CardFailed): _card_failed,
    (P.DECLINED, E.SessionFailed): _session_failed,
}
HANDLED: tuple[type[events.Event], ...] = (
    E.Booted,
    E.Ticked,
    E.Touched,
    E.FrameShown,
    E.CardSeen,
    E.CardRead,
    E.CardFailed,
    E.SessionFailed,
)
