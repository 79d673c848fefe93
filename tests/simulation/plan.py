"""What goes wrong, and when: a plan is drawn from a seed, or written by hand for one crash point."""

import random
from dataclasses import dataclass, field

AUTHORIZE_WAYS = ("ok", "lost_request", "lost_reply", "late_answer", "decline", "unreachable", "partial", "tiny", "lag", "mumble")
STEP_WAYS = ("ok", "lost_request", "lost_reply", "undecided", "twice", "slow")
INCREMENT_WAYS = ("ok", "ok", "lost_request", "lost_reply", "decline", "partial")
ORDERS = ("refund", "retry", "release")
TAP_KINDS = ("iso8583", "cybersource", "account", "own_reader")
PAGE_KINDS = ("stripe", "adyen")
PAGE_WAYS = ("ok", "lost_request", "lost_reply", "late_answer", "decline", "unreachable")
EXPIRE_WAYS = ("ok", "lost_request", "lost_reply", "slow")
METER_WAYS = ("silent", "frozen", "zero", "spike", "other", "reset")
ENDS = ("stop", "card", "unplug", "hold", "full", "order")


@dataclass(frozen=True)
class Crash:
    """At the n-th commit of the whole run: "before", "after", or "fails" (the ledger cannot be written)."""

    when: str
    commit: int
    power: bool = False
    down_ms: int = 3_000


@dataclass(frozen=True)
class Trouble:
    """Something is wrong from `at_ms` on for `for_ms`, counted from the visit's begin."""

    what: str
    at_ms: int
    for_ms: int


@dataclass
class Visit:
    """One driver: how they behave and how long their car takes."""

    plug_first: bool = False
    tap_after_ms: int = 500
    early_tap: bool = False
    pulls_card: bool = False
    never_plugs: bool = False
    cancels: bool = False
    replugs: bool = False
    end: str = "stop"
    charge_ms: int = 12_000
    power_w: int = 18_000
    need_wh: int = 100_000
    authorize: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    increment: tuple[str, ...] = ()  # how raising the hold fares
    card: int = 1
    authenticated: bool = False  # the card's chip proves itself
    refuse_settlement: bool = False
    notices_ms: tuple[int, ...] = (2_000,)  # when a gateway that only receives confirms what it has done; () = never
    lapses_after_ms: int = 0  # the hold expires at the gateway so long after it was approved; 0: not while it is needed
    by_phone: bool = False
    pays_after_ms: int = 5_000  # from scanning the code to the payment, whatever the screen shows by then; below 0: never
    gives_up_ms: int = 0  # touches CANCEL so long after the code came; 0: never
    page: tuple[str, ...] = ()  # how the opening of a page fares
    expire: tuple[str, ...] = ()  # and its end
    troubles: tuple[Trouble, ...] = ()
    sudden: tuple[Trouble, ...] = ()  # kill or power cut at a moment instead of a commit


@dataclass
class Plan:
    """Visits one after another, and crashes by commit number over all of them."""

    seed: str
    visits: list[Visit] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)
    gateways: tuple[str, ...] = ()  # by kind, the preferred one first; () = one host, one gateway for pages
    orders: tuple[tuple[str, int, int], ...] = ()  # afterwards, by a person: what, of which hold, percent of what was taken
    offline: bool = False  # charging on the operator's risk is configured
    signing: bool = False  # the meter signs its own records
    signer_slow: bool = False
    wraps_at_wh: int = 0  # the meter's register rolls over there, and is 20 Wh before it at the start
    obey_ms: int = 200  # how long the controller takes to do what is wished


def standard() -> Visit:
    """The demo's charge: plug, tap, approved, charge, stop, receipt, unplug; one checkpoint on the way."""
    return Visit(plug_first=True, charge_ms=12_000)


def standard_by_phone() -> Visit:
    return Visit(plug_first=True, charge_ms=12_000, by_phone=True)


def drawn_by_phone(seed: str, visits: int = 2) -> Plan:
    """The same random visits, most of them paid by phone, well or badly."""
    plan, chance = drawn(seed, visits), random.Random(f"{seed} phone")
    for visit in plan.visits:
        if chance.random() < 0.2:
            continue
        visit.by_phone = True
        visit.pays_after_ms = chance.choice((500, 2_000, 5_000, 5_000, 29_500, 30_400, 31_000, 60_000, -1))
        visit.gives_up_ms = chance.choice((0, 0, 0, 2_000, 4_900, 5_100))
        visit.page = tuple(chance.choice(PAGE_WAYS) for _ in range(2)) if chance.random() < 0.4 else ()
        visit.expire = tuple(chance.choice(EXPIRE_WAYS) for _ in range(2)) if chance.random() < 0.4 else ()
    return plan


def drawn_everywhere(seed: str, visits: int = 4) -> Plan:
    """Cards and phones over a terminal with several gateways, which fail, forget, confirm late or never, and let holds lapse."""
    plan, chance = drawn_by_phone(seed, visits), random.Random(f"{seed} gateways")
    plan.gateways = (*chance.sample(TAP_KINDS, 2), *chance.sample(PAGE_KINDS, 2))
    for visit in plan.visits:
        visit.by_phone = visit.by_phone and chance.random() < 0.5
        visit.power_w, visit.need_wh = chance.choice((22_000, 150_000, 150_000)), chance.choice((0, 150, 100_000, 100_000, 100_000))
        if chance.random() < 0.4:  # nothing is wrong with bank and devices
            visit.troubles = visit.sudden = ()
            visit.authorize = visit.page = ()
            visit.never_plugs = visit.cancels = False
        visit.increment = tuple(chance.choice(INCREMENT_WAYS) for _ in range(3))
        visit.card, visit.authenticated = chance.randint(1, 3), chance.random() < 0.7
        visit.notices_ms = chance.choice(((2_000,), (2_000,), (1_000, 90_000), (40_000,), (4_000_000,), ()))
        visit.lapses_after_ms = chance.choice((0, 0, 0, 0, 0, 0, 0, 5_000, 40_000))
        if chance.random() < 0.1:  # the charge fails before it begins; the same card comes again
            visit.plug_first, visit.by_phone = True, False
            visit.troubles = (Trouble("silent", visit.tap_after_ms + chance.choice((300, 900, 1_500)), 6_000),)
        if chance.random() < 0.15:
            where = chance.choice(("down", *(f"down {one}" for one in plan.gateways)))
            down = Trouble(where, chance.choice((0, 0, 15_000)), chance.choice((20_000, 600_000, 5_000_000)))
            visit.troubles = (*visit.troubles, down)
    plan.offline = chance.random() < 0.5
    orders = [(chance.choice(ORDERS), chance.randint(0, 9), chance.choice((1, 50, 100, 100))) for _ in range(chance.randint(0, 5))]
    plan.orders = tuple(orders)
    return plan


def drawn(seed: str, visits: int = 2) -> Plan:
    """A random plan; the same seed is the same plan."""
    chance = random.Random(seed)
    plan = Plan(seed, signer_slow=chance.random() < 0.1, obey_ms=chance.choice((50, 200, 200, 1_500)))
    plan.signing = random.Random(f"{seed} signing").random() < 0.15
    for _ in range(visits):
        plan.visits.append(_visit(chance))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        plan.crashes.append(
            Crash(
                chance.choice(("before", "after", "after", "fails")),
                chance.randint(2, 12 * visits),
                chance.random() < 0.4,
                chance.choice((1_000, 3_000, 8_000, 20_000)),
            )
        )
    return plan


def _visit(chance: random.Random) -> Visit:
    troubles = []
    while chance.random() < 0.4 and len(troubles) < 3:
        what = chance.choice((*METER_WAYS, *METER_WAYS, "controller_silent", "controller_reboot", "weld", "reader", "signer", "ui"))
        long_ms = {"zero": 1_100, "spike": 1_100, "weld": 10_000}.get(what, chance.choice((2_000, 8_000, 30_000, 80_000)))
        troubles.append(Trouble(what, chance.randint(0, 40_000), long_ms))
    sudden = []
    if chance.random() < 0.15:
        sudden.append(Trouble(chance.choice(("kill", "power")), chance.randint(0, 30_000), chance.choice((2_000, 15_000))))
    bad_bank = chance.random() < 0.45
    return Visit(
        plug_first=chance.random() < 0.5,
        tap_after_ms=chance.choice((300, 900, 2_500)),
        early_tap=chance.random() < 0.1,
        pulls_card=chance.random() < 0.1,
        never_plugs=chance.random() < 0.05,
        cancels=chance.random() < 0.05,
        replugs=chance.random() < 0.1,
        end=chance.choice(ENDS),
        charge_ms=chance.choice((1_500, 6_000, 12_000, 25_000)),
        power_w=chance.choice((3_700, 11_000, 22_000, 150_000)),
        need_wh=chance.choice((0, 20, 150, 100_000)),
        authorize=tuple(chance.choice(AUTHORIZE_WAYS) for _ in range(2)) if bad_bank else (),
        steps=tuple(chance.choice(STEP_WAYS) for _ in range(chance.randint(0, 4))) if bad_bank else (),
        refuse_settlement=chance.random() < 0.05,
        troubles=tuple(troubles),
        sudden=tuple(sudden),
    )
