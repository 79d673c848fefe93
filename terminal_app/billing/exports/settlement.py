"""What became of the money, for others: OCPI FinancialAdviceConfirmation and OCPP 2.1 NotifySettlement. PURE, moves no money.

Sources: OCPI 2.3.0-ed2 mod_payments (FinancialAdviceConfirmation); OCPP 2.1 NotifySettlementRequest (schema of edition 1).
"""

from decimal import Decimal
from typing import Any

from terminal_app import units
from terminal_app.billing.exports.ocpi import Version, price, utc_text

__all__ = ["financial_advice", "notify_settlement"]

_STATUS = {"captured": "Settled", "refunded": "Settled", "voided": "Canceled", "manual": "Failed", "refused": "Rejected"}


def financial_advice(
    settlement: dict[str, Any], session: dict[str, Any] | None, version: Version = "2.3.0", published_utc_ms: int = 0
) -> dict[str, Any]:
    """The confirmation of one settlement record; with its session's record the VAT is itemised and the card is named.

    Captured in full: SUCCESS; less than the bill: PARTIAL_SUCCESS; a person must look, or a refund was refused: FAILED;
    released: SUCCESS with 0.
    """
    currency, amount, how = settlement["currency"], settlement["amount_minor"], settlement["how"]
    billed = session["totals"]["total_minor"] if session is not None else amount
    taken = amount if how in ("captured", "refunded") else 0
    code = "FAILED" if how in ("manual", "refused") else "PARTIAL_SUCCESS" if how == "captured" and amount < billed else "SUCCESS"
    lines = session["lines"] if session is not None and taken == billed else [_all_of(taken, session)]
    said = settlement["detail"] or {"voided": "released, nothing captured"}.get(how, "")
    found = {
        "id": f"{settlement['terminal']}-{settlement['chain_id']}-{settlement['seq']}"[:36],
        "authorization_reference": settlement["authorization_reference"][:36],
        "total_costs": price(lines, currency, version),
        "currency": currency,
        "eft_data": _eft_data(settlement, session),
        "capture_status_code": code,
        "last_updated": utc_text(published_utc_ms or settlement["created"]["utc_ms"]),
    }
    return found | ({"capture_status_message": said[:255]} if said else {})


def notify_settlement(settlement: dict[str, Any], session: dict[str, Any] | None) -> dict[str, Any]:
    """NotifySettlementRequest of one settlement record. `settlementAmount` in major units; captured or refunded: Settled."""
    trace = settlement["trace"]
    receipt = (session["receipt"]["number"] if session is not None else "") or settlement["receipt"]["number"]
    found: dict[str, Any] = {
        "transactionId": settlement["session_id"][:36],
        "pspRef": (trace.get("reference") or trace.get("rrn") or settlement["authorization_reference"])[:255],
        "status": _STATUS[settlement["how"]],
        "settlementAmount": units.major(settlement["amount_minor"], settlement["currency"]),
        "settlementTime": utc_text(settlement["ended"]["utc_ms"]),
    }
    if receipt:
        found["receiptId"] = receipt[:50]
    if settlement["detail"]:
        found["statusInfo"] = settlement["detail"][:500]
    return found


def _all_of(taken_minor: int, session: dict[str, Any] | None) -> dict[str, Any]:
    """A part of a bill as one line: VAT in the proportion of the bill, rounded once; of an unknown bill, no VAT."""
    totals = session["totals"] if session is not None else {"vat_minor": 0, "total_minor": 0}
    vat = 0
    if totals["total_minor"]:
        vat = int((Decimal(taken_minor) * totals["vat_minor"] / totals["total_minor"]).quantize(Decimal(1), "ROUND_HALF_UP"))
    rates = sorted({line["vat_percent"] for line in session["lines"]}) if session is not None else []
    rate = rates[0] if len(rates) == 1 else ""
    return {"vat_percent": rate, "net_minor": taken_minor - vat, "vat_minor": vat, "gross_minor": taken_minor}


def _eft_data(settlement: dict[str, Any], session: dict[str, Any] | None) -> list[str]:
    """Lines for an invoice. Of the card only what any receipt may show: brand, last four digits, AID."""
    card = ((session or {}).get("payment") or {}).get("card") or {}
    found = []
    if card:
        found.append(f"{card['brand']} **** {card['last4']}".strip())
        found += [f"AID {card['aid']}"] if card["aid"] else []
    found += [f"{name} {value}" for name, value in sorted(settlement["trace"].items()) if value]
    amount = units.major(settlement["amount_minor"], settlement["currency"])
    found.append(f"{settlement['how']} {amount} {settlement['currency']}")
    return [line[:255] for line in found]
