"""Every class of discrepancy: produced, found, with its next action. And books that agree, about which nothing is said."""

import dataclasses
import shlex
from typing import Any

import pytest

from terminal_app.office.commands import ACTS
from terminal_app.office.discrepancies import compare, waiting
from terminal_app.office.payment_values import (
    ACCOUNT_BOOKS,
    KINDS,
    Class,
    Coverage,
    Finding,
    GatewayRow,
    Patience,
    Payment,
    Queue,
    Settled,
)
from terminal_app.run.office import office

MIN, HOUR, DAY = 60_000, 3_600_000, 86_400_000
T0 = 1_767_344_400_000
"""When the hold was opened."""
NOW = T0 + 5 * DAY
ALL = Coverage(("bank", kind, T0 - 10 * DAY, NOW) for kind in KINDS)
NOTHING = Coverage(())


def payment(**changes: Any) -> Payment:
    """A charge of 9.48 EUR of 50 EUR held, captured, and recorded."""
    said = Payment(
        terminal="T-0001",
        chain_id="c1",
        hold_id="H-7",
        session_id="S-1",
        gateway="bank",
        state="captured",
        amount_minor=5000,
        currency="EUR",
        opened_utc_ms=T0,
        changed_utc_ms=T0 + HOUR,
        references=frozenset(("H-7", "key-7", "600213000041")),
        known_as=("600213000041",),
        billed_minor=948,
        settled=(Settled("captured", 948, "EUR", T0 + HOUR),),
    )
    return dataclasses.replace(said, **changes)


def released(**changes: Any) -> Payment:
    return payment(**({"state": "voided", "billed_minor": None, "settled": (Settled("voided", 0, "EUR", T0 + HOUR),)} | changes))


def still(state: str, **changes: Any) -> Payment:
    return payment(**({"state": state, "billed_minor": None, "settled": ()} | changes))


def row(kind: str, minor: int, at: int = T0, **changes: Any) -> GatewayRow:
    said = GatewayRow("bank", "600213000041", kind, minor, "EUR", at)
    return dataclasses.replace(said, **changes)


HELD, TAKEN, FREED = row("hold", 5000), row("capture", 948, T0 + HOUR), row("void", 5000, T0 + HOUR)


def found(
    payments: tuple[Payment, ...] = (), rows: tuple[GatewayRow, ...] = (), coverage: Coverage = ALL, now: int = NOW
) -> list[Finding]:
    return compare(payments, rows, coverage, now, Patience())


MANUAL = (Settled("manual", 0, "EUR", T0 + HOUR),)

AGREE: dict[str, tuple[tuple[Payment, ...], tuple[GatewayRow, ...]]] = {
    "captured": ((payment(),), (HELD, TAKEN)),
    "captured, the report names it by our key": ((payment(),), (row("capture", 948, reference="x1", ours="key-7"), HELD)),
    "released": ((released(),), (HELD, FREED)),
    "released, the gateway lists nothing of what it forgot": ((released(),), ()),
    "declined": ((still("declined"),), ()),
    "charging now": ((still("held", live=True, changed_utc_ms=NOW - 9 * HOUR, opened_utc_ms=NOW - 9 * HOUR),), ()),
    "just asked": ((still("asked", opened_utc_ms=NOW - MIN, changed_utc_ms=NOW - MIN),), ()),
    "just being captured": ((still("capturing", opened_utc_ms=NOW - HOUR, changed_utc_ms=NOW - MIN, billed_minor=948),), ()),
    "free of charge": (
        (payment(billed_minor=0, state="voided", settled=(Settled("voided", 0, "EUR", T0 + HOUR),)),),
        (HELD, FREED),
    ),
    "refunded, and recorded": (
        (payment(state="refunded", settled=(*payment().settled, Settled("refunded", 948, "EUR", T0 + DAY))),),
        (HELD, TAKEN, row("refund", 948, T0 + DAY, reference="rf-1", about="600213000041")),
    ),
    "refunded twice in parts": (
        (
            payment(
                settled=(*payment().settled, Settled("refunded", 100, "EUR", T0 + DAY), Settled("refunded", 200, "EUR", T0 + DAY))
            ),
        ),
        (HELD, TAKEN, row("refund", 100, T0 + DAY), row("refund", 200, T0 + DAY)),
    ),
    "captured in two parts": ((payment(),), (HELD, row("capture", 900, T0 + HOUR), row("capture", 48, T0 + HOUR))),
    "captured twice, and the second one given back": (
        (payment(settled=(*payment().settled, Settled("refunded", 948, "EUR", T0 + DAY))),),
        (HELD, TAKEN, TAKEN, row("refund", 948, T0 + DAY)),
    ),
    "too much taken, and given back": (
        (payment(settled=(*payment().settled, Settled("refunded", 36, "EUR", T0 + DAY))),),
        (HELD, row("capture", 984, T0 + HOUR), row("refund", 36, T0 + DAY)),
    ),
    "given back a moment ago, its record is on its way": (
        (payment(settled=(*payment().settled, Settled("refunded", 100, "EUR", T0 + DAY))),),
        (HELD, TAKEN, row("refund", 100, T0 + DAY), row("refund", 200, NOW - MIN)),
    ),
    "given back an hour ago, the gateway lists it tomorrow": (
        (payment(settled=(*payment().settled, Settled("refunded", 100, "EUR", NOW - HOUR))),),
        (HELD, TAKEN),
    ),
    "there is time to capture": ((still("held", live=True, capture_before_utc_ms=T0 + 12 * DAY),), (HELD,)),
    "just captured, its end is on its way": ((still("held"),), (HELD, row("capture", 948, NOW - MIN))),
    "captured, the terminal is yet to tell": ((still("held", live=True),), (HELD, TAKEN)),
    "raised in steps": (
        (payment(amount_minor=7000),),
        (HELD, row("hold", 2000, reference="b3", about="600213000041"), TAKEN),
    ),
    "captured after all, once a person had it tried again": (
        (payment(settled=(*MANUAL, *payment().settled)),),
        (HELD, TAKEN),
    ),
    "a refund that was refused": (
        (payment(settled=(*payment().settled, Settled("refused", 0, "EUR", T0 + DAY))),),
        (HELD, TAKEN),
    ),
    "held twice, one released": (
        (payment(),),
        (HELD, row("hold", 5000, reference="b2", ours="key-7"), row("void", 5000, about="b2"), TAKEN),
    ),
    "known only by its records": ((payment(state="", gateway=""),), (HELD, TAKEN)),
    "paid from a slice, which the office books later": ((payment(offline=True),), ()),
    "granted offline, booked as a receivable": ((payment(offline=True),), (row("hold", 948), row("capture", 948, T0 + HOUR))),
    "a settlement word of a newer terminal": ((payment(settled=(Settled("receivable", 948, "EUR", T0 + HOUR),)),), ()),
    "a released stranger": ((), (row("hold", 5000, reference="z9"), row("void", 5000, about="z9"))),
    "a stranger that goes on, a terminal may": ((), (row("hold", 5000, reference="z9"), row("hold", 1, NOW - MIN, about="z9"))),
    "a stranger a terminal may still tell of": ((), (row("hold", 5000, NOW - MIN, reference="z9"),)),
    "the account books": (
        (payment(gateway="prepaid", references=frozenset(("H-7", "key-7", "AH01"))),),
        (
            row("hold", 5000, gateway=ACCOUNT_BOOKS, reference="AH01", ours="key-7", terminal="T-0001"),
            row("capture", 948, gateway=ACCOUNT_BOOKS, reference="AH01", ours="key-7", terminal="T-0001"),
        ),
    ),
}


@pytest.mark.parametrize("name", AGREE)
def test_nothing_is_said_of_what_agrees(name: str) -> None:
    payments, rows = AGREE[name]
    assert [one.sentence for one in found(payments, rows)] == []


RELEASE = "charge-office command payment.release T-0001 --hold H-7 --db URL --key FILE --by NAME --why REASON"
RETRY = "charge-office command payment.retry T-0001 --hold H-7"
REFUND = "charge-office command payment.refund T-0001 --hold H-7 --amount"
THERE = "gateway bank: release it there"
LOST = "book the loss"
"""Where the terminal takes no order any more: its hold has ended, or it never took the money."""
GONE = (HELD, FREED)
Case = tuple[Class, tuple[Payment, ...], tuple[GatewayRow, ...], str, str]
"""Class, both sides, a part of the sentence, and the command (or a part of the action where there is none to type)."""

DISAGREE: dict[str, Case] = {
    # orphan_hold
    "a stranger holds": (
        Class.ORPHAN_HOLD,
        (),
        (row("hold", 5000, reference="z9"),),
        "holds 50.00 EUR for a hold that no",
        "gateway bank: release",
    ),
    "a stranger took": (Class.ORPHAN_HOLD, (), (row("capture", 948, reference="z9"),), "took 9.48 EUR", "gateway bank: refund"),
    "nobody plugged in": (Class.ORPHAN_HOLD, (still("held"),), (HELD,), "its session is over", RELEASE),
    "nobody plugged in, without a report": (Class.ORPHAN_HOLD, (still("held"),), (), "its session is over", RELEASE),
    "asked too long": (Class.ORPHAN_HOLD, (still("asked"),), (), "nobody knows whether it is held", RELEASE),
    "unknown too long": (Class.ORPHAN_HOLD, (still("unknown"),), (HELD,), "nobody knows whether it is held", RELEASE),
    "release given up": (Class.ORPHAN_HOLD, (still("manual", settled=MANUAL),), (HELD,), "could not release it", RELEASE),
    "declined, yet held": (Class.ORPHAN_HOLD, (still("declined"),), (HELD,), "the gateway holds it", THERE),
    "released, yet held": (Class.ORPHAN_HOLD, (released(),), (HELD,), "no release", THERE),
    "nothing was billed": (Class.ORPHAN_HOLD, (still("held", billed_minor=0),), (HELD,), "its session is over", RELEASE),
    # missing_capture
    "released though billed": (
        Class.MISSING_CAPTURE,
        (payment(state="voided", settled=(Settled("voided", 0, "EUR", T0),)),),
        GONE,
        "9.48 EUR are billed, but the hold was released",
        LOST,
    ),
    "released though billed, its record is on its way": (
        Class.MISSING_CAPTURE,
        (payment(state="voided", settled=()),),
        (),
        "the hold was released",
        LOST,
    ),
    "released though billed, only the record came": (
        Class.MISSING_CAPTURE,
        (payment(state="", settled=(Settled("voided", 0, "EUR", T0),)),),
        (),
        "the hold was released",
        LOST,
    ),
    "capture given up, its record is on its way": (
        Class.MISSING_CAPTURE,
        (payment(state="manual", settled=()),),
        (),
        "could not capture",
        RETRY,
    ),
    "capture given up, only the record came": (
        Class.MISSING_CAPTURE,
        (payment(state="", settled=MANUAL),),
        (),
        "could not capture",
        RETRY,
    ),
    "the gateway let the hold go": (Class.MISSING_CAPTURE, (payment(),), GONE, "the hold was released", LOST),
    "the gateway has only the hold": (Class.MISSING_CAPTURE, (payment(),), (HELD,), "the hold and no capture", LOST),
    "capture given up": (Class.MISSING_CAPTURE, (payment(state="manual", settled=MANUAL),), (HELD,), "could not capture", RETRY),
    # amount_mismatch
    "more taken": (
        Class.AMOUNT_MISMATCH,
        (payment(),),
        (HELD, row("capture", 984)),
        "took 9.84 EUR, 9.48 EUR are billed",
        f"{REFUND} 0.36",
    ),
    "less taken": (
        Class.AMOUNT_MISMATCH,
        (payment(),),
        (HELD, row("capture", 900)),
        "took 9.00 EUR",
        "charge-service payments show H-7",
    ),
    "taken after a release": (
        Class.AMOUNT_MISMATCH,
        (released(),),
        (HELD, TAKEN),
        "it was released here",
        "give back 9.48 EUR there",
    ),
    "taken after a release, its record is on its way": (
        Class.AMOUNT_MISMATCH,
        (released(settled=()),),
        (HELD, TAKEN),
        "it was released here",
        "give back 9.48 EUR there",
    ),
    "taken, nothing billed": (
        Class.AMOUNT_MISMATCH,
        (still("held"),),
        (HELD, TAKEN),
        "nothing may be taken",
        "give back 9.48 EUR there",
    ),
    "captured and billed differ": (
        Class.AMOUNT_MISMATCH,
        (payment(settled=(Settled("captured", 984, "EUR", T0),)),),
        (HELD, row("capture", 984)),
        "captured 9.84 EUR, the meter's bill says 9.48 EUR",
        f"{REFUND} 0.36",
    ),
    "another currency": (
        Class.AMOUNT_MISMATCH,
        (payment(),),
        (HELD, row("capture", 948, currency="SEK")),
        "SEK",
        "correct the currency",
    ),
    "another hold": (
        Class.AMOUNT_MISMATCH,
        (payment(),),
        (row("hold", 9000), TAKEN),
        "holds 90.00 EUR",
        "charge-service payments show H-7",
    ),
    # duplicate
    "two captures": (
        Class.DUPLICATE,
        (payment(),),
        (HELD, TAKEN, row("capture", 948, T0 + DAY)),
        "captured 2 times, 18.96 EUR",
        f"{REFUND} 9.48",
    ),
    "two holds": (
        Class.DUPLICATE,
        (payment(),),
        (HELD, row("hold", 5000, reference="b2", ours="key-7"), TAKEN),
        "holds 2 times",
        "release the holds",
    ),
    # unknown_at_gateway
    "captured, not listed": (
        Class.UNKNOWN_AT_GATEWAY,
        (payment(),),
        (),
        "has nothing of it",
        "ask for this payment by its references",
    ),
    "held, not listed": (Class.UNKNOWN_AT_GATEWAY, (still("held", live=True),), (), "held 50.00 EUR here", "600213000041"),
    # refund_without_entry
    "refund of nobody": (
        Class.REFUND_WITHOUT_ENTRY,
        (),
        (row("refund", 500, reference="z9"),),
        "that no terminal knows",
        "who gave it back",
    ),
    "refund not recorded": (
        Class.REFUND_WITHOUT_ENTRY,
        (payment(),),
        (HELD, TAKEN, row("refund", 948)),
        "records say 0.00 EUR",
        "who gave it back",
    ),
    "refund not given": (
        Class.REFUND_WITHOUT_ENTRY,
        (payment(settled=(*payment().settled, Settled("refunded", 948, "EUR", T0 + DAY))),),
        (HELD, TAKEN),
        "say that 9.48 EUR went back",
        "still on its way",
    ),
    # aged_queue
    "capturing for ever": (Class.AGED_QUEUE, (still("capturing", billed_minor=948),), (), "capturing 9.48 EUR for too long", RETRY),
    "capturing for ever, its bill is on its way": (
        Class.AGED_QUEUE,
        (still("capturing"),),
        (HELD, TAKEN),
        "capturing 50.00 EUR for too long",
        RETRY,
    ),
    "giving back for ever": (Class.AGED_QUEUE, (payment(state="refunding"),), (HELD, TAKEN), "refunding 9.48 EUR for too", RETRY),
    "a refund left to a person": (
        Class.AGED_QUEUE,
        (payment(state="manual", settled=(*payment().settled, *MANUAL)),),
        (HELD, TAKEN),
        "a refund was left to a person",
        RETRY,
    ),
    "releasing for ever": (Class.AGED_QUEUE, (still("voiding"),), (), "voiding 50.00 EUR for too long", RETRY),
    "half of the time to capture": (
        Class.AGED_QUEUE,
        (still("held", live=True, changed_utc_ms=NOW, capture_before_utc_ms=T0 + 8 * DAY),),
        (HELD,),
        "more than half of the time",
        "charge-service payments show H-7",
    ),
    "billed, no settlement": (Class.AGED_QUEUE, (payment(state="", settled=()),), (), "no settlement came", RETRY),
    "left to a person, though captured": (
        Class.AGED_QUEUE,
        (payment(state="manual", settled=MANUAL),),
        (HELD, TAKEN),
        "need only be told",
        RETRY,
    ),
}
ALWAYS = ("nobody plugged in, without", "asked too long", "capturing for ever", "releasing for ever", "no settlement")


@pytest.mark.parametrize("name", DISAGREE)
def test_what_disagrees_is_found_once_and_names_its_next_action(name: str) -> None:
    kind, payments, rows, sentence, action = DISAGREE[name]
    coverage = NOTHING if name.startswith(ALWAYS) or kind is Class.AGED_QUEUE else ALL
    (one,) = found(payments, rows, coverage)
    assert one.kind is kind, one
    assert sentence in one.sentence
    assert action in (one.command or one.at_terminal or one.next_action), one
    if one.command:
        assert one.at_terminal.split()[:3] == ["charge-service", "payments", one.command.split()[2].removeprefix("payment.")]
    assert one.next_action[-1] not in ":, "
    if payments:
        assert (one.terminal, one.hold_id, one.session_id) == ("T-0001", "H-7", "S-1")


@pytest.mark.parametrize("name", DISAGREE)
def test_each_command_is_one_the_office_takes(name: str) -> None:
    _, payments, rows, _, _ = DISAGREE[name]
    for one in found(payments, rows, NOTHING) + found(payments, rows, ALL):
        if one.command:
            program, act, *words = shlex.split(one.command)
            assert program == "charge-office"
            parsed = office.commands[act].make_context(act, words)
            assert (parsed.params["act"] in ACTS, parsed.params["hold"], parsed.params["terminal"]) == (True, "H-7", "T-0001")
            assert (parsed.params["act"] == "payment.refund") == bool(parsed.params["amount"])


def test_every_class_is_produced_above() -> None:
    assert {case[0] for case in DISAGREE.values()} == set(Class)


COMPLETE_ONLY = (
    "captured, not listed",
    "held, not listed",
    "the gateway has only the hold",
    "refund not given",
    "released, yet held",
)


@pytest.mark.parametrize("name", COMPLETE_ONLY)
def test_what_a_list_does_not_have_says_nothing_unless_the_list_is_complete_for_that_time(name: str) -> None:
    _, payments, rows, _, _ = DISAGREE[name]
    assert found(payments, rows, ALL)
    assert not found(payments, rows, NOTHING)
    assert not found(payments, rows, Coverage(("bank", kind, T0 + 2 * DAY, NOW) for kind in KINDS)), "a later period"
    assert not found(payments, rows, Coverage(("other", kind, T0 - DAY, NOW) for kind in KINDS)), "another gateway"


def test_a_hold_without_a_session_that_the_gateway_does_not_know_is_released_all_the_same() -> None:
    (one,) = found((still("held"),))
    assert (one.kind, one.command) == (Class.UNKNOWN_AT_GATEWAY, RELEASE)


def part_given_back(minor: int) -> Payment:
    return payment(settled=(*payment().settled, Settled("refunded", minor, "EUR", T0 + DAY)))


@pytest.mark.parametrize(
    ("rows", "kind", "left", "theirs"),
    [
        ((row("capture", 948, T0 + HOUR),) * 2, Class.DUPLICATE, "9.38", 1886),
        ((row("capture", 984, T0 + HOUR),), Class.AMOUNT_MISMATCH, "0.26", 984),
    ],
)
def test_what_went_back_already_is_not_given_back_again(rows: tuple[GatewayRow, ...], kind: Class, left: str, theirs: int) -> None:
    (one,) = found((part_given_back(10),), (HELD, *rows, row("refund", 10, T0 + DAY)))
    assert (one.kind, one.ours_minor, one.theirs_minor) == (kind, 948, theirs)
    assert one.command.startswith(f"{REFUND} {left} ")


TOO_MUCH: dict[str, tuple[Payment, tuple[GatewayRow, ...], int]] = {
    "taken twice": (payment(), (HELD, TAKEN, row("capture", 948, T0 + DAY)), 948),
    "more taken": (payment(), (HELD, row("capture", 984)), 36),
    "more taken by the terminal": (payment(settled=(Settled("captured", 984, "EUR", T0),)), (HELD, row("capture", 984)), 36),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_refund_of_ours_that_the_gateway_lists_tomorrow_is_not_asked_for_again(name: str) -> None:
    mine, rows, too_much = TOO_MUCH[name]
    for minor, left in ((0, too_much), (10, too_much - 10), (too_much, 0)):
        back = (Settled("refunded", minor, "EUR", NOW - HOUR),) if minor else ()
        asked = [one.command.split(" --db")[0] for one in found((dataclasses.replace(mine, settled=(*mine.settled, *back)),), rows)]
        assert asked == ([f"{REFUND} {left / 100:.2f}"] if left else [])


AGES = {
    "two captures": DAY,
    "more taken": 0,
    "nobody plugged in": 0,
    "captured, not listed": HOUR,
    "refund not given": DAY,
    "capture given up": HOUR,
}


@pytest.mark.parametrize("name", AGES)
def test_ages_count_from_what_happened(name: str) -> None:
    (one,) = found(*DISAGREE[name][1:3])
    assert one.since_utc_ms == T0 + AGES[name]


def test_a_stranger_is_named_by_its_payment_and_as_old_as_its_last_refund() -> None:
    refunds = (row("refund", 500, reference="r-1", about="z9"), row("refund", 1, T0 + DAY, reference="r-2", about="z9"))
    (one,) = found((), refunds)
    assert (one.reference, one.since_utc_ms, one.theirs_minor) == ("z9", T0 + DAY, 501)


def test_an_orphan_says_what_the_gateway_holds_if_it_is_known() -> None:
    assert found((still("held"),), (HELD,))[0].theirs_minor == 5000
    assert found((still("held"),), (), NOTHING)[0].theirs_minor is None


def test_a_list_of_captures_says_nothing_about_holds() -> None:
    captures = Coverage([("bank", "capture", T0 - DAY, NOW)])
    assert not found((still("held", live=True),), (), captures)
    assert found((payment(),), (), captures)[0].kind is Class.UNKNOWN_AT_GATEWAY


def test_adjoining_reports_are_one_and_a_gap_between_them_is_a_gap() -> None:
    edge = T0 + HOUR
    whole = [("bank", "capture", edge - DAY, edge), ("bank", "capture", edge, edge + 3 * DAY)]
    assert found((payment(),), (), Coverage(whole))
    assert not found((payment(),), (), Coverage([whole[0], ("bank", "capture", edge + MIN, edge + 3 * DAY)]))


def test_what_was_booked_the_next_day_is_not_missed_on_the_first() -> None:
    assert not found((payment(),), (), Coverage([("bank", "capture", T0 - DAY, T0 + 12 * HOUR)]))


def test_one_number_at_two_terminals_and_again_later_is_told_apart() -> None:
    """Retrieval numbers come again: terminal and time decide."""
    other = payment(terminal="T-0002", hold_id="H-8", billed_minor=500, settled=(Settled("captured", 500, "EUR", T0 + HOUR),))
    later = payment(hold_id="H-9", opened_utc_ms=T0 + DAY, billed_minor=700, settled=(Settled("captured", 700, "EUR", T0 + DAY),))
    rows = (
        row("capture", 948, T0 + HOUR, terminal="T-0001"),
        row("capture", 500, T0 + HOUR, terminal="T-0002"),
        row("capture", 700, T0 + DAY + HOUR, terminal="T-0001"),
    )
    other = dataclasses.replace(other, references=frozenset(("600213000041",)))
    later = dataclasses.replace(later, references=frozenset(("600213000041",)))
    assert found((payment(), other, later), rows) == []


def test_a_refund_that_names_the_capture_that_names_the_hold_belongs_to_it() -> None:
    refund = row("refund", 948, T0 + 2 * HOUR, reference="re-1", about="cap-1")
    capture = row("capture", 948, T0 + HOUR, reference="cap-1", about="600213000041")
    (one,) = found((payment(),), (HELD, capture, refund))
    assert (one.kind, one.hold_id, one.theirs_minor) == (Class.REFUND_WITHOUT_ENTRY, "H-7", 948)


def test_of_several_troubles_the_gravest_and_oldest_comes_first() -> None:
    old = still("held", hold_id="H-1", session_id="S-9", references=frozenset(), opened_utc_ms=T0 - DAY)
    kinds = [one.kind for one in found((still("held"), old), (row("refund", 1, reference="z9"), HELD))]
    assert kinds == [Class.UNKNOWN_AT_GATEWAY, Class.REFUND_WITHOUT_ENTRY, Class.ORPHAN_HOLD]
    first, second = (one for one in found((still("held"), old), (), NOTHING))
    assert (first.hold_id, second.hold_id) == ("H-1", "H-7")


def test_a_question_keeps_its_name_while_its_amounts_change() -> None:
    (one,), (other,) = found((payment(),), (HELD, row("capture", 984))), found((payment(),), (HELD, row("capture", 985)))
    assert one.id == other.id
    assert one.figures != other.figures
    assert found((still("held"),), (), NOTHING, NOW)[0].figures == found((still("held"),), (), NOTHING, NOW + DAY)[0].figures


def test_a_currency_this_office_does_not_know_is_shown_as_it_came() -> None:
    (one,) = found((still("held", currency="ZZZ"),), (), NOTHING)
    assert "5000 ZZZ" in one.sentence


QUEUE = Queue("T-0001", "c1", NOW - MIN, 7, 7, NOW - DAY, 0, 0)


def queued(**changes: Any) -> list[Finding]:
    return waiting([dataclasses.replace(QUEUE, **changes)], NOW, Patience())


def test_a_terminal_whose_records_or_facts_wait_is_an_aged_queue() -> None:
    assert queued() == queued(seen_utc_ms=NOW - DAY) == queued(claimed_seq=9, stored_utc_ms=NOW - MIN) == []
    assert queued(open_holds=2, live_sessions=1) == [], "it was heard a minute ago"
    assert queued(seen_utc_ms=NOW - DAY, open_holds=1, live_sessions=1)
    for one in queued(claimed_seq=9) + queued(seen_utc_ms=NOW - DAY, open_holds=2) + queued(seen_utc_ms=NOW - DAY, live_sessions=1):
        assert one.kind is Class.AGED_QUEUE
        assert (one.command, one.at_terminal) == ("", "charge-service status")
        assert "T-0001" in one.next_action
    assert "records wait at the terminal: 2" in queued(claimed_seq=9)[0].sentence
