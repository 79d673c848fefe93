"""Paying by phone, rule by rule: what is offered, what is committed before what, and how each page ends."""

import msgspec
import pytest

from terminal_app import screens
from terminal_app.screens import Button, DeclineWords
from terminal_app.session import actions, events
from terminal_app.session import facts as f
from terminal_app.session.checkout import check_word
from terminal_app.session.state import Phase, SettlementPhase
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Device, Fault, OutcomeUnknown, Pilot
from tests.simulation import stage
from tests.simulation.rules import Rules

URL = "https://pay.example/p/1"
PAGE = Checkout(URL, "page-1", 1)


def rules() -> Rules:
    return Rules(stage.configuration(by_phone=True))


def asked() -> Rules:
    one = rules()
    one.to_offer()
    one.touch(Button.PAY_BY_PHONE)
    return one


def page(one: Rules, answer: Checkout | Declined | OutcomeUnknown = PAGE) -> actions.OpenCheckout:
    action: actions.OpenCheckout = one.take(actions.OpenCheckout)
    one.feed(events.CheckoutAnswered(action.hold.hold_id, answer))
    return action


def opened() -> Rules:
    one = asked()
    page(one)
    one.show()
    return one


def paid(one: Rules, **trace: str) -> None:
    hold = next(iter(one.state.settlements.values())).hold
    one.feed(events.AuthorizationAnswered(hold.hold_id, Approved(hold.amount_minor, {**hold.trace, **trace})))


def ended(one: Rules, reason: DeclineReason = DeclineReason.TOO_LATE) -> None:
    action = one.take(actions.ExpireCheckout)
    one.feed(events.AuthorizationAnswered(action.hold.hold_id, Declined(reason, "expired")))


def pass_window(one: Rules) -> None:
    one.clock.advance(one.settings.policy.checkout_window_s * 1000)
    one.tick()


def offer(one: Rules) -> screens.Offer:
    assert isinstance(one.view, screens.Offer)
    return one.view


def test_the_button_is_there_only_with_a_gateway_for_pages_that_answers() -> None:
    without, one = Rules(), rules()
    without.to_offer()
    one.to_offer()
    assert (offer(without).by_phone, offer(one).by_phone) == (False, True)
    without.touch(Button.PAY_BY_PHONE)
    assert without.phase is Phase.NONE
    fault = Fault(Device.GATEWAY, 0, "phone", "no answer")
    one.feed(events.FaultSeen(fault, True))
    one.show()
    assert not offer(one).by_phone and offer(one).by_card
    one.touch(Button.PAY_BY_PHONE)
    assert one.phase is Phase.NONE
    one.feed(events.FaultSeen(fault, False))
    assert offer(one).by_phone


def test_without_a_reader_the_phone_still_pays() -> None:
    one = rules()
    one.to_offer()
    one.feed(events.FaultSeen(Fault(Device.READER, 0, "gone"), True))
    assert offer(one).by_phone and not offer(one).by_card and not offer(one).card_ready
    one.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, "phone"), True))
    assert one.view == screens.NotForSale(1, "1", screens.NotForSaleReason.READER)


def test_a_touch_before_the_offer_is_on_the_glass_does_nothing() -> None:
    one = rules()
    one.evse(Pilot.A)
    one.meter()
    one.touch(Button.PAY_BY_PHONE)
    assert one.phase is Phase.NONE and not one.has(actions.OpenCheckout)


def test_intent_then_page_then_its_name_then_the_code() -> None:
    one = asked()
    assert one.count(f.AuthorizationIntended) == 1 and isinstance(one.view, screens.PayByPhone) and one.view.url == ""
    action = page(one)
    assert (action.hold.gateway, action.hold.amount_minor) == ("phone", 5000)
    assert action.station.endswith(f"/ 1 / {check_word(action.hold.hold_id)}")
    assert one.facts[-1] == f.CheckoutOpened(action.hold.hold_id, "page-1", 1)
    assert isinstance(one.view, screens.PayByPhone)
    assert (one.view.url, one.view.check_word) == (URL, check_word(action.hold.hold_id))
    assert one.take(actions.WatchCheckout).hold.trace == {"checkout": "page-1"}


def test_no_card_is_read_while_the_page_is_not_on_the_glass() -> None:
    one = opened()
    one.feed(events.FrameShown(0))
    assert one.state.kiosk.request is None
    one.tap()
    assert not one.has(actions.Authorize)


def tapped_instead() -> Rules:
    """The page is on the glass, and the driver taps a card after all."""
    one = opened()
    one.show()
    assert isinstance(one.view, screens.PayByPhone) and one.view.by_card
    one.tap()
    return one


def test_a_card_tapped_instead_is_asked_for_money_only_after_the_page_has_ended() -> None:
    one = tapped_instead()
    assert not one.has(actions.Authorize) and isinstance(one.view, screens.PayByPhone) and one.view.ending
    page_end = one.take(actions.ExpireCheckout)
    one.feed(events.AuthorizationAnswered(page_end.hold.hold_id, Declined(DeclineReason.TOO_LATE, "expired")))
    asked_for = one.take(actions.Authorize)
    assert asked_for.hold.hold_id != page_end.hold.hold_id and any(asked_for.card.track2)
    assert one.phase is Phase.AUTHORIZING and one.count(f.AuthorizationDeclined) == 1


def test_paid_by_phone_in_the_moment_of_the_tap_charges_the_card_nothing() -> None:
    one = tapped_instead()
    card = one.state.kiosk.card
    paid(one)
    assert not one.has(actions.Authorize) and one.phase is Phase.AUTHORIZED and card is not None and not any(card.track2)


def test_a_page_that_cannot_be_ended_for_certain_leaves_the_card_alone() -> None:
    one = tapped_instead()
    card = one.state.kiosk.card
    one.tick(20)
    assert one.phase is Phase.NONE and not one.has(actions.Authorize) and card is not None and not any(card.track2)


def test_paid_is_approved_and_the_card_is_what_the_gateway_saw() -> None:
    one = opened()
    paid(one, brand="visa", last4="4242", payment="pi-1")
    assert isinstance(one.view, screens.PlugIn) and one.view.card == "Visa ···· 4242"
    hold = next(iter(one.state.settlements.values())).hold
    assert hold.trace["checkout"] == "page-1" and hold.trace["payment"] == "pi-1"
    one.evse(Pilot.B)
    one.answer_register()
    assert one.phase is Phase.CHARGING


def test_a_gateway_that_saw_no_card_shows_none() -> None:
    one = opened()
    paid(one)
    assert isinstance(one.view, screens.PlugIn) and one.view.card == ""


def test_cancel_ends_the_page_and_leads_back_to_the_offer() -> None:
    one = opened()
    one.touch(Button.CANCEL)
    assert isinstance(one.view, screens.PayByPhone) and one.view.ending and one.view.url == "", "not to be scanned any more"
    one.touch(Button.CANCEL)
    ended(one)
    assert not one.has(actions.ExpireCheckout), "ended once"
    assert isinstance(one.view, screens.Offer) and not one.state.settlements


def test_cancel_while_the_page_is_being_opened_ends_it_when_it_is_there() -> None:
    one = asked()
    one.touch(Button.CANCEL)
    page(one)
    assert not one.has(actions.WatchCheckout)
    ended(one)
    assert one.phase is Phase.NONE


def test_the_time_to_pay_is_bounded() -> None:
    one = opened()
    pass_window(one)
    ended(one)
    assert isinstance(one.view, screens.DeclinedView) and one.view.reason is DeclineWords.PHONE_TIMEOUT


@pytest.mark.parametrize("by_time", [False, True])
def test_paid_in_that_very_moment_is_released_at_once(by_time: bool) -> None:
    one = opened()
    if by_time:
        pass_window(one)
    else:
        one.touch(Button.CANCEL)
    paid(one)
    ended(one)  # the watch saw it first, the end comes after it
    assert one.phase is Phase.NONE and one.count(f.AuthorizationApproved) == 1 and one.count(f.VoidIntended) == 1
    assert isinstance(one.view, screens.DeclinedView) and one.view.held_minor == 5000, "the driver is told of the release"
    assert one.view.reason is (DeclineWords.PHONE_TIMEOUT if by_time else DeclineWords.CANCELLED)
    one.tick()
    assert one.take(actions.Void).hold.trace["checkout"] == "page-1"


def test_an_end_that_nobody_answers_becomes_a_release() -> None:
    one = opened()
    one.touch(Button.CANCEL)
    one.tick(17)
    assert one.phase is Phase.NONE and one.count(f.VoidIntended) == 1
    one.tick()
    assert one.has(actions.Void)


def test_an_end_of_unknown_outcome_becomes_a_release() -> None:
    one = opened()
    one.touch(Button.CANCEL)
    action = one.take(actions.ExpireCheckout)
    one.feed(events.AuthorizationAnswered(action.hold.hold_id, OutcomeUnknown("no answer")))
    assert one.phase is Phase.NONE and one.count(f.VoidIntended) == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (DeclineReason.TOO_LATE, DeclineWords.PHONE_TIMEOUT),
        (DeclineReason.INSUFFICIENT_FUNDS, DeclineWords.INSUFFICIENT_FUNDS),
    ],
)
def test_a_page_that_ended_by_itself_is_told(reason: DeclineReason, words: DeclineWords) -> None:
    one = opened()
    hold_id = next(iter(one.state.settlements))
    one.feed(events.AuthorizationAnswered(hold_id, Declined(reason)))
    assert isinstance(one.view, screens.DeclinedView) and (one.view.reason, one.view.held_minor) == (words, 0)


def test_no_page_is_told_and_nothing_is_held() -> None:
    one = asked()
    page(one, Declined(DeclineReason.UNREACHABLE))
    assert isinstance(one.view, screens.DeclinedView) and one.view.reason is DeclineWords.PHONE_UNREACHABLE
    assert not one.state.settlements


def test_a_page_that_may_have_opened_is_released_and_ended_when_it_comes_late() -> None:
    one = asked()
    one.tick(19)
    hold_id, settlement = next(iter(one.state.settlements.items()))
    assert settlement.phase is SettlementPhase.VOIDING and not one.has(actions.Void), "its opening is still under way"
    page(one)
    assert one.take(actions.Void).hold.trace == {"checkout": "page-1"}
    assert one.facts[-1] == f.CheckoutOpened(hold_id, "page-1", 1)


@pytest.mark.parametrize("new_boot", [False, True])
@pytest.mark.parametrize("with_page", [False, True])
def test_a_restart_ends_page_and_payment(with_page: bool, new_boot: bool) -> None:
    one = opened() if with_page else asked()
    one.boot(new_boot=new_boot)
    one.tick()
    assert one.phase is Phase.NONE and not one.has(actions.OpenCheckout)
    assert one.take(actions.Void).hold.trace == ({"checkout": "page-1"} if with_page else {})


def test_check_words_can_be_told_apart_and_read() -> None:
    words = {check_word(f"{number:032x}") for number in range(1000)}
    assert len(words) > 990 and all(len(word) == 4 and not set(word) & set("0O1I5S8B2Z") for word in words)


def test_the_first_gateway_of_each_kind_is_used() -> None:
    both = stage.configuration(by_phone=True)
    assert (both.tap_gateways, both.phone_gateways) == (("acquirer",), ("phone",))
    turned = dict(reversed(both.gateway.items()))
    assert msgspec.structs.replace(both, gateway=turned).tap_gateways == ("acquirer",), "a page gateway takes no cards"
    assert stage.configuration().phone_gateways == ()


def test_with_pages_only_no_card_is_asked_for() -> None:
    both = stage.configuration(by_phone=True)
    one = Rules(msgspec.structs.replace(both, gateway={"phone": both.gateway["phone"]}))
    one.to_offer()
    assert offer(one).by_phone and not offer(one).by_card and one.state.kiosk.request is None
    one.feed(events.FaultSeen(Fault(Device.GATEWAY, 0, "phone"), True))
    assert one.view == screens.NotForSale(1, "1", screens.NotForSaleReason.GATEWAY)


def test_the_pages_end_may_tell_a_second_time_that_it_is_paid() -> None:
    """A card was tapped, the driver paid in that very moment: the watch tells it, then the end that was asked for."""
    one = tapped_instead()
    hold_id = next(iter(one.state.settlements))
    for _ in range(2):
        one.feed(events.AuthorizationAnswered(hold_id, Approved(5000, {"payment": "pi-1"})))
    assert one.phase is Phase.AUTHORIZED and one.count(f.AuthorizationApproved) == 1
