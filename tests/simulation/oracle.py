"""What must be true when everything is quiet: the terminal's ledger against the books of the bank and the meter."""

from collections import Counter

import msgspec

from terminal_app import screens
from terminal_app.billing import record
from terminal_app.session import facts as f
from terminal_app.session.facts import Fact
from tests.simulation import stage
from tests.simulation.world import World


class Wrong(AssertionError):
    """An invariant is broken; the message says which and with what figures."""


def check(world: World) -> None:
    """Raises Wrong."""
    entries = list(world.ledger.verified_entries())
    facts = [one.fact for one in entries]
    _records(world, facts)
    _money(world, facts)
    _pages(world, facts)
    _sessions(world, facts)
    _energy(world, [(one.stamp.utc_ms, one.fact) for one in entries])
    _taps(world)
    _cards(world)
    _back_for_sale(world)


def _must(holds: bool, why: str) -> None:
    if not holds:
        raise Wrong(why)


def _payloads(world: World) -> list[dict]:  # type: ignore[type-arg]
    key = stage.record_key()
    return [record.open_record(jws, key.spki) for _, _, _, jws, _ in world.ledger.records()]


def _records(world: World, facts: list[Fact]) -> None:
    key, rows = stage.record_key(), world.ledger.records()
    record.verify_chain(((row[0], row[3]) for row in rows), {key.key_id: key.spki}.get, terminal="T-0001")
    _must([row[0] for row in rows] == list(range(1, len(rows) + 1)), "records have a gap")
    _must(len({row[2] for row in rows}) == len(rows), "one subject has two records")
    _must(world.ledger.waiting() == len(rows), "record and outbox differ")
    _must([row[4] for row in rows] == [one.sha256 for one in facts if isinstance(one, f.Sealed)], "sealed facts and records differ")


def _money(world: World, facts: list[Fact]) -> None:
    intended = {one.hold.hold_id: one for one in facts if isinstance(one, f.AuthorizationIntended)}
    declined = {one.hold_id for one in facts if isinstance(one, f.AuthorizationDeclined)}
    ended = [one for one in facts if isinstance(one, f.HoldEnded)]
    _must(set(world.bank.accounts) <= set(intended), "orphan hold: the bank holds money the ledger knows nothing of")
    _must(Counter(one.hold_id for one in ended) == Counter(set(intended) - declined), "a hold has not exactly one end")
    for one in ended:
        account = world.bank.accounts.get(one.hold_id)
        captures = list(account.captures.values()) if account else []
        match one.how:
            case f.Terminated.CAPTURED:
                _must(captures == [one.amount_minor], f"captured {captures} at the bank, {one.amount_minor} in the ledger")
                _must(account is not None and not account.released, "captured and released")
                _must(one.amount_minor <= account.approved_minor if account else False, "captured more than was held")
            case f.Terminated.VOIDED:
                _must(not captures, f"released, but {captures} is captured at the bank")
                _must(account is None or account.released, "released in the ledger, held at the bank")
            case f.Terminated.MANUAL:
                _must(bool(one.detail), "manual without a reason")
                _must(one.hold_id in world.bank.refused, f"manual although the bank never refused: {one.detail}")
    for hold_id in declined:
        _must(hold_id not in world.bank.accounts, "declined in the ledger, held at the bank")
    payloads = _payloads(world)
    manual = {one.hold_id for one in ended if one.how is f.Terminated.MANUAL}
    billed = sum(
        one["payment"]["capture_minor"]
        for one in payloads
        if one["type"] == "session" and one["payment"] and one["payment"]["hold_id"] not in manual
    )
    settled = sum(one["amount_minor"] for one in payloads if one["type"] == "settlement" and one["how"] == "captured")
    _must(billed == settled == world.bank.captured_minor, f"billed {billed}, settled {settled}, bank {world.bank.captured_minor}")


def _pages(world: World, facts: list[Fact]) -> None:
    """No page stays behind on which somebody could pay; none was shown before its name was committed."""
    named = {one.reference for one in facts if isinstance(one, f.CheckoutOpened)}
    for page in world.bank.pages.values():
        _must(not page.scanned or page.reference in named, "a page was shown whose name the ledger does not know")
        _must(page.state != "open" or page.reference not in named, "a page can still be paid, and nobody waits for it")
        _must(page.state != "paid" or page.scanned, "the world is wrong: paid without a phone")


def _sessions(world: World, facts: list[Fact]) -> None:
    opened = [one.session_id for one in facts if isinstance(one, f.SessionOpened)]
    started = [one.session_id for one in facts if isinstance(one, f.StartRegistered)]
    frozen = [one for one in facts if isinstance(one, f.BillFrozen)]
    _must(len(set(opened)) == len(opened), "a session was opened twice")
    _must(Counter(started) == Counter(one.session_id for one in frozen), "not one bill for every session that started")
    sealed = [one.subject for one in facts if isinstance(one, f.Sealed) and one.record_type == "session"]
    _must(sorted(sealed) == sorted(started), "not one record for every session that started")
    numbers = [one.pagination for one in frozen]
    _must(numbers == list(range(1, len(numbers) + 1)), f"OCMF pagination is not gapless: {numbers}")
    receipts = [one.receipt_number for one in frozen]
    _must(len(set(receipts)) == len(receipts), "a receipt number was used twice")
    serials = [one.hold.serial for one in facts if isinstance(one, f.AuthorizationIntended)]
    serials += [one.step.serial for one in facts if isinstance(one, f.CaptureIntended | f.VoidIntended)]
    _must(len(set(serials)) == len(serials), "a serial (STAN) was used twice")
    for one in frozen:
        free = one.capture_minor == 0 and one.shortfall_minor == 0
        _must(free or one.total_minor == one.capture_minor + one.shortfall_minor, "bill is not capture plus shortfall")
        if not world.faults & ({"meter", "weld", "controller_silent"}):
            _must(one.shortfall_minor == 0, f"{one.shortfall_minor} delivered beyond the hold")
    _must(world.longest_bank_wait_ms <= 20_000, f"the driver waited {world.longest_bank_wait_ms} ms for the bank")


def _energy(world: World, facts: list[tuple[int, Fact]]) -> None:
    """Every closed contactor lies inside one session; what is billed is what the meter's own register says flowed."""
    starts = {one.session_id: (at, one) for at, one in facts if isinstance(one, f.StartRegistered)}
    bills = {one.session_id: (at, one) for at, one in facts if isinstance(one, f.BillFrozen)}
    unexplained = list(world.outlet.closures)
    last_wh = 0
    for session_id, (begun_ms, start) in starts.items():
        ended_ms, bill = bills[session_id]
        mine = [one for one in unexplained if begun_ms <= one.closed_utc_ms <= ended_ms]
        unexplained = [one for one in unexplained if one not in mine]
        _must(all(one.opened_utc_ms is not None for one in mine), "the contactor is still closed")
        own_wh = mine[-1].register_wh[1] - mine[0].register_wh[0] if mine else 0
        _must(bill.energy_wh == bill.stop.energy_wh - start.second.energy_wh, "billed energy is not end minus begin")
        lies = world.faults & {"meter", "weld", "controller_silent"}
        # A register that stood still and then jumps moves energy from one session into the next; nobody sees it here
        # (the controller measures no current), so only the sum is asked then.
        _must(bill.energy_wh <= own_wh or "meter frozen" in world.faults, f"billed {bill.energy_wh} Wh, {own_wh} Wh flowed")
        _must(bool(lies) or bill.energy_wh == own_wh, f"billed {bill.energy_wh} Wh of {own_wh} Wh that flowed")
        if not lies:
            _must(start.second.energy_wh >= last_wh, "two sessions share energy")
            last_wh = bill.stop.energy_wh
    billed_wh, flowed_wh = sum(one.energy_wh for _, one in bills.values()), world.outlet.flowed_wh
    _must(billed_wh <= flowed_wh, f"billed {billed_wh} Wh in all, {flowed_wh} Wh flowed")
    _must(not unexplained, f"energy without a session: {unexplained}")


def _taps(world: World) -> None:
    _must(all(count == 1 for count in world.bank.taps.values()), f"one tap asked the bank more than once: {world.bank.taps}")
    _must(not world.blind_taps & set(world.bank.taps), "a tap without the price on the glass reached the bank")


def _cards(world: World) -> None:
    for file in world.folder.iterdir():
        content = file.read_bytes()
        for form in (stage.TRACK2, stage.TRACK2.hex().encode(), b"5413330089020011"):
            _must(form not in content, f"a card number stands in {file.name}")


def _back_for_sale(world: World) -> None:
    state = world.engine.state
    _must(not state.sessions and not state.settlements and state.seal is None, "something is still open")
    _must(not state.faults, f"faults that nobody clears: {msgspec.to_builtins(list(state.faults.values()))}")
    view = world.engine.screen.view if world.engine.screen else None
    _must(isinstance(view, screens.Offer | screens.Receipt | screens.DeclinedView | screens.NotForSale), f"the glass shows {view}")
