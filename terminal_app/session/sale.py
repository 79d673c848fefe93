"""What a connector can be sold as right now, and what is out of order. One place answers, for rules and screens. PURE."""

from terminal_app.screens import NotForSaleReason, OutOfServiceReason
from terminal_app.session import gate
from terminal_app.session.state import State, Terms
from terminal_app.values import ClockState, Device, Pilot

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
    if connector not in terms.tariffs:
        return NotForSaleReason.NO_TARIFF
    for fault in state.faults.values():
        if fault.connector == connector and fault.device in _NOT_FOR_SALE:
            return _NOT_FOR_SALE[fault.device]
    live = state.live[connector]
    if live.evse is None or live.evse.fault or live.evse.pilot in (Pilot.E, Pilot.F):
        return NotForSaleReason.EVSE
    if live.evse.relay and connector not in state.sessions:
        return NotForSaleReason.EVSE  # closed, and nobody may draw energy: welded, or not yet locked after a restart
    if live.meter is None or not live.meter.serial or gate.backwards(state.registers.get(connector), live.meter):
        return NotForSaleReason.METER
    if terms.tariffs[connector].needs_clock and terms.now.clock is ClockState.UNKNOWN:
        return NotForSaleReason.CLOCK
    if not terms.tariffs[connector].is_free and not takes_cards(state, terms) and not takes_phones(state, terms):
        return NotForSaleReason.READER if terms.config.tap_gateway else NotForSaleReason.GATEWAY
    return None


def takes_cards(state: State, terms: Terms) -> bool:
    """A card can be tapped now: there is a gateway for it, and the reader works."""
    return bool(terms.config.tap_gateway) and all(fault.device is not Device.READER for fault in state.faults.values())


def takes_phones(state: State, terms: Terms) -> bool:
    """A page for the driver's phone can be opened now: there is a gateway for it, and it answers."""
    return bool(terms.config.checkout_gateway) and all(fault.device is not Device.GATEWAY for fault in state.faults.values())
