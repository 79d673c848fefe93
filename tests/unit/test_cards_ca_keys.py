"""The file of CA keys: what is wrong in it stops the start, in one sentence that names file, entry and reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.cards.ca_keys import load_ca_keys
from drivers.cards.pcsc_reader import PcscReader
from drivers.sim.card_keys import DemoScheme
from terminal_app.config import ReaderSection
from terminal_app.errors import ConfigError
from tests.scripted_card import PAY, RealClock, ScriptedSlot, answers, emv_card


@pytest.fixture
def scheme(tmp_path: Path) -> DemoScheme:
    return DemoScheme(tmp_path / "scheme")


def refusal(file: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        load_ca_keys(file)
    return str(raised.value)


def test_the_demo_schemes_keys_are_read_and_made_only_once(scheme: DemoScheme, tmp_path: Path) -> None:
    keys = load_ca_keys(scheme.ca_keys)
    assert {(rid.hex().upper(), f"{index:02X}") for rid, index in keys} == {("A000000003", "DE"), ("A000000004", "DE")}
    again = DemoScheme(scheme.ca_keys.parent)
    assert load_ca_keys(again.ca_keys) == keys != load_ca_keys(DemoScheme(tmp_path / "other").ca_keys)


def flipped(text: str) -> str:
    """One digit inside the first modulus is another one."""
    at = text.index('modulus = "') + 40
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flipped, ("[[key]] no. 1: sha1", "copy the key again")),
        (lambda text: text.replace('index = "DE"', 'index = "DF"', 1), ("no. 1: sha1",)),
        (lambda text: text.replace("exponent = 3", "exponent = 5", 1), ("no. 1: exponent", "not 5")),
        (lambda text: text.replace('rid = "A000000004"', 'rid = "A0000004"'), ("no. 2: rid",)),
        (lambda text: text.replace('modulus = "', 'modulus = "00', 1), ("no. 1: sha1",)),
        (lambda text: text.replace("expires = 2049-12-31", 'expires = "soon"', 1), ("no. 1: expires",)),
        (lambda text: text.replace("expires = 2049-12-31", "", 1), ("expires",)),
        (lambda text: text.replace("exponent = 3", "exponent = 3\nlength = 128", 1), ("length",)),
        (lambda text: text + text.split("\n\n")[0], ("no. 3", "twice")),
        (lambda text: "", ("key",)),
        (lambda text: "[[key]", ("is not TOML",)),
        (lambda text: text + "#" * 300_000, ("larger than",)),
    ],
)
def test_what_is_wrong_is_named(scheme: DemoScheme, change: Callable[[str], str], told: tuple[str, ...]) -> None:
    scheme.ca_keys.write_text(change(scheme.ca_keys.read_text()))
    sentence = refusal(scheme.ca_keys)
    assert sentence.startswith("ca-keys.toml: ") and "\n" not in sentence
    for word in told:
        assert word in sentence


def test_a_file_that_others_can_write_is_refused(scheme: DemoScheme) -> None:
    scheme.ca_keys.chmod(0o664)
    assert "[reader] ca_keys" in refusal(scheme.ca_keys) and "chmod 644" in refusal(scheme.ca_keys)
    scheme.ca_keys.unlink()
    assert "cannot be read" in refusal(scheme.ca_keys)
    scheme.ca_keys.mkdir()
    assert "[reader] ca_keys" in refusal(scheme.ca_keys)


def test_the_reader_loads_them_at_the_start(scheme: DemoScheme, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = tmp_path / "card.key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    slot = ScriptedSlot()
    section = ReaderSection(card_key=key, ca_keys=scheme.ca_keys)
    caplog.set_level("INFO", "charge.reader")
    for profile in ("mastercard", "visa"):
        slot.insert(answers(emv_card(profile, scheme=scheme)))
        assert PcscReader(section, RealClock(), slot).read(PAY).facts.authenticated
        assert not PcscReader(ReaderSection(card_key=key), RealClock(), slot).read(PAY).facts.authenticated
        slot.insert(answers(emv_card(profile, scheme=scheme, lie="expired")))
        assert not PcscReader(section, RealClock(), slot).read(PAY).facts.authenticated
    assert [record.message.split(": ")[1] for record in caplog.records] == ["good", "expired"] * 2
    scheme.ca_keys.write_text("")
    with pytest.raises(ConfigError):
        PcscReader(section, RealClock(), slot)
