"""Which of a gateway's rows belong to which hold? By references only; amounts are compared afterwards. PURE."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from terminal_app.office.payment_values import ACCOUNT_BOOKS, CLOCKS_DIFFER_MS, GatewayRow, Payment

DEEPEST = 4
"""A refund may name the capture, and that the hold: longer chains do not exist."""
Place = tuple[str, str, str]


def match(payments: Iterable[Payment], rows: Sequence[GatewayRow]) -> tuple[dict[Place, list[GatewayRow]], list[list[GatewayRow]]]:
    """Rows per payment, and the rows no payment is known for, grouped by what they say belongs together."""
    known: dict[str, list[Payment]] = defaultdict(list)
    for payment in payments:
        for reference in payment.references | {payment.hold_id}:
            known[reference].append(payment)
    found: dict[Place, list[GatewayRow]] = defaultdict(list)
    by_row: dict[tuple[str, str], Payment] = {}
    left: list[GatewayRow] = sorted(rows, key=lambda row: row.utc_ms)
    for _ in range(DEEPEST):
        still = []
        for row in left:
            if mine := _payment_of(row, known) or by_row.get((row.gateway, row.about)):
                found[mine.place].append(row)
                by_row.setdefault((row.gateway, row.reference), mine)
            else:
                still.append(row)
        if len(still) == len(left):
            break
        left = still
    return found, _together(left)


def _payment_of(row: GatewayRow, known: dict[str, list[Payment]]) -> Payment | None:
    """Short references (a retrieval number, say) come again: then the terminal and the time decide."""
    for name in row.names:
        fits = [one for one in known.get(name, ()) if row.gateway in (one.gateway, ACCOUNT_BOOKS) or not one.gateway]
        fits = [one for one in fits if row.terminal in ("", one.terminal)]
        before = [one for one in fits if one.opened_utc_ms <= row.utc_ms + CLOCKS_DIFFER_MS]
        if before:
            return max(before, key=lambda one: one.opened_utc_ms)
    return None


def _together(rows: Sequence[GatewayRow]) -> list[list[GatewayRow]]:
    groups: dict[tuple[str, str], list[GatewayRow]] = {}
    for row in rows:
        names = [(row.gateway, name) for name in row.names]
        mine: list[GatewayRow] = []
        for other in {id(groups[name]): groups[name] for name in names if name in groups}.values():
            mine += other
        mine.append(row)
        for name in [(one.gateway, name) for one in mine for name in one.names]:
            groups[name] = mine
    return list({id(group): group for group in groups.values()}.values())
