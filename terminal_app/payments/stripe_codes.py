"""Stripe's error and decline codes as outcomes; what no table names is a plain refusal.

Source: docs.stripe.com/declines/codes (issuer declines, read from `last_payment_error.decline_code`) and
docs.stripe.com/error-codes (refused requests).
"""

from types import MappingProxyType

from terminal_app.values import DeclineReason as Why

DECLINE = MappingProxyType(
    {
        **dict.fromkeys(("insufficient_funds",), Why.INSUFFICIENT_FUNDS),
        **dict.fromkeys(
            (
                "expired_card", "incorrect_cvc", "incorrect_number", "invalid_account", "invalid_cvc", "invalid_expiry_month",
                "invalid_expiry_year", "invalid_number", "lost_card", "new_account_information_available", "pickup_card",
                "restricted_card", "stolen_card", "card_not_supported", "currency_not_supported", "testmode_decline",
            ),
            Why.CARD_INVALID,
        ),
        **dict.fromkeys(
            (
                "authentication_required", "authentication_not_handled", "payment_intent_authentication_failure",
                "offline_pin_required", "online_or_offline_pin_required", "incorrect_pin", "invalid_pin",
            ),
            Why.AUTHENTICATION_WANTED,
        ),
        **dict.fromkeys(
            ("card_velocity_exceeded", "withdrawal_count_limit_exceeded", "pin_try_exceeded", "invalid_amount"), Why.LIMIT_EXCEEDED
        ),
    }
)  # fmt: skip
"""The driver reads these. Lost, stolen and fraudulent are never told apart on a screen."""

REQUEST = MappingProxyType(
    {
        **dict.fromkeys(("amount_too_large", "amount_too_small"), Why.LIMIT_EXCEEDED),
        **dict.fromkeys(("charge_expired_for_capture", "capture_charge_authorization_expired"), Why.TOO_LATE),
        **dict.fromkeys(
            ("charge_already_captured", "charge_already_refunded", "charge_disputed", "refund_disputed_payment"), Why.ALREADY_DONE
        ),
    }
)
"""A request that was refused although the object's state allows it. Everything else is our own fault: GATEWAY_REFUSED."""

OTHER_UNITS = frozenset({"BHD", "IQD", "ISK", "JOD", "KWD", "LYD", "MGA", "OMR", "TND", "UGX"})
"""Currencies Stripe does not count in ISO 4217 minor units (docs.stripe.com/currencies): refused rather than guessed."""
