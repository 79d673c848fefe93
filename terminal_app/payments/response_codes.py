"""DE39 response codes: what they mean for the driver, and what for money that is held already. PURE.

Source: ISO 8583-1:1987 annex A, and the codes acquirers added to it (1A, 65 for strong authentication; 10 partial). An
acquirer's profile may give a code another meaning (`acquirer_profile`). A code without a meaning here is a plain refusal.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType

from terminal_app.values import DeclineReason


class Meaning(enum.Enum):
    """What an answer says. From REFUSED on they are reasons of a refusal; there is no "unreachable": the host answered."""

    APPROVED = "approved"
    PARTIAL = "partial"  # approved for less: the amount is in DE4
    UNDECIDED = "undecided"  # nobody decided: the outcome is unknown
    NOTHING_HELD = "nothing_held"  # a reversal's original is not known: nothing is held, so the release is done
    DUPLICATE = "duplicate"  # done before: by our own earlier try, if there was one
    REFUSED = "refused"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    CARD_INVALID = "card_invalid"
    AUTHENTICATION_WANTED = "authentication_wanted"
    LIMIT_EXCEEDED = "limit_exceeded"
    GATEWAY_REFUSED = "gateway_refused"
    TOO_LATE = "too_late"
    ALREADY_DONE = "already_done"

    @property
    def reason(self) -> DeclineReason:
        """The refusal it is. ValueError for the first five."""
        return DeclineReason.ALREADY_DONE if self is Meaning.DUPLICATE else DeclineReason(self.value)


M = Meaning
_EVERYWHERE = {
    **dict.fromkeys(("00", "11", "85"), M.APPROVED),
    **dict.fromkeys(("", "06", "08", "09", "19", "28", "68", "90", "91", "95", "96", "98"), M.UNDECIDED),
    **dict.fromkeys(("03", "30", "31", "40", "58", "89", "92"), M.GATEWAY_REFUSED),
}
"""00 approved, 11 approved VIP, 85 no reason to decline. Undecided: switch or issuer out of order, in progress, too late; also
08 "approved, check identity", which nobody can do here: an approval nobody may use is reversed like an unknown one."""

AUTHORIZE: Mapping[str, Meaning] = MappingProxyType(
    {
        **_EVERYWHERE,
        "10": M.PARTIAL,
        **dict.fromkeys(("51", "52", "53"), M.INSUFFICIENT_FUNDS),
        **dict.fromkeys(("04", "07", "14", "15", "33", "34", "36", "41", "43", "54", "62", "78"), M.CARD_INVALID),
        **dict.fromkeys(("1A", "65", "70", "55", "38", "75"), M.AUTHENTICATION_WANTED),
        **dict.fromkeys(("13", "61", "64"), M.LIMIT_EXCEEDED),
        **dict.fromkeys(("12", "20", "76", "77", "94"), M.GATEWAY_REFUSED),
    }
)
"""The driver reads these. 65 is the count limit of no-CVM payments: the issuer wants the cardholder verified."""

INCREMENT: Mapping[str, Meaning] = MappingProxyType(
    {**AUTHORIZE, "94": M.DUPLICATE, "12": M.ALREADY_DONE, **dict.fromkeys(("25", "76", "77"), M.TOO_LATE)}
)
"""Raising a hold: 12 it was reversed or captured before, 25 the host does not have it."""

CAPTURE: Mapping[str, Meaning] = MappingProxyType(
    {
        **_EVERYWHERE,
        "94": M.DUPLICATE,
        **dict.fromkeys(("12", "21"), M.ALREADY_DONE),
        **dict.fromkeys(("25", "54", "76", "77", "78", "80"), M.TOO_LATE),
        **dict.fromkeys(("13", "51", "61"), M.LIMIT_EXCEEDED),
    }
)
"""Completion and refund. 12 reversed or captured before, 94 duplicate, 21 no action taken; 25/76 the host does not have it."""

VOID: Mapping[str, Meaning] = MappingProxyType(
    {
        **_EVERYWHERE,
        "10": M.APPROVED,
        **dict.fromkeys(("25", "76", "77", "80"), M.NOTHING_HELD),
        **dict.fromkeys(("12", "21", "94"), M.ALREADY_DONE),
        "13": M.GATEWAY_REFUSED,
    }
)


def decline(code: str) -> DeclineReason | None:
    """The issuer's refusal of an authorization in another gateway's answer; None if the code says no more than that."""
    found = AUTHORIZE.get(code, M.REFUSED)
    is_reason = found not in (M.APPROVED, M.PARTIAL, M.UNDECIDED, M.REFUSED)
    return found.reason if is_reason else None
