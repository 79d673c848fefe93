"""Which words a reason gets, on the screen and in the record of a hold that paid for nothing. PURE."""

from terminal_app.screens import DeclineWords
from terminal_app.session.facts import StopReason
from terminal_app.values import DeclineReason

DECLINE_WORDS = {
    DeclineReason.REFUSED: DeclineWords.REFUSED,
    DeclineReason.INSUFFICIENT_FUNDS: DeclineWords.INSUFFICIENT_FUNDS,
    DeclineReason.CARD_INVALID: DeclineWords.CARD_INVALID,
    DeclineReason.AUTHENTICATION_WANTED: DeclineWords.AUTHENTICATION_WANTED,
    DeclineReason.LIMIT_EXCEEDED: DeclineWords.LIMIT_EXCEEDED,
    DeclineReason.GATEWAY_REFUSED: DeclineWords.REFUSED,
    DeclineReason.UNREACHABLE: DeclineWords.BANK_UNREACHABLE,
    DeclineReason.TOO_LATE: DeclineWords.REFUSED,
    DeclineReason.ALREADY_DONE: DeclineWords.REFUSED,
}
CARD_WORDS = {
    "removed": DeclineWords.CARD_REMOVED,
    "not_supported": DeclineWords.CARD_NOT_SUPPORTED,
    "refused_by_card": DeclineWords.CARD_REFUSED,
    "several": DeclineWords.CARD_SEVERAL,
    "error": DeclineWords.CARD_ERROR,
}
NO_CHARGE = {
    StopReason.TOUCH: "cancelled by the driver",
    StopReason.SAME_CARD: "cancelled by the driver with the same card",
    StopReason.UNPLUGGED: "the car was unplugged",
    StopReason.HOLD_LIMIT: "the hold was too small",
    StopReason.CAR_FINISHED: "the car asked for no energy",
    StopReason.NOT_PLUGGED: "nobody plugged a car in",
    StopReason.FAULT: "a device failed",
    StopReason.POWER_CUT: "the terminal was restarted",
    StopReason.REMOTE: "released by order",
    StopReason.TEST_ENDED: "the test was ended",
}
