"""Paying by phone: from the open page to the hold, or to the page's end. Part of the session machine (phase CHECKOUT). PURE.

A page is shown only after its name at the gateway is committed. It is ended when the driver cancels, when the time is over
and after every restart; what was paid in that very moment is released. Whatever stays unknown becomes the settlement's: its
release ends page and payment, repeated until answered.
"""

import hashlib

from terminal_app import screens as s
from terminal_app.screens import DeclineWords
from terminal_app.session import actions, events, sale, start
from terminal_app.session import facts as f
from terminal_app.session.hold import new_hold
from terminal_app.session.state import Session, State, Terms
from terminal_app.session.turn import Turn
from terminal_app.session.words import DECLINE_WORDS
from terminal_app.values import Approved, CardFacts, Checkout, Declined, DeclineReason, EntryMode, Hold, OutcomeUnknown

PAYER = CardFacts(brand="", last4="", token="", aid="", label="", entry=EntryMode.QR)
WORD_LETTERS = "ACDEFGHJKLMNPQRTUVWXY34679"  # none that looks like another one
WORD_LENGTH = 4
END_LONGEST_MS = 15_000
CANCELLED, TIMED_OUT, BY_CARD = "cancelled", "timed_out", "by_card"


def check_word(hold_id: str) -> str:
    """Four letters that stand on the screen and on the page of the same hold."""
    number = int.from_bytes(hashlib.sha256(hold_id.encode()).digest()[:8], "big")
    word = ""
    for _ in range(WORD_LENGTH):
        number, letter = divmod(number, len(WORD_LETTERS))
        word += WORD_LETTERS[letter]
    return word


def open_page(turn: Turn, connector: int, session_id: str) -> None:
    """Commit the intent of a hold by phone, then ask for its page."""
    terms = turn.terms
    gateway = sale.phone_route(turn.state, terms)[0]
    hold = new_hold(turn, session_id, connector, gateway, sale.hold_minor(turn.state, terms))
    turn.commit(f.AuthorizationIntended(session_id, hold, PAYER))
    _ask_page(turn, connector, hold.hold_id)


def _ask_page(turn: Turn, connector: int, hold_id: str) -> None:
    terms, hold = turn.terms, turn.state.settlements[hold_id].hold
    turn.note_settlement(hold_id, answer_due=True)
    label = terms.config.outlet(connector).label
    station = f"{terms.config.terminal.station} / {label} / {check_word(hold.hold_id)}"
    turn.do(actions.OpenCheckout(hold, station, terms.now.mono_ms + terms.config.policy.authorize_deadline_s * 1000))


def opened(turn: Turn, connector: int, event: events.Event) -> None:
    assert isinstance(event, events.CheckoutAnswered)
    turn.note_settlement(event.hold_id, answer_due=False)
    match event.answer:
        case Checkout(url=url, reference=reference, expires_utc_ms=expires_utc_ms):
            turn.commit(f.CheckoutOpened(event.hold_id, reference, expires_utc_ms))
            turn.note_live(connector, checkout_url=url)
            kind = actions.ExpireCheckout if turn.live(connector).checkout_ends else actions.WatchCheckout
            turn.do(kind(_hold(turn, connector)))
        case Declined(reason=DeclineReason.UNREACHABLE, code=code) if others := _not_tried(turn, event.hold_id):
            turn.commit(f.AuthorizationRerouted(event.hold_id, others[0], code or "out of reach"))
            _ask_page(turn, connector, event.hold_id)
        case Declined(reason=reason, code=code):
            _closed(turn, connector, reason, code, DeclineWords.PHONE_UNREACHABLE)
        case OutcomeUnknown(why=why):
            start.in_doubt(turn, connector, event.hold_id, f"page: {why}")


def _not_tried(turn: Turn, hold_id: str) -> list[str]:
    """Other gateways that can open a page, while somebody still waits for one."""
    one = turn.state.settlements[hold_id]
    if turn.live(one.hold.connector).checkout_ends:
        return []
    return [name for name in sale.phone_route(turn.state, turn.terms) if name not in (*one.tried, one.hold.gateway)]


def answered(turn: Turn, connector: int, event: events.Event) -> None:
    """The page is paid, or has ended."""
    assert isinstance(event, events.AuthorizationAnswered)
    ends = turn.live(connector).checkout_ends
    turn.note_settlement(event.hold_id, answer_due=False)
    match event.outcome:
        case Approved():
            start.approved(turn, connector, event.outcome)
            if ends == BY_CARD:  # paid in that very moment: the card that was tapped meanwhile is not asked for money
                turn.note_live(connector, checkout_ends="")
            elif ends and event.hold_id == _hold_id_of(turn, connector):  # ... and nobody waits any more
                start.abort(turn, connector, f.StopReason.TOUCH, f"paid while the page was being ended ({ends})")
                if ends == TIMED_OUT:
                    turn.then(events.SessionFailed(connector, DeclineWords.PHONE_TIMEOUT, event.hold_id))
        case Declined(reason=reason, code=code):
            late = reason is DeclineReason.TOO_LATE
            _closed(turn, connector, reason, code, DeclineWords.PHONE_TIMEOUT if late else DECLINE_WORDS[reason])
        case OutcomeUnknown(why=why):
            start.in_doubt(turn, connector, event.hold_id, f"page: {why}")


def _closed(turn: Turn, connector: int, reason: DeclineReason, code: str, words: DeclineWords) -> None:
    """Nothing is held. Who cancelled, or tapped a card instead, needs no explanation."""
    by_driver = turn.live(connector).checkout_ends in (CANCELLED, BY_CARD)
    turn.commit(f.AuthorizationDeclined(_hold_id_of(turn, connector), reason, code))
    if not by_driver:
        turn.then(events.SessionFailed(connector, words, ""))


def cancelled(turn: Turn, connector: int, event: events.Event) -> None:
    _end(turn, connector, CANCELLED)


def card_instead(turn: Turn, connector: int) -> None:
    """A card was tapped while the page was open: the page dies first, then the card may be asked for money."""
    _end(turn, connector, BY_CARD)


def _end(turn: Turn, connector: int, why: str) -> None:
    """Nobody shall pay on this page any more. While it is still being opened, its end follows its opening."""
    if turn.live(connector).checkout_ends:
        return
    turn.note_live(connector, checkout_ends=why, checkout_ends_mono_ms=turn.terms.now.mono_ms)
    hold = _hold(turn, connector)
    if "checkout" in hold.trace:
        turn.do(actions.ExpireCheckout(hold))


def ticked(turn: Turn, connector: int, event: events.Event) -> None:
    session, live = start.session_on(turn, connector), turn.live(connector)
    now, policy = turn.terms.now.mono_ms, turn.terms.config.policy
    open_for_ms = now - session.opened.mono_ms
    if live.checkout_ends and now - live.checkout_ends_mono_ms > END_LONGEST_MS:
        start.in_doubt(turn, connector, session.hold_id, "the gateway did not end the page in time")
    elif not live.checkout_url and open_for_ms > policy.authorize_deadline_s * 1000 + start.ANSWER_GRACE_MS:
        start.in_doubt(turn, connector, session.hold_id, "the gateway opened no page in time")
    elif open_for_ms > policy.checkout_window_s * 1000:
        _end(turn, connector, TIMED_OUT)


def booted(turn: Turn, connector: int, event: events.Event) -> None:
    start.in_doubt(turn, connector, _hold_id_of(turn, connector), "the terminal was restarted while the driver paid by phone")


def _hold_id_of(turn: Turn, connector: int) -> str:
    session = turn.state.sessions.get(connector)
    return session.hold_id if session else ""


def _hold(turn: Turn, connector: int) -> Hold:
    return turn.state.settlements[_hold_id_of(turn, connector)].hold


def page_view(state: State, terms: Terms, session: Session, label: str) -> s.PayByPhone:
    live = state.live[session.connector]
    left_ms = terms.config.policy.checkout_window_s * 1000 - (terms.now.mono_ms - session.opened.mono_ms)
    return s.PayByPhone(
        connector=session.connector,
        label=label,
        hold_minor=state.settlements[session.hold_id].hold.amount_minor,
        url="" if live.checkout_ends else live.checkout_url,
        check_word=check_word(session.hold_id),
        left_s=max(0, left_ms) // 1000,
        ending=bool(live.checkout_ends),
        by_card=bool(live.checkout_url) and not live.checkout_ends and sale.takes_cards(state, terms),
    )
