"""Stripe's objects as far as they are read here, and what their states mean for a hold. No network.

docs.stripe.com/api: checkout.session, payment_intent, charge, refund, balance, error.
"""

import msgspec

from terminal_app.payments import rest, stripe_codes
from terminal_app.payments.tcp_exchange import NoAnswer
from terminal_app.values import Approved, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown


class Fault(msgspec.Struct, frozen=True):
    """An API error, or the last error of a payment."""

    type: str = ""
    code: str | None = None
    decline_code: str | None = None
    param: str | None = None


class FaultBody(msgspec.Struct, frozen=True):
    error: Fault


class Page(msgspec.Struct, frozen=True):
    """checkout.session"""

    id: str
    status: str
    payment_intent: str | None = None
    client_reference_id: str | None = None
    url: str | None = None
    expires_at: int | None = None


class Pages(msgspec.Struct, frozen=True):
    data: list[Page]


class Card(msgspec.Struct, frozen=True):
    brand: str | None = None
    last4: str | None = None
    capture_before: int | None = None


class Method(msgspec.Struct, frozen=True):
    card: Card | None = None


class Charge(msgspec.Struct, frozen=True):
    id: str
    payment_method_details: Method | None = None


class Intent(msgspec.Struct, frozen=True):
    """payment_intent"""

    id: str
    status: str
    amount: int
    currency: str
    amount_capturable: int = 0
    amount_received: int = 0
    cancellation_reason: str | None = None
    last_payment_error: Fault | None = None
    latest_charge: Charge | str | None = None
    metadata: dict[str, str] = {}


class Intents(msgspec.Struct, frozen=True):
    data: list[Intent]


class Refund(msgspec.Struct, frozen=True):
    id: str
    amount: int
    payment_intent: str | None = None
    status: str | None = None
    metadata: dict[str, str] = {}


class Refunds(msgspec.Struct, frozen=True):
    data: list[Refund]


class Balance(msgspec.Struct, frozen=True):
    livemode: bool


def ours(hold: Hold, page: Page, reference: str = "") -> Page:
    if (reference and page.id != reference) or page.client_reference_id not in (None, hold.hold_id):
        raise NoAnswer("an answer to somebody else's question")
    return page


def held(hold: Hold, intent: Intent) -> Outcome | None:
    """The state of a payment as the outcome of its hold; None while the payer is still busy with it."""
    if intent.amount != hold.amount_minor or intent.currency.upper() != hold.currency:
        return OutcomeUnknown("a payment of another amount or currency than was asked")
    match intent.status:
        case "requires_capture":
            if not 0 < intent.amount_capturable <= hold.amount_minor:
                return OutcomeUnknown("held, but for an amount that cannot be")
            return _approved(hold, intent, intent.amount_capturable)
        case "succeeded":  # captured already: the hold was given; what follows is refused or found done
            return _approved(hold, intent, intent.amount)
        case "canceled" | "requires_payment_method" if intent.last_payment_error:  # cleared by Stripe at the next success
            code = rest.code_of(intent.last_payment_error.decline_code or intent.last_payment_error.code)
            return Declined(stripe_codes.DECLINE.get(code, DeclineReason.REFUSED), code or "declined")
        case "canceled" | "requires_payment_method":
            return Declined(DeclineReason.TOO_LATE, intent.status)
        case "processing" | "requires_action" | "requires_confirmation":
            return None
        case other:
            return OutcomeUnknown(f"a payment in a state not known here ({rest.code_of(other)!r})")


def _approved(hold: Hold, intent: Intent, amount_minor: int) -> Approved:
    trace = {**hold.trace, "payment_intent": intent.id, "held_minor": str(amount_minor)}
    capture_before_ms = None
    if isinstance(intent.latest_charge, Charge):
        trace["charge"] = intent.latest_charge.id
        method = intent.latest_charge.payment_method_details
        if method and method.card:
            trace |= {"brand": rest.code_of(method.card.brand), "last4": rest.code_of(method.card.last4)[:4]}
            if method.card.capture_before is not None:
                capture_before_ms = method.card.capture_before * 1000
    return Approved(amount_minor, trace, capture_before_ms)


def captured(intent: Intent, step: MoneyStep) -> Outcome | None:
    """None: not captured, may be. The amount is what Stripe says it took."""
    if intent.status == "succeeded":
        return Approved(intent.amount_received, {"payment_intent": intent.id})
    return _ended(intent)


def released(intent: Intent, step: MoneyStep) -> Outcome | None:
    if intent.status == "canceled":
        return Approved(step.amount_minor, {"payment_intent": intent.id})
    if intent.status == "succeeded":
        return Declined(DeclineReason.ALREADY_DONE, "captured")
    return None


def _ended(intent: Intent) -> Outcome | None:
    if intent.status != "canceled":
        return None
    automatic = intent.cancellation_reason == "automatic"  # Stripe's own: the authorization expired
    return Declined(DeclineReason.TOO_LATE if automatic else DeclineReason.ALREADY_DONE, "canceled")


def refunded(refund: Refund, reference: str, step: MoneyStep) -> Outcome:
    if refund.payment_intent != reference:
        raise NoAnswer("an answer to somebody else's question")
    if refund.amount != step.amount_minor:
        return OutcomeUnknown("a refund of another amount than was asked")
    match refund.status:
        case "succeeded" | "pending":
            return Approved(refund.amount, {"refund": refund.id, "refund_status": refund.status})
        case "failed" | "canceled":
            return Declined(DeclineReason.REFUSED, refund.status)
        case _:
            return OutcomeUnknown(f"the refund is {rest.code_of(refund.status)!r}")
