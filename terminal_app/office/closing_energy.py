"""Energy of a closing: per connector and meter, how far the register moved against sessions and tests. What is left is unexplained.

The register goes on from where the last closing left it, so what flowed between two sessions, or between two days, is seen. A meter
with another serial number starts anew, and so does one whose register went back without a roll-over: that is said. A session that
arrives late explains afterwards what an earlier closing could not: its energy then counts negative, and the sum over all closings
is true. Wh, from sealed session records only. No clock, no database.
"""

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def energy_rows(sessions: Iterable[tuple[Row, bool]], carried: Sequence[Row]) -> list[Row]:
    """`sessions`: opened records and whether each is late. `carried`: the rows of the closing before."""
    meters: dict[tuple[int, str], list[tuple[Row, bool]]] = {(row["connector"], row["meter_serial"]): [] for row in carried}
    for session, late in sessions:
        meters.setdefault((session["connector"], session["meter"]["serial"]), []).append((session, late))
    ends = {(row["connector"], row["meter_serial"]): int(row["end_wh"]) for row in carried}
    return [_row(meter, charged, ends.get(meter)) for meter, charged in sorted(meters.items())]


def _row(meter: tuple[int, str], charged: list[tuple[Row, bool]], carried_wh: int | None) -> Row:
    charged = sorted(charged, key=lambda one: (one[0]["begin"]["utc_ms"], one[0]["seq"]))
    begin = carried_wh if carried_wh is not None else int(charged[0][0]["register"]["start_wh"])
    at, moved, back = begin, 0, []
    for session, late in charged:
        start, stop = session["register"]["start_wh"], session["register"]["stop_wh"]
        wraps = session["meter"].get("wraps_at_wh", 0)
        if start < at and late and stop <= at:
            continue  # an earlier closing counted this movement, as unexplained
        if start < at and not wraps:
            back.append([at, start])
            at = start
        moved += ((start - at) % wraps if wraps else start - at) + stop - start
        at = stop % wraps if wraps else stop
    tests = [session for session, _ in charged if is_test(session)]
    tests_wh = sum(one["energy_wh"] for one in tests)
    sessions_wh = sum(session["energy_wh"] for session, _ in charged) - tests_wh
    return {
        "connector": meter[0],
        "meter_serial": meter[1],
        "begin_wh": begin,
        "end_wh": at,
        "moved_wh": moved,
        "sessions": len(charged) - len(tests),
        "sessions_wh": sessions_wh,
        "tests": len(tests),
        "tests_wh": tests_wh,
        "late_wh": sum(session["energy_wh"] for session, late in charged if late),
        "unexplained_wh": moved - sessions_wh - tests_wh,
        "went_back": back,
    }


def is_test(session: Row) -> bool:
    """A technician's run: marked, and no sale."""
    return session.get("test", False) is not False


def energy_findings(rows: Iterable[Row], threshold_wh: int) -> list[str]:
    """A sentence for each thing that a person should look at."""
    found = []
    for row in rows:
        meter = f"connector {row['connector']}, meter {row['meter_serial']}"
        found += [f"{meter}: the register went back from {old} to {new} Wh; it starts anew there" for old, new in row["went_back"]]
        if row["unexplained_wh"] > threshold_wh:
            found.append(f"{meter}: {row['unexplained_wh']} Wh flowed outside sessions and tests (allowed are {threshold_wh} Wh)")
        elif row["unexplained_wh"] < 0 and not row["late_wh"]:
            found.append(f"{meter}: sessions and tests hold {-row['unexplained_wh']} Wh more than the register moved")
    return found
