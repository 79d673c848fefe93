"""Journal, gateway's list and meter bill side by side: what does not agree, and what a person does next. PURE."""

from collections.abc import Iterable, Sequence

from terminal_app.office.hold_rules import RULES, Case
from terminal_app.office.matching import match
from terminal_app.office.next_action import Step, at_gateway, look_at_terminal
from terminal_app.office.payment_values import Class, Coverage, Finding, GatewayRow, Patience, Payment, Queue, money_text


def compare(
    payments: Sequence[Payment], rows: Sequence[GatewayRow], coverage: Coverage, now_ms: int, patience: Patience
) -> list[Finding]:
    """Everything that does not agree about holds; the gravest and oldest first."""
    found: list[Finding] = []
    mine, strangers = match(payments, rows)
    for payment in payments:
        case = Case(payment, tuple(mine.get(payment.place, ())), coverage, now_ms, patience)
        found += [finding for rule in RULES if (finding := rule(case))]
    for group in strangers:
        if now_ms - max(row.utc_ms for row in group) > patience.over_ms:  # else the terminal may be about to tell
            found += _stranger(group)
    return ordered(_one_queue_each(found))


def waiting(queues: Iterable[Queue], now_ms: int, patience: Patience) -> list[Finding]:
    """Terminals whose records or facts do not come."""
    found = []
    for one in queues:
        kept, silent = one.claimed_seq - one.through_seq, now_ms - one.seen_utc_ms > patience.queue_ms
        if kept > 0 and now_ms - one.stored_utc_ms > patience.queue_ms:
            since, sentence = one.stored_utc_ms, f"records wait at the terminal: {kept}"
        elif silent and one.open_holds + one.live_sessions:
            since = one.seen_utc_ms
            sentence = f"the terminal is silent; open holds: {one.open_holds}, running sessions: {one.live_sessions}"
        else:
            continue
        step = look_at_terminal(one.terminal)
        place = (one.terminal, one.chain_id, "", "", "", f"record {one.through_seq}")
        found.append(
            Finding(Class.AGED_QUEUE, *place, None, None, "", since, sentence, step.sentence, step.command, step.at_terminal)
        )
    return found


def ordered(found: Iterable[Finding]) -> list[Finding]:
    rank = {kind: place for place, kind in enumerate(Class)}
    return sorted(found, key=lambda one: (rank[one.kind], one.since_utc_ms, one.id))


def _stranger(group: Sequence[GatewayRow]) -> list[Finding]:
    """Rows of a payment that no terminal has told of."""
    sums = {kind: sum(row.amount_minor for row in group if row.kind == kind) for kind in ("hold", "capture", "refund")}
    ended = any(row.kind in ("void", "capture") for row in group)
    gateway, currency, found = group[0].gateway, group[0].currency, []
    if sums["refund"]:
        sentence = f"the gateway gave back {money_text(sums['refund'], currency)} of a payment that no terminal knows"
        step = at_gateway(gateway, "find out who gave it back, and for what; then accept this with name and reason")
        newest = max(row.utc_ms for row in group)
        found.append(_nobodys(Class.REFUND_WITHOUT_ENTRY, group[0], sums["refund"], newest, sentence, step))
    if sums["capture"] > sums["refund"] or (sums["hold"] and not ended):
        verb, act, amount = ("took", "refund", sums["capture"]) if sums["capture"] else ("holds", "release", sums["hold"])
        sentence = f"the gateway {verb} {money_text(amount, currency)} for a hold that no terminal knows"
        step = at_gateway(gateway, f"{act} it there, unless a terminal that is silent still brings its session")
        found.append(_nobodys(Class.ORPHAN_HOLD, group[0], amount, group[0].utc_ms, sentence, step))
    return found


def _nobodys(kind: Class, row: GatewayRow, amount_minor: int, since_utc_ms: int, sentence: str, step: Step) -> Finding:
    return Finding(
        kind=kind,
        terminal=row.terminal,
        chain_id="",
        hold_id="",
        session_id="",
        gateway=row.gateway,
        reference=row.about or row.reference,
        ours_minor=None,
        theirs_minor=amount_minor,
        currency=row.currency,
        since_utc_ms=since_utc_ms,
        sentence=sentence,
        next_action=step.sentence,
        command=step.command,
        at_terminal=step.at_terminal,
    )


def _one_queue_each(found: list[Finding]) -> list[Finding]:
    """That a hold waits is no news where something worse is said of it."""
    worse = {(one.terminal, one.chain_id, one.hold_id) for one in found if one.kind is not Class.AGED_QUEUE}
    return [one for one in found if one.kind is not Class.AGED_QUEUE or (one.terminal, one.chain_id, one.hold_id) not in worse]
