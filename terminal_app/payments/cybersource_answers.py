"""CyberSource's answers as values, and what its reasons mean to a driver or to held money. PURE.

Sources: `reason` and `status` lists of the vendor's client 0.0.80 (pts_v2_payments_post201_response, ..._post400_response).
"""

from types import MappingProxyType

import msgspec

from terminal_app import units
from terminal_app.payments import response_codes, rest
from terminal_app.values import Approved, Declined, Hold, MoneyStep, Outcome, OutcomeUnknown
from terminal_app.values import DeclineReason as Why


class Reference(msgspec.Struct, frozen=True):
    code: str = ""


class Amounts(msgspec.Struct, frozen=True, rename="camel"):
    total_amount: str = ""
    authorized_amount: str = ""
    currency: str = ""


class Order(msgspec.Struct, frozen=True, rename="camel"):
    amount_details: Amounts = Amounts()


class Processor(msgspec.Struct, frozen=True, rename="camel"):
    approval_code: str = ""
    response_code: str = ""
    retrieval_reference_number: str = ""


class ErrorInformation(msgspec.Struct, frozen=True):
    reason: str = ""


class Done(msgspec.Struct, frozen=True, rename="camel"):
    """A 201. Only what is used here; the service may say more."""

    id: str
    status: str
    client_reference_information: Reference = Reference()
    order_information: Order = Order()
    processor_information: Processor = Processor()
    error_information: ErrorInformation = ErrorInformation()


class Invalid(msgspec.Struct, frozen=True):
    """A 400."""

    status: str
    reason: str


class Missing(msgspec.Struct, frozen=True):
    """A 404."""

    status: str


class Link(msgspec.Struct, frozen=True):
    href: str


class Links(msgspec.Struct, frozen=True, rename="camel"):
    related_transactions: tuple[Link, ...] = ()


class Application(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    reason_code: str = ""


class Applications(msgspec.Struct, frozen=True):
    applications: tuple[Application, ...] = ()


class Detail(msgspec.Struct, frozen=True, rename="camel"):
    """A transaction as the search service tells it, minutes late."""

    id: str
    client_reference_information: Reference = Reference()
    application_information: Applications = Applications()
    order_information: Order = Order()
    links: Links = msgspec.field(default=Links(), name="_links")

    def did(self, application: str) -> bool:
        """True if it is a successful `application` ("" = of any kind).

        ics_auth, ics_bill (capture), ics_auth_reversal, ics_credit (refund).
        """
        ours = self.application_information.applications
        return any(application in ("", one.name) and one.reason_code == "100" for one in ours)


HELD = frozenset({"AUTHORIZED", "PARTIAL_AUTHORIZED"})
MAYBE_HELD = frozenset({"AUTHORIZED_PENDING_REVIEW", "AUTHORIZED_RISK_DECLINED", "PENDING_REVIEW"})
"""Money may be held, but nobody may use it: reversed like an unknown outcome."""
UNDECIDED = frozenset({"ISSUER_UNAVAILABLE", "PROCESSOR_UNAVAILABLE", "PROCESSOR_ERROR", "PROCESSOR_TIMEOUT", "DUPLICATE_REQUEST"})
"""Nobody decided, or (duplicate) an earlier request of the same reference did."""

AUTHORIZE = MappingProxyType(
    {
        **dict.fromkeys(("INSUFFICIENT_FUND",), Why.INSUFFICIENT_FUNDS),
        **dict.fromkeys(
            ("EXPIRED_CARD", "STOLEN_LOST_CARD", "INVALID_ACCOUNT", "INVALID_CARD", "CARD_TYPE_NOT_ACCEPTED", "INVALID_CARD_TYPE"),
            Why.CARD_INVALID,
        ),
        **dict.fromkeys(("SUSPENDED_ACCOUNT", "UNAUTHORIZED_CARD", "BLOCKED_BY_CARDHOLDER"), Why.CARD_INVALID),
        **dict.fromkeys(("EXCEEDS_CREDIT_LIMIT",), Why.LIMIT_EXCEEDED),
        **dict.fromkeys(("CONSUMER_AUTHENTICATION_REQUIRED", "PENDING_AUTHENTICATION"), Why.AUTHENTICATION_WANTED),
        **dict.fromkeys(
            ("MISSING_FIELD", "INVALID_DATA", "INVALID_MERCHANT_CONFIGURATION", "INVALID_AMOUNT", "NOT_SUPPORTED"),
            Why.GATEWAY_REFUSED,
        ),
    }
)
FOLLOW_UP = MappingProxyType(
    {
        "AUTH_ALREADY_REVERSED": Why.ALREADY_DONE,
        "TRANSACTION_ALREADY_SETTLED": Why.ALREADY_DONE,
        "EXCEEDS_AUTH_AMOUNT": Why.LIMIT_EXCEEDED,
        "INVALID_AMOUNT": Why.LIMIT_EXCEEDED,
        "CAPTURE_ALREADY_VOIDED": Why.ALREADY_DONE,
        "ACCOUNT_NOT_ALLOWED_CREDIT": Why.GATEWAY_REFUSED,
    }
)
NOTHING_HELD = frozenset({"MISSING_AUTH", "INVALID_PAYMENT_ID"})
AMBIGUOUS = frozenset({"MISSING_AUTH", "TRANSACTION_ALREADY_REVERSED_OR_SETTLED"})
"""The authorization is used up, but by what? The search service knows."""


def decline(reason: str, response_code: str) -> Why:
    """The issuer's own code says more than a general reason."""
    return AUTHORIZE.get(reason) or response_codes.decline(response_code) or Why.REFUSED


def minor(text: str, currency: str, expected: str) -> int | None:
    """Exact minor units of an amount of ours; None if it is absent, in another currency or no amount."""
    if not text or (currency and currency != expected):
        return None
    try:
        return units.to_minor(text, expected)
    except ValueError:
        return None


def authorized(hold: Hold, done: Done) -> Outcome:
    if done.client_reference_information.code != hold.key:
        return OutcomeUnknown("an answer to somebody else's question")
    reason, code = done.error_information.reason, done.processor_information.response_code
    if done.status in HELD:
        told = done.order_information.amount_details
        amount = minor(told.authorized_amount, told.currency, hold.currency)
        if amount is None or not 0 < amount <= hold.amount_minor or (done.status == "AUTHORIZED" and amount != hold.amount_minor):
            return OutcomeUnknown("approved, but for an amount that cannot be")
        trace = {
            "id": done.id,
            "held_minor": str(amount),
            "auth_code": rest.code_of(done.processor_information.approval_code),
            "rrn": rest.code_of(done.processor_information.retrieval_reference_number),
        }
        return Approved(amount, trace) if rest.code_of(done.id) else OutcomeUnknown("approved without a payment id")
    if done.status in MAYBE_HELD or reason in UNDECIDED:
        return OutcomeUnknown(f"nobody may use this answer ({rest.code_of(done.status)}, {rest.code_of(reason)})")
    if done.status in ("DECLINED", "INVALID_REQUEST", "PENDING_AUTHENTICATION"):
        why = decline(reason or done.status, code)
        return Declined(why, rest.code_of(reason) or rest.code_of(code) or done.status)
    return OutcomeUnknown(f"a status unknown here ({rest.code_of(done.status)!r})")


def captured(hold: Hold, step: MoneyStep, reference: str, told: Amounts) -> Outcome:
    amount = minor(told.total_amount, told.currency, hold.currency)
    if amount is None or not rest.code_of(reference):
        return OutcomeUnknown("captured, but for an amount that cannot be")
    return Approved(amount, {"capture": reference})
