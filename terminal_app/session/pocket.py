"""The terminal's pocket of balance slices: what is kept, what is reserved, what is due. Facts come in, numbers go out. PURE.

A slice's amount is used by what was booked at the office (`spent_minor`) and by reserves: one per hold, made before the driver
charges, shrunk to the bill, booked or gone when the hold has ended. So no order of holds can use a slice twice.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import msgspec

from terminal_app.billing.balance_slice import BalanceSlice, free_minor
from terminal_app.session.facts import SliceIntended, SliceKept, Terminated

MINUTE_MS = 60_000
DAY_MS = 86_400_000
RETURN_AHEAD_MS = DAY_MS
"""So long before its end a slice goes back, a short one when a quarter of its time is left."""
GRACE_MS = 8 * DAY_MS
"""Longer than the office waits after the end of a slice: whatever was still to be told, it reclaims the rest by itself."""
GIVE_UP_MS = 2 * DAY_MS
"""A question for a slice that was not answered for so long ends. If it was granted, the office reclaims it."""

replace = msgspec.structs.replace


class Taken(msgspec.Struct, frozen=True):
    """A reserve on a slice, made for one hold."""

    slice_id: str
    amount_minor: int


class KeptSlice(msgspec.Struct, frozen=True):
    """A verified slice. `returning`: it pays nothing any more, the office is being told."""

    slice_: BalanceSlice
    gateway: str
    spent_minor: int = 0
    returning: bool = False


class Slices(msgspec.Struct, frozen=True):
    """`kept` by slice id, `reserves` by hold key, `asked` by the key of the question that is not answered yet."""

    kept: Mapping[str, KeptSlice] = MappingProxyType({})
    reserves: Mapping[str, Taken] = MappingProxyType({})
    asked: Mapping[str, SliceIntended] = MappingProxyType({})


class DenyList(msgspec.Struct, frozen=True):
    """Cards the office will not be paid for; a list with a higher version replaces this one."""

    version: int = 0
    tokens: frozenset[str] = frozenset()


class Chore(msgspec.Struct, frozen=True):
    """Something to do at the office of `gateway`: answer the question `fetch`, or give back `slice_id`. `over`: too late for it."""

    gateway: str
    key: str
    fetch: SliceIntended | None = None
    slice_id: str = ""
    over: bool = False


# --- what facts make of it -------------------------------------------------------------------------------------------


def intended(slices: Slices, fact: SliceIntended) -> Slices:
    return replace(slices, asked=MappingProxyType({**slices.asked, fact.key: fact}))


def answered(slices: Slices, key: str) -> Slices:
    """The question has its answer."""
    return replace(slices, asked=MappingProxyType({one: fact for one, fact in slices.asked.items() if one != key}))


def kept(slices: Slices, fact: SliceKept) -> Slices:
    one = KeptSlice(fact.slice_, fact.gateway)
    return replace(answered(slices, fact.key), kept=MappingProxyType({**slices.kept, fact.slice_.slice_id: one}))


def reserved(slices: Slices, hold_key: str, taken: Taken) -> Slices:
    return replace(slices, reserves=MappingProxyType({**slices.reserves, hold_key: taken}))


def settled(slices: Slices, hold_key: str, spent_minor: int) -> Slices:
    return reserved(slices, hold_key, replace(slices.reserves[hold_key], amount_minor=spent_minor))


def ended(slices: Slices, hold_key: str, how: Terminated) -> Slices:
    """The hold's end: captured = the office has booked it. Manual: nobody knows, so what it may have cost stays reserved."""
    taken = slices.reserves.get(hold_key)
    if taken is None or (how not in (Terminated.CAPTURED, Terminated.VOIDED) and taken.amount_minor):
        return slices
    slices = replace(slices, reserves=MappingProxyType({key: one for key, one in slices.reserves.items() if key != hold_key}))
    one = slices.kept.get(taken.slice_id)
    if one is None or how is not Terminated.CAPTURED:
        return slices
    return _with_kept(slices, replace(one, spent_minor=one.spent_minor + taken.amount_minor))


def returning(slices: Slices, slice_id: str) -> Slices:
    return _with_kept(slices, replace(slices.kept[slice_id], returning=True))


def returned(slices: Slices, slice_id: str) -> Slices:
    """It is gone, and with it whatever was reserved on it."""
    return replace(
        slices,
        kept=MappingProxyType({key: one for key, one in slices.kept.items() if key != slice_id}),
        reserves=MappingProxyType({key: one for key, one in slices.reserves.items() if one.slice_id != slice_id}),
    )


def _with_kept(slices: Slices, one: KeptSlice) -> Slices:
    return replace(slices, kept=MappingProxyType({**slices.kept, one.slice_.slice_id: one}))


# --- what may be done ------------------------------------------------------------------------------------------------


def left_minor(slices: Slices, one: KeptSlice, now_utc_ms: int) -> int:
    """What of a slice may still be reserved now."""
    if one.returning:
        return 0
    used = [taken.amount_minor for taken in slices.reserves.values() if taken.slice_id == one.slice_.slice_id]
    return free_minor(one.slice_, [one.spent_minor, *used], now_utc_ms)


def best(
    slices: Slices, denied: DenyList, gateway: str, card: str, currency: str, amount_minor: int, now_utc_ms: int
) -> Taken | None:
    """The reserve a hold would get: of the card's slice with most left. None for a denied card or if nothing is left."""
    if card in denied.tokens:
        return None
    mine = [one for one in _of_card(slices, gateway, card) if one.slice_.currency == currency]
    left = {one.slice_.slice_id: left_minor(slices, one, now_utc_ms) for one in mine}
    slice_id = max(left, key=lambda one: (left[one], one), default="")
    return Taken(slice_id, min(left[slice_id], amount_minor)) if slice_id and left[slice_id] else None


def wanted(slices: Slices, denied: DenyList, gateway: str, card: str, most: int, now_utc_ms: int) -> bool:
    """Whether to ask for a slice: none with at least half left and some time to go, no question open, room for one more."""
    if card in denied.tokens or any((one.gateway, one.card) == (gateway, card) for one in slices.asked.values()):
        return False
    here = [*(one.gateway for one in slices.kept.values()), *(one.gateway for one in slices.asked.values())]
    return here.count(gateway) < most and not any(
        not _nearly_over(one, now_utc_ms) and left_minor(slices, one, now_utc_ms) * 2 >= one.slice_.amount_minor
        for one in _of_card(slices, gateway, card)
    )


def chores(slices: Slices, denied: DenyList, on: Collection[str], now_utc_ms: int) -> list[Chore]:
    """Everything to be told to or asked of offices, `on` = the gateways that may keep slices; of the others all go back."""
    found = [
        Chore(asked.gateway, key, fetch=asked, over=_too_late(asked, denied, on, now_utc_ms)) for key, asked in slices.asked.items()
    ]
    for slice_id, one in slices.kept.items():
        over = now_utc_ms >= one.slice_.expires_utc_ms + GRACE_MS
        if one.returning or may_return(slices, denied, on, slice_id, now_utc_ms):
            found.append(Chore(one.gateway, slice_id, slice_id=slice_id, over=over))
    return found


def may_return(slices: Slices, denied: DenyList, on: Collection[str], slice_id: str, now_utc_ms: int) -> bool:
    """Not while a charge may still have to be booked on it. Then: nearly over, used up, outdone by a newer one, or unwanted."""
    one = slices.kept[slice_id]
    if any(taken.slice_id == slice_id for taken in slices.reserves.values()):
        return now_utc_ms >= one.slice_.expires_utc_ms + GRACE_MS
    left = left_minor(slices, one, now_utc_ms)
    outdone = any(
        (left_minor(slices, other, now_utc_ms), other.slice_.granted_utc_ms) > (left, one.slice_.granted_utc_ms)
        for other in _of_card(slices, one.gateway, one.slice_.card)
        if other.slice_.slice_id != slice_id
    )
    unwanted = one.gateway not in on or one.slice_.card in denied.tokens
    return unwanted or outdone or one.spent_minor >= one.slice_.amount_minor or _nearly_over(one, now_utc_ms)


def _too_late(asked: SliceIntended, denied: DenyList, on: Collection[str], now_utc_ms: int) -> bool:
    """A question that is not worth an answer any more."""
    old = not -MINUTE_MS <= now_utc_ms - asked.utc_ms < GIVE_UP_MS
    return old or asked.gateway not in on or asked.card in denied.tokens


def _nearly_over(one: KeptSlice, now_utc_ms: int) -> bool:
    lasts_ms = one.slice_.expires_utc_ms - one.slice_.granted_utc_ms
    return now_utc_ms >= one.slice_.expires_utc_ms - min(RETURN_AHEAD_MS, lasts_ms // 4)


def _of_card(slices: Slices, gateway: str, card: str) -> list[KeptSlice]:
    return [one for one in slices.kept.values() if (one.gateway, one.slice_.card) == (gateway, card)]
