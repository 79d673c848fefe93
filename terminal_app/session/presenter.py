"""Presenter: what the driver sees, as data. Numbers, enums and message ids; no prose, no pixels. PURE."""

import msgspec

from terminal_app import screens as s
from terminal_app.billing.tariff import price_lines, vat_percent_text
from terminal_app.config import PolicySection
from terminal_app.session import book, checkout, limits, receipts, sale
from terminal_app.session.bill import cost_until, frozen_tariff, least_wh
from terminal_app.session.evolve import card_text
from terminal_app.session.facts import Terminated
from terminal_app.session.state import Finished, Kiosk, KioskPhase, Phase, Session, State, Terms
from terminal_app.session.words import CARD_WORDS
from terminal_app.values import Pilot

METER_LOST_AFTER_MS = 5_000
AWAITED_AFTER_FAILURES = 2  # one stop register that cannot be read is asked for again before anybody need know
OVER = (s.ChargePhase.STOPPING, s.ChargePhase.METER_AWAITED)
MISREAD_SHOW_MS = 4_000
CODE_SHOW_MS = 30_000
LOWER_HELPS = (
    s.DeclineWords.AUTHENTICATION_WANTED,
    s.DeclineWords.LIMIT_EXCEEDED,
    s.DeclineWords.INSUFFICIENT_FUNDS,
)
PHONE_HELPS = (
    *LOWER_HELPS,
    s.DeclineWords.REFUSED,
    s.DeclineWords.CARD_INVALID,
    s.DeclineWords.CARD_NOT_SUPPORTED,
    s.DeclineWords.CARD_REFUSED,
    s.DeclineWords.BANK_UNREACHABLE,
    s.DeclineWords.OFFLINE_REFUSED,
)
MONEY = {
    None: s.MoneyWords.SETTLING,
    Terminated.CAPTURED: s.MoneyWords.CAPTURED,
    Terminated.VOIDED: s.MoneyWords.RELEASED,
    Terminated.MANUAL: s.MoneyWords.MANUAL,
}


def present(state: State, terms: Terms, screen_no: int, revision: int, view: s.View | None = None) -> s.Screen:
    """The whole screen for this state; `view`: what `view_of` said of it, if that is known already."""
    terminal = terms.config.terminal
    return s.Screen(
        screen_no=screen_no,
        revision=revision,
        view=view or view_of(state, terms),
        language=state.kiosk.language,
        languages=terminal.languages,
        currency=terminal.currency,
        station=terminal.station,
        helpline=terminal.helpline,
        utc_ms=terms.now.utc_ms,
        time_zone=terminal.time_zone,
        demo=terms.config.demo,
    )


def meaning(state: State, terms: Terms, view: s.View | None = None) -> str:
    """What the screen means, without its figures: equal text = the same `screen_no`. A changed price is a new meaning."""
    view = view or view_of(state, terms)
    name = type(view).__name__
    match view:
        case s.Offer():
            ways = (view.by_card, view.by_phone, view.offline)
            tariff = book.fingerprint(terms.tariffs[view.connector].raw)  # equal figures may hide another rule, such as a step
            parts: object = (view.connector, view.free, view.hold_minor, view.vat_percent, view.prices, ways, view.choices, tariff)
        case s.Overview():
            parts = tuple(tile.connector for tile in view.tiles)
        case s.NotForSale() | s.OutOfService():
            parts = view.reason
        case s.DeclinedView():
            parts = (view.connector, view.reason, view.by_phone, view.lower_hold_minor)
        case s.BankWait() | s.PlugIn() | s.ReadingCard():
            parts = view.connector
        case s.PayByPhone():
            parts = (view.connector, view.check_word, view.url, view.ending, view.by_card)
        case s.Charging():
            session = state.sessions[view.connector]
            parts = (session.session_id, view.phase in OVER)
        case s.Receipt():
            parts = view.number
    return f"{name}/{state.kiosk.language}/{msgspec.json.encode(parts).decode()}"


def view_of(state: State, terms: Terms) -> s.View:
    """What is shown. A running charge on the focused connector is shown even when nothing is for sale."""
    kiosk, connector = state.kiosk, state.kiosk.connector
    label = terms.config.outlet(connector).label
    if kiosk.phase is KioskPhase.DECLINED and kiosk.declined is not None:
        left_ms = declined_show_ms(kiosk, terms.config.policy) - (terms.now.mono_ms - kiosk.since_mono_ms)
        return s.DeclinedView(
            connector=connector,
            reason=kiosk.declined,
            held_minor=kiosk.declined_hold_minor,
            back_in_s=max(0, left_ms // 1000),
            by_phone=phone_may_help(state, terms),
            lower_hold_minor=lower_hold_minor(state, terms),
            kept_s=max(0, kiosk.declined_kept_until_mono_ms - terms.now.mono_ms) // 1000,
            qr=receipts.address(terms, kiosk.declined_receipt),
        )
    if kiosk.phase is KioskPhase.READING:
        return s.ReadingCard(connector)
    if kiosk.phase is KioskPhase.OVERVIEW and (state.sessions or sale.out_of_service(state, terms) is None):
        return s.Overview(tuple(_tile(state, terms, one.number) for one in terms.config.connector))
    session = state.sessions.get(connector)
    if session is not None and not session.test:
        return _of_session(state, terms, session, label)
    if done := state.finished.get(connector):
        return _receipt(state, terms, done, label)
    if out := sale.out_of_service(state, terms):
        return s.OutOfService(out)
    if reason := sale.not_for_sale(state, terms, connector):
        return s.NotForSale(connector, label, reason, several=len(terms.config.connector) > 1)
    return _offer(state, terms, connector, label)


def phone_may_help(state: State, terms: Terms) -> bool:
    """After this refusal the driver's phone is worth a try: the bank can ask its customer there, or another one pays."""
    kiosk = state.kiosk
    on_glass = kiosk.phase is KioskPhase.DECLINED and kiosk.declined in PHONE_HELPS and kiosk.connector not in state.sessions
    return on_glass and sale.not_for_sale(state, terms, kiosk.connector) is None and sale.takes_phones(state, terms)


def lower_hold_minor(state: State, terms: Terms) -> int:
    """The lower hold that may pass after this refusal, 0 = none."""
    kiosk, lower = state.kiosk, terms.config.policy.lower_hold_minor
    helps = kiosk.phase is KioskPhase.DECLINED and kiosk.declined in LOWER_HELPS
    return lower if helps and lower < sale.hold_minor(state, terms) else 0


def declined_show_ms(kiosk: Kiosk, policy: PolicySection) -> int:
    """How long a refusal stays. A card that was only misread is about to be held out again: that may be soon; and a hold that
    is kept is never out of sight; a code to scan waits for the driver's phone."""
    if kiosk.declined is s.DeclineWords.HOLD_KEPT:
        return policy.reuse_window_s * 1000
    if kiosk.declined_receipt:
        return max(policy.declined_show_s * 1000, CODE_SHOW_MS)
    misread = kiosk.declined in CARD_WORDS.values()
    return min(policy.declined_show_s * 1000, MISREAD_SHOW_MS) if misread else policy.declined_show_s * 1000


def _tile(state: State, terms: Terms, connector: int) -> s.ConnectorTile:
    live = state.live[connector]
    if connector in state.sessions:
        what = s.ConnectorState.BUSY
    elif connector in state.finished:
        what = s.ConnectorState.FINISHED
    elif sale.not_for_sale(state, terms, connector):
        what = s.ConnectorState.NOT_FOR_SALE
    elif live.evse is not None and live.evse.pilot is not Pilot.A:
        what = s.ConnectorState.PLUGGED
    else:
        what = s.ConnectorState.FREE
    return s.ConnectorTile(connector, terms.config.outlet(connector).label, what)


def _offer(state: State, terms: Terms, connector: int, label: str) -> s.Offer:
    tariff, live = terms.tariffs[connector], state.live[connector]
    request = state.kiosk.request
    return s.Offer(
        connector=connector,
        label=label,
        prices=price_lines(tariff),
        vat_percent=vat_percent_text(tariff),
        free=tariff.is_free,
        hold_minor=0 if tariff.is_free else sale.hold_minor(state, terms),
        plugged=live.evse is not None and live.evse.pilot is not Pilot.A,
        card_ready=request is not None and request.pay,
        several=len(terms.config.connector) > 1,
        by_card=sale.takes_cards(state, terms),
        by_phone=not tariff.is_free and sale.takes_phones(state, terms),
        choices=sale.hold_choices(terms, connector),
        offline=not tariff.is_free and sale.offline_only(state, terms),
    )


def _of_session(state: State, terms: Terms, session: Session, label: str) -> s.View:
    hold = state.settlements.get(session.hold_id)
    now, policy = terms.now.mono_ms, terms.config.policy
    match session.phase:
        case Phase.AUTHORIZING:
            waited_s = max(0, now - session.opened.mono_ms) // 1000
            asked = hold.hold.amount_minor if hold else 0
            offline = sale.offline_only(state, terms)
            return s.BankWait(session.connector, asked, waited_s, policy.authorize_deadline_s, offline)
        case Phase.CHECKOUT:
            return checkout.page_view(state, terms, session, label)
        case Phase.AUTHORIZED:
            left_s = max(0, session.plug_deadline_mono_ms - now) // 1000
            held = hold.approved_minor if hold else 0
            return s.PlugIn(session.connector, label, held, card_text(session.card), left_s, session.reused)
        case _:
            return _charging(state, terms, session, label)


def _charging(state: State, terms: Terms, session: Session, label: str) -> s.Charging:
    live, hold = state.live[session.connector], state.settlements.get(session.hold_id)
    newest = session.stop or live.meter or session.committed
    zone = terms.config.terminal.time_zone
    energy_wh = cost_minor = 0
    if session.start is not None and newest is not None and newest.serial == session.start.serial:
        register = max(newest.energy_wh, session.start.energy_wh)
        energy_wh = register - session.start.energy_wh
        charging_ms = max(live.charging_ms, session.charging_ms)
        parking_ms = max(live.parking_ms, session.parking_ms)
        least = least_wh(session, terms.config.terminal.country)
        cost_minor = cost_until(session, register, charging_ms, parking_ms, zone, least).total_minor
    seconds_ms = max(live.charging_ms + live.parking_ms, session.charging_ms + session.parking_ms)
    return s.Charging(
        connector=session.connector,
        label=label,
        phase=_phase(state, terms, session),
        energy_wh=energy_wh,
        cost_minor=cost_minor,
        seconds=seconds_ms // 1000,
        power_w=live.meter.power_w if live.meter is not None and session.phase is Phase.CHARGING else 0,
        hold_minor=hold.approved_minor if hold else 0,
        card=card_text(session.card),
        prices=price_lines(frozen_tariff(session.tariff)),
        owed=hold.offline if hold else False,
    )


def _phase(state: State, terms: Terms, session: Session) -> s.ChargePhase:
    live = state.live[session.connector]
    if session.phase is Phase.STARTING:
        return s.ChargePhase.STARTING
    if session.phase is Phase.STOPPING and live.read_failures >= AWAITED_AFTER_FAILURES:
        return s.ChargePhase.METER_AWAITED
    if session.phase is not Phase.CHARGING:
        return s.ChargePhase.STOPPING
    if terms.now.mono_ms - live.meter_seen_mono_ms > METER_LOST_AFTER_MS:
        return s.ChargePhase.METER_LOST
    if limits.withheld(state, terms.config, session.connector):
        return s.ChargePhase.WITHHELD
    if live.evse is not None and live.granted and not live.evse.relay:
        return s.ChargePhase.CAR_PAUSED
    return s.ChargePhase.CHARGING if live.granted else s.ChargePhase.STARTING


def _money(done: Finished) -> s.MoneyWords:
    if done.session.free:
        return s.MoneyWords.FREE
    return s.MoneyWords.RECEIVABLE if done.offline and done.settled is None else MONEY[done.settled]


def _receipt(state: State, terms: Terms, done: Finished, label: str) -> s.Receipt:
    session, bill = done.session, done.session.bill
    assert bill is not None and session.start is not None and session.stop_reason is not None
    return s.Receipt(
        connector=session.connector,
        label=label,
        number=bill.receipt_number,
        lines=bill.shown_lines,
        total_minor=bill.total_minor,
        vat_minor=bill.vat_minor,
        energy_wh=bill.energy_wh,
        seconds=(bill.charging_ms + bill.parking_ms) // 1000,
        meter_start_wh=session.start.energy_wh,
        meter_stop_wh=bill.stop.energy_wh,
        meter_serial=bill.stop.serial,
        hold_minor=done.hold_minor,
        money=_money(done),
        stop=s.StopWords(session.stop_reason.value),
        card=done.card,
        qr=receipts.address(terms, bill.receipt_code, done.compact),
        interrupted=session.interrupted,
        printing=receipts.printing(terms, state, done),
    )
