"""The reader as the core sees it: one presentation counts once, accidents become the right error, keys and numbers stay hidden."""

import logging
import os
import pickle
import threading
import traceback
from pathlib import Path

import pytest

from drivers.cards.pcsc import Category, Line, PcscError
from drivers.cards.pcsc_reader import PcscReader
from terminal_app.config import ReaderSection
from terminal_app.errors import CardMisread, CardMisreadReason, ConfigError, DeviceUnavailable
from terminal_app.values import EntryMode
from tests.pan_search import search_bytes
from tests.scripted_card import IDENTIFY, PANS, PAY, RealClock, Rewrite, ScriptedSlot, answers, emv_card, issuer_accepts


@pytest.fixture
def slot() -> ScriptedSlot:
    return ScriptedSlot()


@pytest.fixture
def section(tmp_path: Path) -> ReaderSection:
    key = tmp_path / "card.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    return ReaderSection(card_key=key)


@pytest.fixture
def reader(section: ReaderSection, slot: ScriptedSlot) -> PcscReader:
    return PcscReader(section, RealClock(), slot)


@pytest.mark.parametrize("profile", ["mastercard", "visa"])
def test_a_payment_card(reader: PcscReader, slot: ScriptedSlot, profile: str) -> None:
    slot.insert(answers(emv_card(profile)))
    assert reader.wait_card(0)
    card = reader.read(PAY)
    facts = card.facts
    assert (facts.last4, facts.entry, facts.cvm) == (PANS[profile][-4:], EntryMode.CONTACTLESS, "none")
    assert (card.amount_minor, card.currency, card.psn) == (5000, "EUR", 1)
    assert issuer_accepts(card.emv, PANS[profile])
    assert len(facts.token) == 32 and facts.atc == 1 and len(facts.cryptogram) == 16
    assert not slot.connected
    reader.finish(None)


def test_the_token_is_the_same_for_the_same_card_at_this_terminal_only(
    reader: PcscReader, slot: ScriptedSlot, tmp_path: Path
) -> None:
    slot.insert(answers(emv_card("visa")))
    paid, shown_again = reader.read(PAY), reader.read(IDENTIFY)
    assert paid.facts.token == shown_again.facts.token
    assert shown_again.facts.cryptogram == "" and not shown_again.emv and not shown_again.track2
    slot.insert(answers(emv_card("mastercard")))
    assert reader.read(IDENTIFY).facts.token != paid.facts.token
    other = tmp_path / "other.key"
    other.write_bytes(os.urandom(32))
    other.chmod(0o600)
    elsewhere = ScriptedSlot(answers(emv_card("visa")))
    assert PcscReader(ReaderSection(card_key=other), RealClock(), elsewhere).read(IDENTIFY).facts.token != paid.facts.token


def test_a_card_counts_once_until_it_was_taken_away(reader: PcscReader, slot: ScriptedSlot) -> None:
    assert not reader.wait_card(0)
    slot.insert(answers(emv_card("visa")))
    assert reader.wait_card(0)
    reader.read(PAY)
    assert not reader.wait_card(0) and not reader.wait_card(0)
    slot.remove()
    assert not reader.wait_card(0)
    slot.insert(answers(emv_card("visa")))
    assert reader.wait_card(0)
    slot.remove()
    slot.insert(answers(emv_card("visa")))  # so quick that nobody saw the field empty
    assert reader.wait_card(0)


def test_a_card_that_lay_there_when_the_reader_was_lost_is_not_a_new_one(reader: PcscReader, slot: ScriptedSlot) -> None:
    slot.insert(answers(emv_card("visa")))
    assert reader.wait_card(0)
    slot.failure = PcscError(Category.NO_SERVICE, "gone")
    with pytest.raises(DeviceUnavailable):
        reader.wait_card(0)
    slot.failure, slot.presentation = None, 1
    assert not reader.wait_card(0)
    slot.remove()
    assert not reader.wait_card(0)
    slot.insert(answers(emv_card("visa")))
    assert reader.wait_card(0)


def test_an_empty_field_right_after_the_return_does_not_make_the_old_card_new(reader: PcscReader, slot: ScriptedSlot) -> None:
    card = answers(emv_card("visa"))
    slot.insert(card)
    assert reader.wait_card(0)
    slot.failure = PcscError(Category.NO_SERVICE, "gone")
    with pytest.raises(DeviceUnavailable):
        reader.wait_card(0)
    slot.failure = None
    slot.remove()
    assert not reader.wait_card(0)
    slot.insert(card)
    assert not reader.wait_card(0)


def test_a_card_brought_while_the_reader_was_away_is_new_if_the_field_was_empty(reader: PcscReader, slot: ScriptedSlot) -> None:
    assert not reader.wait_card(0)
    slot.failure = PcscError(Category.NO_READER, "unplugged")
    with pytest.raises(DeviceUnavailable):
        reader.wait_card(0)
    slot.failure = None
    slot.insert(answers(emv_card("visa")))
    assert reader.wait_card(0)


APDUS = {("mastercard", True): 6, ("mastercard", False): 5, ("visa", True): 4, ("visa", False): 4}
PULLS = [(profile, pay, at) for (profile, pay), count in APDUS.items() for at in range(count)]


@pytest.mark.parametrize(("profile", "pay", "at"), PULLS)
def test_a_card_pulled_at_any_apdu_is_told_and_the_reader_goes_on(
    reader: PcscReader, slot: ScriptedSlot, profile: str, pay: bool, at: int
) -> None:
    slot.insert(answers(emv_card(profile)))
    assert reader.wait_card(0)
    slot.fail_at = (at, PcscError(Category.REMOVED, "pulled"))
    with pytest.raises(CardMisread) as raised:
        reader.read(PAY if pay else IDENTIFY)
    assert raised.value.reason is CardMisreadReason.REMOVED
    assert not slot.connected and not reader.wait_card(0)
    slot.insert(answers(emv_card(profile)))
    assert reader.wait_card(0)
    assert issuer_accepts(reader.read(PAY).emv, PANS[profile])


def test_the_walk_above_reaches_every_apdu(reader: PcscReader, slot: ScriptedSlot) -> None:
    for (profile, pay), count in APDUS.items():
        slot.insert(answers(emv_card(profile)))
        reader.read(PAY if pay else IDENTIFY)
        assert slot.sent == count


@pytest.mark.parametrize(
    ("category", "expected", "word"),
    [
        (Category.REMOVED, CardMisread, CardMisreadReason.REMOVED),
        (Category.NO_CARD, CardMisread, CardMisreadReason.REMOVED),
        (Category.IO, CardMisread, CardMisreadReason.REMOVED),
        (Category.RESET, CardMisread, CardMisreadReason.ERROR),
        (Category.NO_SERVICE, DeviceUnavailable, "no_service"),
        (Category.NO_READER, DeviceUnavailable, "no_reader"),
        (Category.SHARING, DeviceUnavailable, "sharing"),
        (Category.TIMEOUT, DeviceUnavailable, "stuck"),
    ],
)
def test_what_each_accident_is_called(
    reader: PcscReader, slot: ScriptedSlot, category: Category, expected: type[Exception], word: object
) -> None:
    for at in range(4):
        slot.insert(answers(emv_card("visa")))
        slot.fail_at = (at, PcscError(category, "accident"))
        with pytest.raises(expected) as raised:
            reader.read(PAY)
        error = raised.value
        assert (error.reason if isinstance(error, CardMisread) else getattr(error, "kind", None)) == word
        assert not slot.connected


def test_a_stuck_reader_is_reported_until_the_card_is_gone(reader: PcscReader, slot: ScriptedSlot) -> None:
    slot.insert(answers(emv_card("visa")))
    slot.stuck = True
    with pytest.raises(DeviceUnavailable) as raised:
        reader.wait_card(0)
    assert raised.value.kind == "stuck"
    slot.stuck = False
    assert reader.wait_card(0)


def test_a_slow_card_is_a_misread_not_a_broken_reader(
    reader: PcscReader, slot: ScriptedSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drivers.cards.pcsc_reader.READ_S", 0.0)
    slot.insert(answers(emv_card("visa")))
    with pytest.raises(CardMisread, match="took longer"):
        reader.read(PAY)
    assert not slot.connected


@pytest.mark.parametrize("profile", ["mastercard", "visa"])
def test_no_card_number_in_any_text_of_a_reading(
    reader: PcscReader, slot: ScriptedSlot, profile: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    texts: list[str] = []

    def damaged(at: int) -> Rewrite:
        """Without a cryptogram in one answer, then each answer cut shorter and shorter."""
        if at < 7:
            return lambda index, command, answer: answer.replace(b"\x9f\x26", b"\xdf\x26") if at == index else answer
        return lambda index, command, answer: answer[: len(answer) - at + 6] + answer[-2:]

    for at in range(20):
        slot.insert(answers(emv_card(profile), damaged(at)))
        try:
            card = reader.read(PAY)
            texts += [repr(card), str(card), f"{card}", repr(card.facts)]
        except CardMisread as error:
            texts.append("".join(traceback.format_exception(error)))
    assert len(texts) >= 20
    assert not search_bytes("\n".join([*texts, caplog.text]).encode(), PANS[profile])


def test_a_card_is_never_serialised(reader: PcscReader, slot: ScriptedSlot) -> None:
    slot.insert(answers(emv_card("visa")))
    with pytest.raises(TypeError):
        pickle.dumps(reader.read(PAY))


def test_unfit_card_keys_stop_the_start(section: ReaderSection, slot: ScriptedSlot, tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(ConfigError) as raised:
            PcscReader(section, RealClock(), slot)
        return str(raised.value)

    key = section.card_key
    key.chmod(0o640)
    assert "[reader] card_key" in refusal() and "chmod 600" in refusal()
    key.chmod(0o600)
    for size, told in ((31, "31 bytes"), (33, "more bytes"), (0, "0 bytes")):
        key.write_bytes(bytes(size))
        assert told in refusal()
    key.unlink()
    assert "cannot be read" in refusal()
    key.mkdir()
    assert "[reader] card_key" in refusal()


def test_systemd_credentials_may_be_readable_by_the_group(
    section: ReaderSection, slot: ScriptedSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    section.card_key.chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(section.card_key.parent))
    PcscReader(section, RealClock(), slot)


def test_a_call_that_hangs_is_left_behind_and_its_answer_wiped() -> None:

    line, release = Line("test"), threading.Event()
    late = bytearray(b"card bytes")

    def hang() -> bytearray:
        release.wait(30)
        return late

    with pytest.raises(PcscError) as raised:
        line.call(hang, 0.05)
    assert raised.value.category is Category.TIMEOUT and line.stuck and not line.wait_idle(0)
    with pytest.raises(PcscError):
        line.call(lambda: 1, 1.0)
    cleaned = threading.Event()
    line.later(cleaned.set)
    release.set()
    assert cleaned.wait(10) and line.wait_idle(10)
    assert not any(late)
    assert line.call(lambda: 7, 5.0) == 7
    line.end()


def test_a_library_that_raises_does_not_end_the_thread() -> None:
    line = Line("test")

    def broken() -> int:
        raise TypeError("SWIG")

    with pytest.raises(PcscError, match="TypeError"):
        line.call(broken, 5.0)
    assert line.call(lambda: 7, 5.0) == 7
    line.end()
