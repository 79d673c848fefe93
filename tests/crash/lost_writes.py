"""What a disk may look like after a power cut: every write that was not yet synced may be there, in part, or not at all.

`recorded` runs a workload under strace; `images` replays its system calls and yields, at every boundary, states of the folder
that a power cut there could leave (reliability.md section 2.2): all kept (as kill -9 does), all unsynced writes lost, a prefix
torn at 512 bytes, a random choice of sectors, a removed file that comes back.
"""

import itertools
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
CALLS = "openat,close,pwrite64,write,ftruncate,fsync,fdatasync,unlink"
LINE = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += +(-?\d+)", re.DOTALL)
FOLDER = Path(__file__).parents[2]


class Call(NamedTuple):
    name: str
    arguments: str
    result: int


class Image(NamedTuple):
    """`kind` says how it was made, `after` how many system calls had been made, `acknowledged` what had been promised."""

    kind: str
    after: int
    acknowledged: tuple[int, int]
    files: dict[str, bytes]


@dataclass
class File:
    """`durable` survives; `pending` are writes (offset, bytes) and truncations (size, None) since the last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    removed: bool = False

    def with_writes(self, writes: list[tuple[int, bytes | None]]) -> bytes:
        content = bytearray(self.durable)
        for offset, written in writes:
            if written is None:
                del content[offset:]
                content.extend(bytes(offset - len(content)))
            else:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(written)] = written
        return bytes(content)

    def sync(self) -> None:
        self.durable, self.pending = bytearray(self.with_writes(self.pending)), []

    def sectors(self) -> list[tuple[int, bytes | None]]:
        """The pending writes cut where a disk may tear them."""
        cut = list[tuple[int, bytes | None]]()
        for offset, written in self.pending:
            if written is None:
                cut.append((offset, None))
                continue
            end = offset + len(written)
            edges = [offset, *range((offset // SECTOR + 1) * SECTOR, end, SECTOR), end]
            cut += [(a, written[a - offset : b - offset]) for a, b in itertools.pairwise(edges)]
        return cut


def recorded(log: Path, *workload: str) -> list[Call]:
    """The system calls of `python -m WORKLOAD...` that change files."""
    command = ["strace", "-f", "-xx", "-s", "100000000", "-e", f"trace={CALLS}", "-o", str(log)]
    shell = f'exec 9>"{log}.acknowledged"; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *command, sys.executable, "-m", *workload],
        cwd=FOLDER, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = (LINE.match(line) for line in log.read_text("ascii").splitlines())
    return [Call(one[1], one[2], int(one[3])) for one in found if one and int(one[3]) >= 0]


def images(calls: list[Call], folder: Path, chance: random.Random, per_boundary: int) -> Iterator[Image]:
    """Possible states of `folder` after each change, `per_boundary` random ones beside the two extremes."""
    files: dict[str, File] = {}
    opened: dict[int, str] = {}
    acknowledged = (0, 0)
    for after, call in enumerate(calls):
        first = call.arguments.split(",", 1)[0]
        if call.name == "openat":
            path = Path(_text(call.arguments.split(",", 2)[1]).decode())
            opened.pop(call.result, None)
            if path == folder:
                opened[call.result] = "."
            elif path.parent == folder:
                opened[call.result] = path.name
                file = files.setdefault(path.name, File())
                if file.removed:
                    files[path.name] = File()
            continue
        if call.name == "unlink":
            path = Path(_text(first).decode())
            if path.parent != folder or path.name not in files:
                continue
            files[path.name].removed = True
        elif call.name == "write" and first == "9":
            entry, record = _text(call.arguments.split(",", 2)[1]).split()
            acknowledged = (int(entry), int(record))
        elif int(first) not in opened:
            continue
        elif call.name == "close":
            del opened[int(first)]
            continue
        elif call.name in ("fsync", "fdatasync"):
            if opened[int(first)] == ".":  # names made and removed before are durable now
                files = {name: file for name, file in files.items() if not file.removed}
            else:
                files[opened[int(first)]].sync()
        elif call.name == "ftruncate":
            files[opened[int(first)]].pending.append((int(call.arguments.split(",")[1]), None))
        elif call.name == "pwrite64":
            _, text, _, offset = (part.strip() for part in call.arguments.split(","))
            files[opened[int(first)]].pending.append((int(offset), _text(text)[: call.result]))
        else:
            continue
        yield from _possible(files, after, acknowledged, chance, per_boundary)


def _possible(
    files: dict[str, File], after: int, acknowledged: tuple[int, int], chance: random.Random, many: int
) -> Iterator[Image]:
    there = {name: file for name, file in files.items() if not file.removed and not name.endswith("-shm")}
    gone = {name: file.with_writes([]) for name, file in files.items() if file.removed}

    def image(kind: str, content: dict[str, bytes]) -> Image:
        return Image(kind, after, acknowledged, content)

    yield image("all kept", {name: file.with_writes(file.pending) for name, file in there.items()})
    yield image("unsynced lost", {name: file.with_writes([]) for name, file in there.items()})
    if gone:
        yield image("removal undone", gone | {name: file.with_writes([]) for name, file in there.items()})
    if not any(file.pending for file in there.values()):
        return
    for _ in range(many):
        torn, chosen = dict[str, bytes](), dict[str, bytes]()
        for name, file in there.items():
            sectors = file.sectors()
            torn[name] = file.with_writes(sectors[: chance.randint(0, len(sectors))])
            chosen[name] = file.with_writes([one for one in sectors if chance.random() < 0.5])
        yield image("torn", torn)
        yield image("some sectors", chosen)


def _text(quoted: str) -> bytes:
    return bytes.fromhex(quoted.strip().strip('"').replace("\\x", ""))
