"""The words of the driver's pages, and what facts of a real terminal make of the office's live view."""

import string
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from terminal_app.office import queries
from terminal_app.office.derived import _STEPS
from terminal_app.office.ingest import SentFact
from terminal_app.office.words import WORDS, language_of
from terminal_app.screens import PriceKind, StopWords
from terminal_app.session import facts as f
from terminal_app.values import CardFacts, Device, EntryMode, Fault, Hold, MeterIdentity, MeterValue, MoneyStep, Stamp
from tests.unit.office_samples import Desk, Terminal, desk_at

AT = Stamp(1_767_344_400_000, 1000, "boot-1")
CARD = CardFacts("Mastercard", "0011", "5e" * 16, "A0000000041010", "Mastercard", EntryMode.CONTACTLESS)
HOLD = Hold("H-7", "bank", 1000041, 1_767_344_400_000, 5000, "EUR", 1, "key-7")


def value(energy_wh: int) -> MeterValue:
    return MeterValue(energy_wh, 0, "21130042", AT)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = desk_at(tmp_path, Terminal())
    yield desk
    desk.database.close()


def tell(desk: Desk, *told: f.Fact, after: int = 0) -> None:
    rows = tuple(
        SentFact(after + n, AT.utc_ms + n, f.kind_of(fact), "S-1", msgspec.json.encode(fact).decode())
        for n, fact in enumerate(told, 1)
    )
    desk.take(Terminal().batch(facts=rows, facts_after=after, head_sha256="0" * 64))


def test_every_kind_the_office_understands_is_a_fact_of_the_terminal() -> None:
    assert set(_STEPS) <= {fact.__struct_config__.tag for fact in get_args(f.Fact)}


def test_a_charge_told_by_facts(desk: Desk) -> None:
    tell(
        desk,
        f.SessionOpened("S-1", 1, "{}", "00", False, "en", 0),
        f.AuthorizationIntended("S-1", HOLD, CARD),
        f.AuthorizationApproved("H-7", 4000, {}, None, 0),
        f.StartRegistered("S-1", value(1000), value(1000), MeterIdentity("Eastron", "SDM630", "21130042")),
        f.EnergyCheckpoint("S-1", value(3500), 60_000, 0, False),
        f.FaultRaised(Fault(Device.METER, 1, "timeout")),
    )
    with desk.database.read() as db:
        (live,), (hold,), (fault,) = queries.live_sessions(db), queries.open_holds(db), queries.raised_faults(db)
    assert (live["state"], live["energy_wh"], live["connector"]) == ("charging", 2500, 1)
    assert (hold["state"], hold["amount_minor"], hold["card"]) == ("held", 4000, "Mastercard ···· 0011")
    assert (fault["device"], fault["kind"]) == ("meter", "timeout")
    tell(
        desk,
        f.FaultCleared(Fault(Device.METER, 1, "timeout")),
        f.StopIntended("S-1", f.StopReason.TOUCH, AT),
        f.CaptureIntended("H-7", MoneyStep(2, AT.utc_ms, 1475, "k")),
        after=6,
    )
    with desk.database.read() as db:
        assert queries.raised_faults(db) == []
        assert queries.live_sessions(db)[0]["state"] == "stopping"
        assert queries.open_holds(db)[0]["state"] == "capturing"
    tell(desk, f.HoldEnded("H-7", f.Terminated.CAPTURED, 1475, {}, ""), f.SessionAborted("S-1", f.StopReason.FAULT), after=9)
    with desk.database.read() as db:
        assert queries.live_sessions(db) == queries.open_holds(db) == []


@pytest.mark.parametrize("how", [f.Terminated.VOIDED, f.Terminated.MANUAL])
def test_an_unknown_authorization_stays_open_until_it_is_resolved(desk: Desk, how: f.Terminated) -> None:
    void = f.VoidIntended("H-7", MoneyStep(2, AT.utc_ms, 5000, "k"), "no answer")
    tell(desk, f.AuthorizationIntended("S-1", HOLD, CARD), f.AuthorizationUnknown("H-7", "no answer"), void)
    with desk.database.read() as db:
        assert queries.open_holds(db)[0]["state"] == "voiding"
    tell(desk, f.HoldEnded("H-7", how, 0, {}, ""), after=3)
    with desk.database.read() as db:
        assert [hold["state"] for hold in queries.open_holds(db)] == (["manual"] if how is f.Terminated.MANUAL else [])


def test_every_language_has_all_words_with_the_same_places_for_figures() -> None:
    english = WORDS["en"]
    for words in WORDS.values():
        assert words.keys() == english.keys()
        for name, text in words.items():
            places = [field for _, field, _, _ in string.Formatter().parse(text) if field is not None]
            assert places == [field for _, field, _, _ in string.Formatter().parse(english[name]) if field is not None]
    assert {f"line_{kind.value}" for kind in PriceKind} <= english.keys()
    assert {f"stop_{reason.value}" for reason in StopWords} <= english.keys()


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("", "en"),
        ("de-DE,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,en;q=0.9,de;q=0.1", "en"),
        ("fr,de;q=0.5", "de"),
        ("fr", "en"),
        ("de;q=x", "en"),
        ("de;q=0", "en"),
        (",;,;q=,", "en"),
    ],
)
def test_the_phone_chooses_the_language(asked: str, language: str) -> None:
    assert language_of(asked) == language
