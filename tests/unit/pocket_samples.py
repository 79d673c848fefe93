"""Slices and a terminal with an account gateway, for tests of the pocket."""

from pathlib import Path
from typing import Any

import msgspec

from terminal_app.billing.balance_slice import BalanceSlice
from terminal_app.config import AccountSection, Config
from terminal_app.session.facts import SliceIntended, SliceKept
from tests.simulation import stage

GATEWAY, CARD, OTHER = "accounts", "5e" * 16, "0f" * 16
DAY_MS = 86_400_000
T0 = stage.T0_UTC_MS


def a_slice(number: int = 1, amount_minor: int = 4000, card: str = CARD, granted_ms: int = T0, days: int = 7) -> BalanceSlice:
    return BalanceSlice(
        slice_id=f"SL{number}",
        terminal="T-0001",
        account="A-1",
        card=card,
        amount_minor=amount_minor,
        currency="EUR",
        granted_utc_ms=granted_ms,
        expires_utc_ms=granted_ms + days * DAY_MS,
    )


def an_intent(number: int = 1, card: str = CARD, utc_ms: int = T0) -> SliceIntended:
    return SliceIntended(f"q{number}", GATEWAY, card, 4000, "EUR", 7, utc_ms)


def a_kept(number: int = 1, **changes: Any) -> SliceKept:
    return SliceKept(f"q{number}", GATEWAY, a_slice(number, **changes), "a.b.c")


def account_configuration(**changes: Any) -> Config:
    section = AccountSection(url="http://127.0.0.1:1", token_file=Path("token"), **{"slice_minor": 4000, **changes})
    return msgspec.structs.replace(stage.configuration(), gateway={GATEWAY: section})
