"""What the chain says about itself: who signs from here on, and once a day where everything stands. PURE.

The key of the next record is what the chain says it is, not what the configuration says: if they differ, the old key hands over
by a key-change record before anything else is sealed. A checkpoint follows a key change, and each day on which a record was
sealed; it never delays a bill.
"""

from collections.abc import Iterator, Mapping

from terminal_app.billing import chain_records, record
from terminal_app.session import energy
from terminal_app.session.state import Phase, State
from terminal_app.session.turn import Turn
from terminal_app.values import MeterValue, Stamp

DAY_MS = 86_400_000
ENDING = (Phase.STOPPING, Phase.SIGNING, Phase.SEALING)
ACTOR = "terminal.toml"


def trouble(state: State, keys: Mapping[str, str], reason: str) -> tuple[str, str] | None:
    """Why these keys cannot go on with this chain: key of the configuration, sentence. None if they can.

    `keys`: name in [keys] -> key id ("" = not there): record, ocmf, previous_record.
    """
    chain, seal = state.chain, state.seal
    needed, then = chain.key_id, chain.key_id
    if seal is not None:
        needed = then = record.signer_of(seal.signing_input)
        if seal.record_type == "key-change":
            then = str(record.claims_of(seal.signing_input.encode())["new_key_id"])
    for key_id in (needed, then):
        if key_id and key_id not in (keys["record"], keys["previous_record"]):
            why = f"the chain of this ledger goes on with key {key_id}, but this is {keys['record']}"
            lost = "is it lost for good: export the records and put state_dir away, then a new chain begins"
            return "record", f"{why}: put the old key back, or name it as previous_record, so that it hands over; {lost}"
    new_ocmf = bool(chain.ocmf_key_id) and chain.ocmf_key_id != keys["ocmf"]
    if new_ocmf and any(one.start is not None and one.bill is None for one in state.sessions.values()):
        return "ocmf", "a charge is unfinished: put the old key back until it has ended"
    if (new_ocmf or (then and then != keys["record"])) and not reason:
        return "change_reason", "a key was changed: say here why, it stands in the key-change record"
    return None


def key_change_is_due(turn: Turn) -> bool:
    """The keys in use are not those that the chain has announced."""
    chain, terms = turn.state.chain, turn.terms
    return (bool(chain.key_id) and chain.key_id != terms.record_key_id) or _ocmf_is_new(turn)


def _ocmf_is_new(turn: Turn) -> bool:
    known = turn.state.chain.ocmf_key_id
    return bool(known) and known != turn.terms.ocmf_key_id


def key_change(turn: Turn, head: record.RecordHead) -> dict[str, object]:
    """To be signed with the key that the chain is under; `trouble` has made sure that it is there."""
    terms = turn.terms
    change = chain_records.KeyChange(
        new_spki=terms.record_spki,
        reason=terms.change_reason,
        actor=ACTOR,
        new_ocmf_spki=terms.ocmf_spki if _ocmf_is_new(turn) else b"",
    )
    return chain_records.key_change_payload(head, change)


def checkpoint_is_due(turn: Turn) -> bool:
    """A day has passed since the last one (or keys were changed), records were sealed since, and no bill waits."""
    chain = turn.state.chain
    if chain.checkpoint is None or chain.next_record_seq - 1 <= chain.checkpoint_seq:
        return False
    if any(one.phase in ENDING for one in turn.state.sessions.values()):
        return False
    return chain.checkpoint_due or _passed_ms(chain.checkpoint, turn.terms.now) >= DAY_MS


def _passed_ms(since: Stamp, now: Stamp) -> int:
    """By the monotonic clock; across a restart of the machine by the wall clock, whichever way it was set."""
    return now.mono_ms - since.mono_ms if now.boot_id == since.boot_id else abs(now.utc_ms - since.utc_ms)


def checkpoint(turn: Turn, head: record.RecordHead) -> dict[str, object]:
    """The ledger as it was before this commit, and the newest good reading of each meter."""
    state, terms = turn.state, turn.terms
    newest = {one.serial: one.energy_wh for one in (*state.registers.values(), *_good_now(state)) if one.serial}
    point = chain_records.Checkpoint(
        at=record.moment(terms.now),
        ledger_entries=terms.ledger_entries,
        ledger_sha256=terms.ledger_sha256 or record.GENESIS,
        acknowledged_through=state.chain.acknowledged_through,
        open_holds=len(state.settlements),
        meter_registers_wh=newest,
        digests=dict(terms.digests),
    )
    return chain_records.checkpoint_payload(head, point)


def _good_now(state: State) -> Iterator[MeterValue]:
    """What the meters show, as far as it is believed: a glitch or another meter must not be signed as the register."""
    for connector, live in state.live.items():
        session, book = state.sessions.get(connector), state.energy.get(connector)
        charging = session is not None and session.start is not None  # its rules let no outlier become `meter`
        value = live.meter if charging else live.trusted
        if value is not None:
            yield energy.shown(value, book.wraps_at_wh if book else 0)
