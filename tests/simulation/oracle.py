"""What must be true when everything is quiet: the terminal's ledger against the books of the gateways and the meter."""

from collections import Counter

import msgspec

from terminal_app import screens
from terminal_app.billing import record
from terminal_app.session import facts as f
from terminal_app.session.facts import Fact
from terminal_app.values import Hold
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
    intended = {one.hold.hold_id: one.hold for one in facts if isinstance(one, f.AuthorizationIntended)}
    declined = {one.hold_id for one in facts if isinstance(one, f.AuthorizationDeclined)}
    ended = [one for one in facts if isinstance(one, f.HoldEnded)]
    books = world.bank
    places = {(hold.gateway, hold.hold_id) for hold in intended.values()}
    _must(set(books.accounts) <= places, "orphan hold: a gateway holds money the ledger knows nothing of")
    _must(Counter(one.hold_id for one in ended) == Counter(set(intended) - declined), "a hold has not exactly one end")
    for account in books.accounts.values():
        _must(len(account.captures) <= 1, f"captured twice: {account.captures}")
        _must(account.captured_minor <= account.approved_minor, "captured more than was held")
        _must(not (account.captures and account.released), "captured and released")
    for one in ended:
        account = books.of(intended[one.hold_id])
        captures = [amount for _, amount in account.captures]
        match one.how:
            case f.Terminated.CAPTURED:
                _must(captures == [one.amount_minor], f"captured {captures} at the bank, {one.amount_minor} in the ledger")
            case f.Terminated.VOIDED:
                _must(not captures, f"released, but {captures} is captured at the bank")
                _must(not account.held, "released in the ledger, held at the bank")
            case f.Terminated.MANUAL:
                _must(bool(one.detail), "manual without a reason")
                _must(one.hold_id in world.lines.refused, f"manual although the bank never refused: {one.detail}")
    for hold_id in declined:
        _must(not books.of(intended[hold_id]).held, "declined in the ledger, held at the bank")
    _to_the_cent(world, intended, [one.hold_id for one in ended if one.how is f.Terminated.MANUAL])


def _to_the_cent(world: World, intended: dict[str, Hold], manual: list[str]) -> None:
    """For every gateway: its books are the signed settlement records and what is listed for a person; so is what was billed."""
    payloads, listed = _payloads(world), set(manual)
    bills = [one for one in payloads if one["type"] == "session" and one["payment"]]
    settled = [one for one in payloads if one["type"] == "settlement"]
    _must(
        {one["authorization_reference"] for one in settled if one["how"] == "manual"} == listed,
        "what a person must look at is not in a record",
    )
    for gateway in {hold.gateway for hold in intended.values()}:
        books = [one for place, one in world.bank.accounts.items() if place[0] == gateway]
        taken = sum(one.captured_minor for one in books if one.hold_id not in listed)
        unsure = sum(one.captured_minor for one in books if one.hold_id in listed)
        signed = sum(one["amount_minor"] for one in settled if one["gateway"] == gateway and one["how"] == "captured")
        mine = [one["payment"] for one in bills if one["payment"]["gateway"] == gateway]
        billed = sum(one["capture_minor"] for one in mine if one["hold_id"] not in listed)
        at_risk = sum(one["capture_minor"] for one in mine if one["hold_id"] in listed)
        _must(taken == signed == billed, f"{gateway}: billed {billed}, signed {signed}, in its books {taken}")
        _must(unsure <= at_risk, f"{gateway}: {unsure} taken of holds for a person, {at_risk} billed on them")
        world.sums.update({f"{gateway} captured": taken, "manual": at_risk})
    value = sum(one["totals"]["total_minor"] for one in bills)
    captured = sum(one["payment"]["capture_minor"] for one in bills)
    shortfall = sum(one["payment"]["shortfall_minor"] for one in bills)
    _must(value == captured + shortfall, f"energy worth {value}, captured {captured}, shortfall {shortfall}")
    world.sums.update({"energy value": value, "shortfall": shortfall, "holds": len(intended)})


def _pages(world: World, facts: list[Fact]) -> None:
    """No page stays behind on which somebody could pay; none was shown before its name was committed."""
    named = {one.hold_id for one in facts if isinstance(one, f.CheckoutOpened)}
    for account in world.bank.pages:
        _must(not account.scanned or account.hold_id in named, "a page was shown whose name the ledger does not know")
        _must(account.page != "open" or account.hold_id not in named, "a page can still be paid, and nobody waits for it")
        _must(account.page != "paid" or account.scanned, "the world is wrong: paid without a phone")


def _sessions(world: World, facts: list[Fact]) -> None:
    opened = [one.session_id for one in facts if isinstance(one, f.SessionOpened)]
    started = [one.session_id for one in facts if isinstance(one, f.StartRegistered)]
    frozen = [one for one in facts if isinstance(one, f.BillFrozen)]
    _must(len(set(opened)) == len(opened), "a session was opened twice")
    world.sums.update({"sessions": len(opened), "charges": len(started)})
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
    taps = world.bank.taps
    _must(all(count == 1 for count in taps.values()), f"one tap asked the bank more than once: {taps}")
    _must(not world.blind_taps & set(taps), "a tap without the price on the glass reached the bank")


def _cards(world: World) -> None:
    for file in world.folder.iterdir():
        if file.name == "reserve":  # preallocated, nothing is ever written into it
            continue
        content = file.read_bytes()
        for form in (stage.TRACK2, stage.TRACK2.hex().encode(), b"5413330089020011"):
            _must(form not in content, f"a card number stands in {file.name}")


def _back_for_sale(world: World) -> None:
    state = world.engine.state
    _must(not state.sessions and not state.settlements and state.seal is None, "something is still open")
    _must(not state.faults, f"faults that nobody clears: {msgspec.to_builtins(list(state.faults.values()))}")
    view = world.engine.screen.view if world.engine.screen else None
    _must(isinstance(view, screens.Offer | screens.Receipt | screens.DeclinedView | screens.NotForSale), f"the glass shows {view}")
