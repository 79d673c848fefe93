"""The end of the story: does everybody's own account agree? What can be read from the peers' books is read there."""

import base64
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scripts.demo.site import Site
from terminal_app.billing import record
from terminal_app.ledger.entry import GENESIS, from_row, hash_of


class Disagreement(Exception):
    """Two accounts differ, or something does not verify."""


def gather(site: Site) -> dict[str, Any]:
    """The figures of the newest session, each from whoever owns it. Disagreement if anything is missing."""
    rows = site.ledger_rows("SELECT seq, subject, jws, sha256 FROM records WHERE type = 'session' ORDER BY seq DESC LIMIT 1")
    if not rows:
        raise Disagreement("no session record was sealed")
    seq, session_id, jws, sha256 = rows[0]
    keys = site.folder / "keys"
    record_key = keys / "record.pub.pem"
    body = payload_of(jws)
    hold = body["payment"]
    trace = hold["trace"] if hold else {}
    booked = next((row for row in holds_of(site) if row[site.names_a_hold] == trace.get(site.names_a_hold)), None) if hold else None
    office = site.office_rows("SELECT jws FROM records WHERE terminal = ? AND seq = ?", body["terminal"], seq)
    return {
        "session_id": session_id,
        "energy_wh": body["energy_wh"],
        "meter_start": body["register"]["start_wh"],
        "meter_stop": body["register"]["stop_wh"],
        "total_minor": body["totals"]["total_minor"],
        "currency": body["totals"]["currency"],
        "authorized_minor": booked["amount_minor"] if booked else 0,
        "captured_minor": booked["captured_minor"] if booked else 0,
        "record_seq": seq,
        "office_record_sha256": hashlib.sha256(office[0][0].encode()).hexdigest() if office else "",
        "record_sha256": sha256,
        "ocmf": body["ocmf"]["record"],
        "public_key": key_of_readings(body, keys / "ocmf.pub.pem"),
        "jws": jws,
        "jws_key": json.loads(jwk_text(record_key)),
        "acquirer_books": str(site.books),
        "office_db": str(site.office_db),
    }


def key_of_readings(body: dict[str, Any], terminals: Path) -> str:
    """PEM of the key the OCMF verifies with: the meter's own where it signs, as the record says it."""
    if "meter_key" not in body["ocmf"]:
        return terminals.read_text()
    key = serialization.load_der_public_key(bytes.fromhex(body["ocmf"]["meter_key"]))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def holds_of(site: Site) -> list[dict[str, Any]]:
    """Holds in the books of whoever keeps the money: the office's accounts, or the acquirer."""
    return site.account_rows() if site.wanted.by_phone else site.acquirer_rows()


def payload_of(jws: str) -> dict[str, Any]:
    """The payload of a compact JWS, unverified."""
    part = jws.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def jwk_text(pem: Path) -> str:
    """The public JWK of a PEM file."""
    key = serialization.load_pem_public_key(pem.read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()

    def text(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()

    return json.dumps({"kty": "EC", "crv": "P-256", "x": text(numbers.x), "y": text(numbers.y)})


def checks(site: Site, found: dict[str, Any], free: bool) -> list[tuple[str, Callable[[], str]]]:
    """Named checks; each returns what it saw or raises Disagreement."""

    def money() -> str:
        whose = "the account's books" if site.wanted.by_phone else "the acquirer's books"
        row = next((one for one in holds_of(site) if one["captured_minor"]), None)
        if free:
            if holds_of(site):
                raise Disagreement(f"a free charge has a hold in {whose}")
            return f"free: nothing in {whose}"
        if row is None or row["captured_minor"] != found["total_minor"] or row["state"] != "captured":
            raise Disagreement(f"billed {found['total_minor']}, {whose} say {row}")
        return f"billed {found['total_minor']}, {whose} say captured {row['captured_minor']} of {row['amount_minor']}"

    def double_entry() -> str:
        rows = dict(site.office_rows("SELECT book, SUM(amount_minor) FROM entries GROUP BY book"))
        earned = rows.get("revenue", 0) + rows.get("vat", 0)
        if sum(rows.values()) or rows.get("hold", 0) or earned != found["total_minor"]:
            raise Disagreement(f"billed {found['total_minor']}, the books stand at {rows}")
        return f"earned {earned}, nothing held any more, all books add up to 0"

    def energy() -> str:
        difference = found["meter_stop"] - found["meter_start"]
        now = site.meter_wh()
        beyond = now - found["meter_stop"]
        if site.wanted.meter == "bsm-ws36a":
            beyond = 0  # it signs what it has counted since it was switched on, another register
        if difference != found["energy_wh"] or not 0 <= beyond <= 1:
            raise Disagreement(f"billed {found['energy_wh']} Wh, registers differ by {difference}, the meter shows {now}")
        return f"{found['energy_wh']} Wh = {found['meter_stop']} - {found['meter_start']}; the meter itself shows {now}"

    def ledger() -> str:
        head, count = GENESIS, 0
        for entry in map(from_row, site.ledger_rows("SELECT * FROM entries ORDER BY seq")):
            count += 1
            linked = hash_of(entry.seq, entry.stamp, entry.kind, entry.session_id, entry.public, entry.body, head)
            if entry.seq != count or entry.sha256 != linked:
                raise Disagreement(f"ledger entry {entry.seq} does not follow the one before")
            head = entry.sha256
        return f"{count} entries, each linked to the one before; head {head[:12]}"

    def delivered() -> str:
        if found["office_record_sha256"] != found["record_sha256"]:
            raise Disagreement("the office has other bytes than the terminal sealed")
        return f"record {found['record_seq']} at the office: the same bytes, {found['record_sha256'][:12]}"

    def countersigned() -> str:
        status = site.status()["records"]
        if status["waiting"] or status["acknowledged"] != status["sealed"]:
            raise Disagreement(f"not all records are acknowledged: {status}")
        return f"countersigned up to record {status['acknowledged']}, verified by the core"

    return [
        ("hold and bill", money),
        *([("accounts, double entry", double_entry)] if site.wanted.by_phone else []),
        ("energy", energy),
        ("ledger chain", ledger),
        ("OCMF, by pyocmf", lambda: by_pyocmf(found)),
        ("OCMF, by openssl", lambda: by_openssl(found)),
        ("JWS, by jose", lambda: by_jose(found)),
        ("record chain", lambda: chain(site)),
        ("delivered", delivered),
        ("countersigned", countersigned),
    ]


def by_pyocmf(found: dict[str, Any]) -> str:
    """The transparency record, verified by a library that is not ours."""
    import pyocmf

    key = serialization.load_pem_public_key(found["public_key"].encode())
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo).hex()
    if "brainpool" in found["ocmf"]:
        return "not asked: it knows no brainpool curve"
    for one in found["ocmf"].split("\n"):  # a meter may sign begin and end apart
        if not pyocmf.OCMF.from_string(one).verify_signature(spki):
            raise Disagreement("pyocmf does not accept the OCMF record")
    return "signature good"


def by_openssl(found: dict[str, Any]) -> str:
    return ", ".join(_openssl(one, found["public_key"]) for one in found["ocmf"].split("\n"))


def _openssl(ocmf: str, public_key: str) -> str:
    _, payload, signature = ocmf.split("|")
    with tempfile.TemporaryDirectory() as folder:
        key, data, proof = (Path(folder) / name for name in ("key.pem", "payload", "signature"))
        key.write_text(public_key)
        data.write_bytes(payload.encode())
        proof.write_bytes(bytes.fromhex(json.loads(signature)["SD"]))
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-verify", key, "-signature", proof, data], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise Disagreement(f"openssl: {done.stdout or done.stderr}")
    return done.stdout.strip()


def by_jose(found: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        key, jws = Path(folder) / "key.jwk", Path(folder) / "record.jws"
        key.write_text(json.dumps(found["jws_key"]))
        jws.write_text(found["jws"])
        done = subprocess.run(["jose", "jws", "ver", "-i", jws, "-k", key], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Disagreement(f"jose: {done.stderr or 'signature refused'}")
    return "signature good"


def chain(site: Site) -> str:
    rows = site.ledger_rows("SELECT seq, jws FROM records ORDER BY seq")
    key = serialization.load_pem_public_key((site.folder / "keys/record.pub.pem").read_bytes())
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    head = record.verify_chain(rows, lambda key_id: spki if key_id == record.thumbprint(spki) else None)
    return f"{head.seq} records, gapless"
