"""The bank, its absence and its misbehaviour: the driver is told in plain words in time, and nothing stays held."""

import time
from collections.abc import Iterator

import pytest

from scripts.demo.site import Wanted
from terminal_app import screens as s
from tests.e2e.visit import Visit, held_at, until, wrongs

PRICE = "0.59"
DEADLINE_S = 3
TOLD_WITHIN_S = 20


class Bank:
    """One site for the whole module; counts the taps that were made there."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.taps = visit, 0

    def misbehaves(self, **order: object) -> None:
        self.visit.site.devices["acquirer"].ctl("next", **order)

    def tap(self) -> s.View:
        self.taps += 1
        return self.visit.tap()

    def told_after_s(self) -> float:
        """From the first frame that says the card is being read (or the bank asked) to the newest refusal."""
        history = self.visit.glass.history
        last = max(i for i, one in enumerate(history) if isinstance(one.view, s.DeclinedView))
        began = last
        while began > 0 and isinstance(history[began - 1].view, (s.ReadingCard, s.BankWait)):
            began -= 1
        return history[last].at_s - history[began].at_s


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    policy = {"authorize_deadline_s": DEADLINE_S, "declined_show_s": 30}
    wanted = Wanted(price=PRICE, energy_wh=3000, policy=policy, ui=False)
    with Visit(tmp_path_factory.mktemp("bank"), wanted) as visit:
        yield Bank(visit)


@pytest.fixture
def bank(site: Bank) -> Iterator[Bank]:
    """Each test begins with a price on the glass and ends with nothing owed to anybody, by the same core process."""
    pid = site.visit.core_pid
    site.visit.offer()
    yield site
    site.visit.site.devices["acquirer"].ctl("network", on=True)
    site.visit.site.devices["acquirer"].ctl("clear")
    site.visit.leave()
    site.visit.settled()
    assert list(wrongs(site.visit, site.taps, PRICE)) == []
    assert site.visit.core_pid == pid and site.visit.site.processes["charge-terminal"].poll() is None


def declined(view: s.View) -> s.DeclineWords:
    assert isinstance(view, s.DeclinedView), view
    return view.reason


def test_silent(bank: Bank) -> None:
    bank.misbehaves(answer="silent", mti="0100")
    view = bank.tap()
    assert declined(view) is s.DeclineWords.BANK_SILENT
    assert isinstance(view, s.DeclinedView) and view.held_minor > 0, "the driver is told that the hold is being released"
    assert bank.told_after_s() < TOLD_WITHIN_S
    until(lambda: not held_at(bank.visit.site), "the silent bank's hold to be released")


def test_answer_after_our_deadline(bank: Bank) -> None:
    bank.misbehaves(answer="late", ms=(DEADLINE_S + 2) * 1000, mti="0100")
    assert declined(bank.tap()) is s.DeclineWords.BANK_SILENT
    assert bank.told_after_s() < TOLD_WITHIN_S
    time.sleep(3)  # the late approval arrives meanwhile and must change nothing
    assert isinstance(bank.visit.glass.view, s.DeclinedView)


def test_request_arrives_after_its_reversal(bank: Bank) -> None:
    """The network holds the request back for longer than we wait: the reversal overtakes it."""
    bank.misbehaves(answer="hold", ms=(DEADLINE_S + 3) * 1000, mti="0100")
    assert declined(bank.tap()) is s.DeclineWords.BANK_SILENT
    bank.visit.settled()
    time.sleep(4)
    assert held_at(bank.visit.site) == []


@pytest.mark.parametrize("how", ["close", "garbage", "lost"])
def test_no_sensible_answer(bank: Bank, how: str) -> None:
    bank.misbehaves(answer=how, mti="0100")
    assert declined(bank.tap()) is s.DeclineWords.BANK_SILENT
    assert bank.told_after_s() < TOLD_WITHIN_S


def test_reversal_is_repeated_until_answered(bank: Bank) -> None:
    bank.misbehaves(answer="silent", mti="0100")
    bank.misbehaves(answer="close_before", mti="0400", times=1)
    bank.misbehaves(answer="garbage", mti="0401", times=1)
    assert declined(bank.tap()) is s.DeclineWords.BANK_SILENT
    until(lambda: not held_at(bank.visit.site), "the hold to be released in the end")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("05", s.DeclineWords.REFUSED),
        ("51", s.DeclineWords.INSUFFICIENT_FUNDS),
        ("54", s.DeclineWords.CARD_INVALID),
        ("65", s.DeclineWords.AUTHENTICATION_WANTED),
        ("61", s.DeclineWords.LIMIT_EXCEEDED),
    ],
)
def test_refusal_has_its_words(bank: Bank, code: str, words: s.DeclineWords) -> None:
    bank.misbehaves(answer="decline", code=code, mti="0100")
    view = bank.tap()
    assert declined(view) is words
    assert isinstance(view, s.DeclinedView) and view.held_minor == 0


def test_unreachable(bank: Bank) -> None:
    bank.visit.site.devices["acquirer"].ctl("network", on=False)
    assert declined(bank.tap()) in (s.DeclineWords.BANK_UNREACHABLE, s.DeclineWords.BANK_SILENT)
    assert bank.told_after_s() < TOLD_WITHIN_S


def test_useless_partial_approval_is_released(bank: Bank) -> None:
    bank.misbehaves(answer="partial", amount_minor=100, mti="0100")
    assert declined(bank.tap()) is s.DeclineWords.LIMIT_EXCEEDED


def test_booked_twice_and_foreign_answers_do_not_matter(bank: Bank) -> None:
    bank.misbehaves(answer="stranger", mti="0100")
    bank.visit.charge(50)
    bank.misbehaves(answer="twice", mti="0220")
    receipt = bank.visit.stop()
    bank.taps += 1
    assert receipt.money is s.MoneyWords.CAPTURED


def test_capture_survives_a_lost_answer_and_an_outage(bank: Bank) -> None:
    """Energy was delivered; the bank books the capture but its answer is lost, then it is gone for a while."""
    bank.taps += 1
    bank.visit.charge(50)
    bank.misbehaves(answer="close", mti="0220")
    bank.visit.site.devices["acquirer"].ctl("network", on=False)
    bank.visit.glass.touch_until(s.Button.STOP, s.Receipt)
    assert bank.visit.glass.wait(s.Receipt).money is s.MoneyWords.SETTLING
    time.sleep(2)
    bank.visit.site.devices["acquirer"].ctl("network", on=True)
    assert bank.visit.paid().money is s.MoneyWords.CAPTURED


def test_card_is_free_again_after_a_refusal(bank: Bank) -> None:
    """The next tap after a refusal is a new question, and may be approved."""
    bank.misbehaves(answer="decline", code="05", mti="0100")
    assert declined(bank.tap()) is s.DeclineWords.REFUSED
    bank.visit.glass.touch_until(s.Button.OK, s.Offer)
    bank.taps += 1
    bank.visit.charge(50)
    assert bank.visit.stop().total_minor > 0
