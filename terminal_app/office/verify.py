"""Is this record what it claims to be? Signature, chain link, measurement, and every cent computed again.

The same code that made the bill on the charger (terminal_app.billing) recomputes it here, from the record alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from terminal_app.billing import ocmf
from terminal_app.billing.cost import UNMEASURED, ChargingPeriod, Flow, cost_of
from terminal_app.billing.law import BELOW_MINIMUM, smallest_sellable_wh
from terminal_app.billing.record import KeyChange, key_change_of, open_record, record_lines, sha256_of
from terminal_app.billing.signature import jws_key_id, ocmf_key_id
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import SignatureInvalid, TariffRefused


@dataclass(frozen=True, slots=True)
class Billed:
    """A stored session record, as its credits see it: `credits` of it came before, over `credited_minor` (zero or above)."""

    sha256: str
    session_id: str
    receipt_number: str
    currency: str
    total_minor: int
    credits: int
    credited_minor: int


def nothing_billed(seq: int) -> Billed | None:
    return None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the record must fit to. `prev` is the SHA-256 of the stored record before it. Keys: key id -> SPKI (PEM or DER).

    `signers`: the keys that may sign here since the last key change; empty = any that is registered. `billed` finds the bill
    that a credit names by its number.
    """

    terminal: str
    chain_id: str
    seq: int
    prev: str
    record_keys: Mapping[str, bytes]
    ocmf_keys: Mapping[str, bytes]
    demo: bool
    meter_keys: Mapping[str, str] = field(default_factory=dict)  # serial of a meter that signs -> its SPKI, DER, hex
    signers: frozenset[str] = frozenset()
    billed: Callable[[int], Billed | None] = nothing_billed


@dataclass(frozen=True, slots=True)
class Page:
    """The running number of a verified measurement under its key. `gapless`: made by the terminal, which leaves none out."""

    key_id: str
    number: int
    gapless: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` empty = accepted. `payload` None: the signature does not hold, nothing in it can be believed."""

    reason: str
    payload: dict[str, Any] | None = field(default=None)
    page: Page | None = field(default=None)
    change: KeyChange | None = field(default=None)  # of an accepted key-change record


def judge(jws: str, expected: Expected) -> Verdict:
    """Never raises for anything a record may contain."""
    try:
        key_id = jws_key_id(jws)
        key = expected.record_keys.get(key_id)
        if key is None:
            return Verdict("signed by a key that is not registered for this terminal")
        if expected.signers and key_id not in expected.signers:
            return Verdict(f"signed by key {key_id}, whose time in this chain is over: a key change came before")
        payload = open_record(jws, key)
    except SignatureInvalid as error:
        return Verdict(str(error))
    try:
        reason = _identity(payload, expected) or _content(payload, expected)
        if reason:
            return Verdict(reason, payload)
        return Verdict("", payload, _page(payload, expected), key_change_of(payload))
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        return Verdict(f"malformed: {type(error).__name__}: {error}", None)
    except (SignatureInvalid, TariffRefused) as error:
        return Verdict(str(error), payload)


def _identity(payload: dict[str, Any], expected: Expected) -> str:
    for name in ("terminal", "chain_id", "seq"):
        if payload[name] != getattr(expected, name):
            return f"{name} in the record is {payload[name]!r}, sent as {getattr(expected, name)!r}"
    if payload["prev"] != expected.prev:
        return f"does not follow the stored record {expected.seq - 1}: prev is {str(payload['prev'])[:16]}..."
    if payload["demo"] is not False and not expected.demo:
        return "a demo record sent to an office that is not in demo mode"
    return ""


def _content(payload: dict[str, Any], expected: Expected) -> str:
    if payload["type"] == "session":
        return _money(payload) or _measurement(payload, expected)
    if payload["type"] == "settlement":
        return _settlement(payload)
    if payload["type"] == "credit":
        return _credit(payload, expected.billed(payload["credits"]["seq"]))
    if payload["type"] == "key-change":
        key_change_of(payload)
        return "an emergency key change counts only by the operator's own hand" if payload["emergency"] is not False else ""
    return _checkpoint(payload)


def _money(session: dict[str, Any]) -> str:
    """The bill again, from tariff and periods, line by line."""
    tariff = parse_tariff(session["tariff"]["json"].encode())
    if tariff.fingerprint != session["tariff"]["fingerprint"]:
        return "the tariff is not the one its fingerprint names"
    periods = [_period(one) for one in session["periods"]]
    if wrong := _not_billed(session):
        return wrong
    cost = cost_of(tariff, [] if "not_billed" in session else periods, session["site"]["time_zone"])
    totals, energy_wh = session["totals"], sum(one.energy_wh for one in periods)
    if energy_wh != session["energy_wh"]:
        return f"the periods hold {energy_wh} Wh, billed are {session['energy_wh']} Wh"
    if [msgspec.to_builtins(line) for line in record_lines(cost)] != session["lines"]:
        return "recomputed lines differ from the lines billed"
    recomputed = (cost.currency, cost.net_minor, cost.vat_minor, cost.total_minor)
    if recomputed != (totals["currency"], totals["net_minor"], totals["vat_minor"], totals["total_minor"]):
        return f"recomputed total {cost.total_minor} {cost.currency}, billed {totals['total_minor']} {totals['currency']}"
    payment = session["payment"]
    if session.get("test") is True and (payment is not None or cost.total_minor):
        return "a test of service personnel that somebody paid for"
    if payment is None:
        return "" if cost.total_minor == 0 else "a total without a payment"
    if payment["capture_minor"] > payment["authorized_minor"]:
        return f"captures {payment['capture_minor']}, authorized were {payment['authorized_minor']}"
    if payment["capture_minor"] + payment["shortfall_minor"] != cost.total_minor:
        return "capture and shortfall do not add up to the total"
    return ""


def _not_billed(session: dict[str, Any]) -> str:
    """Energy that costs nothing must be below what may be billed there."""
    if "not_billed" not in session:
        return ""
    least_wh = smallest_sellable_wh(session["site"]["country"], session["meter"]["resolution_wh"])
    if session["not_billed"] == BELOW_MINIMUM and 0 < session["energy_wh"] < least_wh:
        return ""
    return f"{session['energy_wh']} Wh are not billed for {session['not_billed']!r}, which does not hold for them"


def _measurement(session: dict[str, Any], expected: Expected) -> str:
    register, signed = session["register"], session["ocmf"]["record"]
    if register["stop_wh"] - register["start_wh"] != session["energy_wh"]:
        return "the register difference is not the energy billed"
    if not signed:
        return "" if session["energy_wh"] == 0 else "energy is billed without a signed measurement"
    if sha256_of(signed) != session["ocmf"]["sha256"]:
        return "the OCMF record is not the one its hash names"
    measured = ocmf.verify(signed, _key_of(session, expected))
    if measured.energy_wh != session["energy_wh"]:
        return f"OCMF says {measured.energy_wh} Wh, billed are {session['energy_wh']} Wh"
    if measured.meter_serial != session["meter"]["serial"]:
        return f"OCMF is of meter {measured.meter_serial}, the session of meter {session['meter']['serial']}"
    if int(measured.begin_wh) != register["start_wh"]:  # the stop is the start plus the whole Wh between both
        return "OCMF readings are not the registers billed"
    return ""


def _key_of(session: dict[str, Any], expected: Expected) -> bytes:
    """Whose key the measurement must verify with. A meter's own key is taken at its first sight and kept. SignatureInvalid."""
    serial, key_id = session["meter"]["serial"], session["ocmf"]["key"]
    told, known = session["ocmf"].get("meter_key", ""), expected.meter_keys.get(serial, "")
    if known and not told:
        raise SignatureInvalid(f"OCMF: meter {serial} signs its own readings, and this one is not signed by it")
    if not told:
        if key_id not in expected.ocmf_keys:
            raise SignatureInvalid("OCMF signed by a key that is not registered for this terminal")
        return expected.ocmf_keys[key_id]
    if known and known != told:
        raise SignatureInvalid(f"OCMF: meter {serial} has another public key than the one that is kept of it")
    key = bytes.fromhex(told)
    if ocmf_key_id(key) != key_id:
        raise SignatureInvalid("OCMF: the meter's public key is not the one its id names")
    return key


def _page(payload: dict[str, Any], expected: Expected) -> Page | None:
    """Of an accepted record; None if it holds no measurement."""
    if payload["type"] != "session" or not payload["ocmf"]["record"]:
        return None
    key_id = payload["ocmf"]["key"]
    measured = ocmf.verify(payload["ocmf"]["record"], _key_of(payload, expected))
    return Page(key_id, int(measured.pagination.removeprefix("T")), not measured.certified)


def _settlement(settlement: dict[str, Any]) -> str:
    if not 0 <= settlement["amount_minor"] <= settlement["authorized_minor"]:
        return f"settles {settlement['amount_minor']}, authorized were {settlement['authorized_minor']}"
    return ""


def _credit(credit: dict[str, Any], billed: Billed | None) -> str:
    """It takes back a part or all of a bill that is there, never more than all."""
    named, totals, lines = credit["credits"], credit["totals"], credit["lines"]
    if billed is None:
        return f"credits record {named['seq']}, which is no bill that is stored here"
    if (named["sha256"], credit["session_id"]) != (billed.sha256, billed.session_id):
        return f"credits another record {named['seq']} than the stored one"
    for name, total in (("net_minor", "net_minor"), ("vat_minor", "vat_minor"), ("gross_minor", "total_minor")):
        if sum(line[name] for line in lines) != totals[total] or any(line[name] > 0 for line in lines):
            return f"its lines ask for money, or do not add up to {total}"
    if any(line["net_minor"] + line["vat_minor"] != line["gross_minor"] for line in lines):
        return "net and VAT of a line do not make its gross"
    if totals["currency"] != billed.currency or named["receipt"] != billed.receipt_number:
        return "it names another currency or receipt than the bill"
    if credit["number"] != billed.credits + 1:
        return f"calls itself credit {credit['number']} of its bill, {billed.credits} came before"
    if billed.credited_minor - totals["total_minor"] > billed.total_minor:
        return f"with it {billed.credited_minor - totals['total_minor']} are credited, billed were {billed.total_minor}"
    return ""


def _checkpoint(point: dict[str, Any]) -> str:
    numbers = [point["ledger"]["entries"], point["acknowledged_through"], point["open_holds"]]
    numbers += point["meter_registers_wh"].values()
    if any(type(one) is not int or one < 0 for one in numbers) or point["acknowledged_through"] >= point["seq"]:
        return "the checkpoint contradicts itself"
    return ""


def _period(one: dict[str, Any]) -> ChargingPeriod:
    flow = {name: one[name] for name in ("min_power_w", "max_power_w", "min_current_ma", "max_current_ma") if name in one}
    plain = {name: one[name] for name in ("start_utc_ms", "energy_wh", "charging_ms", "parking_ms")}
    return ChargingPeriod(**plain, flow=Flow(**flow) if flow else UNMEASURED)
