"""The figures of a daily closing ("Z report"), from sealed records: what was sold, what money moved, by method, gateway, tariff,
VAT rate and currency. No clock, no database; money in minor units, energy in Wh.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from terminal_app.office.closing_energy import energy_findings, energy_rows, is_test
from terminal_app.office.sealed import Sealed

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counted:
    """A record that this closing counts. `day` is its own local day; `late`: an earlier day than the closing's."""

    sealed: Sealed
    day: str
    late: bool

    @property
    def payload(self) -> Row:
        return self.sealed.payload


def figures(counted: Sequence[Counted], carried: Sequence[Row], threshold_wh: int) -> Row:
    """All that a closing derives from the records it counts. `carried`: energy rows of the closing before."""
    sessions = [one for one in counted if one.payload["type"] == "session"]
    credits = [one.payload for one in counted if one.payload["type"] == "credit"]
    sold = [one.payload for one in sessions if not is_test(one.payload)]
    energy = energy_rows([(one.payload, one.late) for one in sessions], carried)
    return {
        "chains": _chains(counted),
        "types": _counts(one.payload["type"] for one in counted),
        "totals": _totals(sold, credits),
        "methods": _sums(sold, lambda session: {"method": method_of(session)}),
        "gateways": _sums(sold, lambda session: {"gateway": (session["payment"] or {}).get("gateway", "")}),
        "tariffs": _sums(
            sold, lambda session: {"tariff": session["tariff"]["id"], "fingerprint": session["tariff"]["fingerprint"]}
        ),
        "rates": _rates([*sold, *credits]),
        "settlements": _settlements(one.payload for one in counted if one.payload["type"] == "settlement"),
        "late": _late(one for one in counted if one.late),
        "energy": energy,
        "findings": energy_findings(energy, threshold_wh),
    }


def method_of(session: Row) -> str:
    """How a session was paid: the card's brand, else how it was read, "no card" (a phone's page), "free"."""
    payment = session["payment"]
    if payment is None:
        return "free"
    card = payment.get("card") or {}
    return str(card.get("brand") or card.get("entry") or "no card")


def _chains(counted: Iterable[Counted]) -> list[Row]:
    chains: dict[str, list[int]] = {}
    for one in counted:
        chains.setdefault(one.sealed.chain_id, []).append(one.sealed.seq)
    return [
        {"chain_id": chain, "first_seq": min(seqs), "last_seq": max(seqs), "records": len(seqs)}
        for chain, seqs in sorted(chains.items())
    ]


def _counts(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))


def _totals(sold: Sequence[Row], credits: Sequence[Row]) -> list[Row]:
    """Per currency: what was billed, what was credited (negative), and both together."""
    currencies = sorted({one["totals"]["currency"] for one in (*sold, *credits)})
    found = []
    for currency in currencies:
        billed = [one for one in sold if one["totals"]["currency"] == currency]
        credited = [one for one in credits if one["totals"]["currency"] == currency]
        row: Row = {"currency": currency, "sessions": len(billed), "credits": len(credited)}
        row["energy_wh"] = sum(one["energy_wh"] for one in billed)
        row["billed_minor"] = sum(one["totals"]["total_minor"] for one in billed)
        row["credited_minor"] = sum(one["totals"]["total_minor"] for one in credited)
        for name in ("net_minor", "vat_minor", "total_minor"):
            row[name] = sum(one["totals"][name] for one in (*billed, *credited))
        found.append(row)
    return found


def _sums(sold: Iterable[Row], group: Any) -> list[Row]:
    found: dict[tuple[str, ...], Row] = {}
    for session in sold:
        names = group(session) | {"currency": session["totals"]["currency"]}
        row = found.setdefault(tuple(names.values()), names | {"sessions": 0, "energy_wh": 0, "total_minor": 0})
        row["sessions"] += 1
        row["energy_wh"] += session["energy_wh"]
        row["total_minor"] += session["totals"]["total_minor"]
    return [row for _, row in sorted(found.items())]


def _rates(records: Iterable[Row]) -> list[Row]:
    """Sessions and credits together; "" = no VAT applies."""
    found: dict[tuple[str, str], Row] = {}
    for record in records:
        for line in record["lines"]:
            names = {"vat_percent": line["vat_percent"], "currency": record["totals"]["currency"]}
            row = found.setdefault(tuple(names.values()), names | dict.fromkeys(("net_minor", "vat_minor", "gross_minor"), 0))
            for name in ("net_minor", "vat_minor", "gross_minor"):
                row[name] += line[name]
    return [row for _, row in sorted(found.items())]


def _settlements(payloads: Iterable[Row]) -> list[Row]:
    found: dict[tuple[str, str, str], Row] = {}
    for one in payloads:
        names = {name: one[name] for name in ("how", "gateway", "currency")}
        row = found.setdefault((one["how"], one["gateway"], one["currency"]), names | {"count": 0, "amount_minor": 0})
        row["count"] += 1
        row["amount_minor"] += one["amount_minor"]
    return [row for _, row in sorted(found.items())]


def _late(late: Iterable[Counted]) -> list[Row]:
    """Per day: records that no earlier closing counted, because they had not arrived."""
    found: dict[tuple[str, str], Row] = {}
    for one in late:
        row = found.setdefault(
            (one.day, one.sealed.chain_id),
            {
                "day": one.day,
                "chain_id": one.sealed.chain_id,
                "records": 0,
                "sessions": 0,
                "first_seq": one.sealed.seq,
                "last_seq": 0,
            },
        )
        row["records"] += 1
        row["sessions"] += one.payload["type"] == "session"
        row["first_seq"], row["last_seq"] = min(row["first_seq"], one.sealed.seq), max(row["last_seq"], one.sealed.seq)
    return [row for _, row in sorted(found.items())]
