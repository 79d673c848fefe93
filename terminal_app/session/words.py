"""Which words on the screen a reason gets. PURE."""

from terminal_app.screens import DeclineWords
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
