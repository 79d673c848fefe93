"""What every test of the rules needs: a configuration, tariffs, two keys, a clock that only moves when told, cards.

The cards are published test numbers; their bytes stand in RAM only, as in life, and tests search for them in what is stored.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.config import Config, decode
from terminal_app.engine.engine import Standing
from terminal_app.session.state import Terms
from terminal_app.values import CardFacts, CardRequest, ClockState, EntryMode, PaymentCard, Stamp
from tests.unit.billing_samples import Key, as_json, component, document, element

T0_UTC_MS = 1_767_344_400_000  # 2026-01-02 10:00 in Berlin
TRACK2 = bytes.fromhex("5413330089020011D2512601079360805F")
KWH_PRICE = "0.59"

PAID = element(component("ENERGY", KWH_PRICE))
FREE = element(component("ENERGY", "0.00"), component("FLAT", "0.00"))
MIXED = element(component("ENERGY", KWH_PRICE), component("TIME", "1.20"), component("FLAT", "1.00"))


@cache
def tariff(kind: str = "paid") -> Tariff:
    return parse_tariff(as_json(document({"paid": PAID, "free": FREE, "mixed": MIXED}[kind])))


PHONE = {"kind": "stripe", "secret_key_file": "stripe.key", "return_url": "https://office.example"}
ACCOUNTS = {"kind": "account", "url": "https://office.example", "token_file": "token"}
BACKUP = {
    "kind": "iso8583",
    "host": "backup.example",
    "port": 8583,
    "tls": True,
    "terminal_id": "TERM0002",
    "merchant_id": "MERCHANT0000002",
}


SECTIONS = {
    "stripe": PHONE,
    "adyen": PHONE,  # its double brings its own contract: the rules only know a gateway's name
    "account": ACCOUNTS,
    "cybersource": {"kind": "cybersource", "merchant_id": "m", "key_id": "k", "shared_secret_file": "s", "terminal_id": "TERM0001"},
}


def configuration(
    connectors: int = 1,
    max_power_w: int = 22_000,
    by_phone: bool = False,
    gateways: dict[str, dict[str, Any]] | None = None,
    sections: dict[str, Any] | None = None,
    kinds: tuple[str, ...] = (),
    **policy: Any,
) -> Config:
    """A terminal with `connectors` outlets, `by_phone` also with pages for phones; `policy` overrides keys of [policy].

    `gateways` are added behind the acquirer, `sections` to the whole file, `kinds` stand instead of all gateways, each named
    like its kind.
    """
    numbers = range(1, connectors + 1)
    raw: dict[str, Any] = {
        "terminal": {
            "id": "T-0001",
            "mode": "demo",
            "station": "Example Station",
            "operator": "Example Charging",
            "operator_address": "1 Example Street, 12345 Example",
            "country": "AT",  # an unsigned meter sells here, and there is no least quantity
            "time_zone": "Europe/Berlin",
            "currency": "EUR",
            "languages": ["en", "de"],
            "helpline": "+49 000 0000000",
            "state_dir": "state",
            "runtime_dir": "run",
        },
        "connector": [
            {
                "number": n,
                "label": f"{n}",
                "evse_id": f"DE*EXA*E000{n}",
                "meter": f"m{n}",
                "evse": f"e{n}",
                "max_current_a": 32,
                "max_power_w": max_power_w,
                "tariff": "tariff.json",
            }
            for n in numbers
        ],
        "meter": {f"m{n}": {"profile": "eastron-sdm630-v2", "port": f"/dev/meter{n}"} for n in numbers},
        "evse": {f"e{n}": {"driver": "openevse", "port": f"/dev/evse{n}"} for n in numbers},
        "reader": {"card_key": "card.key"},
        "gateway": {
            "acquirer": {
                "kind": "iso8583",
                "host": "acquirer.example",
                "port": 8583,
                "tls": True,
                "terminal_id": "TERM0001",
                "merchant_id": "MERCHANT0000001",
            }
        },
        "policy": {"hold_minor": 5000} | policy,
        "keys": {"record": "record.pem", "ocmf": "ocmf.pem"},
        "office": {
            "url": "https://office.example",
            "public_key": "office.pem",
            "token_file": "token",
            "receipt_url": "https://office.example",
        },
    }
    raw["gateway"] |= ({"phone": PHONE} if by_phone else {}) | (gateways or {})
    if kinds:
        raw["gateway"] = {name: SECTIONS.get(name, raw["gateway"]["acquirer"]) for name in kinds}
    raw |= sections or {}
    return decode(raw, Config, Path("/etc/charge-terminal/terminal.toml"))


@cache
def record_key() -> Key:
    return Key()


@cache
def ocmf_key() -> Key:
    return Key()


def standing(settings: Config, tariffs: dict[int, Tariff] | None = None) -> Standing:
    if tariffs is None:
        tariffs = {one.number: tariff() for one in settings.connector}
    return Standing(
        config=settings,
        tariffs=tariffs,
        record_key_id=record_key().key_id,
        record_spki=record_key().spki,
        ocmf_spki=ocmf_key().spki,
        ocmf_key_id=ocmf_key().key_id,
        software="0.0-test",
        config_sha256="0" * 64,
    )


@dataclass
class FakeClock:
    """Moves when told. `restart` is a reboot of the machine: a new boot id and monotonic time from near zero."""

    utc_ms: int = T0_UTC_MS
    mono_ms: int = 50_000
    boots: int = 1
    state: ClockState = ClockState.SYNCHRONISED

    def now(self) -> Stamp:
        return Stamp(self.utc_ms, self.mono_ms, f"boot-{self.boots}", self.state)

    def advance(self, by_ms: int) -> None:
        assert by_ms >= 0
        self.utc_ms += by_ms
        self.mono_ms += by_ms

    def restart(self) -> None:
        self.boots += 1
        self.mono_ms = 3_000


@dataclass
class Chance:
    """Session ids and receipt codes that can be told apart and repeated by seed."""

    seed: str = "s"
    drawn: int = field(default=0)

    def __call__(self) -> tuple[str, str]:
        self.drawn += 1
        digest = hashlib.sha256(f"{self.seed}/{self.drawn}".encode()).hexdigest()
        return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}", digest[32:52].upper()


def terms(settings: Config, clock: FakeClock, chance: Chance, **changes: Any) -> Terms:
    """What a turn may know, without an engine."""
    base = standing(settings)
    fresh_id, code = chance()
    found = Terms(
        now=clock.now(),
        fresh_id=fresh_id,
        receipt_code=code,
        config=settings,
        tariffs=base.tariffs,
        chain_id="c0ffee0000000001",
        record_key_id=base.record_key_id,
        record_spki=base.record_spki,
        ocmf_spki=base.ocmf_spki,
        ocmf_key_id=base.ocmf_key_id,
        software=base.software,
        screen_no=1,
    )
    return msgspec.structs.replace(found, **changes)


def card(request: CardRequest, number: int = 1, tap: int = 0, authenticated: bool = False) -> PaymentCard:
    """Card `number` as the reader brings it; `tap` marks the cryptogram, so that a gateway can tell one tap from another."""
    return PaymentCard(
        facts=CardFacts(
            brand="Mastercard",
            last4="0011",
            token=f"{number:032x}",
            aid="A0000000041010",
            label="Mastercard",
            entry=EntryMode.CONTACTLESS,
            cryptogram=f"{tap:016X}",
            authenticated=authenticated,
        ),
        amount_minor=request.amount_minor,
        currency=request.currency,
        track2=bytearray(TRACK2),
        emv=bytearray(tap.to_bytes(8, "big")),
    )


def again(one: PaymentCard) -> PaymentCard:
    """The same card reading, with bytes of its own: paths that part here do not wipe each other's."""
    return PaymentCard(one.facts, one.amount_minor, one.currency, bytearray(one.track2), bytearray(one.emv), one.psn)
