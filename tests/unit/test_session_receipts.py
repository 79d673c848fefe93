"""A receipt for every hold and every charge: its number, its code on the glass, its signed line, and paper."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app.billing.compact_receipt import open_compact
from terminal_app.billing.receipt import receipt_of_hold
from terminal_app.billing.receipt_text import text_of
from terminal_app.billing.record import open_record, thumbprint
from terminal_app.screens import Button, DeclinedView, Offer, PrintWords, Receipt
from terminal_app.session import actions, events
from terminal_app.values import Declined, DeclineReason, Device, Fault, Pilot
from tests.sessions import Paper, site_files

PRINTER = '\n[printer]\ndriver = "escpos"\ndevice = "/dev/usb/lp0"\n'


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    paper = made(tmp_path)
    yield paper
    paper.close()


def made(folder: Path, more: str = "") -> Paper:
    path = site_files(folder, folder / "run")
    path.write_text(path.read_text() + more)
    return Paper(path)


def view(site: Paper) -> Any:
    assert site.engine.screen is not None
    return site.engine.screen.view


def records(site: Paper) -> list[dict[str, Any]]:
    """All that is sealed, once what is due has been done."""
    for _ in range(3):
        site.turn(events.Ticked())
    return [open_record(one.jws, site.engine.standing.record_spki) for one in site.ledger.records()]


def number(text: str) -> int:
    return int(text.rpartition("-")[2])


def charge_to_the_receipt(site: Paper) -> None:
    """Until the bill is sealed and on the glass."""
    site.tap()
    site.charge(12_345)
    site.turn(events.Touched(Button.STOP, ""))
    for _ in range(3):
        site.pass_time(2)
        site.evse(Pilot.B)
        site.turn(events.MeterReported(1, site.reading()))
        site.turn(events.Ticked())


# --- holds that paid for nothing -------------------------------------------------------------------------------------


def test_a_cancelled_charge_has_a_receipt_and_its_code_on_the_screen(site: Paper) -> None:
    site.tap()
    site.turn(events.Touched(Button.CANCEL, ""))
    shown = view(site)
    assert isinstance(shown, DeclinedView) and shown.held_minor == 6000
    assert shown.back_in_s >= 29, "long enough to take out a phone"
    (settled,) = records(site)
    assert (settled["type"], settled["how"]) == ("settlement", "voided")
    receipt = settled["receipt"]
    assert shown.qr == f"https://office.example/r/{receipt['code']}" and len(receipt["code"]) == 32
    assert (number(receipt["number"]), receipt["reason"], receipt["card"]["last4"]) == (1, "touch", "1111")
    text = " ".join(text_of(receipt_of_hold(settled), width=64))
    for words in ("Es wurde nicht geladen: abgebrochen.", "Nichts abgebucht", "60,00 EUR", "**** 1111", receipt["code"]):
        assert words in text
    assert "token" not in receipt["card"]


def test_receipts_of_holds_and_of_bills_share_one_series_without_a_gap(site: Paper) -> None:
    site.tap()
    site.pass_time(121)
    site.turn(events.Ticked())
    shown = view(site)
    assert isinstance(shown, DeclinedView) and shown.qr, "nobody plugged in"
    site.pass_time(60)
    site.turn(events.Ticked())
    site.paid_session()
    site.tap()
    site.turn(events.Touched(Button.CANCEL, ""))
    numbered = [one["receipt"]["number"] for one in records(site) if one["receipt"].get("code")]
    assert [number(one) for one in numbered] == [1, 2, 3]


def test_a_kept_hold_gets_its_number_when_it_is_let_go_and_none_when_it_serves(site: Paper) -> None:
    usual = site._answer
    site._answer = lambda action: None if isinstance(action, actions.ReadRegister) else usual(action)  # type: ignore[method-assign]
    site.tap()
    session = site.engine.state.sessions[1].session_id
    site.evse(Pilot.B)
    for _ in range(3):
        site.turn(events.RegisterUnreadable(1, session, "start", "no answer"))
    shown = view(site)
    assert isinstance(shown, DeclinedView) and shown.kept_s and not shown.qr, "nothing is decided yet"
    site.turn(events.Touched(Button.OK, ""))
    shown = view(site)
    (settled,) = records(site)
    assert shown.qr.endswith(settled["receipt"]["code"]) and settled["receipt"]["reason"] == "fault"


def test_what_was_never_held_has_no_receipt(site: Paper) -> None:
    site.outcomes[actions.Authorize] = Declined(DeclineReason.REFUSED, "05")
    site.tap()
    shown = view(site)
    assert isinstance(shown, DeclinedView) and shown.qr == "" and site.engine.state.chain.next_receipt == 1


# --- the signed line -------------------------------------------------------------------------------------------------


def test_the_code_on_the_receipt_carries_a_line_that_verifies_and_names_the_record(site: Paper) -> None:
    charge_to_the_receipt(site)
    shown = view(site)
    assert isinstance(shown, Receipt)
    page, _, line = shown.qr.partition("#")
    said, key_id = open_compact(line)
    session = records(site)[0]
    assert page.endswith(session["receipt"]["code"]) and key_id == thumbprint(site.engine.standing.record_spki)
    assert (said["n"], said["a"], said["q"]) == (session["receipt"]["number"], session["totals"]["total_minor"], session["seq"])
    assert said["r"] == [session["register"]["start_wh"], session["register"]["stop_wh"]] and said["h"] == [6000, 948]
    assert len(line) < 760


@pytest.mark.parametrize("signature", [None, bytes(range(64))])
def test_without_a_good_signature_the_code_stays_the_address_alone(site: Paper, signature: bytes | None) -> None:
    usual = site._answer

    def answer(action: actions.Action) -> events.Event | None:
        if not isinstance(action, actions.SignReceipt):
            return usual(action)
        return None if signature is None else events.ReceiptSigned(action.record_seq, signature)

    site._answer = answer  # type: ignore[method-assign]
    charge_to_the_receipt(site)
    shown = view(site)
    assert isinstance(shown, Receipt) and re.fullmatch(r"https://office\.example/r/[a-z2-7]{32}", shown.qr)


def test_an_interruption_stands_on_the_receipt_with_its_time(site: Paper) -> None:
    site.tap()
    site.charge(3_000, seconds=600)
    site.pass_time(3)
    site.evse(Pilot.F)
    site.finish()
    session = next(one for one in records(site) if one["type"] == "session")
    stop = session["stop"]
    assert stop["interrupted"] and 0 < stop["until"]["utc_ms"] - stop["from"]["utc_ms"] < 200_000
    assert session["outlet"] == {"max_power_w": 22000, "current": "AC"}


# --- paper -----------------------------------------------------------------------------------------------------------


def orders(site: Paper) -> list[actions.PrintReceipt]:
    """Collects what the printer is told."""
    told: list[actions.PrintReceipt] = []
    usual = site._answer

    def answer(action: actions.Action) -> events.Event | None:
        if isinstance(action, actions.PrintReceipt):
            told.append(action)
            return None
        return usual(action)

    site._answer = answer  # type: ignore[method-assign]
    return told


def test_the_driver_prints_and_a_second_time_it_is_a_copy(tmp_path: Path) -> None:
    site = made(tmp_path, PRINTER)
    told = orders(site)
    charge_to_the_receipt(site)
    assert view(site).printing is PrintWords.READY and told == [], "nobody asked for it"
    site.turn(events.Touched(Button.PRINT, ""))
    site.turn(events.Touched(Button.PRINT, ""))
    (first,) = told
    assert view(site).printing is PrintWords.BUSY and first.qr == view(site).qr
    site.turn(events.ReceiptPrinted(first.receipt_number))
    assert view(site).printing is PrintWords.DONE
    site.turn(events.Touched(Button.PRINT, ""))
    assert "*** KOPIE ***" in told[1].lines and "*** KOPIE ***" not in first.lines
    site.turn(events.PrintFailed(first.receipt_number, "paper"))
    assert view(site).printing is PrintWords.FAILED
    site.close()


def test_a_printer_without_paper_is_told_small_and_keeps_nobody_from_charging(tmp_path: Path) -> None:
    site = made(tmp_path, PRINTER)
    told = orders(site)
    site.turn(events.FaultSeen(Fault(Device.PRINTER, 0, "paper", "there is no paper"), True))
    assert isinstance(view(site), Offer)
    charge_to_the_receipt(site)
    assert view(site).printing is PrintWords.OUT
    site.turn(events.Touched(Button.PRINT, ""))
    assert told == []
    site.turn(events.FaultSeen(Fault(Device.PRINTER, 0, "paper"), False))
    assert view(site).printing is PrintWords.READY
    site.close()


def test_paper_by_itself_comes_after_the_seal_with_the_signed_code(tmp_path: Path) -> None:
    site = made(tmp_path, PRINTER + "automatic = true\n")
    told = orders(site)
    charge_to_the_receipt(site)
    (only,) = told
    assert "#" in only.qr and records(site)[0]["type"] == "session"
    site.close()


def test_without_a_printer_there_is_no_button(site: Paper) -> None:
    charge_to_the_receipt(site)
    site.turn(events.Touched(Button.PRINT, ""))
    assert view(site).printing is PrintWords.NONE
