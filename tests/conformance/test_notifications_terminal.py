"""Adyen's notifications at the terminal: a page is paid, captured and refunded, and each is believed only when a genuine
notification says so. Real rules, ledger and gateway; the other side is Adyen's double with books of its own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from terminal_app import config
from terminal_app.config import AdyenSection
from terminal_app.engine.money_orders import payment_refund
from terminal_app.engine.notifications import Notifications
from terminal_app.errors import SignatureInvalid
from terminal_app.payments.adyen import AdyenGateway
from terminal_app.screens import Button, PayByPhone, PlugIn
from terminal_app.session import actions, events
from terminal_app.session.facts import AuthorizationIntended, HoldEnded, Terminated
from terminal_app.session.state import Phase
from terminal_app.values import Pilot
from tests.conformance.fault_proxy import FaultProxy
from tests.peers import adyen as peers
from tests.service_tool import answering
from tests.sessions import Paper, runtime_dir, site_files

SECTION = """
[gateway.phone]
kind = "adyen"
api_key_file = "adyen.key"
hmac_key_file = "adyen.hmac"
merchant_account = "{account}"
url = "{url}"
return_url = "http://127.0.0.1/paid"

[policy]"""


class ByPage(Paper):
    """A terminal whose pages and money are Adyen's."""

    gateway: AdyenGateway

    def _answer(self, action: actions.Action) -> events.Event | None:
        match action:
            case actions.OpenCheckout(hold=hold, station=station):
                return events.CheckoutAnswered(hold.hold_id, self.gateway.open_checkout(hold, station, 5))
            case actions.WatchCheckout(hold=hold):
                outcome = self.gateway.poll_checkout(hold, 5)
                assert outcome is None, "Adyen's page alone never says that it is paid"
                return None
            case actions.ExpireCheckout(hold=hold):
                return events.AuthorizationAnswered(hold.hold_id, self.gateway.expire_checkout(hold, 5))
            case actions.Capture(hold=hold, step=step):
                return events.SettlementAnswered(hold.hold_id, step.key, self.gateway.capture(hold, step, 5))
            case actions.Void(hold=hold, step=step):
                return events.SettlementAnswered(hold.hold_id, step.key, self.gateway.void(hold, step, 5))
            case actions.Refund(hold=hold, step=step):
                return events.SettlementAnswered(hold.hold_id, step.key, self.gateway.refund(hold, step, 5))
        return super()._answer(action)


@pytest.fixture
def double() -> peers.AdyenDouble:
    return peers.AdyenDouble()


@pytest.fixture
def site(tmp_path: Path, double: peers.AdyenDouble) -> Iterator[ByPage]:
    proxy = FaultProxy(0, double)
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        section = SECTION.format(account=peers.ACCOUNT, url=proxy.url)
        path.write_text(path.read_text().replace("\n[policy]", section))
        (tmp_path / "adyen.key").write_text(peers.API_KEY)
        (tmp_path / "adyen.hmac").write_text(peers.HMAC_KEY)
        settings = config.load(path)
        assert settings.phone_gateways == ("phone",)
        found = settings.gateway["phone"]
        assert isinstance(found, AdyenSection)
        paper = ByPage(path)
        paper.gateway = AdyenGateway("phone", found, True, now_ms=lambda: paper.clock.now().utc_ms)
        yield paper
        paper.close()
    proxy.close()


@pytest.fixture
def relay(site: ByPage) -> Callable[[Any], dict[str, Any]]:
    notifications = Notifications(site.engine, {"phone": site.gateway})

    def tell(body: Any) -> dict[str, Any]:
        text = body.decode() if isinstance(body, bytes) else json.dumps(body)
        with answering(site):
            return notifications({"gateway": "phone", "body": text, "reason": "r"}, "office")

    return tell


def open_page(site: ByPage) -> tuple[str, str]:
    """The page's address and the hold's key."""
    assert site.engine.screen is not None
    site.turn(events.FrameShown(site.engine.screen.screen_no))
    site.turn(events.Touched(Button.PAY_BY_PHONE, ""))
    view = site.engine.screen.view
    assert isinstance(view, PayByPhone) and view.url
    intended = next(iter(site.ledger.entries(kinds=("authorization_intended",), newest_first=True))).fact
    assert isinstance(intended, AuthorizationIntended)
    return view.url, intended.hold.key


def settle(site: ByPage) -> None:
    for _ in range(4):
        site.pass_time(2)
        site.turn(events.Ticked())


def ends(site: ByPage) -> list[tuple[Terminated, int]]:
    facts = [one.fact for one in site.ledger.entries(kinds=("hold_ended",))]
    return [(one.how, one.amount_minor) for one in facts if isinstance(one, HoldEnded)]


def test_paid_captured_and_refunded_each_by_its_notification(
    site: ByPage, double: peers.AdyenDouble, relay: Callable[[Any], dict[str, Any]]
) -> None:
    url, key = open_page(site)
    double.pay(url)
    assert site.engine.state.sessions[1].phase is Phase.CHECKOUT
    told = double.told(key)
    assert relay(told)["hold_id"]
    assert site.engine.screen is not None and isinstance(site.engine.screen.view, PlugIn)
    with pytest.raises(ValueError, match="nothing here waits"):
        relay(told)  # twice changes nothing
    site.charge(1_000, seconds=600)
    site.stop()
    settle(site)
    (one,) = site.engine.state.settlements.values()
    assert double.captures() and not ends(site), "received is not confirmed"
    assert one.step is not None
    relay(double.told(one.step.key))
    settle(site)
    assert ends(site) == [(Terminated.CAPTURED, double.captures()[0])] and not site.engine.state.settlements
    with answering(site):
        payment_refund(site.engine, {"hold_id": one.hold.hold_id, "amount_minor": 30, "reason": "test"}, "technician")
    settle(site)
    (back,) = site.engine.state.settlements.values()
    assert back.step is not None
    relay(double.told(back.step.key))
    settle(site)
    assert ends(site)[1] == (Terminated.REFUNDED, 30) and double.refunds() == [30]
    assert [one.type for one in site.ledger.records()] == ["session", "settlement", "settlement", "credit"]


def test_a_forged_notification_is_not_believed(
    site: ByPage, double: peers.AdyenDouble, relay: Callable[[Any], dict[str, Any]]
) -> None:
    url, key = open_page(site)
    double.pay(url)
    told = double.told(key)
    assert told is not None
    forged = json.loads(told)
    forged["notificationItems"][0]["NotificationRequestItem"]["amount"]["value"] = 1
    with pytest.raises(SignatureInvalid):
        relay(forged)
    assert site.engine.state.sessions[1].phase is Phase.CHECKOUT


def test_another_currency_is_nobodys_approval(
    site: ByPage, double: peers.AdyenDouble, relay: Callable[[Any], dict[str, Any]]
) -> None:
    _, key = open_page(site)
    with pytest.raises(ValueError, match="speaks of SEK"):
        relay(double.notify(peers.Payment("PSP9", key, 6000, "SEK"), "AUTHORISATION", key, 6000, original=""))
    assert site.engine.state.sessions[1].phase is Phase.CHECKOUT


def test_paid_but_never_told_is_given_back_and_the_late_word_starts_nothing(
    site: ByPage, double: peers.AdyenDouble, relay: Callable[[Any], dict[str, Any]]
) -> None:
    url, key = open_page(site)
    double.pay(url)
    site.pass_time(200)
    site.turn(events.Ticked())
    settle(site)
    assert 1 not in site.engine.state.sessions and double.held_minor() == 0, "the time to pay was over: it is released"
    relay(double.told(key))
    assert 1 not in site.engine.state.sessions
    (one,) = site.engine.state.settlements.values()
    assert one.step is not None
    cancelled = double.told(one.step.key) or double.told(one.hold.key)
    relay(cancelled)
    settle(site)
    assert ends(site) == [(Terminated.VOIDED, 0)]


def test_a_card_refused_on_the_page_decides_nothing(
    site: ByPage, double: peers.AdyenDouble, relay: Callable[[Any], dict[str, Any]]
) -> None:
    url, _ = open_page(site)
    double.decline(url)
    assert relay(double.notifications[-1])["decides"] == "nothing"
    site.evse(Pilot.A)
    assert site.engine.state.sessions[1].phase is Phase.CHECKOUT
