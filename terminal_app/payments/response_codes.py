"""ISO 8583 response codes (DE39) as outcomes. One table per operation; what no table names is a plain refusal.

Source: ISO 8583-1:1987 annex A, and the codes acquirers added to it (1A, 65 for strong authentication; 10 partial).
Codes that say "nobody decided" (91, 96, 68, 09, 06) are an unknown outcome: the follow-up then settles it.
"""

from types import MappingProxyType

from terminal_app.values import DeclineReason as Why

APPROVED = frozenset({"00", "10", "11", "85"})
"""00 approved, 10 approved for less (the amount is in DE4), 11 approved VIP, 85 no reason to decline."""

UNDECIDED = frozenset({"06", "08", "09", "19", "28", "68", "90", "91", "95", "96", "98"})
"""Switch or issuer out of order, in progress, too late; also 08 "approved, check identity", which nobody can do here:
an approval nobody may use is reversed like an unknown one."""

AUTHORIZE = MappingProxyType(
    {
        **dict.fromkeys(("51", "52", "53"), Why.INSUFFICIENT_FUNDS),
        **dict.fromkeys(("04", "07", "14", "15", "33", "34", "36", "41", "43", "54", "62", "78"), Why.CARD_INVALID),
        **dict.fromkeys(("1A", "65", "70", "55", "38", "75"), Why.AUTHENTICATION_WANTED),
        **dict.fromkeys(("13", "61", "64"), Why.LIMIT_EXCEEDED),
        **dict.fromkeys(("03", "12", "20", "30", "31", "40", "58", "76", "77", "89", "92", "94"), Why.GATEWAY_REFUSED),
    }
)
"""The driver reads these. 65 is the count limit of no-CVM payments: the issuer wants the cardholder verified."""

CAPTURE = MappingProxyType(
    {
        **dict.fromkeys(("12", "21", "94"), Why.ALREADY_DONE),
        **dict.fromkeys(("25", "54", "76", "77", "78", "80"), Why.TOO_LATE),
        **dict.fromkeys(("13", "51", "61"), Why.LIMIT_EXCEEDED),
        **dict.fromkeys(("03", "30", "31", "40", "58", "89", "92"), Why.GATEWAY_REFUSED),
    }
)
"""Completion. 12 reversed or captured before, 94 duplicate, 21 no action taken; 25/76 the host does not have the hold."""

VOID = MappingProxyType(
    {
        **dict.fromkeys(("12", "21", "94"), Why.ALREADY_DONE),
        **dict.fromkeys(("03", "13", "30", "31", "40", "58", "89", "92"), Why.GATEWAY_REFUSED),
    }
)

NOTHING_HELD = frozenset({"25", "76", "77", "80"})
"""Answers to a reversal that say the original is not known: nothing is held, so the release is done."""
