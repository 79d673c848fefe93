"""Months and days of the operator's own clock, daylight saving included, and moments written in it.

A day begins at the first moment whose local date is that day, so days and months follow each other without gap or overlap:
24 hours, or 23 or 25 where the clock is set.
"""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

_MONTH, _DAY = re.compile(r"([0-9]{4})-([0-9]{2})"), re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def zone(name: str) -> ZoneInfo:
    """ValueError for a name the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, a name with odd signs, an unknown name
        raise ValueError(f"{name[:40]!r} is no time zone like Europe/Berlin") from None


def day_of(utc_ms: int, where: ZoneInfo) -> date:
    return _moment(utc_ms, where).date()


def day_named(text: str) -> date:
    """A day like 2026-11-26. ValueError."""
    if _DAY.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise ValueError(f"{text[:20]!r} is not a day like 2026-11-26")


def day_ms(day: date, where: ZoneInfo) -> tuple[int, int]:
    """Begin and end (excluded) of a local day, UTC ms."""
    return _midnight(day, where), _midnight(day + timedelta(days=1), where)


def month_ms(month: str, where: ZoneInfo) -> tuple[int, int]:
    """Begin and end (excluded) of a local month like "2026-11", UTC ms. ValueError."""
    found = _MONTH.fullmatch(month)
    if not found or not 1 <= int(found[2]) <= 12 or not 1970 <= int(found[1]) < 9999:
        raise ValueError(f"{month[:20]!r} is not a month like 2026-11")
    first = date(int(found[1]), int(found[2]), 1)
    return _midnight(first, where), _midnight(date(first.year + first.month // 12, first.month % 12 + 1, 1), where)


def moment_text(utc_ms: int, where: ZoneInfo) -> str:
    """ISO 8601 with offset, to the second: unambiguous also in the hour that comes twice."""
    return _moment(utc_ms, where).isoformat(timespec="seconds")


def clock_words(utc_ms: int, where: ZoneInfo, form: str = "%Y-%m-%d %H:%M %Z") -> str:
    return _moment(utc_ms, where).strftime(form)


def _moment(utc_ms: int, where: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).astimezone(where)


def _midnight(day: date, where: ZoneInfo) -> int:
    """fold=0: the first of two midnights; where midnight is skipped, the moment of the skip."""
    return int(datetime(day.year, day.month, day.day, tzinfo=where).timestamp()) * 1000
