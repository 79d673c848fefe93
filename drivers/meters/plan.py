"""Which registers are read together. PURE but for what it learns from refused blocks.

Blocks of one function code get different lengths, so a late reply to one block can never pass as the reply to another
(meters.md section 1.6, rule 4), and a block that was not answered is asked again with another length, so its own late
reply cannot pass as the new one either. The function code itself is checked on the bus.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from drivers.meters.profile import Pace, Point

VARIATIONS = 3  # lengths a block may take beyond its own, in steps of `pad`


class Block(NamedTuple):
    """`size` registers from `addr` by function code `fc`, carrying `points`."""

    fc: int
    addr: int
    size: int
    points: tuple[Point, ...]

    def __str__(self) -> str:
        return f"FC{self.fc} 0x{self.addr:04X}+{self.size}"


class Planner:
    """The blocks of one meter. Holes up to `max_hole` are read over unless the meter refused that before."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._max_regs = pace.max_regs
        self._cuts: set[tuple[int, int]] = set()  # (fc, address) where a block must begin
        self._plain: set[tuple[int, int, int]] = set()  # blocks (fc, address, needed length) that must not be padded
        self._lengths: dict[tuple[int, int, int], int] = {}

    def blocks(self, points: Iterable[Point]) -> list[Block]:
        """The reads for `points`, in the order of function code and address."""
        groups: list[list[Point]] = []
        for point in sorted(points, key=lambda one: (one.fc, one.addr)):
            if groups and self._joins(groups[-1], point):
                groups[-1].append(point)
            else:
                groups.append([point])
        return [self._block(tuple(group)) for group in groups]

    def refused(self, block: Block) -> bool:
        """The meter answered exception 2 or 3. True if there is another way to read these points: plan again."""
        need = block.points[-1].end - block.addr
        if block.size > need:
            self._plain.add((block.fc, block.addr, need))
            return True
        if len(block.points) > 1:
            holes = [(after.addr - before.end, after) for before, after in pairwise(block.points)]
            widest = max(hole for hole, _ in holes)
            candidates = [after for hole, after in holes if hole == widest]
            self._cuts.add((block.fc, candidates[len(candidates) // 2].addr))
            if block.size > self._pace.fallback_max_regs:
                longest = max(point.count for point in block.points)
                self._max_regs = max(self._pace.fallback_max_regs, longest)
            return True
        return False

    def unanswered(self, block: Block) -> None:
        """No answer came, or not the right one: it may still come. The next question for this block has another length."""
        need = block.points[-1].end - block.addr
        longest = need + VARIATIONS * self._pace.pad
        taken = self._taken(block.fc, block.addr, need)
        for size in [*range(block.size + self._pace.pad, longest + 1, self._pace.pad), *range(need, block.size, self._pace.pad)]:
            if size not in taken and self._may_grow(block.addr, need, size):
                self._lengths[block.fc, block.addr, need] = size
                return

    def _joins(self, group: list[Point], point: Point) -> bool:
        first, last = group[0], group[-1]
        return (
            first.fc == point.fc
            and not (last.alone or point.alone)
            and point.addr - last.end <= self._pace.max_hole
            and point.end - first.addr <= self._max_regs
            and (point.fc, point.addr) not in self._cuts
            and not self._forbidden(last.end, point.addr)
        )

    def _forbidden(self, start: int, end: int) -> bool:
        return any(start <= last and first < end for first, last in self._pace.forbidden)

    def _block(self, points: tuple[Point, ...]) -> Block:
        fc, addr = points[0].fc, points[0].addr
        need = points[-1].end - addr
        if (fc, addr, need) in self._plain or points[0].alone:
            return Block(fc, addr, need, points)
        if (fc, addr, need) not in self._lengths:
            taken, size = self._taken(fc, addr, need), need
            while size in taken and self._may_grow(addr, need, size + self._pace.pad):
                size += self._pace.pad
            self._lengths[fc, addr, need] = need if size in taken else size  # no room to differ: the quarantine alone guards
        return Block(fc, addr, self._lengths[fc, addr, need], points)

    def _taken(self, fc: int, addr: int, need: int) -> set[int]:
        """Lengths of the other blocks of this function code."""
        return {size for key, size in self._lengths.items() if key[0] == fc and key != (fc, addr, need)}

    def _may_grow(self, addr: int, need: int, count: int) -> bool:
        end = addr + count
        return count <= self._pace.max_regs and end <= 0x10000 and not self._forbidden(addr + need, end)
