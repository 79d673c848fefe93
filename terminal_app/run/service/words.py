"""Ledger facts in plain words, for people who were not there."""

from collections.abc import Callable
from typing import Any

from terminal_app.billing.tariff import parse_tariff
from terminal_app.ledger.entry import Entry
from terminal_app.run.service import show
from terminal_app.session import facts as f
from terminal_app.values import EntryMode

STOPS = {
    f.StopReason.TOUCH: "the driver pressed Stop",
    f.StopReason.SAME_CARD: "the driver showed the same card again",
    f.StopReason.UNPLUGGED: "the car was unplugged",
    f.StopReason.HOLD_LIMIT: "the held money was nearly used up",
    f.StopReason.CAR_FINISHED: "the car did not want any more energy",
    f.StopReason.NOT_PLUGGED: "nobody plugged a car in",
    f.StopReason.FAULT: "a device failed",
    f.StopReason.POWER_CUT: "the terminal lost power or was restarted",
    f.StopReason.REMOTE: "a technician or the office ordered it",
    f.StopReason.TEST_ENDED: "the test is over",
}
LIMITED_BY = {"service": "a technician", "office": "the office", "grid": "share of the site's supply"}
_ACCEPT = "charge-service meter accept CONNECTOR --reason ..."
METER_FAULTS = {  # what the technician reads; the driver reads that the connector is not for sale
    "meter_swapped": f"another meter answers. Replaced on purpose? {_ACCEPT}",
    "register_zero": f"the meter is not ready, or was reset. If it stays: {_ACCEPT}",
    "register_reset": f"the meter counts anew. If that is right: {_ACCEPT}",
    "register_backwards": f"a register never falls: look at the meter; if it is right: {_ACCEPT}",
    "register_scale": f"compare profile and display: charge-service meter dump; then: {_ACCEPT}",
    "register_jump": f"compare with the display; if the meter is right: {_ACCEPT}",
    "register_frozen": f"restart the meter or its gateway; it sells again when the register moves, or after: {_ACCEPT}",
    "no_reading": "the meter answers without a value (its own sign for none): look at its display, restart it",
    "unexplained": "energy flows outside sessions: look for a bypass, a tester, or another load behind this meter",
}
EVSE_FAULTS = {
    "energy_while_open": "switch the supply off and look at the contactor; then charge-service evse accept CONNECTOR --reason ...",
    "stuck_relay": "switch the supply off and look at the contactor; then charge-service evse accept CONNECTOR --reason ...",
    "welded": "switch the supply off: the contactor is closed without an order",
}
CHECKPOINT = {
    "": "the meter never came back",
    "not_back": "the meter did not come back in time",
    "hold_ends": "the held money had to be taken before the meter came back",
    "changed": "another register answers",
}
ENDS = {
    f.Terminated.CAPTURED: "was taken; the rest of the hold is free",
    f.Terminated.VOIDED: "was released; nothing is taken",
    f.Terminated.MANUAL: "could not be ended as ordered: a person must ask the gateway",
    f.Terminated.REFUNDED: "was given back",
    f.Terminated.REFUSED: "was given back; what was taken stands",
}


class Teller:
    """Tells one session's facts in order: it remembers the currency and the start register."""

    def __init__(self, currency: str = "EUR") -> None:
        """`currency` until a session's tariff tells it."""
        self._currency = currency
        self._start_wh: int | None = None
        self._tell: dict[type, Callable[[Any], str]] = {
            f.SessionOpened: self._opened,
            f.AuthorizationIntended: self._intended,
            f.CheckoutOpened: self._page,
            f.AuthorizationApproved: self._approved,
            f.AuthorizationDeclined: lambda fact: f"The gateway declined: {fact.reason.value} {fact.code}. Nothing is held.",
            f.AuthorizationUnknown: lambda fact: (
                f"Nobody knows whether money is held: {fact.why}. It is released until that is answered."
            ),
            f.AuthorizationRerouted: lambda fact: (
                f"Nothing reached the gateway asked first ({fact.why}); gateway {fact.gateway} is asked with the same card reading."
            ),
            f.OfflineGranted: lambda fact: (
                f"No gateway can be reached; the card may charge for {self._money(fact.amount_minor)}, to be owed by its account."
            ),
            f.HoldKept: lambda fact: "The hold waits for the same card to try again; then it is released.",
            f.HoldReused: lambda fact: f"The same card came again: its live hold {fact.hold_id} pays for this session.",
            f.IncrementIntended: lambda fact: f"The hold shall be raised by {self._money(fact.step.amount_minor)}.",
            f.IncrementEnded: lambda fact: (
                f"The hold was raised by {self._money(fact.added_minor)}."
                if fact.added_minor
                else f"The hold was not raised ({fact.detail}): the old limit stands."
            ),
            f.RefundIntended: lambda fact: (
                f"{fact.actor} gives back {self._money(fact.step.amount_minor)}: {fact.reason} (serial {fact.step.serial})."
            ),
            f.CreditIntended: lambda fact: (
                f"{self._money(-sum(line.gross_minor for line in fact.lines))} of the bill are taken back under receipt "
                f"{fact.receipt_number}, by {fact.actor}: {fact.reason}."
            ),
            f.SettlementReopened: lambda fact: f"{fact.actor} lets its end be tried again: {fact.reason}.",
            f.StartRegistered: self._started,
            f.LimitSet: self._limited,
            f.EnergyCheckpoint: self._checkpoint,
            f.StopIntended: self._stopped,
            f.SessionAborted: self._aborted,
            f.BillFrozen: self._billed,
            f.EnergyBalance: lambda fact: (
                f"Meter {fact.serial} of connector {fact.connector} rose from {show.energy(fact.from_wh)} to "
                f"{show.energy(fact.to_wh)}: {show.energy(fact.sessions_wh)} in sessions, {show.energy(fact.tests_wh)} in tests, "
                f"{show.energy(fact.unexplained_wh)} unexplained."
            ),
            f.MeterAccepted: lambda fact: (
                f"{fact.actor} accepted meter {fact.value.serial} of connector {fact.connector} at "
                f"{show.energy(fact.value.energy_wh)}: {fact.reason}."
            ),
            f.ShortfallBooked: lambda fact: (
                f"{self._money(fact.amount_minor)} were delivered beyond what is held: a loss, nothing more is taken."
            ),
            f.CaptureIntended: lambda fact: f"{self._money(fact.step.amount_minor)} shall be taken (serial {fact.step.serial}).",
            f.VoidIntended: self._voided,
            f.HoldEnded: self._ended,
            f.SealIntended: lambda fact: (
                f"Record {fact.record_seq} ({fact.record_type}) is about to be signed; its bytes are fixed."
            ),
            f.Sealed: lambda fact: (
                f"Record {fact.record_seq} ({fact.record_type}) is sealed and waits for the office: {fact.sha256}."
            ),
        }

    def tell(self, entry: Entry) -> str:
        """One or two sentences."""
        fact = entry.fact
        told = self._tell.get(type(fact))
        return told(fact) if told else entry.kind.replace("_", " ")

    def _money(self, minor: int) -> str:
        return show.money(minor, self._currency)

    def _opened(self, fact: f.SessionOpened) -> str:
        tariff = parse_tariff(fact.tariff.encode())
        self._currency = tariff.currency
        if fact.test:
            limit = f", with {fact.test_limit_a} A at most" if fact.test_limit_a else ""
            return f"A test by service personnel on connector {fact.connector}, {fact.test_s} s at most{limit}; nobody pays for it."
        price = "free of charge" if fact.free else f"tariff {tariff.id} in {tariff.currency}"
        return f"A driver took connector {fact.connector}, {price}. The tariff is frozen here: {fact.tariff_fingerprint}."

    def _intended(self, fact: f.AuthorizationIntended) -> str:
        card, hold = fact.card, fact.hold
        if card.entry is EntryMode.QR:
            return f"{self._money(hold.amount_minor)} shall be held by phone, gateway {hold.gateway}, hold {hold.hold_id}."
        who = f"{card.brand} ending in {card.last4} ({card.entry.value}, {card.label or card.aid})"
        return f"{self._money(hold.amount_minor)} shall be held on {who} by gateway {hold.gateway}, hold {hold.hold_id}."

    def _page(self, fact: f.CheckoutOpened) -> str:
        return f"The page {fact.reference} was opened; only now its QR code may be shown."

    def _approved(self, fact: f.AuthorizationApproved) -> str:
        trace = ", ".join(f"{name} {value}" for name, value in fact.trace.items() if value and name != "held_minor")
        return f"The gateway holds {self._money(fact.approved_minor)} ({trace})."

    def _started(self, fact: f.StartRegistered) -> str:
        self._start_wh = fact.second.energy_wh
        who = f"{fact.identity.vendor} {fact.identity.model} no. {fact.second.serial}"
        readings = f"{show.energy(fact.first.energy_wh)} and {show.energy(fact.second.energy_wh)}"
        return f"Start register, read twice on meter {who}: {readings}. From here the contactor may close."

    def _limited(self, fact: f.LimitSet) -> str:
        what = "Its limit is lifted" if fact.limit_a is None else f"The current is limited to {fact.limit_a} A"
        now = f"{fact.in_force_a} A are in force" if fact.in_force_a else "it gives nothing for now"
        return f"{what} ({LIMITED_BY.get(fact.source, fact.source)}: {fact.reason}); {now}."

    def _checkpoint(self, fact: f.EnergyCheckpoint) -> str:
        since = fact.value.energy_wh - (self._start_wh or fact.value.energy_wh)
        times = f"charging {show.duration(fact.charging_ms)}, car idle {show.duration(fact.parking_ms)}"
        more = " A new price applies from here." if fact.boundary else ""
        return f"Register {show.energy(fact.value.energy_wh)}, {show.energy(since)} since the start; {times}.{more}"

    def _stopped(self, fact: f.StopIntended) -> str:
        detail = f" ({fact.detail})" if fact.detail else ""
        broken = " The charge was interrupted." if fact.interrupted else ""
        return f"The charge ends: {STOPS[fact.reason]}{detail}. The contactor is ordered open.{broken}"

    def _aborted(self, fact: f.SessionAborted) -> str:
        detail = f" ({fact.detail})" if fact.detail else ""
        why = "the driver cancelled" if fact.reason is f.StopReason.TOUCH else STOPS[fact.reason]  # there was no Stop to press yet
        return f"No charge began: {why}{detail}. Nothing is billed."

    def _billed(self, fact: f.BillFrozen) -> str:
        source = "read twice" if fact.stop_source == "meter" else f"the last one committed, because {CHECKPOINT[fact.stop_why]}"
        if not fact.energy_wh:
            source += "; the same as at the start, nothing was delivered"
        short = f", {self._money(fact.shortfall_minor)} cannot be taken" if fact.shortfall_minor else ""
        least = " So little energy may not be billed in this country." if fact.not_billed else ""
        return (
            f"Stop register {show.energy(fact.stop.energy_wh)} ({source}): {show.energy(fact.energy_wh)} "
            f"in {show.duration(fact.charging_ms)}. Bill {self._money(fact.total_minor)} = net {self._money(fact.net_minor)} "
            f"+ VAT {self._money(fact.vat_minor)}; {self._money(fact.capture_minor)} of it shall be taken{short}. "
            f"Receipt {fact.receipt_number}.{least}"
        )

    def _voided(self, fact: f.VoidIntended) -> str:
        return f"The hold of {self._money(fact.step.amount_minor)} shall be released: {fact.reason} (serial {fact.step.serial})."

    def _ended(self, fact: f.HoldEnded) -> str:
        moved = fact.how in (f.Terminated.CAPTURED, f.Terminated.REFUNDED)
        what = "Nothing" if fact.how is f.Terminated.REFUSED else "The hold"
        return f"{self._money(fact.amount_minor) if moved else what} {ENDS[fact.how]}{': ' + fact.detail if fact.detail else ''}."
