"""What an OCPI receiver's answer to a CDR means. Sources: OCPI 2.2.1 and 2.3.0, mod_cdrs and "status codes".

Only 2xx with status code 1000 and a Location says that the CDR is stored: 200 with 2xxx means no, 200 with 3xxx means later.
Functions of their arguments; nothing is sent from here.
"""

import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from terminal_app.billing import canonical
from terminal_app.http_client import HttpAnswer
from terminal_app.sync.backoff import retry_after

MAX_LOCATION = 500
FAULT_OF_THE_CDR = (400, 413, 422)
SAME = ("id", "country_code", "party_id", "currency", "total_energy", "total_cost")
SAME_MOMENTS = ("start_date_time", "end_date_time")


class Fate(enum.Enum):
    """What became of one try."""

    STORED = "stored"
    REFUSED = "refused"  # this CDR will not be taken, however often it comes
    LATER = "later"  # the receiver cannot take anything now
    THERE = "there"  # it says it has it already, or stored it without saying where: to be read back


class Verdict(msgspec.Struct, frozen=True):
    """`why` in one sentence; `doubtful`: it may be stored all the same."""

    fate: Fate
    status: int
    location: str = ""
    why: str = ""
    wait_s: float = 0.0
    doubtful: bool = False


class _Envelope(msgspec.Struct, frozen=True):
    status_code: int
    status_message: str = ""


def verdict(answer: HttpAnswer, url: str) -> Verdict:
    """Of the answer to a POST at `url`."""
    status, location = answer.status, location_of(answer, url)
    code, message = _said(answer.body)
    words = f"answered {status}" + (f" with {code}" if code is not None else "") + (f": {message}" if message else "")
    floor_s = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
    if status == 409:
        return Verdict(Fate.THERE, status, location, words, doubtful=True)
    if 200 <= status < 300:
        if code == 1000:
            if location:
                return Verdict(Fate.STORED, status, location)
            return Verdict(Fate.THERE, status, "", f"{words}, without a Location", doubtful=True)
        if code is not None and 2000 <= code < 3000:
            return Verdict(Fate.REFUSED, status, why=words)
        return Verdict(Fate.LATER, status, why=words, wait_s=floor_s, doubtful=True)
    if status in FAULT_OF_THE_CDR:
        return Verdict(Fate.REFUSED, status, why=words)
    return Verdict(Fate.LATER, status, why=words, wait_s=floor_s, doubtful=status >= 500)


def location_of(answer: HttpAnswer, url: str) -> str:
    """The Location header as an absolute address; "" if there is none that can be read."""
    found = answer.headers.get("location", "").strip()
    if not found or len(found) > MAX_LOCATION or not found.isascii() or not found.isprintable():
        return ""
    try:
        whole = urljoin(url, found)
        return whole if urlsplit(whole).scheme in ("https", "http") and urlsplit(whole).hostname else ""
    except ValueError:
        return ""


def same_origin(one: str, other: str) -> bool:
    """Whether our token may go to `one`, too: only where it goes anyway."""
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc) == (second.scheme, second.netloc)


def shown_is_ours(answer: HttpAnswer, cdr: dict[str, Any]) -> bool | None:
    """Whether what the receiver shows is this very CDR; False: another one under its id. None: it shows nothing of use."""
    if answer.status != 200 or _said(answer.body)[0] != 1000:
        return None
    try:
        shown = canonical.parse(answer.body, len(answer.body))["data"]
        if not isinstance(shown, dict) or shown.get("id") != cdr["id"]:
            return None
        ours = canonical.parse(canonical.canonical(cdr), 2**24)
        if any(_plain(shown.get(name)) != _plain(ours[name]) for name in SAME):
            return False
        return all(_moment(shown.get(name)) == _moment(ours[name]) for name in SAME_MOMENTS)
    except (ValueError, LookupError, TypeError):
        return None


def _plain(value: Any) -> Any:
    """For comparing: 9.5 is 9.50, and what a receiver adds as null was not said."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return Decimal(value).normalize() if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _said(body: bytes) -> tuple[int | None, str]:
    """Status code and message of an OCPI envelope; None if it is none."""
    try:
        found = msgspec.json.decode(body, type=_Envelope)
    except (msgspec.MsgspecError, RecursionError):  # nested too deeply: no answer of theirs may end our thread
        return None, ""
    return found.status_code, "".join(c if c.isprintable() else " " for c in found.status_message[:200])
