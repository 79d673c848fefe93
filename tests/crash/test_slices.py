"""A core that ends at every commit of a slice's life: granted, reserved offline, settled, told to the office, given back.

Real ledger, real office over HTTP; the end is an exception at the commit, before or after it. Afterwards: the books balance,
what the ledger calls captured is what the office booked, and no money is left set aside.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.engine.pocket import LedgerPocket
from terminal_app.office import store
from terminal_app.session import facts as f
from tests.account_site import SLICE_MINOR, AccountPaper, account_files, account_terminal
from tests.sessions import runtime_dir
from tests.unit.account_samples import OfficeProcess

DAY_S = 86_400
MOST_COMMITS = 80


class Killed(BaseException):
    """The process ends here."""


class KillAt:
    """A commit probe that ends the process once."""

    def __init__(self, when: str, number: int) -> None:
        self.when, self.number, self.commits = when, number, 0

    def __call__(self, when: str, number: int) -> None:
        if when == "before":
            self.commits += 1
        if (when, self.commits) == (self.when, self.number):
            self.number = 0
            raise Killed


@pytest.fixture(scope="module")
def office() -> Iterator[OfficeProcess]:
    process = OfficeProcess()
    yield process
    assert process.desk.trouble() == []
    process.close()


def life(site: AccountPaper) -> None:
    """A charge online, a slice; one paid by it offline and one that nobody plugged in for; told; the slice goes back."""
    site.paid_session(energy_wh=500, seconds=120)
    site.care()
    site.online = False
    site.paid_session(energy_wh=600, seconds=120)
    site.tap()
    site.pass_time(300)
    site.finish()
    site.online = True
    site.settle()
    site.pass_time(7 * DAY_S - DAY_S // 2)
    site.care()


def wrongs(site: AccountPaper, office: OfficeProcess, account: str) -> list[str]:
    """What does not fit together once all is settled."""
    facts = [entry.fact for entry in site.ledger.verified_entries()]
    keys = {fact.hold.hold_id: fact.hold.key for fact in facts if isinstance(fact, f.AuthorizationIntended)}
    ends = [fact for fact in facts if isinstance(fact, f.HoldEnded)]
    taken = {keys[one.hold_id]: one.amount_minor for one in ends if one.how is f.Terminated.CAPTURED}
    rows = office.desk.holds(terminal=site.config.terminal.id)
    booked = {row["key"]: row["captured_minor"] for row in rows if row["state"] == "captured"}
    found = [] if taken == booked else [f"the ledger captured {taken}, the office {booked}"]
    found += [f"{one.hold_id} ended {one.how.value}: {one.detail}" for one in ends if one.how is f.Terminated.MANUAL]
    found += [f"{one.hold_id} ended twice" for one in ends if sum(one.hold_id == other.hold_id for other in ends) > 1]
    found += [f"hold {row['key']} is still held" for row in rows if row["state"] == "held"]
    slices = office.desk.slice_rows(account=account)
    found += [f"slice {row['slice_id']} is still open" for row in slices if not row["closed"]]
    found += (
        [f"{len(slices)} slices for one question"] if len(slices) > sum(isinstance(one, f.SliceIntended) for one in facts) else []
    )
    statement = sum(amount for book, amount in office.desk.entries_of(account) if book == "customer")
    found += [] if statement == 50_000 - sum(taken.values()) else [f"the account has {statement} after {taken}"]
    state = site.engine.state.slices
    found += [] if not (state.kept or state.reserves or state.asked) else [f"the pocket is not empty: {state}"]
    return found + office.desk.trouble()


def walked(folder: Path, office: OfficeProcess, when: str, number: int) -> tuple[bool, list[str]]:
    """One life that ends at this commit and goes on after a restart; whether it came so far, and what was wrong."""
    folder.mkdir()
    with runtime_dir() as runtime:
        path, account = account_files(folder, runtime, office)
        probe = KillAt(when, number)
        site = AccountPaper(path, probe=probe)
        try:
            life(site)
            return False, []
        except Killed:
            wh, ms = site.wh, site.clock.ms
        finally:
            site.close()
        site = AccountPaper(path, wh, ms=ms)
        try:
            site.settle()
            site.care()
            site.pass_time(7 * DAY_S)
            site.care()
            return True, [f"{when} commit {number}: {one}" for one in wrongs(site, office, account)]
        finally:
            site.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_every_commit_of_a_slices_life(office: OfficeProcess, tmp_path: Path, when: str) -> None:
    for number in range(2, MOST_COMMITS):
        reached, found = walked(tmp_path / str(number), office, when, number)
        assert found == []
        if not reached:
            assert number > 25, "the walk ended before it began"
            return
    raise AssertionError("the walk did not end")


def test_the_life_that_is_walked_has_everything_in_it(office: OfficeProcess, tmp_path: Path) -> None:
    with account_terminal(tmp_path, office) as (site, account):
        life(site)
        kinds = [type(entry.fact) for entry in site.ledger.verified_entries()]
        for kind in (*f.SLICES, f.HoldEnded):
            assert kind is f.SliceRefused or kind in kinds, kind
        assert kinds.count(f.SliceTaken) == 2 and kinds.count(f.HoldEnded) == 3
        (row,) = office.desk.slice_rows(account=account)
        assert row["amount_minor"] == SLICE_MINOR and 0 < row["spent_minor"] < SLICE_MINOR and row["closed"]
        assert wrongs(site, office, account) == []


def test_a_reserve_that_is_not_written_down_is_found_out(
    office: OfficeProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same check notices a pocket that forgets: two charges are paid by the same money."""
    right = LedgerPocket.take

    def forgetful(self: LedgerPocket, *arguments: object) -> object:
        engine = self._engine
        before = engine.state
        found = right(self, *arguments)  # type: ignore[arg-type]
        engine.state = before
        return found

    monkeypatch.setattr(LedgerPocket, "take", forgetful)
    with account_terminal(tmp_path, office) as (site, account):
        site.paid_session(energy_wh=1000)
        site.care()
        site.online = False
        site.paid_session(energy_wh=40_000, seconds=7200)
        site.paid_session(energy_wh=40_000, seconds=7200)
        site.online = True
        site.settle()
        assert any("manual" in one for one in wrongs(site, office, account))


def test_a_reserve_whose_hold_was_never_approved_is_free_again_at_the_start(office: OfficeProcess, tmp_path: Path) -> None:
    """Killed between reserve and approval; the office is still out of reach when the terminal comes back."""
    with runtime_dir() as runtime:
        path, _ = account_files(tmp_path, runtime, office)
        probe = KillAt("after", 0)
        site = AccountPaper(path, probe=probe)
        site.paid_session(energy_wh=500, seconds=120)
        site.care()
        site.online = False
        probe.number = probe.commits + 2  # the intent to ask, then the reserve
        with pytest.raises(Killed):
            site.tap()
        wh, ms = site.wh, site.clock.ms
        site.close()
        AccountPaper.starts_online = False
        try:
            site = AccountPaper(path, wh, ms=ms)
        finally:
            AccountPaper.starts_online = True
        kinds = [type(entry.fact) for entry in site.ledger.verified_entries()]
        assert f.SliceTaken in kinds and kinds.count(f.AuthorizationApproved) == 1
        site.pass_time(15)  # the driver has read that nobody knows; the next one comes
        site.finish()
        site.tap()
        (session,) = site.engine.state.sessions.values()
        assert site.engine.state.settlements[session.hold_id].approved_minor == SLICE_MINOR
        site.close()


def test_a_slice_is_not_given_back_while_a_charge_on_it_is_not_booked(office: OfficeProcess, tmp_path: Path) -> None:
    with account_terminal(tmp_path, office) as (site, account):
        site.paid_session(energy_wh=500, seconds=120)
        site.care()
        site.online = False
        site.paid_session(energy_wh=600, seconds=120)
        site.pass_time(7 * DAY_S - 3600)
        site.online = True
        site.care()
        assert not office.desk.slice_rows(account=account)[0]["closed"]
        site.settle()
        site.care()
        assert wrongs(site, office, account) == []
        assert office.desk.slice_rows(account=account)[0]["spent_minor"] > 0


def test_a_charge_granted_without_a_slice_is_owed_by_the_account_once(office: OfficeProcess, tmp_path: Path) -> None:
    with runtime_dir() as runtime:
        path, account = account_files(tmp_path, runtime, office, balance_minor=100)
        path.write_text(path.read_text() + "\n[offline]\ncard_minor = 3000\nterminal_minor = 9000\n")
        with contextlib.closing(AccountPaper(path)) as site:
            site.authenticated, site.online = True, False
            site.paid_session(energy_wh=600, seconds=120)
            assert office.desk.holds(terminal=site.config.terminal.id) == []
            site.online = True
            site.settle()
            (row,) = office.desk.holds(terminal=site.config.terminal.id)
            (ended,) = [one.fact for one in site.ledger.verified_entries() if isinstance(one.fact, f.HoldEnded)]
            assert ended.how is f.Terminated.CAPTURED and row["captured_minor"] == ended.amount_minor > 100
            assert sum(amount for _, amount in office.desk.entries_of(account)) == 100 - ended.amount_minor
            assert office.desk.rows(store.alarms, terminal=site.config.terminal.id, kind="receivable")
