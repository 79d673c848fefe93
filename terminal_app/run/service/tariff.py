"""`charge-service tariff show | check | price | simulate | sign | verify`: prices on the desk, without a terminal."""

import contextlib
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from terminal_app import units
from terminal_app.billing import canonical, law, tariff_file
from terminal_app.billing.cdr import Price, price_cdr_with
from terminal_app.billing.cost import Cost, cost_of
from terminal_app.billing.foreign import choose, tariffs_in
from terminal_app.billing.model import Tariff
from terminal_app.billing.signature import thumbprint
from terminal_app.billing.simulation import even_periods
from terminal_app.billing.tariff import decimal_text, price_lines, vat_percent_text
from terminal_app.errors import SignatureInvalid, TariffRefused
from terminal_app.run.moment import Moment
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site, public_key_of
from terminal_app.screens import PriceKind, PriceLine
from terminal_app.session.lawful import priced_by_flow

FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
PRIVATE_KEY = click.Path(path_type=Path, dir_okay=False)
_PER = {PriceKind.ENERGY: "kWh", PriceKind.TIME: "minute", PriceKind.PARKING: "minute parked", PriceKind.FLAT: "session"}


class Zone(click.ParamType[str]):
    """An IANA time zone name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is no time zone; write it like Europe/Berlin", param, ctx)
        return str(value)


@click.group()
def tariff() -> None:
    """Tariff files: what they say, whether they are lawful, what a session costs by them. Needs no terminal."""


@tariff.command()
@click.option("--tariff", "tariff_file", type=FILE, help="OCPI 2.2.1 or 2.3.0 Tariff, a list or an OCPI answer. [those in the CDR]")
@click.option("--cdr", "cdr_file", type=FILE, required=True, help="OCPI CDR; what pricing does not need may be missing.")
@click.option("--timezone", "zone", type=Zone(), default="UTC", show_default=True, help="Local time of the site.")
@click.option("--id", "wanted", default="", help="Which tariff, if there are several.")
@json_option
@click.pass_obj
def price(site: Site, tariff_file: Path | None, cdr_file: Path, zone: str, wanted: str) -> int:
    """Price the charging periods of a CDR: all nine OCPI totals, unrounded to four decimals."""
    with _naming(cdr_file if tariff_file is None else tariff_file, cdr_file):
        sold, totals = price_cdr_with(None if tariff_file is None else _read(tariff_file), _read(cdr_file), zone, wanted)
    if site.as_json:
        _json(totals.as_json())
        return show.OK
    show.console().print(f"tariff {sold.id}, {sold.currency}", markup=False)
    rows = []
    for name, value in zip(totals.__slots__, (getattr(totals, name) for name in totals.__slots__), strict=True):
        if isinstance(value, Price):
            rows.append((name, decimal_text(value.excl_vat, 2, 4), decimal_text(value.incl_vat, 2, 4)))
        else:
            rows.append((name, decimal_text(value, 0, 4) + (" kWh" if name == "total_energy" else " h"), ""))
    show.console().print(show.table(("", "without VAT", "with VAT"), rows, right=("without VAT", "with VAT")))
    return show.OK


@tariff.command("show")
@click.argument("file", type=FILE)
@json_option
@click.pass_obj
def show_(site: Site, file: Path) -> int:
    """Every price of a tariff as a driver sees it: VAT included, in the order the law wants."""
    with _naming(file):
        found = tariffs_in(_read(file))
    if site.as_json:
        _json([_plain(one) for one in found])
        return show.OK
    for one in found:
        facts = [("tariff", one.id), ("currency", one.currency), ("VAT", _vat(one)), ("fingerprint", one.fingerprint)]
        facts += [("valid", f"{one.start_date_time or 'always'} until {one.end_date_time or 'further notice'}")]
        facts += [("", text.text) for text in one.tariff_alt_text]
        show.console().print(show.facts(facts))
        rows = ((line.price, _PER.get(line.kind, line.note), _condition(line)) for line in price_lines(one))
        show.console().print(show.table(("price", "per", "when"), rows, right=("price",)))
        if one.is_free:
            show.console().print("Charging is free: there is no payment step.")
    return show.OK


@tariff.command()
@click.argument("file", type=FILE)
@click.option("--country", required=True, metavar="XX", help="ISO 3166-1 code of the country it is sold in: DE, GB, US ...")
@click.option("--power-kw", "power", type=str, required=True, help="Greatest power of the connector.")
@click.option("--at", "day", type=click.DateTime(["%Y-%m-%d"]), default=None, help="The day it is sold on.  [today]")
@click.option("--unsigned-meter", is_flag=True, help="The meter does not sign its readings.")
@click.option("--untrusted-clock", is_flag=True, help="The clock may not be used for prices (DE: it is not in the type approval).")
@click.option("--resolution-wh", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Step of the meter's register.")
@click.option("--override", multiple=True, metavar="RULE", help="A rule somebody answers for; may be given several times.")
@json_option
@click.pass_obj
def check(
    site: Site,
    file: Path,
    country: str,
    power: str,
    day: datetime | None,
    unsigned_meter: bool,
    untrusted_clock: bool,
    resolution_wh: int,
    override: tuple[str, ...],
) -> int:
    """Whether a tariff may be sold by: well-formed, and lawful as far as the law pack knows. Exit code 2 if not."""
    at, country = (datetime.now(UTC) if day is None else day).date(), country.upper()
    power_kw = _kw(power)
    if unknown := set(override) - {rule.name for rule in law.RULES}:
        raise click.BadParameter(f"{', '.join(sorted(unknown))} is no rule", param_hint="--override")
    if country not in units.COUNTRIES:
        raise click.BadParameter(f"{country!r} is not one of {', '.join(sorted(units.COUNTRIES))}", param_hint="--country")
    with _naming(file):
        found = tariffs_in(_read(file))
    rules = law.rules_for(country, power_kw, at)
    broken = [
        (one, breach)
        for one in found
        for breach in law.verdict(
            one, country, power_kw, not unsigned_meter, not untrusted_clock, at, resolution_wh, frozenset(override)
        )
    ]
    smallest = law.smallest_sellable_wh(country, resolution_wh)
    flow = [(one.id, where) for one in found if (where := priced_by_flow(one))]
    if site.as_json:
        _json(
            {
                "lawful": not broken,
                "country": country,
                "at": at.isoformat(),
                "rules": [rule.name for rule in rules],
                "overridden": sorted(override),
                "minimum_wh": smallest,
                "not_sold_here": [{"tariff": name, "where": where} for name, where in flow],
                "breaches": [
                    {
                        "tariff": one.id,
                        "rule": breach.rule,
                        "where": breach.where,
                        "why": breach.why,
                        "citation": breach.citation,
                        "source": breach.quality.value,
                    }
                    for one, breach in broken
                ],
            }
        )
        return show.FAULT if broken or flow else show.OK
    for name, where in flow:
        says = f"{name}: {where}: a terminal does not sell by power or current: no receipt of it could prove the readings"
        show.console().print(says, markup=False)
    for one, breach in broken:
        said = f"{one.id}: {breach.where}: {breach.why}. {breach.rule} ({breach.citation}; source: {breach.quality.value})"
        show.console().print(said, markup=False)
    if all(rule.quality is law.Quality.OWN for rule in rules) and not broken:
        show.console().print(f"The law pack knows no law for {country}: only the form and the step of the register were checked.")
    elif not broken:
        held = ", ".join(rule.name for rule in rules)
        show.console().print(f"lawful in {country} at {power_kw} kW on {at}, as far as these rules go: {held}")
    if smallest and not broken:
        show.console().print(f"Sessions below {smallest} Wh must not be billed there.")
    return show.FAULT if broken or flow else show.OK


@tariff.command()
@click.argument("file", type=FILE)
@click.option("--kwh", type=str, default="20", show_default=True, help="Energy of the session.")
@click.option("--minutes", type=click.IntRange(0, 100_000), default=60, show_default=True, help="Charging, at even power.")
@click.option("--parking", type=click.IntRange(0, 100_000), default=0, show_default=True, help="Minutes parked afterwards.")
@click.option("--start", type=Moment(), default=None, help="When it begins, e.g. 2026-01-05T21:30+01:00.  [now]")
@click.option("--timezone", "zone", type=Zone(), default="UTC", show_default=True, help="Local time of the site.")
@click.option("--id", "wanted", default="", help="Which tariff, if the file has several.")
@json_option
@click.pass_obj
def simulate(site: Site, file: Path, kwh: str, minutes: int, parking: int, start: int | None, zone: str, wanted: str) -> int:
    """What a session would cost: the same lines as on the bill, rounded as on the bill."""
    start_ms = time.time_ns() // 1_000_000 if start is None else start
    with _naming(file):
        sold = choose(tariffs_in(_read(file)), wanted, None if wanted else start_ms)
        cost = cost_of(sold, even_periods(sold, start_ms, _wh(kwh), minutes * 60_000, parking * 60_000, zone), zone)
    if site.as_json:
        lines = [
            {
                "kind": line.kind.value,
                "quantity": decimal_text(line.quantity, 0, 6),
                "unit_price": decimal_text(line.unit_price, 0, 6),
                "vat_percent": None if line.vat_percent is None else decimal_text(line.vat_percent, 0),
                "element": line.element,
                "net_minor": line.net_minor,
                "vat_minor": line.vat_minor,
                "gross_minor": line.gross_minor,
            }
            for line in cost.lines
        ]
        totals = {name: getattr(cost, name) for name in ("net_minor", "vat_minor", "total_minor")}
        _json({"tariff": sold.id, "currency": sold.currency, "lines": lines, **totals})
    else:
        _print_cost(cost)
    return show.OK


@tariff.command()
@click.argument("file", type=FILE)
@click.option("--key", "key_file", type=PRIVATE_KEY, required=True, help="The operator's key: P-256, PEM, mode 0600.")
@click.option("--version", "version", type=click.IntRange(1), required=True, help="Counts upwards; a lower one is refused later.")
@click.option("--from", "begin", type=Moment(), default=None, help="Valid from.  [now]")
@click.option("--until", "end", type=Moment(), default=None, help="Valid until (exclusive).  [until replaced]")
@click.option("--out", "out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The signed file.")
@json_option
@click.pass_obj
def sign(site: Site, file: Path, key_file: Path, version: int, begin: int | None, end: int | None, out: Path) -> int:
    """Sign a tariff as its operator. Terminals that know the public key sell by it and by nothing else."""
    from drivers.signers.keyfile import KeyFileSigner

    with _naming(file):
        found = tariffs_in(_read(file))
        if len(found) != 1:
            raise TariffRefused(f"tariff: a signed file carries one tariff, here are {len(found)}")
    signer = KeyFileSigner(key_file)
    made = tariff_file.TariffFile(found[0], version, time.time_ns() // 1_000_000 if begin is None else begin, end)
    try:
        signing_bytes = tariff_file.make_tariff_file(made, signer.key_id)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--until") from error
    out.write_text(tariff_file.seal_tariff_file(signing_bytes, signer.sign(signing_bytes)) + "\n", encoding="ascii")
    _tell(site, made, signer.key_id, out)
    return show.OK


@tariff.command()
@click.argument("file", type=FILE)
@click.option("--key", "key_file", type=FILE, required=True, help="The operator's public key: PEM or DER.")
@click.option("--at", "at", type=Moment(), default=None, help="Must be valid then.  [now]")
@click.option("--lowest-version", type=click.IntRange(1), default=1, show_default=True, help="The version in use.")
@json_option
@click.pass_obj
def verify(site: Site, file: Path, key_file: Path, at: int | None, lowest_version: int) -> int:
    """Whether a signed tariff file may be sold by. Exit code 2 and the reason if not."""
    key = public_key_of(key_file)
    with _naming(file):
        try:
            now_ms = time.time_ns() // 1_000_000 if at is None else at
            found = tariff_file.open_tariff_file(_read(file), key, now_ms, lowest_version)
        except SignatureInvalid as error:
            raise ServiceTrouble(f"{file}: {error}") from error
    _tell(site, found, thumbprint(key), file)
    return show.OK


def _tell(site: Site, file: tariff_file.TariffFile, key_id: str, path: Path) -> None:
    said: dict[str, Any] = {
        "file": str(path),
        "tariff": file.tariff.id,
        "version": file.version,
        "valid_from_utc_ms": file.valid_from_utc_ms,
        "valid_until_utc_ms": file.valid_until_utc_ms,
        "fingerprint": file.tariff.fingerprint,
        "key": key_id,
    }
    if site.as_json:
        _json(said)
    else:
        until = "further notice" if file.valid_until_utc_ms is None else show.moment(file.valid_until_utc_ms) + " UTC"
        del said["valid_from_utc_ms"], said["valid_until_utc_ms"]
        said["valid"] = f"{show.moment(file.valid_from_utc_ms)} UTC until {until}"
        show.console().print(show.facts(said.items()))


def _print_cost(cost: Cost) -> None:
    rows = [
        (
            decimal_text(line.quantity, 0, 3),
            {PriceKind.LIMIT: "price limit"}.get(line.kind, _PER.get(line.kind, "")),
            decimal_text(line.unit_price, units.exponent(cost.currency)),
            "" if line.vat_percent is None else f"{decimal_text(line.vat_percent, 0)} %",
            f"{units.major(line.gross_minor, cost.currency)}",
        )
        for line in cost.lines
    ]
    rows.append(("", "total", "", "", f"{units.major(cost.total_minor, cost.currency)} {cost.currency}"))
    columns = ("quantity", "", "price", "VAT", "amount")
    show.console().print(show.table(columns, rows, right=("quantity", "price", "VAT", "amount")))


def _plain(one: Tariff) -> dict[str, Any]:
    return {
        "id": one.id,
        "currency": one.currency,
        "tax_included": one.tax_included.value,
        "vat_percent": vat_percent_text(one),
        "fingerprint": one.fingerprint,
        "valid_from": one.start_date_time,
        "valid_until": one.end_date_time,
        "free": one.is_free,
        "needs_clock": one.needs_clock,
        "needs_time": one.needs_time,
        "prices": [
            {"kind": line.kind.value, "price": line.price, "note": line.note, "note_args": line.note_args}
            for line in price_lines(one)
        ],
    }


def _vat(one: Tariff) -> str:
    rates = vat_percent_text(one)
    return f"{rates} %, prices shown with VAT" if rates else "not applicable"


def _condition(line: PriceLine) -> str:
    said = line.note_args
    if "from_kwh" in said or "to_kwh" in said:
        return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items())
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in said.items() if value) or "always"


def _wh(kwh: str) -> int:
    try:
        wh = Decimal(kwh) * 1000
    except ArithmeticError:
        wh = Decimal(-1)
    if not wh.is_finite() or wh < 0 or wh != wh.to_integral_value() or wh > 10_000_000:
        raise click.BadParameter(f"{kwh!r} is no energy in kWh with at most three decimals", param_hint="--kwh")
    return int(wh)


def _kw(text: str) -> Decimal:
    try:
        kw = Decimal(text)
    except ArithmeticError:
        kw = Decimal(-1)
    if not kw.is_finite() or not 0 < kw <= 10_000:
        raise click.BadParameter(f"{text!r} is no power in kW", param_hint="--power-kw")
    return kw


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(8 * 1024 * 1024)
    return path.read_bytes()


@contextlib.contextmanager
def _naming(file: Path, cdr: Path | None = None) -> Iterator[None]:
    """A refusal says which file it is about."""
    try:
        yield
    except TariffRefused as error:
        at_fault = cdr if cdr is not None and str(error).startswith("CDR") else file
        raise ServiceTrouble(f"{at_fault}: {error}") from error


def _json(body: Any) -> None:
    """One JSON document; Decimals are written as exactly the number they are."""
    sys.stdout.write(canonical.canonical(body).decode() + "\n")
