"""The tariff book: what each connector is sold by at a moment, of the tariff files and of what the office sent. PURE.

Of all tariffs that are valid the one taken last is sold by; so a weekend's price gives way to the one before it by itself.
A file counts only while it is the file in the configuration. Versions of one tariff never go back. While nobody vouches for
the clock, validity is judged at the last moment that was known for sure, and what only the time can tell is not sold.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import msgspec

from terminal_app.billing.model import Tariff, utc_ms_of
from terminal_app.billing.tariff import parse_tariff
from terminal_app.billing.tariff_file import TariffFile
from terminal_app.errors import TariffRefused
from terminal_app.session.facts import TariffTaken
from terminal_app.values import ClockState, Stamp

FILE, OFFICE = "file", "office"
MAX_LISTED = 16
MAX_NAMES = 256


class Listing(msgspec.Struct, frozen=True):
    """A tariff that may be sold by, and when: from (inclusive) until (exclusive). `version` 0: an unsigned file."""

    tariff: Tariff
    version: int = 0
    valid_from_utc_ms: int = 0
    valid_until_utc_ms: int | None = None
    jws_sha256: str = ""

    def taken(self, connector: int, source: str, actor: str) -> TariffTaken:
        """The fact. The file's and the tariff's own validity both count."""
        tariff = self.tariff
        begin = 0 if tariff.start_date_time is None else utc_ms_of(tariff.start_date_time)
        ends = [self.valid_until_utc_ms, None if tariff.end_date_time is None else utc_ms_of(tariff.end_date_time)]
        return TariffTaken(
            connector=connector,
            tariff=tariff.raw,
            fingerprint=fingerprint(tariff.raw),
            version=self.version,
            valid_from_utc_ms=max(self.valid_from_utc_ms, begin),
            valid_until_utc_ms=min((one for one in ends if one is not None), default=None),
            source=source,
            jws_sha256=self.jws_sha256,
            actor=actor,
        )


def listing_of(file: TariffFile, raw: bytes) -> Listing:
    """A verified signed file, with the bytes it was read from."""
    digest = hashlib.sha256(raw.strip()).hexdigest()
    return Listing(file.tariff, file.version, file.valid_from_utc_ms, file.valid_until_utc_ms, digest)


class Book(msgspec.Struct, frozen=True):
    """What was taken: per connector in the order of taking, and the newest signed version of each tariff by its name."""

    listed: Mapping[int, tuple[TariffTaken, ...]] = MappingProxyType({})
    newest: Mapping[str, TariffTaken] = MappingProxyType({})


class Prices(msgspec.Struct, frozen=True):
    """What the connectors are sold by. `clock_wanted`: their price cannot be told before the clock is synchronised."""

    tariffs: Mapping[int, Tariff]
    clock_wanted: frozenset[int]


def taken(book: Book, fact: TariffTaken, at_utc_ms: int) -> Book:
    """The book with one more; what can never be sold by again is left out."""
    before = book.listed.get(fact.connector, ())
    if fact.source == FILE:
        before = tuple(one for one in before if one.source != FILE)
    if fact.valid_from_utc_ms <= at_utc_ms and fact.valid_until_utc_ms is None:
        before = tuple(one for one in before if one.source == FILE)  # a file is known again at each start by its entry
    before = tuple(one for one in before if one.source == FILE or not _ended(one, at_utc_ms))
    newest = book.newest
    if fact.version:
        newest = MappingProxyType({**newest, _name(fact): fact})
    return Book(MappingProxyType({**book.listed, fact.connector: (*before, fact)}), newest)


def refusal(book: Book, fact: TariffTaken) -> str:
    """Why this one cannot be taken after those before it; "" if it can."""
    name = _name(fact)
    known = book.newest.get(name)
    if fact.version and known is not None:
        if fact.version < known.version:
            return f"version {fact.version} is older than version {known.version}, which was taken before"
        if fact.version == known.version and _terms(fact) != _terms(known):
            return f"version {fact.version} was taken before with another content: a change needs a higher number"
    if fact.version and known is None and len(book.newest) >= MAX_NAMES:
        return f"{MAX_NAMES} different tariffs were taken already: change one of them instead of naming new ones"
    if len(book.listed.get(fact.connector, ())) >= MAX_LISTED:
        return f"{MAX_LISTED} tariffs are listed for connector {fact.connector} already"
    return ""


def has_file(book: Book, fact: TariffTaken) -> bool:
    """Whether this file is the one that was taken last for its connector."""
    return any(one.source == FILE and _terms(one) == _terms(fact) for one in book.listed.get(fact.connector, ()))


def is_last(book: Book, fact: TariffTaken) -> bool:
    """Whether exactly this was taken last for its connector: then taking it again changes nothing."""
    listed = book.listed.get(fact.connector, ())
    return bool(listed) and (_terms(listed[-1]), listed[-1].source) == (_terms(fact), fact.source)


def prices(book: Book, files: Mapping[int, Tariff], spare: Mapping[int, Tariff], now: Stamp, known_utc_ms: int) -> Prices:
    """What is sold by at `now`. `files`: those in the configuration; `spare`: sold by while the clock is not synchronised;
    `known_utc_ms`: the last moment at which the clock was."""
    trusted = now.clock is ClockState.SYNCHRONISED
    at_utc_ms = now.utc_ms if trusted else known_utc_ms
    found: dict[int, Tariff] = {}
    wanted = set[int]()
    for connector in {*book.listed, *files}:
        listed = _present(book, connector, files.get(connector))
        valid = [one for one in listed if one.valid_from_utc_ms <= at_utc_ms and not _ended(one, at_utc_ms)]
        chosen = valid[-1] if valid else None
        tariff = None if chosen is None else _read(chosen.tariff)
        if not trusted and listed and (chosen is None or tariff is None or _by_time(chosen, tariff)):
            if connector in spare:
                found[connector] = spare[connector]
                continue
            wanted.add(connector)
        if tariff is not None:
            found[connector] = tariff
    return Prices(MappingProxyType(found), frozenset(wanted))


def _present(book: Book, connector: int, file: Tariff | None) -> list[TariffTaken]:
    mark = "" if file is None else fingerprint(file.raw)
    return [one for one in book.listed.get(connector, ()) if one.source != FILE or one.fingerprint == mark]


def _by_time(chosen: TariffTaken, tariff: Tariff) -> bool:
    return tariff.needs_clock or chosen.valid_until_utc_ms is not None


def _ended(one: TariffTaken, at_utc_ms: int) -> bool:
    return one.valid_until_utc_ms is not None and one.valid_until_utc_ms <= at_utc_ms


def _terms(one: TariffTaken) -> tuple[str, int, int, int | None]:
    return one.fingerprint, one.version, one.valid_from_utc_ms, one.valid_until_utc_ms


def _name(one: TariffTaken) -> str:
    tariff = _read(one.tariff)
    return "" if tariff is None else f"{tariff.country_code}*{tariff.party_id}*{tariff.id}".lower()


@lru_cache(maxsize=256)
def _read(text: str) -> Tariff | None:
    """None: an earlier software took it, this one does not sell by it."""
    try:
        return parse_tariff(text.encode())
    except TariffRefused:
        return None


@lru_cache(maxsize=256)
def fingerprint(text: str) -> str:
    """Of a canonical tariff; asked for at every turn."""
    tariff = _read(text)
    return "" if tariff is None else tariff.fingerprint
