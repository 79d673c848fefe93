#!/usr/bin/env python3
"""Verify exported billing records of a charging payment terminal. For anyone: one file, needs only `cryptography`.

    python3 verify_records.py --key RECORD_KEY [--ocmf-key KEY] [--report FILE] PATH...

PATH: .jws files, files with one JWS per line, .jsonl exports, or folders of them. RECORD_KEY and KEY: public keys as PEM, DER,
hex SPKI or a JWKS file, received on another way than the records (the terminal's label, the operator). May be given several
times. Without --key the *.pub files beside the records are taken, which proves only that nothing was changed since the export.

Per record: form, ES256 signature (RFC 7515), number and link to the record before it, terminal and chain, that lines add up
and follow from amount, price and VAT, that the energy is what the register moved, the tariff's fingerprint, the signed reading
(OCMF) and its registers, the receipt number, that what was captured was authorized. Per chain: gaps, duplicates, a meter that
never runs backwards between sessions, keys that hand over to new ones, credits that name a bill by its hash and never exceed it.
One line per record on stdout, a machine report with --report (- for stdout only).
Exit code 0: everything holds. 1: something does not. 2: nothing could be checked.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key

GENESIS = "0" * 64
TYPES = ("session", "settlement", "credit", "key-change", "checkpoint")
LARGEST = 1024 * 1024
NO_DECIMALS = ("JPY", "KRW", "ISK", "CLP", "VND", "XAF", "XOF", "XPF", "UGX", "PYG", "RWF", "KMF", "GNF", "DJF", "BIF", "VUV")
THREE_DECIMALS = ("KWD", "BHD", "OMR", "JOD", "TND", "IQD", "LYD")
EXPONENT = dict.fromkeys(NO_DECIMALS, 0) | dict.fromkeys(THREE_DECIMALS, 3)  # ISO 4217; all others 2
UNIT = {"energy": 1000, "time": 3_600_000, "parking": 3_600_000, "flat": 1}
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z", re.ASCII)
Key = ec.EllipticCurvePublicKey


class Unfit(Exception):
    """A record, key or file that cannot be taken; the message says why."""


@dataclass
class Verdict:
    """What was found about one record. `name` is terminal/chain/seq as the record claims."""

    name: str
    type: str = ""
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    says: str = ""


# --- reading -------------------------------------------------------------------------------------------------------


def b64url(text: str) -> bytes:
    """Strict: the one spelling of these bytes, no padding, no stray bits."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unfit("not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        raise Unfit("not the only spelling of its base64url")
    return raw


def strict_json(raw: bytes) -> dict[str, Any]:
    def no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise Unfit("a key appears twice")
        return dict(pairs)

    def no_constant(text: str) -> Any:
        raise Unfit(f"{text} is no number")

    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=no_twins, parse_float=Decimal, parse_constant=no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Unfit(f"malformed JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unfit("not a JSON object")
    return found


def records_in(path: Path) -> Iterator[tuple[str, str]]:
    """(where, compact JWS) of a file or a folder."""
    if path.is_dir():
        for one in sorted(path.iterdir()):
            if one.suffix in (".jws", ".jsonl"):
                yield from records_in(one)
        return
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        text = line.strip()
        where = f"{path.name}:{number}"
        if text.startswith("{"):
            found = strict_json(text.encode("utf-8", "surrogateescape")).get("jws")
            yield where, found if isinstance(found, str) else ""
        elif text:
            yield where, text


def keys_in(path: Path) -> list[Key]:
    """Public keys of a file: PEM, DER, hex SPKI (also one per line) or JWKS."""
    raw = path.read_bytes()
    try:
        if b"-----BEGIN" in raw:
            return [_curve(load_pem_public_key(raw))]
        if raw.lstrip()[:1] == b"{":
            found = strict_json(raw)
            return [_jwk(one) for one in found.get("keys", [found])]
        if re.fullmatch(rb"[0-9A-Fa-f\s]+", raw):
            return [_curve(load_der_public_key(bytes.fromhex(line.decode()))) for line in raw.split()]
        return [_curve(load_der_public_key(raw))]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unfit(f"{path}: not a public key: {error}") from error


def _curve(key: Any) -> Key:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Unfit("not an elliptic-curve key")
    return key


def _jwk(one: dict[str, Any]) -> Key:
    try:
        x, y = (int.from_bytes(b64url(one[name])) for name in ("x", "y"))
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (KeyError, TypeError, AttributeError) as error:
        raise Unfit("not a P-256 JWK") from error


def thumbprint(key: Key) -> str:
    """RFC 7638; of other curves, which sign readings only, the SHA-256 of the DER SubjectPublicKeyInfo, base64url."""
    if key.curve.name != "secp256r1":
        return _text(hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest())
    numbers = key.public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32)).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    return _text(hashlib.sha256(f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'.encode()).digest())


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# --- one record ----------------------------------------------------------------------------------------------------


def opened(jws: str, keys: dict[str, Key]) -> tuple[dict[str, Any], str]:
    """The payload and the key id of one record whose signature verifies. Unfit."""
    if len(jws) > LARGEST or not jws.isascii() or jws.count(".") != 2:
        raise Unfit("not a compact JWS")
    head, body, tail = jws.split(".")
    header = strict_json(b64url(head))
    key_id = header.get("kid")
    if set(header) != {"alg", "kid", "typ"} or header["alg"] != "ES256" or header["typ"] != "billing-record+jws":
        raise Unfit("the JWS header is not that of a billing record")
    key = keys.get(str(key_id))
    if key is None:
        raise Unfit(f"signed by the unknown key {key_id}")
    signature = b64url(tail)
    if len(signature) != 64:
        raise Unfit("the signature has not 64 bytes")
    der = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    try:
        key.verify(der, f"{head}.{body}".encode(), ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise Unfit("the signature does not verify") from error
    return strict_json(b64url(body)), str(key_id)


def check_form(said: dict[str, Any]) -> None:
    if said.get("v") != 1 or said.get("type") not in TYPES:
        raise Unfit(f"version {said.get('v')!r}, type {said.get('type')!r} is unknown here")
    for name in ("terminal", "chain_id"):
        if not isinstance(said.get(name), str) or not IDENTITY.match(said[name]):
            raise Unfit(f"{name} is no name")
    if type(said.get("seq")) is not int or said["seq"] < 1:
        raise Unfit("seq is no number from 1")


def check_session(said: dict[str, Any], ocmf_keys: dict[str, Key], verdict: Verdict) -> None:
    register, totals, lines = said["register"], said["totals"], said["lines"]
    problems, currency = verdict.problems, totals["currency"]
    moved = register["stop_wh"] - register["start_wh"]
    if said["energy_wh"] != moved or moved < 0:
        problems.append(f"{said['energy_wh']} Wh billed, but the register moved {moved} Wh")
    check_lines(lines, totals, problems)
    tariff = strict_json(said["tariff"]["json"].encode())
    if hashlib.sha256(said["tariff"]["json"].encode()).hexdigest() != said["tariff"]["fingerprint"]:
        problems.append("the fingerprint is not that of its tariff")
    for place, line in enumerate(lines):
        if trouble := arithmetic(line, tariff, currency):
            problems.append(f"line {place}: {trouble}")
    billed = sum(line["amount"] - line["stepped"] for line in lines if line["kind"] == "energy")
    if billed > said["energy_wh"]:
        problems.append(f"{billed} Wh priced, but {said['energy_wh']} Wh delivered")
    if sum(one["energy_wh"] for one in said["periods"]) not in (said["energy_wh"], 0):
        problems.append("the charging periods do not add up to the energy")
    payment = said["payment"]
    if payment is not None:
        if payment["capture_minor"] + payment["shortfall_minor"] != totals["total_minor"]:
            problems.append("what is to be captured and what is short do not make the total")
        if payment["capture_minor"] > payment["authorized_minor"]:
            problems.append("more is to be captured than was authorized")
    check_ocmf(said, ocmf_keys, verdict)
    money = Decimal(totals["total_minor"]).scaleb(-EXPONENT.get(currency, 2))
    verdict.says = f"{Decimal(said['energy_wh']).scaleb(-3)} kWh, {money} {currency}, receipt {said['receipt']['number']}"


def check_lines(lines: list[dict[str, Any]], totals: dict[str, Any], problems: list[str]) -> None:
    for name, total in (("net_minor", "net_minor"), ("vat_minor", "vat_minor"), ("gross_minor", "total_minor")):
        if sum(line[name] for line in lines) != totals[total]:
            problems.append(f"the lines do not add up to {total}")
    if any(line["net_minor"] + line["vat_minor"] != line["gross_minor"] for line in lines):
        problems.append("a line's net and VAT do not make its gross")


def arithmetic(line: dict[str, Any], tariff: dict[str, Any], currency: str) -> str:
    """ "" if the money of a line follows from its amount, price and VAT, rounded half up once; else what is wrong."""
    if line["kind"] == "limit":
        return "" if tariff.get("min_price") or tariff.get("max_price") else "a price limit, but the tariff has none"
    if line["kind"] not in UNIT:
        return f"kind {line['kind']!r} is unknown"
    element = tariff["elements"][line["element"]] if 0 <= line["element"] < len(tariff["elements"]) else {}
    name = {"energy": "ENERGY", "time": "TIME", "parking": "PARKING_TIME", "flat": "FLAT"}[line["kind"]]
    found = [one for one in element.get("price_components", []) if one["type"] == name]
    if not found or Decimal(found[0]["price"]) != Decimal(line["price"]):
        return "its price is not in its tariff element"
    rate = Decimal(line["vat_percent"] or 0)
    if Decimal(found[0].get("vat") or 0) != rate:
        return "its VAT is not that of its tariff element"
    with localcontext() as context:
        context.prec = 50
        value = Decimal(line["price"]) * line["amount"] / UNIT[line["kind"]]
        if tariff["tax_included"] == "NO":
            expected = minor(value, currency), minor(value * rate / 100, currency)
            return "" if (line["net_minor"], line["vat_minor"]) == expected else f"makes net and VAT {expected}"
        gross = minor(value, currency)
        vat = minor(Decimal(gross).scaleb(-EXPONENT.get(currency, 2)) * rate / (100 + rate), currency)
        return "" if (line["gross_minor"], line["vat_minor"]) == (gross, vat) else f"makes gross and VAT {(gross, vat)}"


def minor(value: Decimal, currency: str) -> int:
    return int(value.scaleb(EXPONENT.get(currency, 2)).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def check_ocmf(said: dict[str, Any], keys: dict[str, Key], verdict: Verdict) -> None:
    text, problems = said["ocmf"]["record"], verdict.problems
    if not text:
        if said["energy_wh"]:
            verdict.notes.append("no signed reading")
        return
    if hashlib.sha256(text.encode()).hexdigest() != said["ocmf"]["sha256"]:
        problems.append("the hash is not that of its OCMF")
    records = [one.split("|") for one in text.split("\n")]  # one with both readings, or the meter signed them apart
    if len(records) > 2 or any(len(parts) != 3 or parts[0] != "OCMF" for parts in records):
        problems.append("OCMF: not `OCMF|payload|signature`")
        return
    bodies = [strict_json(parts[1].encode()) for parts in records]
    readings = [one for body in bodies for one in body["RD"]]
    values = [(Decimal(one["RV"]) * (1000 if one.get("RU") == "kWh" else 1), one.get("ST")) for one in readings]
    moved_wh, register = int(values[-1][0] - values[0][0]), said["register"]
    if (int(values[0][0]), int(values[0][0]) + moved_wh) != (register["start_wh"], register["stop_wh"]):
        problems.append("OCMF: its registers are not those of the bill")
    if any(status != "G" for _, status in values):
        problems.append("OCMF: the meter says a value is not good")
    if (readings[0].get("TX"), readings[-1].get("TX") in tuple("ELRAP")) != ("B", True):
        problems.append("OCMF: its readings are not a begin and an end")
    if any(body.get("MS") != said["meter"]["serial"] for body in bodies):
        problems.append("OCMF: it is of another meter")
    if len({str(body.get("ID")) for body in bodies}) != 1:
        problems.append("OCMF: begin and end are of different charges")
    check_signatures(said, records, keys, verdict)


def check_signatures(said: dict[str, Any], records: list[list[str]], keys: dict[str, Key], verdict: Verdict) -> None:
    problems, key_id = verdict.problems, said["ocmf"]["key"]
    key = keys.get(key_id) or (next(iter(keys.values())) if len(keys) == 1 and not key_id else None)
    if key is None and (told := said["ocmf"].get("meter_key")):
        key = _curve(load_der_public_key(bytes.fromhex(told)))
        verdict.notes.append(f"OCMF: signed by meter {said['meter']['serial']}; compare its key {thumbprint(key)} with its label")
        if thumbprint(key) != key_id:
            problems.append("OCMF: the meter's key is not the one its id names")
    if key is None:
        verdict.notes.append(f"OCMF: its key {key_id} was not given: signature not checked")
        return
    try:
        for _, payload, tail in records:
            section = strict_json(tail.encode())
            encoded = section["SD"]
            signature = base64.b64decode(encoded, validate=True) if section.get("SE") == "base64" else bytes.fromhex(encoded)
            key.verify(signature, payload.encode(), ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError) as error:
        problems.append(f"OCMF: the signature does not verify ({type(error).__name__})")


def check_settlement(said: dict[str, Any], verdict: Verdict) -> None:
    if not 0 <= said["amount_minor"] <= said["authorized_minor"]:
        verdict.problems.append("more moved than was authorized")
    if said["how"] == "voided" and said["amount_minor"]:
        verdict.problems.append("voided, and yet money moved")
    if said["how"] not in ("captured", "voided", "manual", "refunded", "refused"):
        verdict.problems.append(f"how {said['how']!r} is unknown")
    money = Decimal(said["amount_minor"]).scaleb(-EXPONENT.get(said["currency"], 2))
    verdict.says = f"{said['how']} {money} {said['currency']}{receipt_of(said)}"


def check_credit(said: dict[str, Any], verdict: Verdict) -> None:
    check_lines(said["lines"], said["totals"], verdict.problems)
    if any(max(line["net_minor"], line["vat_minor"], line["gross_minor"]) > 0 for line in said["lines"]):
        verdict.problems.append("a credit asks for money")
    money = Decimal(said["totals"]["total_minor"]).scaleb(-EXPONENT.get(said["totals"]["currency"], 2))
    verdict.says = f"credits record {said['credits']['seq']}: {money} {said['totals']['currency']}{receipt_of(said)}"


def receipt_of(said: dict[str, Any]) -> str:
    """Its own number in the gapless series: of a credit, and of a hold without a charge."""
    number = said.get("receipt", {}).get("number", "")
    return f", receipt {number}" if number else ""


def check_checkpoint(said: dict[str, Any], verdict: Verdict) -> None:
    numbers = [said["ledger"]["entries"], said["acknowledged_through"], said["open_holds"], *said["meter_registers_wh"].values()]
    if any(type(one) is not int or one < 0 for one in numbers) or said["acknowledged_through"] >= said["seq"]:
        verdict.problems.append("the checkpoint contradicts itself")
    verdict.says = f"{numbers[0]} ledger entries, acknowledged up to record {numbers[1]}, {numbers[2]} open holds"


# --- chains --------------------------------------------------------------------------------------------------------


@dataclass
class Bill:
    """A session record, as its credits see it; `credited` is zero or above."""

    sha256: str
    session_id: str
    receipt: str
    currency: str
    total: int
    credits: int = 0
    credited: int = 0


@dataclass
class Chain:
    """Where one terminal's chain stands while it is walked."""

    terminal: str
    chain_id: str
    keys: dict[str, Key]
    ocmf_keys: dict[str, Key]
    first: int = 0
    seq: int = 0
    head: str = GENESIS
    key_id: str = ""
    registers: dict[str, tuple[int, int]] = field(default_factory=dict)
    receipts: dict[str, int] = field(default_factory=dict)
    captured: dict[str, int] = field(default_factory=dict)
    meter_keys: dict[str, str] = field(default_factory=dict)
    bills: dict[int, Bill] = field(default_factory=dict)
    ledger: tuple[int, int] = (0, 0)  # entries and record of the newest checkpoint

    def link(self, said: dict[str, Any], jws: str, key_id: str, verdict: Verdict) -> None:
        seq = said["seq"]
        if self.first == 0:
            self.first = seq
            if seq > 1:
                verdict.notes.append(f"the export begins here: the link to record {seq - 1} cannot be checked")
            elif said.get("prev") != GENESIS:
                verdict.problems.append("the first record is linked to something")
        elif seq == self.seq:
            verdict.problems.append(f"there are two records {seq}")
        elif seq != self.seq + 1:
            verdict.problems.append(f"record {self.seq + 1} is missing")
        elif said.get("prev") != self.head:
            verdict.problems.append(f"is not linked to record {self.seq}")
        if self.key_id and key_id != self.key_id:
            verdict.problems.append(f"signed by key {key_id} without a key change")
        if said["type"] == "key-change":
            self._change_key(said, verdict)
        else:
            self.key_id = key_id
        self.seq, self.head = seq, hashlib.sha256(jws.encode()).hexdigest()

    def _change_key(self, said: dict[str, Any], verdict: Verdict) -> None:
        key = _jwk(said["new_key"])
        self.key_id = str(said["new_key_id"])
        if thumbprint(key) != self.key_id:
            verdict.problems.append("the new key is not the one it names")
        self.keys[self.key_id] = key  # signed by the old key: as good as that one
        if "new_ocmf_key" in said:
            ocmf_key = _jwk(said["new_ocmf_key"])
            if thumbprint(ocmf_key) != said["new_ocmf_key_id"]:
                verdict.problems.append("the new key of the readings is not the one it names")
            self.ocmf_keys[str(said["new_ocmf_key_id"])] = ocmf_key
        verdict.says = f"new key {self.key_id}: {said['reason']}"

    def history(self, said: dict[str, Any], jws: str, verdict: Verdict) -> None:
        """What only several records together can show."""
        if said["type"] == "session":
            totals, receipt = said["totals"], said["receipt"]["number"]
            sha256 = hashlib.sha256(jws.encode()).hexdigest()
            self.bills[said["seq"]] = Bill(sha256, said["session_id"], receipt, totals["currency"], totals["total_minor"])
        elif said["type"] == "credit":
            self._credit(said, verdict)
        elif said["type"] == "checkpoint":
            entries = said["ledger"]["entries"]
            if entries < self.ledger[0]:
                verdict.problems.append(f"the ledger has fewer entries than at checkpoint {self.ledger[1]}: it was rolled back")
            self.ledger = entries, said["seq"]
        if said["type"] == "session":
            serial, register = said["meter"]["serial"], said["register"]
            before, at = self.registers.get(serial, (register["start_wh"], said["seq"]))
            if register["start_wh"] < before:
                verdict.problems.append(f"meter {serial} begins at {register['start_wh']} Wh, record {at} ended at {before} Wh")
            elif register["start_wh"] > before:
                verdict.notes.append(f"meter {serial} counted {register['start_wh'] - before} Wh since record {at}")
            self.registers[serial] = (register["stop_wh"], said["seq"])
            told, known = said["ocmf"].get("meter_key", ""), self.meter_keys.get(serial, "")
            if said["ocmf"]["record"] and known not in ("", told):
                verdict.problems.append(f"OCMF: meter {serial} signed with another key before")
            self.meter_keys[serial] = known or told
        number = said.get("receipt", {}).get("number", "") if said["type"] in ("session", "credit") else ""
        if number and number in self.receipts:
            verdict.problems.append(f"receipt {number} was given to record {self.receipts[number]} already")
        if number:
            self.receipts[number] = said["seq"]
        if said["type"] == "settlement" and said["how"] == "captured":
            hold = said["authorization_reference"]
            if hold in self.captured:
                verdict.problems.append(f"authorization {hold} was captured by record {self.captured[hold]} already")
            self.captured[hold] = said["seq"]

    def _credit(self, said: dict[str, Any], verdict: Verdict) -> None:
        """It names a bill that is there, by its hash; all credits of a bill together never exceed it."""
        named, totals = said["credits"], said["totals"]
        bill = self.bills.get(named["seq"])
        if bill is None:
            if named["seq"] < self.first:
                verdict.notes.append(f"record {named['seq']}, which it credits, is not in this export: not compared")
            else:
                verdict.problems.append(f"credits record {named['seq']}, which is no bill of this chain")
            return
        if (named["sha256"], said["session_id"], named["receipt"]) != (bill.sha256, bill.session_id, bill.receipt):
            verdict.problems.append(f"record {named['seq']} is not the one that it credits")
        if totals["currency"] != bill.currency or said["number"] != bill.credits + 1:
            verdict.problems.append("its currency or its number does not follow from the bill and the credits before")
        bill.credits, bill.credited = bill.credits + 1, bill.credited - totals["total_minor"]
        if bill.credited > bill.total:
            verdict.problems.append(f"with it {bill.credited} are credited of a bill of {bill.total}")


def claim(jws: str) -> tuple[str, str, int]:
    """Terminal, chain and number as a record says, before anything is verified: only for sorting."""
    try:
        said = strict_json(b64url(jws.split(".")[1]))
        return str(said.get("terminal", "")), str(said.get("chain_id", "")), int(said.get("seq", 0))
    except (Unfit, IndexError, ValueError, TypeError):
        return "~", "~", 0


def verify(listed: list[tuple[str, str]], keys: dict[str, Key], ocmf_keys: dict[str, Key]) -> tuple[list[Verdict], list[Chain]]:
    """All records, sorted by chain and number. What cannot be read at all comes last."""
    verdicts, chains = [], dict[tuple[str, str], Chain]()
    known: set[str] = set()
    for where, jws in sorted(listed, key=lambda one: (claim(one[1]), one[0])):
        if jws in known:
            continue  # the same record exported twice proves and disproves nothing
        known.add(jws)
        terminal, chain_id, seq = claim(jws)
        verdict = Verdict(where if seq == 0 else f"{terminal}/{chain_id}/{seq}")
        chain = chains.setdefault((terminal, chain_id), Chain(terminal, chain_id, dict(keys), dict(ocmf_keys)))
        try:
            said, key_id = opened(jws, chain.keys)
            check_form(said)
            verdict.type = said["type"]
            chain.link(said, jws, key_id, verdict)
            if said["type"] == "session":
                check_session(said, chain.ocmf_keys, verdict)
            elif said["type"] == "settlement":
                check_settlement(said, verdict)
            elif said["type"] == "credit":
                check_credit(said, verdict)
            elif said["type"] == "checkpoint":
                check_checkpoint(said, verdict)
            chain.history(said, jws, verdict)
        except Unfit as error:
            verdict.problems.append(str(error))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError, InvalidOperation) as error:
            verdict.problems.append(f"its content has not the form of a record: {type(error).__name__} {error}")
        verdicts.append(verdict)
    return verdicts, [one for one in chains.values() if one.first]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], epilog="See the head of this file.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--key", action="append", type=Path, default=[], help="public key of the records")
    parser.add_argument("--ocmf-key", action="append", type=Path, default=[], help="public key of the signed readings")
    parser.add_argument("--report", help="write the machine report (JSON) here; - for stdout instead of the lines")
    asked = parser.parse_args(argv)
    try:
        listed = [one for path in asked.paths for one in records_in(path)]
        beside = [] if asked.key else [one for path in asked.paths if path.is_dir() for one in sorted(path.glob("*.pub"))]
        keys = {thumbprint(key): key for path in [*asked.key, *beside] for key in keys_in(path)}
        ocmf_keys = {thumbprint(key): key for path in [*asked.ocmf_key, *beside] for key in keys_in(path)}
    except (Unfit, OSError) as error:
        sys.stderr.write(f"verify_records: {error}\n")
        return 2
    if not keys or not listed:
        sys.stderr.write(f"verify_records: {'no public key: give --key' if listed else 'there are no records'}\n")
        return 2
    verdicts, chains = verify(listed, keys, ocmf_keys)
    report = {
        "ok": not any(one.problems for one in verdicts),
        "keys_from_the_export_itself": bool(beside),
        "chains": [
            {"terminal": c.terminal, "chain_id": c.chain_id, "first": c.first, "last": c.seq, "head_sha256": c.head} for c in chains
        ],
        "records": [vars(one) | {"ok": not one.problems} for one in verdicts],
    }
    if asked.report:
        text = json.dumps(report, indent=2, default=str) + "\n"
        if asked.report == "-":
            sys.stdout.write(text)
        else:
            Path(asked.report).write_text(text, encoding="utf-8")
    if asked.report != "-":
        print_lines(verdicts, chains, bool(beside))
    return 0 if report["ok"] else 1


def print_lines(verdicts: list[Verdict], chains: list[Chain], beside: bool) -> None:
    for one in verdicts:
        rest = "; ".join([*one.problems, *one.notes, *([one.says] if one.says and not one.problems else [])])
        print(f"{one.name} {one.type or '?'} {'BAD' if one.problems else 'ok'}: {rest}")
    for c in chains:
        print(f"chain {c.terminal}/{c.chain_id}: records {c.first} to {c.seq}, head {c.head}")
    bad = sum(1 for one in verdicts if one.problems)
    print(f"{len(verdicts)} records, {bad} bad")
    if beside:
        print("note: the key came with the records; compare its thumbprint with the terminal's label before you rely on this")


if __name__ == "__main__":
    sys.exit(main())
