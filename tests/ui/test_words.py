"""Every view, button and enum value has words in every language, and figures are written as the language writes them."""

import ast
import re
import string
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from fontTools.ttLib import TTFont
from kivy.resources import resource_find

import ui
from terminal_app import screens
from terminal_app.screens import Button
from ui import words
from ui.views import VIEW_CLASSES
from ui.words import PREFIXES, catalogue, languages, words_in

HERE = Path(ui.__file__).parent
NOT_SAID = {Button.SELECT, Button.LANGUAGE, Button.HOLD}  # these show the connector's and the language's own name, and amounts


def pot_ids() -> set[str]:
    with (HERE / "locale" / "ui.pot").open("rb") as file:
        return {str(message.id) for message in read_po(file) if message.id}


def fields(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_every_view_type_has_a_view_and_no_other() -> None:
    assert set(VIEW_CLASSES) == set(screens.VIEWS)


def test_english_and_german_are_shipped() -> None:
    assert set(languages()) >= {"en", "de"}


@pytest.mark.parametrize("language", languages())
def test_a_language_translates_every_message(language: str) -> None:
    assert set(catalogue(language)) == pot_ids()


@pytest.mark.parametrize("language", languages())
def test_translations_carry_the_same_figures(language: str) -> None:
    wrong = [key for key, text in catalogue(language).items() if fields(text) != fields(catalogue("en")[key])]
    assert wrong == []


@pytest.mark.parametrize("language", languages())
def test_every_enum_value_of_the_screens_has_words(language: str) -> None:
    enums = [one for one in vars(screens).values() if isinstance(one, type) and issubclass(one, screens.enum.Enum)]
    assert {one for one in enums if one is not Button} == set(PREFIXES)
    wanted = {f"{prefix}.{value.value}" for enum, prefix in PREFIXES.items() for value in enum}
    wanted |= {f"button.{button.value}" for button in Button if button not in NOT_SAID}
    assert wanted - set(catalogue(language)) == set()


def test_every_message_said_in_the_code_exists_and_none_is_left_over() -> None:
    said = set()
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", node.value):
                said.add(node.value)
    made = {f"{prefix}.{value.value}" for enum, prefix in PREFIXES.items() for value in enum}
    made |= {key for key in pot_ids() if key.startswith("note.")}
    assert pot_ids() - said - made == set(), "never said"
    prefixes = {key.partition(".")[0] for key in pot_ids() if "." in key}
    assert {one for one in said if one.partition(".")[0] in prefixes and "." in one} - pot_ids() == set(), "no words"


@pytest.mark.parametrize("language", languages())
def test_the_fonts_have_every_letter(language: str) -> None:
    needed = {letter for text in catalogue(language).values() for letter in text} | set("0123456789€£×·–,.: ")
    for font in ("data/fonts/Roboto-Regular.ttf", "data/fonts/Roboto-Bold.ttf"):
        assert {letter for letter in needed if ord(letter) not in TTFont(resource_find(font)).getBestCmap()} == set()


def test_money_energy_and_time_are_written_as_the_language_writes_them() -> None:
    english, german = words_in("en"), words_in("de")
    assert english.money(123456, "EUR") == "€1,234.56"
    assert german.money(123456, "EUR") == "1.234,56\xa0€"
    assert english.money(500, "JPY").endswith("500")
    assert german.unit_price("0.4875", "EUR") == "0,4875\xa0€"
    assert english.unit_price("0.5", "EUR") == "€0.50"
    assert german.kwh(12345) == "12,345" and english.kwh(1112345) == "1,112.345"
    assert german.kw(10960) == "11,0"
    assert english.duration(3725) == "1:02:05"
    assert german.percent("7.7 / 19") == "7,7\xa0% / 19\xa0%"


def test_the_clock_shows_local_time_and_says_when_it_cannot() -> None:
    summer_ms = 1_752_000_000_000  # 2025-07-08 18:40 UTC
    assert words_in("en").clock(summer_ms, "Europe/Berlin") == "20:40"
    assert words_in("en").clock(summer_ms, "Nowhere/Atall") == "18:40 UTC"


def test_conditions_of_a_price_are_said_in_full() -> None:
    english = words_in("en")
    window = {"time_from": "22:00", "time_to": "06:00", "weekdays": "monday,tuesday,wednesday,saturday"}
    assert english.note("time_window+weekdays", window) == "22:00–06:00, Mon–Wed, Sat"
    assert words_in("de").note("from_kwh+to_kwh", {"from_kwh": "0.5", "to_kwh": "40"}) == "über 0,5\xa0kWh, bis 40\xa0kWh"
    assert english.note("date_window", {"date_from": "", "date_to": "2026-01-01"}) == "before 01/01/2026"
    assert english.note("maximum", {}) == "maximum"


def test_a_condition_without_words_is_never_hidden() -> None:
    assert "7 moons" in words_in("en").note("lunar_phase", {"phase": "7 moons"})


def test_connector_labels_are_announced_only_when_short() -> None:
    assert words_in("de").connector("1") == "Ladepunkt 1"
    assert words_in("de").connector("Stellplatz 14") == "Stellplatz 14"


def test_an_unknown_language_falls_back_to_english() -> None:
    assert words_in("xx").say("button.back") == catalogue(words.FALLBACK)["button.back"]
