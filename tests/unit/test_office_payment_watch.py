"""The discrepancy job on an office's real tables: facts, records, reports and account books go in, findings come out."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from terminal_app.billing.record import Moment
from terminal_app.office import payment_journal, payment_watch, queries, store
from terminal_app.office.account_tables import account_holds, account_slices
from terminal_app.office.accounts import Accounts, NewAccount, Who
from terminal_app.office.commands import Commands
from terminal_app.office.gateway_report import ReportRefused, read_report
from terminal_app.office.payment_tables import gateway_rows
from terminal_app.office.slices import Slices
from terminal_app.run.office import office
from terminal_app.session import facts as f
from terminal_app.values import DeclineReason, Hold, MoneyStep
from tests.unit.office_samples import TERMINAL, Desk, Terminal, desk_at
from tests.unit.payment_samples import CARD, DAY, HEADER, HOUR, NOW, PERIOD, T0, TRACE, Story, findings, imported, line, said


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def desk(tmp_path: Path, terminal: Terminal) -> Iterator[Desk]:
    desk = desk_at(tmp_path, terminal)
    yield desk
    desk.database.close()


BOTH = line("hold", 5000) + line("capture", 948, T0 + HOUR)


def charged(desk: Desk, terminal: Terminal) -> Story:
    story = Story(desk, terminal)
    story.held()
    story.captured()
    return story


# --- both sides ------------------------------------------------------------------------------------------------------


def test_a_charge_that_both_sides_tell_alike_is_no_news(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, BOTH)
    assert findings(desk) == []


def test_a_report_may_name_a_payment_by_what_any_fact_or_record_said(desk: Desk, terminal: Terminal) -> None:
    """The page, the approval, the end, the session's and the settlement's record: each name is one the office knows."""
    story = Story(desk, terminal)
    story.held()
    step = MoneyStep(2, T0 + HOUR, 948, "key-of-the-capture")
    story.tell(f.CheckoutOpened("H-7", "cs_page_0001", T0 + HOUR), f.CaptureIntended("H-7", step))
    story.tell(f.HoldEnded("H-7", f.Terminated.CAPTURED, 948, {"charge": "ch_00000001"}, ""), at=T0 + HOUR)
    desk.take(terminal.batch(terminal.session(), terminal.settlement(trace={"capture": "cap_0000001"})))
    names = ("pi_00000001", "cs_page_0001", "ch_00000001", "000000000007", "cap_0000001", "key-of-H-7", "key-of-the-capture", "H-7")
    for name in names:
        imported(desk, line("hold", 5000, reference=name) + line("capture", 948, T0 + HOUR, reference=name), replace=True)
        assert said(desk) == [], name
    imported(desk, line("capture", 948, T0 + HOUR, reference="A1B2C3"), replace=True)
    assert said(desk) == [("unknown_at_gateway", "H-7"), ("orphan_hold", "")], "an authorization code is not one payment's name"


def test_the_gateway_took_another_amount(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, line("hold", 5000) + line("capture", 984, T0 + HOUR))
    (one,) = (judged.finding for judged in findings(desk))
    assert (one.kind.value, one.terminal, one.hold_id, one.session_id, one.gateway) == (
        "amount_mismatch",
        TERMINAL,
        "H-7",
        "S-1",
        "main",
    )
    assert (one.ours_minor, one.theirs_minor, one.reference) == (948, 984, "pi_00000001")
    assert one.command.startswith(f"charge-office command payment.refund {TERMINAL} --hold H-7 --amount 0.36 ")


def test_captured_twice(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, BOTH + line("capture", 948, T0 + HOUR))
    assert said(desk) == [("duplicate", "H-7")]


def test_captured_here_and_nothing_known_there(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, "", kinds=("capture",), period=(T0 - DAY, T0 + HOUR))
    assert said(desk) == [], "the report ends before the capture"
    imported(desk, "", kinds=("capture",))
    assert said(desk) == [("unknown_at_gateway", "H-7")]
    imported(desk, line("hold", 5000), kinds=("capture",))
    assert said(desk) == [("missing_capture", "H-7")]


def test_a_refund_with_and_without_a_settlement_record(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, BOTH + line("refund", 948, T0 + DAY, reference="re_00000001", about="pi_00000001"))
    assert said(desk) == [("refund_without_entry", "H-7")]
    record = terminal.settlement(948, "refunded", ended=Moment(T0 + DAY, "S"))
    desk.take(terminal.batch(record))
    assert said(desk) == []
    head, row = CliRunner().invoke(office, ["sessions", "--db", desk.url]).output.splitlines()
    assert dict(zip(head.split("\t"), row.split("\t"), strict=True))["refunded_minor"] == "948"
    imported(desk, BOTH, replace=True)
    assert said(desk) == [("refund_without_entry", "H-7")], "recorded, and never given back"


def test_an_order_that_is_under_way_is_named_instead_of_a_second_one(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, BOTH + line("refund", 948, T0 + DAY, reference="re_00000001", about="pi_00000001"))
    Commands(desk.database, desk.key).issue(
        TERMINAL, "payment.refund", {"hold_id": "H-7", "amount_minor": 948}, "Ana", "charged twice", 600
    )
    with desk.database.read() as db:
        (judged,) = payment_watch.findings(db, NOW)
    assert "command 1, payment.refund by Ana, is under way" in judged.finding.next_action
    assert (judged.finding.command, judged.finding.at_terminal) == ("", "")


def test_holds_that_nobody_needs(desk: Desk, terminal: Terminal) -> None:
    story = Story(desk, terminal)
    story.held("H-1", trace={"payment_intent": "pi_0000000a"})
    assert said(desk) == [], "its session is under way"
    story.tell(f.SessionAborted("S-1", f.StopReason.NOT_PLUGGED), at=T0 + 60_000)
    assert said(desk) == [("orphan_hold", "H-1")]
    story.tell(f.VoidIntended("H-1", MoneyStep(2, NOW - 60_000, 5000, "k"), "not plugged"), at=NOW - 60_000)
    assert said(desk) == [], "it is being released"
    assert said(desk, NOW + 2 * HOUR) == [("aged_queue", "H-1")]
    story.tell(f.HoldEnded("H-1", f.Terminated.VOIDED, 0, {}, ""), at=NOW + 2 * HOUR)
    imported(desk, line("hold", 700, reference="pi_stranger"))
    assert said(desk, NOW + 2 * HOUR) == [("orphan_hold", "")]


def test_half_of_the_time_to_capture(desk: Desk, terminal: Terminal) -> None:
    story = Story(desk, terminal)
    story.held(before=T0 + 2 * DAY)
    assert said(desk, T0 + DAY) == []
    assert said(desk, T0 + DAY + 1) == [("aged_queue", "H-7")]
    with desk.database.read() as db:
        (hold,) = payment_journal.with_age(payment_journal.open_register(db, 10), T0 + 3 * HOUR)
    assert (hold["hold_id"], hold["capture_before_utc_ms"], hold["age_s"]) == ("H-7", T0 + 2 * DAY, 3 * 3600)


def test_a_charge_granted_by_the_terminals_own_rules_is_not_missed_at_its_gateway(desk: Desk, terminal: Terminal) -> None:
    story = Story(desk, terminal)
    story.held(trace={"offline": "granted"})
    story.captured()
    imported(desk, "")
    assert said(desk) == []


def test_a_hold_that_was_asked_elsewhere_raised_and_used_again(desk: Desk, terminal: Terminal) -> None:
    story = Story(desk, terminal)
    story.held(trace={})
    reopened = f.SessionOpened("S-2", 1, "{}", "00", False, "en", 0)
    story.tell(f.AuthorizationRerouted("H-7", "other", "unreachable"), reopened, f.HoldReused("H-7", "S-2", 0))
    story.tell(f.SessionAborted("S-1", f.StopReason.NOT_PLUGGED))
    raised = MoneyStep(3, T0, 2000, "key-of-the-raise")
    story.tell(f.IncrementIntended("H-7", raised), f.IncrementEnded("H-7", 2000, {"increment": "inc_0000001"}, ""))
    with desk.database.read() as db:
        (hold,) = payment_journal.open_register(db, 10)
    assert (hold["gateway"], hold["session_id"], hold["amount_minor"], hold["state"]) == ("other", "S-2", 7000, "held")
    assert said(desk) == [], "the second session needs it"
    for name in ("key-of-the-raise", "inc_0000001"):
        assert imported(desk, line("hold", 5000, reference=name), gateway="other", replace=True)
        assert said(desk) == [("amount_mismatch", "H-7")], name


def test_a_refund_on_its_way_given_and_refused(desk: Desk, terminal: Terminal) -> None:
    story = charged(desk, terminal)
    hold = Hold("H-7", "main", 1000041, T0, 5000, "EUR", 1, "key-of-H-7")
    past = f.PastHold(hold, "S-1", CARD, 5000, 948, 0)
    step = MoneyStep(4, T0 + DAY, 948, "key-of-the-refund")
    story.tell(f.RefundIntended(past, step, "technician", "test"), at=T0 + DAY)
    with desk.database.read() as db:
        (hold_row,) = payment_journal.open_register(db, 10)
    assert (hold_row["hold_id"], hold_row["state"]) == ("H-7", "refunding")
    assert said(desk, T0 + DAY) == []
    assert said(desk) == [("aged_queue", "H-7")]
    story.tell(f.HoldEnded("H-7", f.Terminated.REFUSED, 0, {}, "refused"), at=T0 + DAY)
    desk.take(terminal.batch(terminal.settlement(0, "refused")))
    with desk.database.read() as db:
        assert payment_journal.listed(db, 10)[0]["state"] == "captured", "a refusal leaves it captured"
        assert queries.sessions(db, 10)[0]["settled"] == "captured"
    imported(desk, BOTH + line("refund", 948, T0 + DAY, reference="x-1", ours="key-of-the-refund"))
    assert said(desk) == [("refund_without_entry", "H-7")]


def test_only_the_records_of_a_charge_came(desk: Desk, terminal: Terminal) -> None:
    desk.take(terminal.batch(terminal.session()))
    assert said(desk) == [("aged_queue", "H-7")]
    desk.take(terminal.batch(terminal.settlement()))
    assert said(desk) == []
    imported(desk, line("capture", 900, T0 + HOUR, reference="000000000007"))
    assert said(desk) == [("amount_mismatch", "H-7")]


def test_records_that_wait_at_a_terminal(desk: Desk, terminal: Terminal) -> None:
    record = terminal.session()
    terminal.session()
    desk.take(terminal.batch(record))
    with desk.database.read() as db:
        (one,) = (judged.finding for judged in payment_watch.findings(db, store.now_ms() + 2 * HOUR) if not judged.finding.hold_id)
    assert (one.kind.value, one.terminal) == ("aged_queue", TERMINAL)
    assert "records wait at the terminal: 1" in one.sentence


# --- the account books are a gateway too -------------------------------------------------------------------------------


def account(desk: Desk) -> Accounts:
    accounts = Accounts(desk.database)
    accounts.add(NewAccount("A-1", "EUR"))
    accounts.add_card("A-1", "ab" * 16)
    accounts.top_up("A-1", 10_000, "t-1", "bank", "test")
    return accounts


def test_the_account_books_need_no_report(desk: Desk, terminal: Terminal) -> None:
    accounts, story, now = account(desk), Story(desk, terminal), store.now_ms()
    hold = accounts.hold(TERMINAL, "key-of-H-1", Who(card="ab" * 16), 5000, "EUR", False)["hold"]
    story.held("H-1", at=now, gateway="prepaid", trace={"hold": hold})
    later = now + 2 * DAY
    assert said(desk, later) == []
    accounts.capture(TERMINAL, hold, "c-1", 700)
    story.tell(f.SessionAborted("S-1", f.StopReason.FAULT), f.VoidIntended("H-1", MoneyStep(2, now, 5000, "k"), ""), at=now)
    story.tell(f.HoldEnded("H-1", f.Terminated.VOIDED, 0, {}, ""), at=now)
    assert said(desk, later) == [("amount_mismatch", "H-1")], "released here, taken from the account"


def test_a_hold_on_an_account_that_no_terminal_tells_of(desk: Desk, terminal: Terminal) -> None:
    accounts = account(desk)
    hold = accounts.hold(TERMINAL, "key-of-nobody", Who(card="ab" * 16), 5000, "EUR", False)["hold"]
    accounts.void_by_key(TERMINAL, "key-never-asked", "v-1")
    assert said(desk, store.now_ms()) == [], "it may still be on its way"
    (one,) = (judged.finding for judged in findings(desk, store.now_ms() + 2 * HOUR))
    assert (one.kind.value, one.reference, one.terminal, one.theirs_minor) == ("orphan_hold", hold, TERMINAL, 5000)
    assert len(desk.rows(account_holds)) == 2, "the tombstone is there, and says nothing"


def test_what_was_paid_from_a_slice_agrees_before_and_after_it_is_reported(desk: Desk, terminal: Terminal) -> None:
    account(desk)
    story, slices, now = Story(desk, terminal), Slices(desk.database, desk.key), store.now_ms()
    slices.grant(TERMINAL, "g-1", Who(card="ab" * 16), 3000, "EUR", 7)
    granted = desk.rows(account_slices)[0]["slice_id"]
    story.held("H-7", at=now, gateway="prepaid", amount_minor=2000, trace={"slice": granted, "held_minor": "2000"})
    story.tell(f.HoldEnded("H-7", f.Terminated.CAPTURED, 948, {}, ""), at=now)
    ended = Moment(now, "S")
    desk.take(terminal.batch(terminal.session(begin=ended, end=ended), terminal.settlement(ended=ended)))
    assert said(desk, now + 2 * DAY) == []
    slices.spend(TERMINAL, granted, "key-of-H-7", "s-1", 948)
    assert said(desk, now + 2 * DAY) == []


# --- reports -----------------------------------------------------------------------------------------------------------


def test_the_same_report_twice_changes_nothing(desk: Desk, terminal: Terminal) -> None:
    assert imported(desk, BOTH) == (2, 0, 0)
    before = desk.rows(gateway_rows)
    assert imported(desk, BOTH) == (0, 2, 0)
    assert desk.rows(gateway_rows) == before


def test_reports_that_overlap_tell_one_act_once_and_two_equal_acts_twice(desk: Desk, terminal: Terminal) -> None:
    twice = line("capture", 948, T0 + HOUR) * 2
    assert imported(desk, twice) == (2, 0, 0)
    assert imported(desk, twice + line("hold", 5000), period=(T0 - DAY, T0 + DAY)) == (1, 2, 0)


def test_a_corrected_report_takes_the_place_of_the_wrong_one(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, line("hold", 5000) + line("capture", 984, T0 + HOUR))
    imported(desk, line("refund", 5, T0, reference="of-another-gateway"), gateway="other")
    assert imported(desk, BOTH, replace=True) == (1, 1, 1)
    assert [kind for kind, _ in said(desk)] == ["refund_without_entry"], "only the other gateway's"


def refusal(data: str | bytes) -> str:
    with pytest.raises(ReportRefused) as refused:
        read_report("r.csv", data if isinstance(data, bytes) else data.encode(), "main", PERIOD, ("capture",))
    return str(refused.value)


GOOD = line("capture", 948)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "r.csv:1: is empty"),
        ("reference,kind,currency,amount_minor,utc_ms,pan\n", "r.csv:1: column 'pan' is not known"),
        ("reference,kind,currency,utc_ms\n", "r.csv:1: one of the columns amount_minor and amount"),
        ("reference,kind,currency,amount_minor,amount,utc_ms\n", "r.csv:1: one of the columns amount_minor and amount"),
        ("kind,currency,amount,utc\n", "r.csv:1: column reference is missing"),
        ("reference,reference,kind,currency,amount,utc\n", "r.csv:1: a column stands there twice"),
        (HEADER + GOOD + line("chargeback", 948), "r.csv:3: kind 'chargeback' is none of"),
        (HEADER + GOOD + line("capture", 0), "r.csv:3: an amount of 0 minor units"),
        (HEADER + line("capture", -5), "r.csv:2: amount_minor '-5' is not a whole number"),
        (HEADER + line("capture", 10**13), "r.csv:2: an amount of"),
        (HEADER + GOOD.replace("EUR", "EURO"), "r.csv:2: 'EURO' is not an ISO 4217"),
        (HEADER + line("capture", 5, reference=""), "r.csv:2: reference is empty"),
        (HEADER + line("capture", 5, reference="x" * 129), "r.csv:2: reference is longer"),
        (HEADER + line("capture", 5, reference="x\x00y"), "r.csv:2:"),
        (HEADER + line("capture", 5, at=PERIOD[1]), "r.csv:2: lies outside the period"),
        (HEADER + GOOD + "a,b\n", "r.csv:3: 2 fields, the header has 7"),
        (HEADER + '"a', "r.csv:2:"),
        (HEADER.encode() + b"\xff", "r.csv:2: is not UTF-8"),
        ("reference,kind,currency,amount,utc\na,capture,EUR,1.234,2026-01-02T10:00:00Z\n", "r.csv:2: 1.234 EUR has more than 2"),
        ("reference,kind,currency,amount,utc\na,capture,EUR,1.23,2026-01-02T10:00:00\n", "does not say its offset"),
        ("reference,kind,currency,amount,utc\na,capture,EUR,1.23,yesterday\n", "r.csv:2: utc 'yesterday' is not a moment"),
        ("reference,kind,currency,amount,utc\na,capture,EUR,NaN,2026-01-02T10:00:00Z\n", "r.csv:2: 'NaN' is not an amount"),
    ],
)
def test_a_report_that_is_not_understood_is_refused_as_a_whole(data: str | bytes, reason: str) -> None:
    assert reason in refusal(data)


def test_amounts_and_times_as_people_write_them() -> None:
    text = (
        "\ufeffkind,reference,amount,currency,utc,terminal\r\n"
        "capture,x1,12.50,EUR,2026-01-02T10:00:00.250+01:00,T-1\r\n"
        "refund,x2,7,JPY,2026-01-02T09:00:00Z,\r\n"
    )
    first, second = read_report("r.csv", text.encode(), "main", PERIOD, ("capture",)).rows
    assert (first.amount_minor, first.utc_ms, first.terminal) == (1250, T0 + 250, "T-1")
    assert (second.amount_minor, second.currency, second.utc_ms) == (7, "JPY", T0)


# --- people ------------------------------------------------------------------------------------------------------------


def test_what_a_person_accepted_stays_listed_and_comes_back_with_other_amounts(desk: Desk, terminal: Terminal) -> None:
    charged(desk, terminal)
    imported(desk, line("hold", 5000) + line("capture", 984, T0 + HOUR))
    (one,) = findings(desk)
    payment_watch.accept(desk.database, one.finding.id, "night desk", "fee of the bank", NOW)
    (again,) = findings(desk, NOW + DAY)
    assert again.finding == one.finding
    assert again.accepted is not None
    assert (again.accepted.accepted_by, again.accepted.why, again.accepted.utc_ms) == ("night desk", "fee of the bank", NOW)
    imported(desk, line("hold", 5000) + line("capture", 985, T0 + HOUR), replace=True)
    (other,) = findings(desk)
    assert (other.finding.id, other.accepted) == (one.finding.id, None)


def test_nothing_that_is_not_there_can_be_accepted(desk: Desk, terminal: Terminal) -> None:
    with pytest.raises(payment_watch.NoSuchFinding, match="charge-office payments discrepancies"):
        payment_watch.accept(desk.database, "000000000000", "night desk", "x", NOW)


def test_payments_are_listed_with_all_that_became_of_them(desk: Desk, terminal: Terminal) -> None:
    story = charged(desk, terminal)
    desk.take(terminal.batch(terminal.settlement(100, "refunded"), terminal.settlement(200, "refunded")))
    story.held("H-9", at=T0 + DAY, session="S-9", trace={**TRACE, "payment_intent": "pi_00000009"})
    with desk.database.read() as db:
        newest, first = payment_journal.listed(db, 10)
        assert [row["hold_id"] for row in payment_journal.listed(db, 10, state="held", gateway="main", terminal=TERMINAL)] == [
            "H-9"
        ]
        assert payment_journal.listed(db, 10, terminal="T-2") == payment_journal.listed(db, 10, gateway="x") == []
        (sums,) = payment_journal.open_sums(db)
    assert (newest["hold_id"], newest["billed_minor"], newest["captured_minor"]) == ("H-9", None, None)
    shown = ("amount_minor", "billed_minor", "captured_minor", "refunded_minor", "receipt_number")
    assert [first[name] for name in shown] == [5000, 948, 948, 300, "R-1"]
    assert (sums["holds"], sums["amount_minor"], sums["oldest_utc_ms"]) == (1, 5000, T0 + DAY)


# --- the command ---------------------------------------------------------------------------------------------------------


def ran(desk: Desk, *arguments: str) -> Result:
    return CliRunner().invoke(office, ["payments", *arguments, "--db", desk.url])


def charged_yesterday(desk: Desk, terminal: Terminal, file: Path) -> int:
    """A charge of which the gateway took another amount, with the gateway's report; when it was."""
    at = store.now_ms() - DAY
    Story(desk, terminal).held(at=at)
    desk.take(
        terminal.batch(terminal.session(begin=Moment(at, "S"), end=Moment(at, "S")), terminal.settlement(ended=Moment(at, "S")))
    )
    file.write_text(HEADER + line("capture", 984, at))
    return at


def test_the_command_imports_finds_accepts_and_says_so_by_its_exit_code(desk: Desk, terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    at = charged_yesterday(desk, terminal, file)
    assert ran(desk, "discrepancies").exit_code == 0
    assert "everything agrees" in ran(desk, "discrepancies").output
    period = ("--from", _iso(at - DAY), "--until", _iso(at + HOUR), "--kinds", "capture,refund", "--gateway", "main")
    assert "1 new rows, 0 known" in ran(desk, "import", str(file), *period).output
    assert "0 new rows, 1 known" in ran(desk, "import", str(file), *period).output
    shown = ran(desk, "discrepancies")
    assert shown.exit_code == 1
    assert f"charge-office command payment.refund {TERMINAL} --hold H-7 --amount 0.36" in shown.output
    told = ran(desk, "discrepancies", "--json")
    assert told.exit_code == 1
    (one,) = json.loads(told.output)
    assert (one["class"], one["severity"], one["ours_minor"], one["theirs_minor"], one["accepted"]) == (
        "amount_mismatch",
        "grave",
        948,
        984,
        None,
    )
    assert ran(desk, "accept", one["id"], "--by", "night desk", "--why", "bank fee").exit_code == 0
    accepted = ran(desk, "discrepancies")
    assert accepted.exit_code == 0
    assert "accepted by night desk: bank fee" in accepted.output
    assert ran(desk, "accept", "nonesuch", "--by", "night desk", "--why", "x").exit_code == 1


def _iso(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat()


def test_the_command_lists(desk: Desk, terminal: Terminal, tmp_path: Path) -> None:
    story = Story(desk, terminal)
    story.held(at=store.now_ms() - 5 * HOUR)
    assert "5 h ago\t50.00 EUR\theld\tT-0001\tmain\tH-7" in ran(desk, "open").output
    (hold,) = json.loads(ran(desk, "open", "--json").output)
    assert hold["age_s"] >= 5 * 3600
    assert "held\t50.00 EUR\t\t\t\tH-7" in ran(desk, "list", "--state", "held").output
    story.tell(f.AuthorizationDeclined("H-7", DeclineReason.REFUSED, "05"), at=store.now_ms())
    assert "declined\t\t\t\t\tH-7" in ran(desk, "list").output, "nothing is held of what was declined"
    assert json.loads(ran(desk, "list", "--state", "captured", "--json").output) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"--until": "2999-01-01"}, "not in the future"),
        ({"--from": "2026-02-01", "--until": "2026-01-01"}, "must be after --from"),
        ({"--from": "January"}, "is not a moment like"),
        ({"--from": "2026-01-01T00:00"}, "does not say its offset"),
        ({"--kinds": "capture,fee"}, "some of hold,capture,void,refund"),
    ],
)
def test_an_import_that_does_not_say_what_it_covers_is_refused(
    desk: Desk, tmp_path: Path, wrong: dict[str, str], sentence: str
) -> None:
    (tmp_path / "r.csv").write_text(HEADER)
    options = {"--gateway": "main", "--from": "2026-01-01", "--until": "2026-01-03", "--kinds": "capture"} | wrong
    done = ran(desk, "import", str(tmp_path / "r.csv"), *(word for pair in options.items() for word in pair))
    assert done.exit_code == 2
    assert sentence in done.output


def test_a_refused_report_leaves_nothing_behind(desk: Desk, terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(HEADER + GOOD + "x\n")
    period = ("--from", "2026-01-01", "--until", "2026-01-10", "--kinds", "capture", "--gateway", "main")
    done = ran(desk, "import", str(tmp_path / "r.csv"), *period)
    assert done.exit_code == 1
    assert "r.csv:3: 1 fields, the header has 7" in done.output
    assert desk.rows(gateway_rows) == []


def test_a_report_with_the_acquirers_own_terminal_numbers_is_refused_for_nothing_of_it_could_be_matched(
    desk: Desk, terminal: Terminal, tmp_path: Path
) -> None:
    at = charged_yesterday(desk, terminal, tmp_path / "r.csv")
    period = ("--from", _iso(at - DAY), "--until", _iso(at + HOUR), "--kinds", "capture", "--gateway", "main")
    for named, code in (("BANK0042", 1), (TERMINAL, 0)):
        (tmp_path / "r.csv").write_text(f"terminal,{HEADER}{named},{line('capture', 984, at)}")
        done = ran(desk, "import", str(tmp_path / "r.csv"), *period)
        assert done.exit_code == code, done.output
        assert ("'BANK0042' is no terminal of this office" in done.output) == bool(code)
        assert len(desk.rows(gateway_rows)) == 1 - code


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("payment.refund", "--hold", "H-7"), "payment.refund needs --amount"),
        (("payment.refund", "--amount", "1.00"), "payment.refund needs --hold"),
        (("payment.retry",), "payment.retry needs --hold"),
        (("session.stop",), "session.stop needs --connector"),
        (("cards.deny", "--version", "1"), "cards.deny needs --cards"),
    ],
)
def test_an_order_that_says_too_little_is_told_which_option_it_needs(desk: Desk, words: tuple[str, ...], missing: str) -> None:
    act, *more = words
    whole = ["command", act, TERMINAL, *more, "--db", desk.url, "--key", "office.pem", "--by", "A", "--why", "b"]
    done = CliRunner().invoke(office, whole)
    assert (done.exit_code, done.output.strip().splitlines()[-1]) == (2, f"Error: {missing}")


# --- for pages -------------------------------------------------------------------------------------------------------------


def test_comparing_is_shared_by_all_who_look_until_something_happens(
    desk: Desk, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    real = payment_watch.findings
    monkeypatch.setattr(payment_watch, "findings", lambda db, now: compared.append(now) or real(db, now))
    monkeypatch.setattr(payment_watch, "PAUSE", 0)
    watch = payment_watch.Watch()
    with desk.database.read() as db:
        assert [watch.latest(db) for _ in range(5)] == [[]] * 5
    assert len(compared) == 1
    Story(desk, terminal).held(at=T0, before=T0 + DAY)
    with desk.database.read() as db:
        assert [one.finding.kind.value for one in watch.latest(db)] == ["aged_queue"]
    assert len(compared) == 2


def test_who_looks_while_it_is_compared_sees_what_was_found_before(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payment_watch, "PAUSE", 0)
    monkeypatch.setattr(payment_watch, "OLD_S", 0)
    watch, begun, go_on, seen = payment_watch.Watch(), threading.Event(), threading.Event(), []
    with desk.database.read() as db:
        first = watch.latest(db)

        def slow(db: object, now: int) -> list[payment_watch.Judged]:
            begun.set()
            assert go_on.wait(60)
            return []

        monkeypatch.setattr(payment_watch, "findings", slow)

        def look() -> None:
            with desk.database.read() as own:
                seen.append(watch.latest(own))

        busy = threading.Thread(target=look)
        busy.start()
        assert begun.wait(60)
        meanwhile = watch.latest(db)
        go_on.set()
        busy.join(60)
    assert meanwhile is first
    assert seen == [[]]
    assert seen[0] is not first
