"""The receipt of a hold that paid for nothing: approved, but no charge began. PURE; moves no money.

It has a number of the same gapless series as bills and stands in the settlement record of its hold: there is no session record
without energy or a closed contactor, and the driver still gets told, on paper and for good, that nothing was taken.
"""

from typing import Any

import msgspec

from terminal_app.values import CardFacts

__all__ = ["NoCharge", "card_payload", "no_charge_payload"]


class NoCharge(msgspec.Struct, frozen=True, kw_only=True):
    """Who would have sold where, when money was asked for and let go (UTC ms, clock "S", "I" or "U"), and why nothing came of it.

    `reason` is a value of `screens.StopWords`. `card` None: not by card.
    """

    number: str
    code: str
    operator: str
    operator_address: str
    vat_id: str
    station: str
    country: str
    time_zone: str
    connector: int
    evse_id: str
    asked_utc_ms: int
    released_utc_ms: int
    clock: str
    reason: str
    card: CardFacts | None = None


def no_charge_payload(one: NoCharge) -> dict[str, Any]:
    """`receipt` of a settlement record."""
    return {
        "number": one.number,
        "code": one.code,
        "seller": {"name": one.operator, "address": one.operator_address, "vat_id": one.vat_id},
        "site": {"station": one.station, "country": one.country, "time_zone": one.time_zone},
        "connector": one.connector,
        "evse_id": one.evse_id,
        "asked_utc_ms": one.asked_utc_ms,
        "released": {"utc_ms": one.released_utc_ms, "clock": one.clock},
        "reason": one.reason,
        "card": card_payload(one.card),
    }


def card_payload(card: CardFacts | None) -> dict[str, Any] | None:
    """What a record says of a card. Its token stays on the terminal: it links a person's sessions, and no reader needs it."""
    if card is None:
        return None
    return {
        "brand": card.brand,
        "last4": card.last4,
        "aid": card.aid,
        "label": card.label,
        "entry": card.entry.value,
        "cvm": card.cvm,
    }
