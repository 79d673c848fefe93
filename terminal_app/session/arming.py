"""Arming the reader: for a payment only while the price of it is on the glass (AF-12), for the same card while it charges. PURE."""

from terminal_app.screens import DeclineWords, PayByPhone
from terminal_app.session import hold, presenter, sale
from terminal_app.session.state import KioskPhase, Phase, State, Terms
from terminal_app.session.turn import Turn
from terminal_app.units import numeric_country
from terminal_app.values import CardRequest

SAME_CARD_AFTER_MS = 5_000


def arm(turn: Turn) -> None:
    """After every turn: does the reader want a payment, an identification, or rest? A change is a new arming."""
    if turn.state.kiosk.shown and turn.state.kiosk.shown != presenter.meaning(turn.state, turn.terms):
        turn.note_kiosk(shown="")  # when this meaning comes back it counts as shown only after its own new frame
    kiosk = turn.state.kiosk
    if kiosk.phase is KioskPhase.READING:
        return
    wanted = _wanted_request(turn.state, turn.terms)
    armed = kiosk.request
    if (wanted is None) != (armed is None) or (
        wanted is not None
        and armed is not None
        and (wanted.pay, wanted.amount_minor, wanted.serial) != (armed.pay, armed.amount_minor, armed.serial)
    ):
        turn.note_kiosk(request=wanted, arm_no=kiosk.arm_no + 1)


def _wanted_request(state: State, terms: Terms) -> CardRequest | None:
    kiosk = state.kiosk
    asks_again = kiosk.phase is KioskPhase.DECLINED and kiosk.declined is DeclineWords.HOLD_KEPT
    again = asks_again and hold.kept(state, kiosk.connector) != ""
    if kiosk.phase is not KioskPhase.FOCUSED and not again:
        return None
    connector = kiosk.connector
    pay = sale.takes_cards(state, terms) and (
        offer_is_on_the_glass(state, terms, connector) or _page_is_on_the_glass(state, terms, connector)
    )
    identify = any(
        one.phase is Phase.CHARGING
        and one.card is not None
        and one.card.token  # paid by phone: no card can be the same
        and one.started is not None
        and terms.now.mono_ms - one.started.mono_ms > SAME_CARD_AFTER_MS
        for one in state.sessions.values()
    )
    if not pay and not (identify and connector in state.sessions):
        return None
    terminal = terms.config.terminal
    return CardRequest(
        pay=pay,
        amount_minor=_amount_on_the_glass(state, terms, connector) if pay else 0,
        currency=terminal.currency,
        country=numeric_country(terminal.country),
        utc_ms=terms.now.utc_ms,
        serial=state.chain.next_serial,
    )


def offer_is_on_the_glass(state: State, terms: Terms, connector: int) -> bool:
    """The offer, or the refusal that asks for the same card once more: its price was shown before."""
    return (
        connector not in state.sessions
        and connector not in state.finished
        and sale.out_of_service(state, terms) is None
        and sale.not_for_sale(state, terms, connector) is None
        and not terms.tariffs[connector].is_free
        and state.kiosk.shown == presenter.meaning(state, terms)
    )


def _page_is_on_the_glass(state: State, terms: Terms, connector: int) -> bool:
    """A page for the phone is open and shown: a card may be tapped instead."""
    session = state.sessions.get(connector)
    if session is None or session.phase is not Phase.CHECKOUT or state.kiosk.shown != presenter.meaning(state, terms):
        return False
    view = presenter.view_of(state, terms)
    return isinstance(view, PayByPhone) and view.by_card


def _amount_on_the_glass(state: State, terms: Terms, connector: int) -> int:
    session = state.sessions.get(connector)
    return sale.hold_minor(state, terms) if session is None else state.settlements[session.hold_id].hold.amount_minor
