"""What the office does with records: each stored once, byte by byte; what does not verify in quarantine; no gap passed."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.record import GENESIS, record_lines, sha256_of
from terminal_app.office import queries, store
from terminal_app.office.ingest import BatchRefused, SentFact, SentRecord
from tests.unit.billing_samples import BERLIN, HOUR_MS, T0, component, element, ocmf_text, tariff
from tests.unit.office_samples import CHAIN, TERMINAL, Desk, Terminal, desk_at


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def desk(tmp_path: Path, terminal: Terminal) -> Iterator[Desk]:
    desk = desk_at(tmp_path, terminal)
    yield desk
    desk.database.close()


def flipped(record: SentRecord, at: int) -> SentRecord:
    other = "A" if record.jws[at] != "A" else "B"
    return SentRecord(record.seq, record.jws[:at] + other + record.jws[at + 1 :])


def fact(seq: int, kind: str, session_id: str = "S-1", **body: Any) -> SentFact:
    return SentFact(seq, 1_767_344_400_000 + seq, kind, session_id, json.dumps(body | {"type": kind, "session_id": session_id}))


def test_records_are_verified_stored_verbatim_and_acknowledged(desk: Desk, terminal: Terminal) -> None:
    records = terminal.session(), terminal.settlement()
    ack = desk.take(terminal.batch(*records))
    assert (ack.terminal, ack.chain_id, ack.through_seq, ack.quarantined) == (TERMINAL, CHAIN, 2, ())
    assert ack.head_sha256 == sha256_of(records[1].jws)
    stored = desk.rows(store.records)
    assert [row["jws"] for row in stored] == [record.jws for record in records]
    assert all(row["quarantine"] == "" for row in stored)
    (session,) = desk.rows(store.sessions)
    assert (session["energy_wh"], session["total_minor"], session["card"]) == (12345, 948, "Mastercard ···· 0011")
    assert desk.rows(store.alarms) == []


def test_a_session_is_listed_once_with_what_ended_its_hold_however_often_it_was_settled(desk: Desk, terminal: Terminal) -> None:
    settled = (terminal.session(), terminal.settlement(0, "manual"), terminal.settlement(), terminal.settlement(100, "refunded"))
    desk.take(terminal.batch(*settled))
    with desk.database.read() as db:
        (session,) = queries.sessions(db, 10)
    assert (session["settled"], session["settled_minor"], session["settlement_seq"]) == ("captured", 948, 3)


def test_an_empty_batch_is_a_sign_of_life(desk: Desk, terminal: Terminal) -> None:
    ack = desk.take(terminal.batch())
    assert (ack.through_seq, ack.head_sha256) == (0, GENESIS)
    assert desk.rows(store.terminals)[0]["seen_utc_ms"] is not None


def test_the_same_batch_again_changes_nothing(desk: Desk, terminal: Terminal) -> None:
    batch = terminal.batch(terminal.session(), terminal.settlement(), facts=(fact(3, "session_aborted", reason="fault"),))
    first = desk.take(batch)
    before = desk.rows(store.records), desk.rows(store.facts), desk.rows(store.sessions)
    for _ in range(3):
        again = desk.take(batch)
        assert (again.through_seq, again.head_sha256, again.facts_through) == (
            first.through_seq,
            first.head_sha256,
            first.facts_through,
        )
    assert (desk.rows(store.records), desk.rows(store.facts), desk.rows(store.sessions)) == before
    assert desk.rows(store.alarms) == []


def test_a_gap_is_not_acknowledged_past(desk: Desk, terminal: Terminal) -> None:
    one, two, three = terminal.session(), terminal.settlement(), terminal.session()
    assert desk.take(terminal.batch(one)).through_seq == 1
    assert desk.take(terminal.batch(three)).through_seq == 1
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["gap"]
    assert desk.take(terminal.batch(two, three)).through_seq == 3


def test_overlapping_batches_store_each_record_once(desk: Desk, terminal: Terminal) -> None:
    records = [terminal.session(), terminal.settlement(), terminal.session(), terminal.settlement()]
    desk.take(terminal.batch(*records[:2]))
    assert desk.take(terminal.batch(*records)).through_seq == 4
    assert [row["seq"] for row in desk.rows(store.records)] == [1, 2, 3, 4]


def test_one_flipped_character_anywhere_is_found_and_the_record_named(desk: Desk, terminal: Terminal) -> None:
    record = terminal.session()
    length = len(record.jws)
    positions = [3, record.jws.index(".") + 9, length // 2, length - 40]
    for at in positions:
        found = desk.take(terminal.batch(flipped(record, at)))
        assert found.quarantined == (1,), at
        assert desk.reasons()[1] != ""


def test_quarantine_is_stored_verbatim_counts_as_stored_and_the_chain_goes_on(desk: Desk, terminal: Terminal) -> None:
    terminal.session(spoil={"energy_wh": 1})
    bad, good = terminal.records[0], terminal.settlement()
    ack = desk.take(terminal.batch(bad, good))
    assert (ack.through_seq, ack.quarantined) == (2, (1,))
    assert desk.reasons()[2] == ""
    assert desk.rows(store.records)[0]["jws"] == bad.jws
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["quarantine"]


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        ({"totals": {"currency": "EUR", "net_minor": 797, "vat_minor": 152, "total_minor": 949}}, "recomputed total"),
        ({"energy_wh": 12344}, "12344"),
        ({"register": {"start_wh": 1_234_560, "stop_wh": 1_246_906, "stop_source": "meter"}}, "register"),
        ({"demo": "no"}, ""),
        ({"terminal": "T-0002"}, "terminal"),
        ({"chain_id": "c2"}, "chain_id"),
        ({"lines": []}, "lines"),
        ({"payment": None}, "without a payment"),
        ({"periods": "x"}, ""),
        ({"tariff": {"id": "T-1", "fingerprint": "00" * 32, "json": "{}"}}, "tariff"),
    ],
)
def test_a_record_that_contradicts_itself_goes_to_quarantine(tmp_path: Path, spoil: dict[str, Any], word: str) -> None:
    terminal = Terminal()
    desk = desk_at(tmp_path, terminal, demo=spoil.get("demo") is None)
    assert desk.take(terminal.batch(terminal.session(spoil=spoil))).quarantined == (1,)
    assert word in desk.reasons()[1]


def test_a_measurement_that_does_not_verify_goes_to_quarantine(desk: Desk, terminal: Terminal) -> None:
    session = terminal.session()
    text = json.loads(_decoded(session.jws))["ocmf"]["record"]
    terminal.records.clear()
    changed = text.replace("1246.905", "1246.906")
    assert changed != text
    digest = hashlib.sha256(changed.encode()).hexdigest()
    terminal.session(spoil={"ocmf": {"record": changed, "sha256": digest, "key": terminal.ocmf_key.key_id}})
    assert desk.take(terminal.batch(*terminal.records)).quarantined == (1,)
    assert "OCMF" in desk.reasons()[1]


@pytest.mark.parametrize(
    ("start_wh", "stop_wh", "word"), [(1_234_560, 1_246_906, "12346"), (1_234_561, 1_246_906, "registers"), (0, 0, "0 Wh")]
)
def test_the_measurement_of_another_charge_is_noticed(
    desk: Desk, terminal: Terminal, start_wh: int, stop_wh: int, word: str
) -> None:
    other = ocmf_text(terminal.ocmf_key, start_wh, stop_wh)
    digest = hashlib.sha256(other.encode()).hexdigest()
    terminal.session(spoil={"ocmf": {"record": other, "sha256": digest, "key": terminal.ocmf_key.key_id}})
    desk.take(terminal.batch(*terminal.records))
    assert word in desk.reasons()[1]


def test_a_key_registered_later_heals_the_quarantine(desk: Desk, terminal: Terminal) -> None:
    with desk.database.write() as db:
        db.execute(store.keys.delete())
    ack = desk.take(terminal.batch(terminal.session(), terminal.settlement()))
    assert (ack.through_seq, ack.quarantined) == (2, (1, 2))
    assert desk.collector.recheck(TERMINAL) == (0, 2)
    desk.register(terminal)
    assert desk.collector.recheck(TERMINAL) == (2, 0)
    assert desk.reasons() == {1: "", 2: ""}
    assert len(desk.rows(store.sessions)) == 1


def test_energy_without_a_measurement_is_not_accepted(desk: Desk, terminal: Terminal) -> None:
    terminal.session(spoil={"ocmf": {"record": "", "sha256": "", "key": ""}})
    desk.take(terminal.batch(*terminal.records))
    assert "without a signed measurement" in desk.reasons()[1]


def test_a_broken_chain_link_is_named(desk: Desk, terminal: Terminal) -> None:
    one, two = terminal.session(), terminal.session(prev="ab" * 32)
    desk.take(terminal.batch(one, two))
    assert desk.reasons()[1] == ""
    assert "does not follow" in desk.reasons()[2]


def test_a_key_that_is_not_registered(desk: Desk, terminal: Terminal) -> None:
    stranger = Terminal()
    desk.take(terminal.batch(stranger.session()))
    assert "not registered" in desk.reasons()[1]


def test_other_bytes_under_a_stored_number_are_kept_aside_and_alarmed(desk: Desk, terminal: Terminal) -> None:
    first = terminal.session()
    desk.take(terminal.batch(first))
    terminal.records.clear()
    second = terminal.session()  # same number, signed again
    assert second.jws != first.jws
    ack = desk.take(terminal.batch(second))
    assert ack.head_sha256 == sha256_of(first.jws)
    assert desk.rows(store.records)[0]["jws"] == first.jws
    (conflict,) = desk.rows(store.conflicts)
    assert conflict["jws"] == second.jws
    assert {row["kind"] for row in desk.rows(store.alarms)} == {"conflict", "fork"}
    desk.take(terminal.batch(second))
    assert len(desk.rows(store.conflicts)) == 1


def test_damaged_bytes_give_way_to_the_true_record(desk: Desk, terminal: Terminal) -> None:
    record, follower = terminal.session(), terminal.settlement()
    damaged = flipped(record, len(record.jws) // 2)
    desk.take(terminal.batch(damaged))
    ack = desk.take(terminal.batch(record, follower))
    assert (ack.through_seq, ack.quarantined) == (2, ())
    assert ack.head_sha256 == sha256_of(follower.jws)
    assert desk.rows(store.records)[0]["jws"] == record.jws
    assert desk.rows(store.conflicts)[0]["jws"] == damaged.jws


def test_a_rolled_back_terminal_raises_an_alarm(desk: Desk, terminal: Terminal) -> None:
    records = [terminal.session(), terminal.settlement()]
    desk.take(terminal.batch(*records))
    desk.take(terminal.batch(head_seq=1, head_sha256=sha256_of(records[0].jws)))
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["rollback"]


def test_facts_are_stored_once_and_in_order(desk: Desk, terminal: Terminal) -> None:
    opened = fact(2, "session_opened", session_id="S-1", connector=1)
    assert desk.take(terminal.batch(facts=(opened,))).facts_through == 2
    later = fact(9, "unheard_of", anything=1)
    assert desk.take(terminal.batch(facts=(later,), facts_after=5)).facts_through == 2  # 3..5 are missing
    assert desk.take(terminal.batch(facts=(opened, later), facts_through=12)).facts_through == 12
    assert [row["seq"] for row in desk.rows(store.facts)] == [2, 9]


def test_a_sign_of_life_gives_the_terminal_nothing_to_commit(desk: Desk, terminal: Terminal) -> None:
    """Each acknowledgement that says more is an entry of the terminal's ledger, which would be more to acknowledge."""
    before = desk.take(terminal.batch(facts=(fact(2, "terminal_booted"),), facts_through=3))
    assert desk.take(terminal.batch(facts_after=3, facts_through=9)).facts_through == before.facts_through == 3


def test_holds_are_seen_open_until_they_end(desk: Desk, terminal: Terminal) -> None:
    hold = {"hold_id": "H-7", "gateway": "main", "amount_minor": 5000, "currency": "EUR", "utc_ms": 1}
    card = {"brand": "Mastercard", "last4": "0011"}
    facts = (
        fact(1, "session_opened", session_id="S-1", connector=1),
        fact(2, "authorization_intended", session_id="S-1", hold=hold, card=card),
        fact(3, "authorization_approved", hold_id="H-7", approved_minor=4000),
        fact(4, "start_registered", session_id="S-1", second={"energy_wh": 1000}),
        fact(5, "energy_checkpoint", session_id="S-1", value={"energy_wh": 3500}),
    )
    desk.take(terminal.batch(facts=facts))
    with desk.database.read() as db:
        (live,) = queries.live_sessions(db)
        (held,) = queries.open_holds(db)
    assert (live["state"], live["energy_wh"]) == ("charging", 2500)
    assert (held["state"], held["amount_minor"], held["card"]) == ("held", 4000, "Mastercard ···· 0011")
    ended = fact(6, "bill_frozen", session_id="S-1", energy_wh=12345), fact(7, "hold_ended", hold_id="H-7", how="captured")
    desk.take(terminal.batch(facts=ended, facts_after=5))
    with desk.database.read() as db:
        assert queries.live_sessions(db) == queries.open_holds(db) == []


@pytest.mark.parametrize(
    ("kind", "said", "open_holds"),
    [
        ("authorization_declined", {"reason": "insufficient_funds", "code": "51"}, 0),
        ("authorization_unknown", {"why": "no answer"}, 1),
    ],
)
def test_a_session_whose_card_was_refused_is_not_charging_now(
    desk: Desk, terminal: Terminal, kind: str, said: dict[str, str], open_holds: int
) -> None:
    hold = {"hold_id": "H-8", "gateway": "main", "amount_minor": 2000, "currency": "EUR", "utc_ms": 1}
    facts = (
        fact(1, "session_opened", session_id="S-8", connector=1),
        fact(2, "authorization_intended", session_id="S-8", hold=hold, card={"brand": "Visa", "last4": "1111"}),
        fact(3, "session_opened", session_id="S-9", connector=2),
        fact(4, kind, hold_id="H-8", **said),
    )
    desk.take(terminal.batch(facts=facts))
    with desk.database.read() as db:
        assert [one["session_id"] for one in queries.live_sessions(db)] == ["S-9"]
        assert len(queries.open_holds(db)) == open_holds  # an unknown hold is looked after until it is reversed


def test_faults_are_seen_until_cleared(desk: Desk, terminal: Terminal) -> None:
    fault = {"device": "meter", "connector": 1, "kind": "timeout", "detail": "no answer"}
    desk.take(terminal.batch(facts=(fact(1, "fault_raised", fault=fault),)))
    assert [row["kind"] for row in desk.rows(store.faults)] == ["timeout"]
    desk.take(terminal.batch(facts=(fact(2, "fault_cleared", fault=fault),), facts_after=1))
    assert desk.rows(store.faults) == []


def test_a_restart_forgets_nothing(desk: Desk, terminal: Terminal) -> None:
    desk.take(terminal.batch(terminal.session()))
    desk.restart()
    assert desk.take(terminal.batch(terminal.settlement())).through_seq == 2


def test_an_office_that_lost_data_says_so_in_its_acknowledgement(desk: Desk, terminal: Terminal) -> None:
    records = [terminal.session(), terminal.settlement(), terminal.session()]
    ack = desk.take(terminal.batch(records[2]))  # the terminal believes 1 and 2 are stored
    assert (ack.through_seq, ack.head_sha256) == (0, GENESIS)
    assert desk.take(terminal.batch(*records)).through_seq == 3


def test_demo_records_have_no_place_in_a_production_office(tmp_path: Path, terminal: Terminal) -> None:
    desk = desk_at(tmp_path, terminal, demo=False)
    desk.take(terminal.batch(terminal.session()))
    assert "demo" in desk.reasons()[1]


def test_an_unknown_terminal_is_refused(desk: Desk, terminal: Terminal) -> None:
    with pytest.raises(BatchRefused):
        desk.take(terminal.batch(terminal="T-9"))


@pytest.mark.parametrize("order", [(2, 1), (1, 1)])
def test_a_batch_out_of_order_is_refused_as_a_whole(desk: Desk, terminal: Terminal, order: tuple[int, int]) -> None:
    records = [terminal.session(), terminal.settlement()]
    with pytest.raises(BatchRefused):
        desk.take(terminal.batch(*(records[n - 1] for n in order)))
    assert desk.rows(store.records) == []


def test_a_free_session_needs_no_payment(desk: Desk, terminal: Terminal) -> None:
    sold = tariff(element(component("ENERGY", "0")))
    cost = cost_of(sold, (ChargingPeriod(T0, 12_345, HOUR_MS),), BERLIN)
    bill = {"tariff_id": sold.id, "tariff": sold.raw, "tariff_fingerprint": sold.fingerprint, "lines": record_lines(cost)}
    free = terminal.session(payment=None, net_minor=0, vat_minor=0, total_minor=0, **bill)
    assert desk.take(terminal.batch(free)).quarantined == ()
    with desk.database.read() as db:
        assert queries.sessions(db, 1)[0]["settled"] == ""


def _decoded(jws: str) -> str:
    body = jws.split(".")[1]
    return base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()


# --- across records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "amount_minor", "kind"),
    [("captured", 948, ""), ("captured", 947, "amount-mismatch"), ("captured", 949, "amount-mismatch"), ("manual", 0, "")]
    + [("voided", 0, "missing-capture"), ("refunded", 948, ""), ("refunded", 949, "amount-mismatch")],
)
def test_a_settlement_must_fit_its_session(desk: Desk, terminal: Terminal, how: str, amount_minor: int, kind: str) -> None:
    ack = desk.take(terminal.batch(terminal.session(), terminal.settlement(amount_minor, how)))
    assert ack.through_seq == 2
    assert ack.quarantined == ((2,) if kind else ())
    assert desk.reasons()[1] == ""
    assert desk.reasons()[2].startswith(kind)
    assert [row["kind"] for row in desk.rows(store.alarms)] == ([kind] if kind else [])


def test_a_settlement_that_comes_first_is_compared_when_its_session_comes(desk: Desk, terminal: Terminal) -> None:
    settled = terminal.settlement(1000, session=2)
    desk.take(terminal.batch(settled, terminal.session()))
    assert "amount-mismatch" in desk.reasons()[1]
    with desk.database.read() as db:
        (total,) = queries.totals(db)
    assert total["captured_minor"] == 0  # what is in doubt is not counted


def test_refunds_are_never_above_the_capture_in_all(desk: Desk, terminal: Terminal) -> None:
    records = terminal.session(), terminal.settlement(), terminal.settlement(500, "refunded"), terminal.settlement(449, "refunded")
    assert desk.take(terminal.batch(*records)).quarantined == (4,)


@pytest.mark.parametrize(
    ("pages", "word"),
    [((1, 2, 3), ""), ((7, 8), ""), ((1, 3), "T2 to T2 are missing"), ((1, 1), "was used by record 1"), ((5, 4), "T4 follows T5")],
)
def test_measurements_are_numbered_without_gap_or_repetition(
    desk: Desk, terminal: Terminal, pages: tuple[int, ...], word: str
) -> None:
    ack = desk.take(terminal.batch(*(terminal.session(page=page) for page in pages)))
    assert ack.quarantined == ()
    alarms = desk.rows(store.alarms)
    assert [row["kind"] for row in alarms] == (["pagination"] if word else [])
    assert all(word in row["detail"] for row in alarms)


def test_numbers_are_watched_over_batches_restarts_and_repetitions(desk: Desk, terminal: Terminal) -> None:
    first, second = terminal.session(), terminal.session()
    desk.take(terminal.batch(first))
    desk.restart()
    desk.take(terminal.batch(first, second))
    desk.take(terminal.batch(first, second))
    assert desk.rows(store.alarms) == []
    desk.take(terminal.batch(terminal.session(page=9)))
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["pagination"]


MALFORMED = (
    SentFact(2, 1_767_344_400_002, "Not A Kind", "S-1", "{}"),
    SentFact(2, 1_767_344_400_002, "session_aborted", "S" * 65, "{}"),
    SentFact(2, 1_767_344_400_002, "session_aborted", "S 1", "{}"),
    SentFact(2, -1, "session_aborted", "S-1", "{}"),
    SentFact(2, 1_767_344_400_002, "session_aborted", "S-1", '{"a":"\x00"}'),
    SentFact(2, 1_767_344_400_002, "session_aborted", "S-1", "x" * (1024 * 1024 + 1)),
    SentFact(2, 1_767_344_400_002, "", "", ""),
)


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_a_malformed_fact_is_set_aside_and_acknowledged(desk: Desk, terminal: Terminal, number: int) -> None:
    """A refusal would come back for ever, and everything behind it would wait."""
    good = fact(1, "session_opened", connector=1), fact(3, "session_aborted")
    batch = terminal.batch(facts=(good[0], MALFORMED[number], good[1]))
    for _ in range(2):
        assert desk.take(batch).facts_through == 3
    assert [row["seq"] for row in desk.rows(store.facts)] == [1, 3]
    (stray,) = desk.rows(store.stray_facts)
    assert json.loads(stray["sent"])["body"] == MALFORMED[number].body
    assert stray["reason"]
    assert [row["kind"] for row in desk.rows(store.alarms)] == ["malformed-fact"]


@pytest.mark.parametrize("odd", [2**70, "\x00", -(2**63) - 1, {}, "1" * 5000, None])
def test_no_fact_keeps_what_comes_after_it_from_being_stored(desk: Desk, terminal: Terminal, odd: Any) -> None:
    """A batch that fails comes back for ever: whatever a fact says, its bytes are stored, and the pages do without it."""
    facts = (fact(1, "session_opened", connector=odd), fact(2, "session_opened", "S-2", connector=1))
    assert desk.take(terminal.batch(terminal.session(), facts=facts)).facts_through == 2
    assert [row["seq"] for row in desk.rows(store.facts)] == [1, 2]
    assert [row["session_id"] for row in desk.rows(store.live)] == ["S-2"]
