"""What must be true when everything is quiet: the terminal's ledger against the books of the gateways and the meter."""

from collections import Counter

import msgspec

from terminal_app import screens
from terminal_app.billing import record
from terminal_app.session import facts as f
from terminal_app.session.facts import Fact
from tests.simulation import money, stage
from tests.simulation.money import Wrong, must
from tests.simulation.signing_meter import opened
from tests.simulation.world import World

__all__ = ["Wrong", "check"]


def check(world: World) -> None:
    """Raises Wrong."""
    entries = world.told = list(world.ledger.verified_entries())
    facts = [one.fact for one in entries]
    _records(world, facts)
    _money(world, facts)
    _pages(world, facts)
    _sessions(world, facts)
    _signed(world, facts)
    _energy(world, [(one.stamp.utc_ms, one.fact) for one in entries])
    _taps(world)
    _cards(world)
    _back_for_sale(world)


def _payloads(world: World) -> list[dict]:  # type: ignore[type-arg]
    key = stage.record_key()
    return [record.open_record(jws, key.spki) for _, _, _, jws, _ in world.ledger.records()]


def _records(world: World, facts: list[Fact]) -> None:
    key, rows = stage.record_key(), world.ledger.records()
    record.verify_chain(((row[0], row[3]) for row in rows), {key.key_id: key.spki}.get, terminal="T-0001")
    must([row[0] for row in rows] == list(range(1, len(rows) + 1)), "records have a gap")
    sessions = [row[2] for row in rows if row[1] == "session"]
    must(len(set(sessions)) == len(sessions), "one session has two records")
    must(world.ledger.waiting() == len(rows), "record and outbox differ")
    must([row[4] for row in rows] == [one.sha256 for one in facts if isinstance(one, f.Sealed)], "sealed facts and records differ")


def _money(world: World, facts: list[Fact]) -> None:
    holds = money.told(facts)
    money.check_holds(holds, world.bank, world.lines.refused)
    world.sums.update(money.check_sums(holds, world.bank, _payloads(world)))
    for name in ("reused", "rerouted", "raised"):
        kind = {"reused": f.HoldReused, "rerouted": f.AuthorizationRerouted, "raised": f.IncrementEnded}[name]
        world.sums[f"holds {name}"] += sum(isinstance(one, kind) for one in facts)


def _pages(world: World, facts: list[Fact]) -> None:
    """No page stays behind on which somebody could pay; none was shown before its name was committed."""
    named = {one.hold_id for one in facts if isinstance(one, f.CheckoutOpened)}
    for account in world.bank.pages:
        must(not account.scanned or account.hold_id in named, "a page was shown whose name the ledger does not know")
        must(account.page != "open" or account.hold_id not in named, "a page can still be paid, and nobody waits for it")
        must(account.page != "paid" or account.scanned, "the world is wrong: paid without a phone")


def _sessions(world: World, facts: list[Fact]) -> None:
    opened = [one.session_id for one in facts if isinstance(one, f.SessionOpened)]
    started = [one.session_id for one in facts if isinstance(one, f.StartRegistered)]
    frozen = [one for one in facts if isinstance(one, f.BillFrozen)]
    must(len(set(opened)) == len(opened), "a session was opened twice")
    world.sums.update({"sessions": len(opened), "charges": len(started)})
    must(Counter(started) == Counter(one.session_id for one in frozen), "not one bill for every session that started")
    sealed = [one.subject for one in facts if isinstance(one, f.Sealed) and one.record_type == "session"]
    must(sorted(sealed) == sorted(started), "not one record for every session that started")
    numbers = [one.pagination for one in frozen if not (one.signed or one.unbilled)]
    must(numbers == list(range(1, len(numbers) + 1)), f"OCMF pagination is not gapless: {numbers}")
    receipts = [number for one in facts if (number := getattr(one, "receipt_number", ""))]
    wanted = list(range(1, len(receipts) + 1))
    must([int(one.rpartition("-")[2]) for one in receipts] == wanted, f"receipt numbers are not gapless: {receipts}")
    _receipts_of_holds(facts, {one.session_id for one in frozen})
    serials = [one.hold.serial for one in facts if isinstance(one, f.AuthorizationIntended)]
    steps = f.CaptureIntended | f.VoidIntended | f.IncrementIntended | f.RefundIntended
    serials += {one.step.key: one.step.serial for one in facts if isinstance(one, steps)}.values()  # once for a repetition
    must(len(set(serials)) == len(serials), "a serial (STAN) was used twice")
    for one in frozen:
        free = one.capture_minor == 0 and one.shortfall_minor == 0
        must(free or one.total_minor == one.capture_minor + one.shortfall_minor, "bill is not capture plus shortfall")
        if not world.faults & ({"meter", "weld", "controller_silent"}):
            must(one.shortfall_minor == 0, f"{one.shortfall_minor} delivered beyond the hold")
    must(world.longest_bank_wait_ms <= 20_000, f"the driver waited {world.longest_bank_wait_ms} ms for the bank")


def _receipts_of_holds(facts: list[Fact], billed: set[str]) -> None:
    """A hold that was approved and released has a bill, or a receipt of its own; never both."""
    serves: dict[str, str] = {}
    approved: set[str] = set()
    released: set[str] = set()
    for one in facts:
        match one:
            case f.AuthorizationIntended(session_id=session_id, hold=hold):
                serves[hold.hold_id] = session_id
            case f.HoldReused(hold_id=hold_id, session_id=session_id):
                serves[hold_id] = session_id
            case f.AuthorizationApproved(hold_id=hold_id):
                approved.add(hold_id)
            case f.VoidIntended(hold_id=hold_id) if hold_id in approved - released:
                released.add(hold_id)
                must(bool(one.receipt_number) != (serves[hold_id] in billed), "not one receipt for a hold that was released")


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
        must(all(one.opened_utc_ms is not None for one in mine), "the contactor is still closed")
        own_wh = mine[-1].register_wh[1] - mine[0].register_wh[0] if mine else 0
        begin_wh = bill.signed.start.energy_wh if bill.signed else start.second.energy_wh
        must(bill.energy_wh == bill.stop.energy_wh - begin_wh, "billed energy is not end minus begin")
        lies = world.faults & {"meter", "weld", "controller_silent"}
        # A register that stood still and then jumps moves energy from one session into the next; nobody sees it here
        # (the controller measures no current), so only the sum is asked then.
        must(bill.energy_wh <= own_wh or "meter frozen" in world.faults, f"billed {bill.energy_wh} Wh, {own_wh} Wh flowed")
        must(bool(lies) or bill.energy_wh == own_wh, f"billed {bill.energy_wh} Wh of {own_wh} Wh that flowed")
        if not lies:
            must(start.second.energy_wh >= last_wh, "two sessions share energy")
            last_wh = bill.stop.energy_wh % (world.plan.wraps_at_wh or 2**63)
    billed_wh, flowed_wh = sum(one.energy_wh for _, one in bills.values()), world.outlet.flowed_wh
    must(billed_wh <= flowed_wh, f"billed {billed_wh} Wh in all, {flowed_wh} Wh flowed")
    must(not unexplained, f"energy without a session: {unexplained}")
    for book in world.engine.state.energy.values():
        rise_wh = (book.last.energy_wh - book.began.energy_wh) % (world.plan.wraps_at_wh or 2**63)
        must(rise_wh == book.sessions_wh + book.tests_wh + book.unexplained_wh, f"the meter's account does not add up: {book}")


def _signed(world: World, facts: list[Fact]) -> None:
    """On a meter that signs: what is billed is one record of that meter, of this charge, each once; nothing else is billed."""
    if world.signing is None:
        return
    holds = {one.session_id: one.hold.hold_id for one in facts if isinstance(one, f.AuthorizationIntended)}
    holds |= {one.session_id: one.hold_id for one in facts if isinstance(one, f.HoldReused)}
    pages = []
    for one in (one for one in facts if isinstance(one, f.BillFrozen)):
        world.sums["signed by the meter" if one.signed else "not billed"] += 1
        if one.signed is None:
            must(one.unbilled is not None and one.total_minor == one.energy_wh == 0 and not one.ocmf, "billed unsigned")
            continue
        body, energy_wh = opened(one.ocmf, world.signing.spki)
        must(energy_wh == one.energy_wh, f"signed are {energy_wh} Wh, billed {one.energy_wh} Wh")
        must(body["ID"] == holds.get(one.session_id, one.session_id), "billed by the record of another charge")
        must(one.ocmf in world.signing.measured, "billed by a record the meter never made")
        pages.append(one.signed.page)
    must(pages == sorted(set(pages)), f"one record of the meter was billed twice: {pages}")
    asides = [one for one in facts if isinstance(one, f.MeterRecordSetAside)]
    world.sums["set aside"] += len(asides)
    known = {one.ocmf for one in facts if isinstance(one, f.BillFrozen)} | {one.record for one in asides}
    lost = [one for one in world.signing.measured if one not in known]
    must(not lost or bool(world.faults & {"meter", "kill", "power"}), "a record of the meter was lost")
    must(all(opened(one, world.signing.spki)[1] == 0 for one in lost), "a record with energy in it was lost")


def _taps(world: World) -> None:
    taps = world.bank.taps
    must(all(count == 1 for count in taps.values()), f"one tap asked the bank more than once: {taps}")
    must(not world.blind_taps & set(taps), "a tap without the price on the glass reached the bank")


def _cards(world: World) -> None:
    for file in world.folder.iterdir():
        if file.name == "reserve":  # preallocated, nothing is ever written into it
            continue
        content = file.read_bytes()
        for form in (stage.TRACK2, stage.TRACK2.hex().encode(), b"5413330089020011"):
            must(form not in content, f"a card number stands in {file.name}")


def _back_for_sale(world: World) -> None:
    state = world.engine.state
    must(not state.sessions and not state.settlements and state.seal is None, "something is still open")
    must(not state.faults, f"faults that nobody clears: {msgspec.to_builtins(list(state.faults.values()))}")
    view = world.engine.screen.view if world.engine.screen else None
    must(isinstance(view, screens.Offer | screens.Receipt | screens.DeclinedView | screens.NotForSale), f"the glass shows {view}")
