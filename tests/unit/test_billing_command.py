"""The command format: what the office signs is what the terminal reads, and nothing else opens."""

from decimal import Decimal
from typing import Any

import pytest

from terminal_app.billing.command import COMMAND_TYP, MAX_LIFE_MS, make_command, open_command
from terminal_app.billing.signature import jws_seal, jws_signing_input
from terminal_app.errors import SignatureInvalid
from tests.unit.billing_samples import Key
from tests.unit.command_samples import T0_UTC_MS, command, signed

KEY = Key()


def test_a_command_opens_as_it_was_made() -> None:
    said = {"args": {"hold_id": "H", "amount_minor": 1234, "nested": {"list": [1, "ü", True, None]}}, "act": "payment.refund"}
    assert open_command(signed(KEY, **said), KEY.spki, "T-0001") == command(**said)


def test_another_key_another_terminal_another_byte() -> None:
    jws = signed(KEY)
    with pytest.raises(SignatureInvalid, match="header is not ours: kid"):
        open_command(jws, Key().spki, "T-0001")
    with pytest.raises(SignatureInvalid, match="for another terminal"):
        open_command(jws, KEY.spki, "T-0002")
    head, body, signature = jws.split(".")
    for spoilt in (f"{head}.{body[:-1]}.{signature}", f"{head}.{signed(KEY, number=2).split('.')[1]}.{signature}", "", "a.b.c"):
        with pytest.raises(SignatureInvalid):
            open_command(spoilt, KEY.spki, "T-0001")


def sealed(payload: dict[str, Any], typ: str = COMMAND_TYP) -> str:
    signing = jws_signing_input(typ, payload, KEY.key_id)
    return jws_seal(signing, KEY.sign(signing))


GOOD: dict[str, Any] = {
    "v": 1,
    "terminal": "T-0001",
    "number": 1,
    "command_id": "C-1",
    "act": "session.stop",
    "args": {},
    "actor": "Office",
    "reason": "why",
    "issued_utc_ms": T0_UTC_MS,
    "expires_utc_ms": T0_UTC_MS + 1,
}
WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"v": 2}, "version 2"),
    ({"number": 0}, "number"),
    ({"number": True}, "number"),
    ({"act": "stop"}, "act"),
    ({"act": "session.stop.now"}, "act"),
    ({"actor": ""}, "actor"),
    ({"actor": "line\nbreak"}, "actor"),
    ({"reason": ""}, "reason"),
    ({"extra": 1}, "extra"),
    ({"args": []}, "args"),
    ({"args": {"amount": Decimal("1.5")}}, "no integer"),
    ({"args": {"deep": [{"amount": Decimal("0.5")}]}}, "no integer"),
    ({"args": {"text": "x" * 300_000}}, "exceed"),
    ({"expires_utc_ms": T0_UTC_MS}, "never was valid"),
    ({"expires_utc_ms": T0_UTC_MS + MAX_LIFE_MS + 1}, "more than 30 days"),
)


@pytest.mark.parametrize(("change", "why"), WRONG)
def test_a_signed_payload_that_is_no_command(change: dict[str, Any], why: str) -> None:
    with pytest.raises(SignatureInvalid, match=why):
        open_command(sealed(GOOD | change), KEY.spki, "T-0001")


def test_what_the_office_signs_otherwise_is_no_command() -> None:
    open_command(sealed(GOOD), KEY.spki, "T-0001")
    with pytest.raises(SignatureInvalid, match="typ"):
        open_command(sealed(GOOD, "balance-slice+jws"), KEY.spki, "T-0001")


@pytest.mark.parametrize(
    "change",
    [
        {"args": {"amount": 1.5}},
        {"args": {"amount": Decimal("1.5")}},
        {"args": {"text": "x" * 300_000}},
        {"args": {"big": 10**17}},
        {"args": {"deep": [[[[[[[[[[[[[[]]]]]]]]]]]]]]}},
        {"reason": "\n"},
        {"number": 0},
        {"expires_utc_ms": T0_UTC_MS - 1},
    ],
)
def test_the_office_does_not_sign_what_no_terminal_takes(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        make_command(command(**change), KEY.key_id)
