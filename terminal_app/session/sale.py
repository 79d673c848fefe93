"""What a connector can be sold as right now, and what is out of order. One place answers, for rules and screens. PURE."""

from terminal_app.billing.tariff import dearest_second_price
from terminal_app.config import AccountSection
from terminal_app.screens import HoldChoice, NotForSaleReason, OutOfServiceReason
from terminal_app.session import gate, lawful, limits, pocket, register
from terminal_app.session.bill import margin_minor, most_minor
from terminal_app.session.state import State, Terms, fault_key
from terminal_app.values import ClockState, Device, Fault, MeterValue, Pilot

_OUT_OF_SERVICE = {
    Device.LEDGER: OutOfServiceReason.LEDGER,
    Device.SIGNER: OutOfServiceReason.SIGNER,
    Device.DISK: OutOfServiceReason.DISK,
}
_NOT_FOR_SALE = {
    Device.METER: NotForSaleReason.METER,
    Device.EVSE: NotForSaleReason.EVSE,
}


def out_of_service(state: State, terms: Terms) -> OutOfServiceReason | None:
    """Why the whole terminal sells nothing; None if it may."""
    for fault in state.faults.values():
        if fault.device in _OUT_OF_SERVICE:
            return _OUT_OF_SERVICE[fault.device]
    return OutOfServiceReason.REPEATED_CRASH if terms.out_of_service else None


def not_for_sale(state: State, terms: Terms, connector: int) -> NotForSaleReason | None:
    """Why this connector is not sold; None if it is. No tariff is not for sale; an explicit zero tariff is free."""
    if (session := state.sessions.get(connector)) is not None and session.test:
        return NotForSaleReason.SERVICE
    if connector not in terms.tariffs:
        return NotForSaleReason.CLOCK if connector in terms.clock_wanted else NotForSaleReason.NO_TARIFF
    for fault in state.faults.values():
        if fault.connector == connector and fault.device in _NOT_FOR_SALE and fault.kind != register.UNEXPLAINED:
            return _NOT_FOR_SALE[fault.device]
    live = state.live[connector]
    if live.evse is None or live.evse.fault or live.evse.pilot in (Pilot.E, Pilot.F):
        return NotForSaleReason.EVSE
    if not limits.allowed_a(state, terms.config, connector):
        return NotForSaleReason.EVSE  # people have paused it: nobody's money is held for energy that nobody will give
    if live.evse.relay and connector not in state.sessions:
        return NotForSaleReason.EVSE  # closed, and nobody may draw energy: welded, or not yet locked after a restart
    if live.meter is None or not live.meter.serial or live.outlier is not None or below_the_last_bill(state, connector, live.meter):
        return NotForSaleReason.METER
    if connector in terms.signing and live.meter.serial not in state.meters:
        return NotForSaleReason.METER  # its public key was not read yet: nothing it signs could be verified
    by_clock = connector in terms.clock_wanted or terms.tariffs[connector].needs_clock
    if by_clock and terms.now.clock is not ClockState.SYNCHRONISED:
        return NotForSaleReason.CLOCK
    if lawful.breaches(state, terms, connector):
        return NotForSaleReason.UNLAWFUL_TARIFF
    if not terms.tariffs[connector].is_free and not takes_cards(state, terms) and not takes_phones(state, terms):
        by_card = any(well(state, name) for name in terms.config.tap_gateways)
        return NotForSaleReason.READER if by_card else NotForSaleReason.GATEWAY
    return None


def below_the_last_bill(state: State, connector: int, value: MeterValue) -> bool:
    """The same meter shows less than what was billed last, and has not rolled over."""
    last, book = state.registers.get(connector), state.energy.get(connector)
    return last is not None and gate.backwards(last, register.continued(last, value, book.wraps_at_wh if book else 0))


def well(state: State, gateway: str) -> bool:
    """The gateway answers, as far as anybody knows."""
    return fault_key(Fault(Device.GATEWAY, 0, gateway)) not in state.faults


def takes_cards(state: State, terms: Terms) -> bool:
    """A card can be tapped now: the reader works, and some gateway answers (or some cards may charge without theirs)."""
    if any(fault.device is Device.READER for fault in state.faults.values()):
        return False
    return any(well(state, name) for name in terms.config.tap_gateways) or offline_only(state, terms)


def offline_only(state: State, terms: Terms) -> bool:
    """No gateway for cards answers, but cards of an account may charge on what was set aside or on the operator's risk."""
    names = terms.config.tap_gateways
    return any(_alone(state, terms, name) for name in names) and not any(well(state, name) for name in names)


def _alone(state: State, terms: Terms, gateway: str) -> bool:
    """Whether some cards of this gateway may charge while it cannot be reached: on the operator's risk, or from a slice."""
    if not isinstance(terms.config.gateway[gateway], AccountSection):
        return False
    kept, now_utc_ms = state.slices.kept.values(), terms.now.utc_ms
    slices = (one for one in kept if one.gateway == gateway)
    return terms.config.offline is not None or any(pocket.left_minor(state.slices, one, now_utc_ms) for one in slices)


def card_route(state: State, terms: Terms, brand: str) -> tuple[str, ...]:
    """Gateways to ask for a card of this brand, in order: those that answer, then those whose cards may charge alone."""
    names = terms.config.card_gateways(brand)
    answering = tuple(name for name in names if well(state, name))
    return answering + tuple(name for name in names if name not in answering and _alone(state, terms, name))


def takes_phones(state: State, terms: Terms) -> bool:
    """A page for the driver's phone can be opened now: some gateway for it answers."""
    return bool(phone_route(state, terms))


def phone_route(state: State, terms: Terms) -> tuple[str, ...]:
    """Gateways that can open a page now, in order."""
    return tuple(name for name in terms.config.phone_gateways if well(state, name))


def hold_minor(state: State, terms: Terms) -> int:
    """What is held for the person at the screen: as chosen, else the operator's amount."""
    return state.kiosk.hold_minor or terms.config.policy.hold_minor


def hold_choices(terms: Terms, connector: int) -> tuple[HoldChoice, ...]:
    """What the driver may choose to have held here, lowest first; empty = no choice.

    So much energy costs at most its dearest price and the session's fixed price, and the charge stops before the hold is
    used up: the amount for an energy covers both. Only prices by energy can be foretold.
    """
    policy, tariff = terms.config.policy, terms.tariffs[connector]
    if tariff.is_free or not (policy.hold_choices_minor or policy.hold_choices_kwh):
        return ()
    found = {amount: HoldChoice(amount) for amount in (policy.hold_minor, *policy.hold_choices_minor)}
    max_power_w = terms.config.outlet(connector).max_power_w
    if dearest_second_price(tariff) == 0:
        for kwh in policy.hold_choices_kwh:
            amount = most_minor(tariff, kwh * 1000) + margin_minor(tariff, max_power_w)
            found[amount] = HoldChoice(amount, kwh * 1000)
    return tuple(found[amount] for amount in sorted(found))
