"""Any order of events, late, doubled and foreign ones among them, and restarts at any moment: the invariants I1 to I12 of the
money (reference payments.md section 4.4) hold, replay equals living, and no outside event is ever impossible."""

from collections import Counter
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from terminal_app.screens import Button, Receipt
from terminal_app.session import actions, events, machine, presenter
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Device, EvseStatus, Fault, OutcomeUnknown, Pilot
from tests.simulation import stage
from tests.simulation.orders import ordered
from tests.simulation.rules import IDENTITY, Rules

PLACE = st.integers(0, 5)
GLITCH = st.sampled_from([0, 0, 0, 0, -2_000_000, -3, 40, 5_000_000])
DEVICES = st.sampled_from([Device.METER, Device.EVSE, Device.READER, Device.SIGNER, Device.OFFICE, Device.DISK])


class Money(RuleBasedStateMachine):
    """Drives decide and evolve as the worst outside would; keeps a bank's view of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = Rules(
            stage.configuration(
                by_phone=True,
                max_power_w=150_000,
                min_useful_hold_minor=100,
                gateways={"backup": stage.BACKUP, "accounts": stage.ACCOUNTS},
                sections={"offline": {"card_minor": 3_000, "terminal_minor": 5_000}},
                meter_return_s=120,
                settle_deadline_s=600,
                plug_window_s=60,
                checkpoint_s=20,
                increment_minor=1_000,
                lower_hold_minor=2_000,
            )
        )
        self.rules.incrementing = frozenset({"acquirer", "backup"})
        self.old: list[actions.Action] = []
        self.asked_by_tap: Counter[bytes] = Counter()
        self.pages: Counter[str] = Counter()
        self.step_keys: dict[tuple[str, str], str] = {}
        self.taps = 0
        self.screens_seen = [1]

    # --- bookkeeping ---------------------------------------------------------------------------------------------------

    def feed(self, event: events.Event) -> None:
        before = len(self.rules.todo)
        turn = self.rules.feed(event)
        self.screens_seen.append(self.rules.screen_no)
        committed = self.rules.facts
        for action in self.rules.todo[before:]:
            self._check_action(action, committed)
        if isinstance(event, events.Booted):
            sent = [one for one in turn.actions if isinstance(one, actions.Authorize | actions.OpenCheckout)]
            assert not sent, "a tap or a page was sent again"

    def _check_action(self, action: actions.Action, committed: list[f.Fact]) -> None:
        """I7: nothing is sent without its committed intent; I8: keys never change; I1: never above what is held."""
        match action:
            case actions.Authorize(hold=hold, card=card):
                asked = next(one.hold for one in committed if isinstance(one, f.AuthorizationIntended) and one.hold.key == hold.key)
                routed = [
                    one.gateway for one in committed if isinstance(one, f.AuthorizationRerouted) and one.hold_id == hold.hold_id
                ]
                assert hold.gateway == [asked.gateway, *routed][-1], "asked of a gateway that is not committed"
                assert any(card.track2), "a card was sent that is wiped already"
                self.asked_by_tap[bytes(card.emv)] += 1
                assert self.asked_by_tap[bytes(card.emv)] == 1, "one tap asked the bank twice"
            case actions.OpenCheckout(hold=hold):
                assert any(isinstance(one, f.AuthorizationIntended) and one.hold.key == hold.key for one in committed)
                self.pages[hold.gateway + hold.hold_id] += 1
                assert self.pages[hold.gateway + hold.hold_id] == 1, "a page was opened twice"
            case actions.WatchCheckout(hold=hold) | actions.ExpireCheckout(hold=hold):
                named = {one.hold_id: one.reference for one in committed if isinstance(one, f.CheckoutOpened)}
                assert named[hold.hold_id] == hold.trace["checkout"]
            case actions.Capture(hold=hold, step=step) | actions.Void(hold=hold, step=step):
                kind = f.CaptureIntended if isinstance(action, actions.Capture) else f.VoidIntended
                intents = [one for one in committed if isinstance(one, kind) and one.hold_id == hold.hold_id]
                assert intents[-1].step.key == step.key and intents[-1].step.serial == step.serial
                name = (hold.hold_id, kind.__name__)
                assert self.step_keys.setdefault(name, step.key) == step.key
            case actions.Refund(step=step):
                given = [one for one in committed if isinstance(one, f.RefundIntended)]
                assert given[-1].step.key == step.key and len({one.step.key for one in given}) == len(given)
            case actions.Increment(hold=hold, step=step):
                raised = [one for one in committed if isinstance(one, f.IncrementIntended) and one.hold_id == hold.hold_id]
                assert raised[-1].step.key == step.key, "raised without an intent"

    def _pick(self, kind: type[Any], place: int) -> Any:
        """An action of this kind to answer: mostly an open one, sometimes one answered long ago."""
        waiting = [one for one in self.rules.todo if isinstance(one, kind)]
        if waiting and place < 5:
            self.rules.todo.remove(waiting[place % len(waiting)])
            self.old = [*self.old[-20:], waiting[place % len(waiting)]]
            return waiting[place % len(waiting)]
        before = [one for one in self.old if isinstance(one, kind)]
        return before[place % len(before)] if before else None

    # --- time and restarts -----------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([200, 1_000, 1_000, 5_000, 31_000, 130_000]))
    def time_passes(self, ms: int) -> None:
        self.rules.clock.advance(ms)
        self.feed(events.Ticked())

    @rule(new_boot=st.booleans(), unfair=st.integers(0, 3))
    def restart(self, new_boot: bool, unfair: int) -> None:
        if unfair == 0:
            self.old = [one for one in self.old if not isinstance(one, actions.Authorize)]
            self.rules.boot(new_boot=new_boot)

    # --- devices ---------------------------------------------------------------------------------------------------------

    @rule(
        pilot=st.sampled_from(list(Pilot)),
        relay=st.booleans(),
        authorized=st.booleans(),
        fault=st.sampled_from(["", "", "", "gfci"]),
    )
    def controller_says_anything(self, pilot: Pilot, relay: bool, authorized: bool, fault: str) -> None:
        self.rules.clock.advance(100)
        self.feed(events.EvseReported(1, EvseStatus(pilot, relay, authorized, 32, self.rules.clock.now(), fault)))

    @rule(plugged=st.sampled_from([True, True, True, False]))
    def controller_obeys(self, plugged: bool) -> None:
        self.rules.clock.advance(400)
        on = machine.evse_wishes(self.rules.state, self.rules.terms())[1].authorized
        pilot = Pilot.A if not plugged else Pilot.C if on else Pilot.B
        status = EvseStatus(pilot, on and plugged, on, 32, self.rules.clock.now())
        self.feed(events.EvseReported(1, status))

    @rule(flowed=st.integers(0, 30), glitch=GLITCH)
    def meter_reports(self, flowed: int, glitch: int) -> None:
        self.rules.clock.advance(900)
        if machine.evse_wishes(self.rules.state, self.rules.terms())[1].authorized:
            self.rules.register_wh[1] += flowed
        self.feed(events.MeterReported(1, self.rules.value(max(0, self.rules.register_wh[1] + glitch))))

    @rule(place=PLACE, works=st.sampled_from([True, True, True, False]), glitch=GLITCH, twice=st.booleans())
    def register_answers(self, place: int, works: bool, glitch: int, twice: bool = False) -> None:
        asked = self._pick(actions.ReadRegister, place)
        if asked is None:
            return
        if not works:
            self.feed(events.RegisterUnreadable(1, asked.session_id, asked.purpose, "no answer"))
            return
        wrong_wh = max(0, self.rules.register_wh[1] + glitch)
        first = self.rules.value(wrong_wh)
        self.rules.clock.advance(250)
        second = self.rules.value(wrong_wh if twice else None)
        self.feed(events.RegisterRead(1, asked.session_id, asked.purpose, first, second, IDENTITY))

    @rule(device=DEVICES, raised=st.sampled_from([True, False, False]))
    def device_goes_bad_or_well(self, device: Device, raised: bool) -> None:
        connector = 1 if device in (Device.METER, Device.EVSE) else 0
        self.feed(events.FaultSeen(Fault(device, connector, "test"), raised))

    # --- the driver ------------------------------------------------------------------------------------------------------

    @rule(fresh=st.sampled_from([True, True, True, False]), place=PLACE)
    def frame_shown(self, fresh: bool, place: int) -> None:
        self.feed(events.FrameShown(self.rules.screen_no if fresh else self.screens_seen[-1 - place % len(self.screens_seen)]))

    @rule(button=st.sampled_from(list(Button)))
    def touch(self, button: Button) -> None:
        self.feed(events.Touched(button, "1"))

    @rule(late=st.integers(0, 4), number=st.integers(1, 2), seen=st.booleans())
    def tap(self, late: int, number: int, seen: bool) -> None:
        """A card for the present arming, or one that comes from an earlier one."""
        wish = machine.reader_wish(self.rules.state)
        if wish is None:
            return
        self.taps += 1
        arm_no = wish.arm_no - (late == 4)
        if seen:
            self.feed(events.CardSeen(arm_no))
        card = stage.card(wish.request, number, self.taps, authenticated=number == 2)
        self.feed(events.CardRead(arm_no, wish.request.pay, card))

    @rule(late=st.booleans(), reason=st.sampled_from(["removed", "several", "unheard of"]))
    def card_fails(self, late: bool, reason: str) -> None:
        self.feed(events.CardFailed(self.rules.state.kiosk.arm_no - late, reason))

    @rule(reason=st.sampled_from([f.StopReason.REMOTE, f.StopReason.FAULT]), connector=st.integers(1, 2))
    def order_to_stop(self, reason: f.StopReason, connector: int) -> None:
        self.feed(events.StopCommanded(connector, reason, "office", "because"))

    # --- bank and signer -------------------------------------------------------------------------------------------------

    @rule(way=st.sampled_from(["ok", "ok", "ok", "partial", "tiny", "more", "no", "unreachable", "unknown"]))
    def bank_answers(self, way: str) -> None:
        """Once for each question, as the worker does; perhaps long after our own deadline."""
        waiting = [one for one in self.rules.todo if isinstance(one, actions.Authorize)]
        if not waiting:
            return
        self.rules.todo.remove(waiting[0])
        hold = waiting[0].hold
        outcome = {
            "ok": Approved(hold.amount_minor, {}),
            "partial": Approved(200, {}),
            "tiny": Approved(3, {}),
            "more": Approved(hold.amount_minor + 1, {}),
            "no": Declined(DeclineReason.REFUSED, "05"),
            "unreachable": Declined(DeclineReason.UNREACHABLE),
            "unknown": OutcomeUnknown("no answer"),
        }[way]
        card = waiting[0].card
        if way == "unreachable":  # nobody has seen the card: it may be sent elsewhere
            self.asked_by_tap[bytes(card.emv)] -= 1
            self.feed(events.AuthorizationAnswered(hold.hold_id, outcome, stage.again(card)))
            return
        self.feed(events.AuthorizationAnswered(hold.hold_id, outcome))

    @precondition(lambda self: any(isinstance(one, actions.Increment) for one in [*self.rules.todo, *self.old]))
    @rule(place=PLACE, way=st.sampled_from(["ok", "ok", "partial", "more", "no", "unknown"]), foreign=st.integers(0, 5))
    def hold_is_raised_or_not(self, place: int, way: str, foreign: int) -> None:
        asked = self._pick(actions.Increment, place)
        if asked is None:
            return
        outcome = {
            "ok": Approved(asked.step.amount_minor, {}),
            "partial": Approved(1, {}),
            "more": Approved(asked.step.amount_minor + 1, {}),
            "no": Declined(DeclineReason.REFUSED, "05"),
            "unknown": OutcomeUnknown("no answer"),
        }[way]
        self.feed(events.IncrementAnswered(asked.hold.hold_id, "foreign" if foreign == 0 else asked.step.key, outcome))

    @precondition(lambda self: self.rules.count(f.Sealed) or self.rules.state.settlements)
    @rule(what=st.sampled_from(["refund", "refund", "retry", "release"]), which=PLACE, percent=st.sampled_from([1, 50, 100]))
    def a_person_orders(self, what: str, which: int, percent: int) -> None:
        """About any hold the ledger knows; what the rules refuse is not an event."""
        if event := ordered(self.rules.state, self.rules.facts, what, which, percent):
            self.feed(event)

    @precondition(lambda self: self.rules.count(f.CaptureIntended))
    @rule(percent=st.sampled_from([50, 100]), times=st.integers(2, 3))
    def a_person_gives_back(self, percent: int, times: int) -> None:
        for _ in range(times):
            for which in range(self.rules.count(f.AuthorizationIntended)):
                self.money_is_settled("ok")
                self.a_person_orders("refund", which, percent)

    @precondition(lambda self: self.rules.phase is Phase.NONE)
    @rule(held=st.sampled_from([3_000, 3]))
    def starts_from_the_phone(self, held: int) -> None:
        self.taps += 1
        self.feed(events.StartCommanded(1, "accounts", f"office-{self.taps}", f"hold-{self.taps}", held, "AB12", "driver"))

    @precondition(lambda self: any(isinstance(one, actions.ReadRegister) for one in self.rules.todo))
    @rule()
    def the_meter_fails_for_good(self) -> None:
        for _ in range(3):
            self.register_answers(0, works=False, glitch=0)
            self.time_passes(1_000)

    @rule(way=st.sampled_from(["ok", "ok", "ok", "no", "unreachable", "unknown"]))
    def page_opens(self, way: str) -> None:
        """Once for each question; perhaps long after our own deadline."""
        waiting = [one for one in self.rules.todo if isinstance(one, actions.OpenCheckout)]
        if not waiting:
            return
        self.rules.todo.remove(waiting[0])
        hold_id = waiting[0].hold.hold_id
        answer = {
            "ok": Checkout(f"https://pay.example/{hold_id}", f"page-{hold_id}", 1),
            "no": Declined(DeclineReason.GATEWAY_REFUSED),
            "unreachable": Declined(DeclineReason.UNREACHABLE),
            "unknown": OutcomeUnknown("no answer"),
        }[way]
        self.feed(events.CheckoutAnswered(hold_id, answer))

    @rule(expired=st.booleans(), way=st.sampled_from(["paid", "paid", "partial", "tiny", "more", "over", "no", "unknown"]))
    def page_is_paid_or_ends(self, expired: bool, way: str) -> None:
        """A watched page answers once, never that nobody knows; an end that was asked for answers in any way, after it or alone."""
        kind = actions.ExpireCheckout if expired else actions.WatchCheckout
        waiting = [one for one in self.rules.todo if isinstance(one, kind)]
        if not waiting or (way == "unknown" and not expired):
            return
        self.rules.todo.remove(waiting[0])
        hold = waiting[0].hold
        outcome = {
            "paid": Approved(hold.amount_minor, {**hold.trace, "brand": "visa", "last4": "4242"}),
            "partial": Approved(200, {}),
            "tiny": Approved(3, {}),
            "more": Approved(hold.amount_minor + 1, {}),
            "over": Declined(DeclineReason.TOO_LATE, "expired"),
            "no": Declined(DeclineReason.REFUSED, "05"),
            "unknown": OutcomeUnknown("no answer"),
        }[way]
        self.feed(events.AuthorizationAnswered(hold.hold_id, outcome))

    @rule(
        place=PLACE, way=st.sampled_from(["ok", "ok", "other", "no", "late", "unreachable", "unknown"]), foreign=st.integers(0, 5)
    )
    def settlement_answers(self, place: int, way: str, foreign: int) -> None:
        asked = self._pick((actions.Void, actions.Capture, actions.Refund)[place % 3], place)
        if asked is None:
            return
        outcome = {
            "ok": Approved(asked.step.amount_minor, {}),
            "other": Approved(asked.step.amount_minor + 1, {}),
            "no": Declined(DeclineReason.ALREADY_DONE, "12"),
            "late": Declined(DeclineReason.TOO_LATE, "54"),
            "unreachable": Declined(DeclineReason.UNREACHABLE),
            "unknown": OutcomeUnknown("no answer"),
        }[way]
        key = "foreign" if foreign == 0 else asked.step.key
        self.feed(events.SettlementAnswered("foreign" if foreign == 1 else asked.hold.hold_id, key, outcome))

    @rule()
    def foreign_authorization(self) -> None:
        self.feed(events.AuthorizationAnswered("foreign", Approved(5000, {})))

    @rule(place=PLACE, good=st.sampled_from([True, True, True, False]))
    def ocmf_is_signed(self, place: int, good: bool) -> None:
        asked = self._pick(actions.SignOcmf, place)
        if asked is not None:
            signature = stage.ocmf_key().sign(asked.payload) if good else bytes(range(64))
            self.feed(events.OcmfSigned(asked.session_id, signature))

    @rule(place=PLACE)
    def record_is_signed(self, place: int) -> None:
        asked = self._pick(actions.SignRecord, place)
        if asked is not None:
            self.feed(events.RecordSigned(asked.record_seq, stage.record_key().sign(asked.signing_input)))

    @precondition(lambda self: self.rules.state.seal is not None)
    @rule()
    def signer_catches_up(self) -> None:
        self.record_is_signed(0)

    # --- shortcuts, so that the far states are met often --------------------------------------------------------------------

    @precondition(lambda self: self.rules.state.faults)
    @rule()
    def everything_is_mended(self) -> None:
        for fault in list(self.rules.state.faults.values()):
            self.feed(events.FaultSeen(fault, False))

    @precondition(lambda self: self.rules.phase is Phase.CHARGING)
    @rule(seconds=st.integers(1, 25), stops=st.booleans())
    def energy_flows(self, seconds: int, stops: bool) -> None:
        for _ in range(seconds):
            self.controller_obeys(plugged=True)
            self.meter_reports(flowed=35, glitch=0)
        if stops:
            self.touch(Button.STOP)

    @precondition(lambda self: self.rules.state.settlements)
    @rule(way=st.sampled_from(["ok", "ok", "ok", "no", "unknown", "late"]))
    def money_is_settled(self, way: str) -> None:
        self.time_passes(31_000)
        for place in (0, 1, 2):
            self.settlement_answers(place, way, foreign=5)
        self.record_is_signed(0)
        self.record_is_signed(0)

    @precondition(lambda self: self.rules.phase is Phase.NONE and not self.rules.state.faults)
    @rule()
    def a_driver_taps_properly(self, number: int = 1) -> None:
        self.controller_obeys(plugged=True)
        self.meter_reports(flowed=0, glitch=0)
        for _ in range(2):
            if isinstance(presenter.view_of(self.rules.state, self.rules.terms()), Receipt):
                self.touch(Button.DONE)
            self.touch(Button.OK)
        self.frame_shown(fresh=True, place=0)
        self.tap(late=0, number=number, seen=False)

    @precondition(lambda self: self.rules.phase is Phase.NONE and not self.rules.state.faults)
    @rule(gives_up=st.booleans())
    def a_driver_pays_by_phone(self, gives_up: bool) -> None:
        self.controller_obeys(plugged=True)
        self.meter_reports(flowed=0, glitch=0)
        for _ in range(2):
            if isinstance(presenter.view_of(self.rules.state, self.rules.terms()), Receipt):
                self.touch(Button.DONE)
            self.touch(Button.OK)
        self.frame_shown(fresh=True, place=0)
        self.touch(Button.PAY_BY_PHONE)
        self.page_opens("ok")
        if gives_up:
            self.touch(Button.CANCEL)
        else:
            self.page_is_paid_or_ends(expired=False, way="paid")

    @precondition(lambda self: self.rules.phase in (Phase.AUTHORIZING, Phase.AUTHORIZED, Phase.STARTING))
    @rule()
    def it_goes_well(self) -> None:
        self.bank_answers("ok")
        self.controller_obeys(plugged=True)
        self.register_answers(0, works=True, glitch=0)

    @precondition(lambda self: self.rules.phase in (Phase.STOPPING, Phase.SIGNING))
    @rule()
    def it_ends_well(self) -> None:
        self.controller_obeys(plugged=True)
        self.time_passes(5_000)
        self.register_answers(0, works=True, glitch=0)
        self.ocmf_is_signed(0, good=True)

    @rule(
        steps=st.integers(1, 8),
        how=st.sampled_from(["card", "phone"]),
        number=st.integers(1, 2),
        bank=st.sampled_from(["ok", "ok", "partial", "unreachable"]),
        fails=st.sampled_from([False, False, True]),
        stops=st.booleans(),
    )
    def it_goes_on(self, steps: int, how: str, number: int, bank: str, fails: bool, stops: bool) -> None:
        for _ in range(steps):
            self.everything_is_mended()
            match self.rules.phase:
                case Phase.NONE if any(one.phase is not SettlementPhase.HELD for one in self.rules.state.settlements.values()):
                    self.money_is_settled("ok")
                case Phase.NONE if how == "phone":
                    self.a_driver_pays_by_phone(gives_up=False)
                case Phase.NONE:
                    self.a_driver_taps_properly(number)
                case Phase.CHECKOUT:
                    self.page_is_paid_or_ends(expired=False, way="paid")
                case Phase.AUTHORIZING:
                    self.bank_answers(bank)
                case Phase.STARTING if fails:
                    self.the_meter_fails_for_good()
                    fails = False
                case Phase.AUTHORIZED | Phase.STARTING:
                    self.it_goes_well()
                case Phase.CHARGING:
                    self.energy_flows(12, stops)
                    if bank != "unreachable":
                        self.hold_is_raised_or_not(0, bank, foreign=5)
                case Phase.STOPPING | Phase.SIGNING:
                    self.it_ends_well()
                case Phase.SEALING:
                    self.record_is_signed(0)

    # --- what must always hold -------------------------------------------------------------------------------------------

    @invariant()
    def money_is_never_above_its_hold(self) -> None:
        """I1, I2, I3, I5, I9, I10."""
        facts = self.rules.facts
        approved = Counter[str]()
        for one in facts:
            match one:
                case f.AuthorizationApproved(hold_id=hold_id, approved_minor=amount):
                    approved[hold_id] = amount
                case f.OfflineGranted(hold_id=hold_id, amount_minor=amount) | f.IncrementEnded(hold_id=hold_id, added_minor=amount):
                    approved[hold_id] += amount
        captures = [one for one in facts if isinstance(one, f.CaptureIntended)]
        voids = [one for one in facts if isinstance(one, f.VoidIntended)]
        ends = [one for one in facts if isinstance(one, f.HoldEnded)]
        bills = [one for one in facts if isinstance(one, f.BillFrozen)]
        assert all(0 < one.step.amount_minor <= approved[one.hold_id] for one in captures)
        steps = Counter(one.hold_id for one in [*captures, *voids])
        again = Counter(one.past.hold.hold_id for one in facts if isinstance(one, f.SettlementReopened))
        back = [one for one in facts if isinstance(one, f.RefundIntended)]
        assert steps - again <= Counter(set(steps)), "captured and voided, or twice, and nobody ordered it"
        given = Counter(one.past.hold.hold_id for one in back)
        assert Counter(one.hold_id for one in ends) - again - given <= Counter(set(steps)), "a hold ended twice"
        assert all(count == 1 for count in Counter(one.session_id for one in bills).values()), "a bill was frozen twice"
        assert all(one.total_minor == one.capture_minor + one.shortfall_minor for one in bills)
        assert all(type(one.total_minor) is int and type(one.energy_wh) is int and one.energy_wh >= 0 for one in bills)

    @invariant()
    def never_more_given_back_than_taken(self) -> None:
        """I11."""
        taken, back = Counter[str](), Counter[str]()
        for one in self.rules.facts:
            match one:
                case f.HoldEnded(hold_id=hold_id, how=f.Terminated.CAPTURED, amount_minor=amount):
                    taken[hold_id] = amount
                case f.HoldEnded(hold_id=hold_id, how=f.Terminated.REFUNDED, amount_minor=amount):
                    back[hold_id] += amount
                case f.RefundIntended(past=past, step=step):
                    assert back[past.hold.hold_id] + step.amount_minor <= taken[past.hold.hold_id]
        assert back <= taken

    @invariant()
    def no_energy_without_a_live_hold(self) -> None:
        """I6."""
        state = self.rules.state
        if machine.evse_wishes(state, self.rules.terms())[1].authorized:
            session = state.sessions[1]
            assert session.phase is Phase.CHARGING and session.start is not None
            assert state.settlements[session.hold_id].phase is SettlementPhase.HELD

    @invariant()
    def nothing_is_billed_that_cannot_have_flowed(self) -> None:
        start = {one.session_id: one.second for one in self.rules.facts if isinstance(one, f.StartRegistered)}
        for bill in (one for one in self.rules.facts if isinstance(one, f.BillFrozen)):
            begin = start[bill.session_id]
            assert bill.energy_wh == bill.stop.energy_wh - begin.energy_wh and bill.stop.serial == begin.serial
            assert bill.energy_wh < 1_000_000, "a lifetime register was billed"

    @invariant()
    def every_hold_is_somebodys(self) -> None:
        """Every intent is declined, still with a session, on its way to an end, or ended (I4 is the simulation's)."""
        facts, state = self.rules.facts, self.rules.state
        declined = {one.hold_id for one in facts if isinstance(one, f.AuthorizationDeclined)}
        ended = {one.hold_id for one in facts if isinstance(one, f.HoldEnded)}
        for one in (one for one in facts if isinstance(one, f.AuthorizationIntended)):
            hold_id = one.hold.hold_id
            if hold_id not in declined | ended:
                found = state.settlements[hold_id]
                with_session = found.phase in (SettlementPhase.ASKED, SettlementPhase.HELD)
                kept = found.phase is SettlementPhase.HELD and found.kept_until_mono_ms > 0
                held_for = any(s.hold_id == hold_id for s in state.sessions.values())
                assert not with_session or kept or held_for, "a hold nobody looks after"

    @invariant()
    def a_screen_for_every_state(self) -> None:
        terms = self.rules.terms()
        screen = presenter.present(self.rules.state, terms, 1, 1)
        assert msgspec.json.encode(screen) and presenter.meaning(self.rules.state, terms)

    @invariant()
    def no_card_number_is_kept(self) -> None:
        """I12."""
        stored = b"".join(body for body, _ in self.rules.committed[-6:])
        for form in (stage.TRACK2, stage.TRACK2.hex().encode(), stage.TRACK2.hex().upper().encode(), b"5413330089020011"):
            assert form not in stored


Money.TestCase.settings = settings(
    max_examples=120, stateful_step_count=45, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
TestMoney = Money.TestCase
