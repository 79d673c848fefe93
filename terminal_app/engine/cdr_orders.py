"""CDRs at the OCPI receiver, for people: what became of them, and the order to send one again. Any thread; moves no money."""

from typing import Any

from terminal_app.engine.arguments import Arguments, reason_of
from terminal_app.engine.engine import Engine
from terminal_app.engine.publication import CDR_TYPES
from terminal_app.session.facts import CdrDelivered, CdrOrderedAgain, CdrRejected

MAX_AGAIN = 1000
MAX_SHOWN = 1000


def cdrs_show(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """How far they got, what was refused, and the newest fates (`limit`)."""
    carried = engine.state.chain.carried
    limit = min(max(int(arguments.get("limit", 20)), 1), MAX_SHOWN)
    fates = list[dict[str, Any]]()
    for entry in engine.ledger.entries(kinds=("cdr_delivered", "cdr_rejected"), newest_first=True, limit=limit):
        fact = entry.fact
        assert isinstance(fact, CdrDelivered | CdrRejected)
        location = fact.location if isinstance(fact, CdrDelivered) else ""
        why = fact.why if isinstance(fact, CdrRejected) else ""
        said = {
            "record": fact.record_seq,
            "part": fact.part,
            "utc_ms": entry.stamp.utc_ms,
            "status": fact.status,
            "location": location,
            "why": why,
        }
        fates.append(said)
    return {
        "through": carried.cdrs_through[0],
        "rejected": [seq for seq, _ in carried.cdrs_rejected],
        "again": [seq for seq, _ in carried.cdrs_again],
        "fates": fates,
        "pullers": {name: seq for name, (seq, _) in sorted(carried.pullers.items())},
    }


def cdrs_again(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """The CDR of record `record` goes out once more, refused or delivered as it was; of a credit, the corrected CDR too.

    ValueError if it is none, or still due."""
    seq, reason = int(arguments["record"]), reason_of(arguments)
    found = engine.ledger.records(seq - 1, 1) if 0 < seq < 2**53 else []
    if not found or found[0].seq != seq or found[0].type not in CDR_TYPES:
        raise ValueError(f"record {seq} is not a CDR: only sessions and credits are")

    def order() -> None:
        carried = engine.state.chain.carried
        if (seq, 0) > carried.cdrs_through or (seq, 0) in carried.cdrs_again:
            raise ValueError(f"the CDR of record {seq} is due anyway")
        if len(carried.cdrs_again) >= MAX_AGAIN:
            raise ValueError(f"{MAX_AGAIN} CDRs are ordered again already: let them go out first")
        corrected = (seq, 1) in carried.cdrs_rejected or _delivered(engine, seq, 1)
        engine.commit_outside_a_turn(*(CdrOrderedAgain(seq, actor, reason, part) for part in range(1 + corrected)))

    engine.ask(order)
    return {"record": seq, "ordered": True}


def _delivered(engine: Engine, seq: int, part: int) -> bool:
    """Whether the receiver once got it."""
    facts = (entry.fact for entry in engine.ledger.about(f'"record_seq":{seq},', ("cdr_delivered",)))
    return any(isinstance(one, CdrDelivered) and (one.record_seq, one.part) == (seq, part) for one in facts)
