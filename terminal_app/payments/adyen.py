"""Adyen as a payment gateway: the driver pays on a payment link (QR), the charge is captured later.

Checkout API v71, JSON. Links can be polled, but what Adyen does with money it tells only by notification: captures, cancels
and refunds answer `received`, and a paid link does not name its payment. The office relays the notifications; each is checked
by its HMAC (`adyen_notification`). This gateway keeps nothing: until confirmed every outcome is unknown, and repeating a step
re-sends it with the same idempotency key.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from terminal_app.config import AdyenSection
from terminal_app.http_client import HttpAnswer
from terminal_app.payments import rest
from terminal_app.payments.adyen_notification import NotificationKey
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.ports import Confirmation, GatewayCapabilities
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

KEY_TRUSTED_MS = 6 * 24 * rest.HOUR_MS
"""Adyen keeps idempotency keys for at least 7 days. Older steps are never sent again: nothing could be looked up first."""
PAGE_LIFE_S = 35 * 60
OTHER_UNITS = frozenset({"CLP", "CVE", "IDR", "ISK"})
"""Currencies Adyen does not count in ISO 4217 minor units (docs.adyen.com/development-resources/currency-codes): refused."""
PAID = OutcomeUnknown("paid, but the notification that names the payment has not come yet")
TOO_OLD = OutcomeUnknown("not sent again: after so many days only the merchant's account or a notification can tell")
RECEIVED = "received, not confirmed"


class Amount(msgspec.Struct, frozen=True):
    value: int
    currency: str


class Link(msgspec.Struct, frozen=True):
    """PaymentLinkResponse"""

    id: str
    status: str
    reference: str
    amount: Amount
    url: str = ""
    expiresAt: datetime | None = None


class Receipt(msgspec.Struct, frozen=True, rename="camel"):
    """What answers a modification. Cancels by our own reference name no payment."""

    status: str
    psp_reference: str
    merchant_account: str
    payment_psp_reference: str = ""
    payment_reference: str = ""


class Methods(msgspec.Struct, frozen=True, rename="camel"):
    payment_methods: list[dict[str, Any]]


class ServiceError(msgspec.Struct, frozen=True, rename="camel"):
    error_code: str = ""
    error_type: str = ""


class Refused(Exception):
    """A genuine 4xx: the request had no effect."""

    def __init__(self, status: int, fault: ServiceError) -> None:
        self.status, self.validation = status, status == 422 and fault.error_type == "validation"
        self.code = rest.code_of(fault.error_code) or f"http_{status}"
        super().__init__(f"refused with {status} ({self.code})")


class AdyenGateway:
    """ports.PaymentGateway, CheckoutGateway, LookUp. Never raises for the network. Thread-safe. Keeps no state.

    `Hold.trace["checkout"]` is the link; the confirmed authorization adds payment (its pspReference) and held_minor.
    """

    capabilities = GatewayCapabilities(refund=True, look_up=True)
    other_units = OTHER_UNITS

    def __init__(
        self, name: str, section: AdyenSection, demo: bool, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """Connects to nothing. Raises ValueError for an unusable address, CA file, API key or HMAC key file."""
        self.name = name
        self._section, self._demo, self._now_ms = section, demo, now_ms
        self._key = rest.Secret(section.api_key_file, "api_key_file")
        self._notified = NotificationKey(section.hmac_key_file, section.merchant_account)
        self._rest = rest.Rest(section.url, demo=demo, ca_file=section.ca_file)

    # --- the page ------------------------------------------------------------------------------------------------

    def open_checkout(self, hold: Hold, station: str, deadline_s: float) -> Checkout | Declined | OutcomeUnknown:
        if hold.currency in OTHER_UNITS or hold.amount_minor <= 0:
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount or currency not offered")
        if not self._key_protects(hold.utc_ms):
            return OutcomeUnknown("the intent is too old to be sent again: it can only be released")
        try:
            link = self._open(hold, station, time.monotonic() + deadline_s)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except Refused as refusal:
            return Declined(DeclineReason.GATEWAY_REFUSED, refusal.code)
        if link.status != "active" or not rest.page_address(link.url, demo=self._demo):
            return OutcomeUnknown(f"a link that cannot be shown (status {rest.code_of(link.status)!r})")
        expires = link.expiresAt or _moment(hold.utc_ms) + timedelta(seconds=PAGE_LIFE_S)
        if expires.tzinfo is None:
            return OutcomeUnknown("a link that ends at no certain time")
        return Checkout(link.url, link.id, (expires - _moment(0)) // timedelta(milliseconds=1))

    def poll_checkout(self, hold: Hold, deadline_s: float) -> Outcome | None:
        """Never Approved: a paid link does not name its payment. `confirm` does."""
        if "payment" in hold.trace:
            return _known(hold)
        return self._answered(deadline_s, lambda end: _state_of(self._link(hold, end)))

    def expire_checkout(self, hold: Hold, deadline_s: float) -> Outcome:
        """Unknown with `PAID` if the driver paid in that very moment; the notification follows."""
        if "checkout" not in hold.trace:
            return Declined(DeclineReason.TOO_LATE, "never_shown")
        outcome = self._answered(deadline_s, lambda end: self._expire(hold, end))
        return outcome or OutcomeUnknown("the link is still active")

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        if not {"payment", "checkout"} & hold.trace.keys():
            return OutcomeUnknown("without a link nothing can be asked for")
        return self.poll_checkout(hold, deadline_s) or OutcomeUnknown("the link is still active")

    def confirm(self, notification: bytes | dict[str, Any]) -> Confirmation:
        """What a relayed notification says about one of our holds or steps. SignatureInvalid. No network, any thread."""
        return self._notified.confirm(notification)

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        """Not offered: this gateway takes no card data. Nothing is sent."""
        return Declined(DeclineReason.GATEWAY_REFUSED, "pays by QR only")

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        if not 0 < step.amount_minor <= int(hold.trace.get("held_minor", hold.amount_minor)):
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount outside the hold")
        return self._modify("captures", hold, step, deadline_s, with_amount=True)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """By the payment where it is known; else the link is ended, and if it was paid the payment is named by our key.

        A link whose reference was never committed was never shown (the port's rule), so nobody can have paid it.
        """
        if "payment" in hold.trace:
            return self._modify("cancels", hold, step, deadline_s, with_amount=False)
        if "checkout" not in hold.trace:
            return Approved(step.amount_minor, {"ended_as": "never_shown"})
        return self._settled(deadline_s, lambda end: self._void_link(hold, step, end))

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        if step.amount_minor <= 0:
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount outside the hold")
        return self._modify("refunds", hold, step, deadline_s, with_amount=True)

    def check(self, deadline_s: float) -> str:
        try:
            body = {"merchantAccount": self._section.merchant_account}
            rest.read(self._ask("POST", "/paymentMethods", time.monotonic() + deadline_s, body), Methods)
        except (NotSent, NoAnswer) as error:
            return str(error)
        except Refused as refusal:
            return f"API key or merchant account were {refusal}"
        return ""

    def close(self) -> None:
        self._rest.close()

    # --- links ---------------------------------------------------------------------------------------------------

    def _open(self, hold: Hold, station: str, end: float) -> Link:
        """The same link for the same hold (idempotency key = hold key). Our clock may be too wrong for `expiresAt`: then,
        refused as invalid, the link gets Adyen's own end under a second key."""
        body: dict[str, Any] = {
            "merchantAccount": self._section.merchant_account,
            "amount": {"value": hold.amount_minor, "currency": hold.currency},
            "reference": hold.key,
            "description": station[:280],
            "returnUrl": self._section.return_url,
            "manualCapture": True,
            "reusable": False,
        }
        dated = {**body, "expiresAt": (_moment(hold.utc_ms) + timedelta(seconds=PAGE_LIFE_S)).isoformat(timespec="seconds")}
        try:
            answer = self._ask("POST", "/paymentLinks", end, dated, key=hold.key)
        except Refused as refusal:
            if not refusal.validation:
                raise
            answer = self._ask("POST", "/paymentLinks", end, body, key=f"{hold.key}-undated")
        return _ours(hold, rest.read(answer, Link))

    def _link(self, hold: Hold, end: float) -> Link:
        reference = hold.trace.get("checkout", "")
        if not reference:
            raise NoAnswer("without a link nothing can be asked for")
        return _ours(hold, rest.read(self._ask("GET", f"/paymentLinks/{rest.segment(reference)}", end), Link), reference)

    def _expire(self, hold: Hold, end: float) -> Outcome | None:
        reference = hold.trace["checkout"]
        try:
            answer = self._ask("PATCH", f"/paymentLinks/{rest.segment(reference)}", end, {"status": "expired"})
            link = _ours(hold, rest.read(answer, Link), reference)
        except Refused as refusal:
            if refusal.status not in (400, 422):
                raise
            link = self._link(hold, end)
        return _state_of(link)

    def _void_link(self, hold: Hold, step: MoneyStep, end: float) -> Outcome:
        ended = self._expire(hold, end)
        if isinstance(ended, Declined):
            return Approved(step.amount_minor, {"ended_as": ended.code})
        if ended is not PAID:
            return ended or OutcomeUnknown("the link is still active")
        if not self._key_protects(step.utc_ms):
            return TOO_OLD
        body = {"merchantAccount": self._section.merchant_account, "paymentReference": hold.key, "reference": step.key}
        receipt = rest.read(self._ask("POST", "/cancels", end, body, key=step.key), Receipt)
        if receipt.payment_reference != hold.key:
            raise NoAnswer("an answer to somebody else's question")
        return self._received(receipt)

    # --- payments ------------------------------------------------------------------------------------------------

    def _modify(self, what: str, hold: Hold, step: MoneyStep, deadline_s: float, *, with_amount: bool) -> Outcome:
        payment = hold.trace.get("payment", "")
        if not payment:
            return OutcomeUnknown("the notification that names the payment has not come yet")
        if not self._key_protects(step.utc_ms):
            return TOO_OLD
        body: dict[str, Any] = {"merchantAccount": self._section.merchant_account, "reference": step.key}
        if with_amount:
            body["amount"] = {"value": step.amount_minor, "currency": hold.currency}

        def ask(end: float) -> Outcome:
            answer = self._ask("POST", f"/payments/{rest.segment(payment)}/{what}", end, body, key=step.key)
            receipt = rest.read(answer, Receipt)
            if receipt.payment_psp_reference != payment:
                raise NoAnswer("an answer to somebody else's question")
            return self._received(receipt)

        return self._settled(deadline_s, ask)

    def _received(self, receipt: Receipt) -> Outcome:
        if receipt.merchant_account != self._section.merchant_account or receipt.status != "received":
            raise NoAnswer("an answer that receives nothing of ours")
        return OutcomeUnknown(f"{RECEIVED} ({rest.code_of(receipt.psp_reference)})")

    def _key_protects(self, intended_utc_ms: int) -> bool:
        return rest.key_protects(intended_utc_ms, self._now_ms(), KEY_TRUSTED_MS)

    # --- questions -----------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, end: float, body: dict[str, Any] | None = None, key: str = "") -> HttpAnswer:
        """A 2xx answer. Raises NotSent, NoAnswer, Refused."""
        try:
            headers = {"X-API-Key": self._key.text()}
        except ValueError as error:
            raise NotSent(str(error)) from None
        if key:
            headers["Idempotency-Key"] = key
        content = b""
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = msgspec.json.encode(body)
        answer = self._rest.call(method, path, end, headers=headers, body=content)
        if 200 <= answer.status < 300:
            return answer
        fault = rest.read(answer, ServiceError)
        if answer.headers.get("transient-error", "").lower() == "true":
            raise NoAnswer(f"answered {answer.status} ({rest.code_of(fault.error_code)}): to be repeated")
        raise Refused(answer.status, fault)

    def _answered(self, deadline_s: float, ask: Callable[[float], Outcome | None]) -> Outcome | None:
        """Refused credentials and unknown objects say nothing about the money; a refused form does: nothing happened."""
        try:
            return ask(time.monotonic() + deadline_s)
        except Refused as refusal:
            if refusal.status in (400, 422):
                return Declined(DeclineReason.GATEWAY_REFUSED, refusal.code)
            return OutcomeUnknown(str(refusal))
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))

    def _settled(self, deadline_s: float, ask: Callable[[float], Outcome]) -> Outcome:
        return self._answered(deadline_s, ask) or OutcomeUnknown("no answer")


def _ours(hold: Hold, link: Link, reference: str = "") -> Link:
    if (reference and link.id != reference) or link.reference != hold.key:
        raise NoAnswer("an answer to somebody else's question")
    if (link.amount.value, link.amount.currency) != (hold.amount_minor, hold.currency):
        raise NoAnswer("a link of another amount or currency than was asked")
    return link


def _state_of(link: Link) -> Outcome | None:
    match link.status:
        case "active":
            return None
        case "expired":
            return Declined(DeclineReason.TOO_LATE, "expired")
        case "completed" | "paid":
            return PAID
        case other:  # paymentPending: the shopper is in the middle of it
            return OutcomeUnknown(f"the link is {rest.code_of(other)!r}")


def _known(hold: Hold) -> Outcome:
    return Approved(int(hold.trace.get("held_minor", hold.amount_minor)), hold.trace)


def _moment(utc_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
