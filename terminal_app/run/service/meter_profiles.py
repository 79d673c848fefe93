"""`charge-service meter check | decode | new | models`: meter profiles offline, without any device."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from drivers.meters import decode, profile
from drivers.meters.plan import Planner
from drivers.meters.profile import Profile
from terminal_app.run.service import show
from terminal_app.run.service.core_talk import ServiceTrouble
from terminal_app.run.service.options import json_option
from terminal_app.run.service.site import Site

DEFAULT_STEP_LIMIT_WH = 10


def loaded(name: str) -> Profile:
    """A model's name or a profile's file, also a relative one. ConfigError."""
    if "/" in name or name.endswith(".toml"):
        return profile.load(str(Path(name).absolute()))
    return profile.load(name)


def decimal_text(value: Decimal | str) -> str:
    """As exact as the register, without trailing zeros: 1234500, 50.02."""
    if isinstance(value, str):
        return value
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@click.command()
@json_option
@click.pass_obj
def models(site: Site) -> int:
    """The meter models this program knows, and where their profiles come from."""
    own = sorted(file.stem for file in profile.OVERRIDES_DIR.glob("*.toml")) if profile.OVERRIDES_DIR.is_dir() else []
    found = [profile.load(name) for name in sorted({*profile.packaged(), *own})]
    if site.as_json:
        show.as_json([_facts(one) for one in found])
    else:
        rows = ((one.name, f"{one.vendor} {one.model}", "signs" if one.signed else "", one.file) for one in found)
        show.console().print(show.table(("name", "model", "", "file"), rows))
    return show.OK


def _facts(one: Profile) -> dict[str, Any]:
    return {"name": one.name, "vendor": one.vendor, "model": one.model, "file": one.file, "sha256": one.sha256,
            "signed": one.signed, "source": one.source, "note": one.note, "points": sorted(one.points)}  # fmt: skip


@click.command()
@click.argument("file")
@json_option
@click.pass_obj
def check(site: Site, file: str) -> int:
    """Is the profile FILE.toml (or a model's name) sound? Form, ranges, overlaps, vectors and reading plan; asks no device."""
    one = loaded(file)
    blocks = Planner(one.bus).blocks(place for point in one.points.values() for place in point.registers())
    remarks = list(_remarks(one))
    code = show.WARNING if remarks else show.OK
    if site.as_json:
        body = _facts(one) | {
            "state": show.STATE_NAMES[code],
            "vectors": len(one.vectors),
            "plan": [{"fc": block.fc, "addr": block.addr, "size": block.size} for block in blocks],
            "remarks": remarks,
        }
        show.as_json(body)
        return code
    out = show.console()
    relative = ", counted from its SunSpec model" if one.sunspec else ""
    out.print(show.facts([
        ("model", f"{one.vendor} {one.model}"),
        ("file", one.file),
        ("points", ", ".join(one.points)),
        ("vectors", f"{len(one.vectors)} hold"),
        ("reads", "; ".join(str(block) for block in blocks) + relative),
        ("approval", one.billing.approval),
        ("source", one.source),
        ("note", one.note),
    ]))  # fmt: skip
    for remark in remarks:
        out.print(f"{show.styled('warning')}  {remark}", soft_wrap=True)
    if not remarks:
        out.print(f"{show.styled('ok')}  the profile is sound")
    return code


def _remarks(one: Profile) -> list[str]:
    """What is not wrong, but a technician should know before selling with it."""
    found: list[str] = []
    billed = one.points[one.billing.register]
    if billed.name not in {vector.point for vector in one.vectors}:
        found.append(f"no [[vectors]] entry proves {billed.name}: add words and the value the display showed")
    if not one.identify:
        found.append("no [[identify]] rule: another model at this address would not be noticed")
    if "serial" not in one.points:
        found.append("no point serial: a swapped meter is only noticed by its register")
    if not one.source:
        found.append("no source: say where the addresses come from")
    if billed.sf is None and billed.type[0] in "ui" and abs(billed.scale) > DEFAULT_STEP_LIMIT_WH:
        step = decimal_text(abs(billed.scale))
        found.append(
            f"the register steps by {step} Wh: coarser than {DEFAULT_STEP_LIMIT_WH} Wh, refused for paid sessions by default"
        )
    return found


@click.command("decode")
@click.option("--model", "--profile", "name", required=True, help="A model's name or a profile's file.")
@click.option("--point", required=True, help="One of its points, e.g. energy_import_wh.")
@click.option(
    "--words", required=True, help="The register words in hexadecimal: 449A,5000 (scale factor word last, if it has one)."
)
@json_option
@click.pass_obj
def decode_words(site: Site, name: str, point: str, words: str) -> int:
    """What register words mean: exact value and unit."""
    one = loaded(name)
    if point not in one.points:
        raise click.UsageError(f"--point: {one.name} has no point {point}; it has {', '.join(one.points)}")
    place = one.points[point]
    given = _words(words)
    needed = sum(part.count for part in place.registers())
    if len(given) != needed:
        raise click.UsageError(f"--words: {point} of {one.name} has {needed} words ({place.type}), not {len(given)}")
    body: dict[str, Any] = {"model": one.name, "point": point, "value": None, "unit": place.unit}
    try:
        body["value"] = decimal_text(place.value(given))
    except decode.NoReading as error:
        body["reason"] = str(error)
    if site.as_json:
        show.as_json(body)
    else:
        show.console().print(f"{body['value'] or 'no value: ' + body['reason']} {place.unit}".strip(), markup=False)
    return show.OK if body["value"] is not None else show.WARNING


def _words(text: str) -> tuple[int, ...]:
    parts = text.replace(",", " ").split()
    if len(parts) == 1 and len(parts[0]) > 4 and len(parts[0]) % 4 == 0 and not parts[0].lower().startswith("0x"):
        parts = [parts[0][place : place + 4] for place in range(0, len(parts[0]), 4)]
    try:
        found = tuple(int(part, 16) for part in parts)
    except ValueError:
        raise click.UsageError(f"--words: {text!r} is not hexadecimal words such as 449A,5000") from None
    if not all(0 <= word <= 0xFFFF for word in found):
        raise click.UsageError(f"--words: {text!r}: a register word is 0000 to FFFF")
    return found


SKELETON = """\
# Skeleton of a meter profile, made from {name}. What to do with it:
#   1 vendor, model, source, line: as the meter's manual says; addresses are those on the wire (0-based)
#   2 keep only points you know; never guess an address; say in note what is left out
#   3 find places:      charge-service meter dump 0x0-0x60 --fc 4 --port PORT --shown 1234.5
#   4 prove the values: charge-service meter check {file}
#   5 try it:           charge-service meter watch --profile {file} --port PORT
#   6 put it into /etc/charge-terminal/meters.d: there it wins over a packaged one of the same name
"""


@click.command()
@click.option("--from", "name", default="eastron-sdm630-v2", show_default=True, help="The known model that is most like it.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="The new file; without it the text is printed.")
@json_option
@click.pass_obj
def new(site: Site, name: str, output: Path | None) -> int:
    """Write a profile skeleton to fill in, made from a known model."""
    origin = loaded(name)
    head = SKELETON.format(name=origin.name, file=output.name if output else "FILE.toml")
    content = head + profile.text_of(origin)
    if output is None:
        if site.as_json:
            show.as_json({"from": origin.name, "content": content})
        else:
            click.echo(content, nl=False)
        return show.OK
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError as error:
        raise ServiceTrouble(f"{output} exists; it is not overwritten: choose another name") from error
    profile.load(str(output.absolute()))
    if site.as_json:
        show.as_json({"from": origin.name, "file": str(output)})
    else:
        show.console().print(f"{output} written; next: charge-service meter check {output}", markup=False)
    return show.OK


COMMANDS = (models, check, decode_words, new)
