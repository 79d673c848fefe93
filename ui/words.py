"""Words and figures in the driver's language: gettext catalogues (read as .po, no build step) and Babel's formats. No Kivy.

Message ids are symbolic ("declined.bank_silent"); every enum value of `screens` has one: `PREFIXES` + its value.
"""

import datetime
import logging
from decimal import Decimal
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.dates import format_date, format_time
from babel.messages.pofile import read_po
from babel.numbers import format_currency, format_decimal, format_percent

from terminal_app import units
from terminal_app.screens import (
    ChargePhase,
    ConnectorState,
    DeclineWords,
    MoneyWords,
    NotForSaleReason,
    OutOfServiceReason,
    PriceKind,
    PrintWords,
    StopWords,
)

LOCALES = Path(__file__).parent / "locale"
FALLBACK = "en"
REGION = {"en": "en_GB"}  # 24-hour clock, euro sign in front
PREFIXES = {
    PriceKind: "price",
    ConnectorState: "tile",
    NotForSaleReason: "not_for_sale",
    OutOfServiceReason: "out_of_service",
    DeclineWords: "declined",
    ChargePhase: "phase",
    StopWords: "ended",
    MoneyWords: "money",
    PrintWords: "paper",
}
FIGURE_NOTES = {f"{end}_{what}" for end in ("from", "to") for what in ("kwh", "min", "kw", "a")}
PLAIN_NOTES = {"minimum", "maximum", "time_window"}  # conditions whose figures are not named like themselves
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHORT_LABEL = 3  # "1", "A2": said as "Connector 1"; longer labels are the operator's own words

log = logging.getLogger(__name__)


@cache
def catalogue(language: str) -> dict[str, str]:
    """All messages of one language. FileNotFoundError if there is none."""
    with (LOCALES / language / "LC_MESSAGES" / "ui.po").open("rb") as file:
        return {str(message.id): str(message.string) for message in read_po(file) if message.id and message.string}


@cache
def languages() -> tuple[str, ...]:
    """ISO 639-1 codes of the shipped catalogues."""
    return tuple(sorted(folder.name for folder in LOCALES.iterdir() if (folder / "LC_MESSAGES" / "ui.po").exists()))


@cache
def native_name(language: str) -> str:
    """The language's name in itself: nobody has to read another language to find his own."""
    name = Locale.parse(language).get_display_name() or language
    return name[:1].upper() + name[1:]


@cache
def zone(name: str) -> ZoneInfo | None:
    """None: this machine does not know the zone; the clock then says UTC."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        log.error("time zone %r is unknown here; showing UTC", name)
        return None


class Words:
    """What one language says. Immutable; make it by `words_in`."""

    def __init__(self, language: str, messages: dict[str, str]) -> None:
        self.language = language
        self._messages = messages
        self.locale = Locale.parse(REGION.get(language, language))

    def say(self, message_id: str, **figures: str) -> str:
        """The message with its figures. A message or figure that is missing is our defect: KeyError."""
        return self._messages[message_id].format(**figures)

    def knows(self, message_id: str) -> bool:
        return message_id in self._messages

    def of(self, value: object, **figures: str) -> str:
        """Words of an enum value of `screens`."""
        return self.say(f"{PREFIXES[type(value)]}.{value.value}", **figures)  # type: ignore[attr-defined,index]

    def note(self, note: str, note_args: dict[str, str]) -> str:
        """The conditions of a price line ("time_window+weekdays"). One unknown here is never hidden: its figures are shown raw."""
        spoken = {key: self._spoken(key, value) for key, value in note_args.items()}
        said = []
        for each in note.split("+"):
            if each == "date_window":  # either end may be open
                said += [self.say(f"note.{key}", **spoken) for key in ("date_from", "date_to") if spoken.get(key)]
            elif self.knows(f"note.{each}") and (each in note_args or each in PLAIN_NOTES):
                said.append(self.say(f"note.{each}", **spoken))
            else:
                log.error("price condition %r %r has no words", each, sorted(note_args))
                said.append(self.say("note.other", figures=" ".join(note_args.values())))
        return ", ".join(said)

    def _spoken(self, key: str, value: str) -> str:
        if key == "weekdays":
            return self.weekdays(value.split(","))
        if key.startswith("date_"):
            return str(format_date(datetime.date.fromisoformat(value), format="short", locale=self.locale)) if value else ""
        return self.quantity(value) if key in FIGURE_NOTES else value

    def weekdays(self, days: list[str]) -> str:
        """English day names in lower case -> "Mon–Fri", "Sat, Sun"."""
        names = self.locale.days["format"]["abbreviated"]
        runs: list[list[int]] = []
        for number in sorted(WEEK.index(day) for day in days):
            if runs and runs[-1][-1] == number - 1:
                runs[-1].append(number)
            else:
                runs.append([number])
        return ", ".join(
            f"{names[run[0]]}–{names[run[-1]]}" if len(run) > 2 else ", ".join(names[day] for day in run) for run in runs
        )

    def connector(self, label: str) -> str:
        return self.say("connector", label=label) if len(label) <= SHORT_LABEL else label

    def money(self, minor: int, currency: str) -> str:
        return str(format_currency(units.major(minor, currency), currency, locale=self.locale))

    def unit_price(self, price: str, currency: str) -> str:
        """All decimals of the tariff, at least the currency's own: "0.4875" stays 0.4875."""
        return str(format_currency(Decimal(price), currency, locale=self.locale, decimal_quantization=False))

    def percent(self, percents: str) -> str:
        """VAT rates: "19" or, if the tariff has several, "10 / 20"."""
        rates = (Decimal(rate) / 100 for rate in percents.split("/"))
        return " / ".join(str(format_percent(rate, locale=self.locale, decimal_quantization=False)) for rate in rates)

    def quantity(self, text: str) -> str:
        return str(format_decimal(Decimal(text), locale=self.locale, decimal_quantization=False))

    def kwh(self, energy_wh: int) -> str:
        return str(format_decimal(units.kwh(energy_wh), format="#,##0.000", locale=self.locale))

    def kw(self, power_w: int) -> str:
        return str(format_decimal(Decimal(power_w).scaleb(-3), format="#,##0.0", locale=self.locale))

    def duration(self, seconds: int) -> str:
        """Hours, minutes, seconds: 3725 -> "1:02:05"."""
        minutes, second = divmod(seconds, 60)
        hour, minute = divmod(minutes, 60)
        return f"{hour}:{minute:02}:{second:02}"

    def clock(self, utc_ms: int, time_zone: str) -> str:
        """Hours and minutes in local time; marked when only UTC can be told."""
        moment = datetime.datetime.fromtimestamp(utc_ms // 1000, datetime.UTC)
        local = zone(time_zone)
        text = str(format_time(moment.astimezone(local or datetime.UTC).time(), format="HH:mm", locale=self.locale))
        return text if local else f"{text} UTC"


@cache
def words_in(language: str) -> Words:
    """The words of a language; English, with an error in the log, if it is not shipped."""
    if language not in languages():
        log.error("no catalogue for language %r; showing %r", language, FALLBACK)
        language = FALLBACK
    return Words(language, catalogue(language))
