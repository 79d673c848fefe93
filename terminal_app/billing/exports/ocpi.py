"""OCPI CDRs of session and credit records, 2.2.1 and 2.3.0. PURE.

Sources: OCPI 2.2.1-d2 and 2.3.0 mod_cdrs; ocpi/ocpi#550 leaves open how OCMF goes into SignedData: `signed_data` is the base64
of the whole OCMF string, `plain_data` its payload section (in 2.2.1, if it is long, its readings), all as signed. A credit CDR
repeats everything and only its total_cost is negative (mod_cdrs, "Credit CDRs"). What the record does not know of the place is
`#NA` and said in `remark`.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from terminal_app import units
from terminal_app.billing import canonical
from terminal_app.billing.foreign import parse_any_tariff
from terminal_app.billing.model import Tariff, TaxIncluded

__all__ = ["Place", "Version", "credit_cdr", "credit_cdrs", "price", "session_cdr", "utc_text"]

Version = Literal["2.2.1", "2.3.0"]
NOT_KNOWN = "#NA"
PLAIN_DATA_2_2_1 = 512
HOUR_MS = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COSTS = {"total_energy_cost": "energy", "total_time_cost": "time", "total_parking_cost": "parking", "total_fixed_cost": "flat"}
_ALPHA3 = {
    "AT": "AUT", "BE": "BEL", "BG": "BGR", "CA": "CAN", "CH": "CHE", "CY": "CYP", "CZ": "CZE", "DE": "DEU", "DK": "DNK",
    "EE": "EST", "ES": "ESP", "FI": "FIN", "FR": "FRA", "GB": "GBR", "GR": "GRC", "HR": "HRV", "HU": "HUN", "IE": "IRL",
    "IS": "ISL", "IT": "ITA", "JP": "JPN", "KW": "KWT", "LI": "LIE", "LT": "LTU", "LU": "LUX", "LV": "LVA", "MT": "MLT",
    "NL": "NLD", "NO": "NOR", "PL": "POL", "PT": "PRT", "RO": "ROU", "SE": "SWE", "SI": "SVN", "SK": "SVK", "US": "USA",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """What OCPI wants to know of a station beyond the record. Coordinates as texts of degrees with five to seven decimals."""

    address: str = NOT_KNOWN
    city: str = NOT_KNOWN
    postal_code: str = ""
    latitude: str = "0.0000000"
    longitude: str = "0.0000000"
    connector_standard: str = "IEC_62196_T2"
    connector_format: str = "SOCKET"
    connector_power_type: str = "AC_3_PHASE"

    @property
    def known(self) -> bool:
        return self.city != NOT_KNOWN


NOWHERE = Place()


def session_cdr(
    session: dict[str, Any], version: Version, place: Place = NOWHERE, ocmf_key: bytes | None = None, published_utc_ms: int = 0
) -> dict[str, Any]:
    """The CDR of an opened session record. `ocmf_key` is the DER SPKI of its readings; `published_utc_ms` becomes last_updated
    (0: when it was sealed): consumers page by it, so it is the moment of publication. ValueError if it does not fit OCPI."""
    tariff = parse_any_tariff(session["tariff"]["json"].encode())
    currency, lines = session["totals"]["currency"], session["lines"]
    user = _short(session["authorization_reference"] or session["session_id"], 36, "authorization_reference")
    cdr: dict[str, Any] = {
        "country_code": tariff.country_code,
        "party_id": tariff.party_id,
        "id": _short(session["session_id"], 36, "session_id"),
        "start_date_time": utc_text(session["begin"]["utc_ms"]),
        "end_date_time": utc_text(session["end"]["utc_ms"]),
        "session_id": session["session_id"],
        "cdr_token": {
            "country_code": tariff.country_code,
            "party_id": tariff.party_id,
            "uid": user,
            "type": "AD_HOC_USER",
            "contract_id": user,
        },
        "auth_method": "COMMAND",  # OCPI has no word for a card at the terminal; its payments module starts by a command
        "cdr_location": _location(session, place),
        "currency": currency,
        "charging_periods": _periods(session, tariff.id),
        "total_cost": price(lines, currency, version),
        "total_energy": Decimal(session["energy_wh"]) / 1000,
        "total_time": _hours(session["charging_ms"] + session["parking_ms"]),
        "total_parking_time": _hours(session["parking_ms"]),
        "invoice_reference_id": _short(session["receipt"]["number"], 39, "receipt"),
        "remark": _remark(session, place),
        "last_updated": utc_text(published_utc_ms or session["created"]["utc_ms"]),
    }
    for name, kind in _COSTS.items():
        if mine := [line for line in lines if line["kind"] == kind]:
            cdr[name] = price(mine, currency, version)
    if session["authorization_reference"]:
        cdr["authorization_reference"] = user
    if session["meter"]["serial"]:
        cdr["meter_id"] = session["meter"]["serial"]
    if shown := _tariff(tariff, version):
        cdr["tariffs"] = [shown]
    if session["ocmf"]["record"]:
        cdr["signed_data"] = _signed(session["ocmf"]["record"], version, ocmf_key)
    return cdr


def credit_cdr(cdr: dict[str, Any], version: Version, number: int = 1, published_utc_ms: int = 0) -> dict[str, Any]:
    """The credit CDR that takes a CDR back as a whole: same data, a new id, total_cost negative. A corrected CDR may follow."""
    changed = dict(cdr)
    changed["id"] = f"{cdr['id']}-C{number}"[:39]
    changed |= {"credit": True, "credit_reference_id": cdr["id"], "total_cost": _negative(cdr["total_cost"], version)}
    if published_utc_ms:
        changed["last_updated"] = utc_text(published_utc_ms)
    return changed


def credit_cdrs(
    cdr: dict[str, Any],
    session: dict[str, Any],
    before: Iterable[dict[str, Any]],
    credit: dict[str, Any],
    version: Version,
    published_utc_ms: int = 0,
) -> list[dict[str, Any]]:
    """What a credit record says in OCPI, which knows no part of a CDR: the credit CDR of the one that stands, and a corrected CDR
    of what is left of it, if anything is. `cdr` is that of the session record, `before` its earlier credit records."""
    number, currency = credit["number"], session["totals"]["currency"]
    stood = [*session["lines"], *(line for one in before for line in one["lines"])]
    left = [*stood, *credit["lines"]]
    moment = published_utc_ms or credit["created"]["utc_ms"]
    standing = cdr | {"total_cost": price(stood, currency, version)}
    if number > 1:
        standing |= {"id": _corrected_id(cdr, number - 1)}
    taken_back = credit_cdr(standing, version, number, moment) | {
        "id": f"{cdr['id'][:34]}-C{number}",
        "invoice_reference_id": _short(credit["receipt"]["number"], 39, "receipt"),
    }
    if not sum(line["gross_minor"] for line in left):
        return [taken_back]
    corrected = {"id": _corrected_id(cdr, number), "total_cost": price(left, currency, version), "last_updated": utc_text(moment)}
    return [taken_back, cdr | corrected]


def _corrected_id(cdr: dict[str, Any], number: int) -> str:
    return f"{cdr['id'][:34]}-R{number}"


def price(lines: Iterable[dict[str, Any]], currency: str, version: Version) -> dict[str, Any]:
    """Sum of record lines as an OCPI Price, in the words of the version; VAT itemised per rate in 2.3.0."""
    rates: dict[str, list[int]] = {}
    net = gross = 0
    for line in lines:
        net, gross = net + line["net_minor"], gross + line["gross_minor"]
        rates.setdefault(line["vat_percent"], []).append(line["vat_minor"])
    if version == "2.2.1":
        return {"excl_vat": units.major(net, currency), "incl_vat": units.major(gross, currency)}
    taxes = [
        {"name": "VAT", "percentage": Decimal(rate), "amount": units.major(sum(amounts), currency)}
        for rate, amounts in sorted(rates.items())
        if rate
    ]
    return {"before_taxes": units.major(net, currency), "taxes": taxes}


def utc_text(utc_ms: int) -> str:
    """OCPI DateTime: UTC with Z, to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=utc_ms)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def _negative(one: dict[str, Any], version: Version) -> dict[str, Any]:
    if version == "2.2.1":
        return {name: -value for name, value in one.items()}
    return {"before_taxes": -one["before_taxes"], "taxes": [tax | {"amount": -tax["amount"]} for tax in one["taxes"]]}


def _periods(session: dict[str, Any], tariff_id: str) -> list[dict[str, Any]]:
    found = []
    for one in session["periods"] or [{"start_utc_ms": session["begin"]["utc_ms"], "energy_wh": 0}]:
        dimensions = [{"type": "ENERGY", "volume": Decimal(one["energy_wh"]) / 1000}]
        for name, key in (("TIME", "charging_ms"), ("PARKING_TIME", "parking_ms")):
            if one.get(key):
                dimensions.append({"type": name, "volume": _hours(one[key])})
        for name, key in (
            ("MIN_POWER", "min_power_w"),
            ("MAX_POWER", "max_power_w"),
            ("MIN_CURRENT", "min_current_ma"),
            ("MAX_CURRENT", "max_current_ma"),
        ):
            if key in one:
                dimensions.append({"type": name, "volume": Decimal(one[key]) / 1000})
        found.append({"start_date_time": utc_text(one["start_utc_ms"]), "dimensions": dimensions, "tariff_id": tariff_id})
    return found


def _location(session: dict[str, Any], place: Place) -> dict[str, Any]:
    country = session["site"]["country"]
    found = {
        "id": _short(session["terminal"], 36, "terminal"),
        "name": session["site"]["station"],
        "address": place.address[:45],
        "city": place.city[:45],
        "country": _ALPHA3.get(country, "XXX"),
        "coordinates": {"latitude": place.latitude, "longitude": place.longitude},
        "evse_uid": _short(f"{session['terminal']}-{session['connector']}", 36, "terminal"),
        "evse_id": session["evse_id"],
        "connector_id": str(session["connector"]),
        "connector_standard": place.connector_standard,
        "connector_format": place.connector_format,
        "connector_power_type": place.connector_power_type,
    }
    return found | ({"postal_code": place.postal_code[:10]} if place.postal_code else {})


def _remark(session: dict[str, Any], place: Place) -> str:
    said = [f"Record {session['terminal']}/{session['chain_id']}/{session['seq']}, receipt {session['receipt']['number']}."]
    if session["stop"]["interrupted"]:
        said.append("The session was interrupted.")
    if session["demo"]:
        said.append("DEMO, no real charge.")
    if not place.known:
        said.append("The place was not told to the terminal.")
    return " ".join(said)[:255]


def _signed(ocmf: str, version: Version, key: bytes | None) -> dict[str, Any]:
    records = ocmf.split("\n")  # one OCMF record holds begin and end; some meters sign them apart
    values = [
        {
            "nature": nature,
            "plain_data": _plain_data(one.split("|")[1], version),
            "signed_data": base64.b64encode(one.encode()).decode(),
        }
        for nature, one in zip(("Start", "End")[-len(records) :], records, strict=True)
    ]
    found: dict[str, Any] = {"encoding_method": "OCMF", "signed_values": values}
    return found if key is None else found | {"public_key": base64.b64encode(key).decode()}


def _plain_data(payload: str, version: Version) -> str:
    """The payload section. 2.2.1 first allowed 512 characters (its bugfix release 5000) and receivers in use still refuse more:
    there a longer payload is told by its readings alone, in its own characters. The whole of it is in signed_data anyway."""
    if version == "2.2.1" and len(payload) > PLAIN_DATA_2_2_1 and '"RD":' in payload:
        return "{" + payload[payload.index('"RD":') :]
    return payload


def _tariff(tariff: Tariff, version: Version) -> dict[str, Any] | None:
    """The tariff of the record; None where 2.2.1, which knows only net prices of four decimals, cannot say it exactly."""
    plain: dict[str, Any] = canonical.parse(tariff.raw.encode(), len(tariff.raw.encode()))
    if version == "2.3.0":
        return plain
    for name in ("tax_included", "preauthorize_amount"):
        plain.pop(name, None)
    for name in ("min_price", "max_price"):
        if limit := plain.get(name):
            plain[name] = {"excl_vat": limit["before_taxes"], "incl_vat": limit.get("after_taxes", limit["before_taxes"])}
    if tariff.tax_included is TaxIncluded.YES:
        for element in plain["elements"]:
            for component in element["price_components"]:
                net = Decimal(component["price"]) * 100 / (100 + Decimal(component.get("vat", 0)))
                if net != net.quantize(Decimal("0.0001")):
                    return None
                component["price"] = net.quantize(Decimal("0.0001"))
    return plain


def _hours(ms: int) -> Decimal:
    return (Decimal(ms) / HOUR_MS).quantize(Decimal("0.0001"))


def _short(text: str, most: int, name: str) -> str:
    if len(text) > most:
        raise ValueError(f"{name} {json.dumps(text[:60])} is longer than the {most} characters OCPI allows")
    return text
