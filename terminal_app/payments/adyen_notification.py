"""Adyen's notifications: HMAC check, and what an event means for a hold or a step of ours.

docs.adyen.com/development-resources/webhooks/verify-hmac-signatures: base64(HMAC-SHA256(key, psp:original:merchant account:
merchant reference:value:currency:event:success)). Only these eight fields are protected, so only they decide; `reason` is
shown to technicians and chooses words, never an outcome. No network.
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Any

import msgspec

from terminal_app.errors import SignatureInvalid
from terminal_app.payments import rest
from terminal_app.ports import Confirmation
from terminal_app.values import Approved, Declined, DeclineReason, Outcome

MAX_NOTIFICATION = 64 * 1024
_OPERATION = {
    "AUTHORISATION": "authorize",
    "CAPTURE": "capture",
    "CAPTURE_FAILED": "capture",
    "CANCELLATION": "void",
    "TECHNICAL_CANCEL": "void",  # the answer to a cancel by our own reference
    "CANCEL_OR_REFUND": "void",
    "REFUND": "refund",
    "REFUND_FAILED": "refund",
    "REFUNDED_REVERSED": "refund",
}
_AFTERWARDS_FAILED = frozenset({"CAPTURE_FAILED", "REFUND_FAILED", "REFUNDED_REVERSED"})
_REFUSED = {"capture": DeclineReason.TOO_LATE, "void": DeclineReason.ALREADY_DONE, "refund": DeclineReason.REFUSED}


class Amount(msgspec.Struct, frozen=True):
    value: int
    currency: str


class Additional(msgspec.Struct, frozen=True):
    hmacSignature: str = ""


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """NotificationRequestItem; `success` is a text at Adyen."""

    psp_reference: str
    merchant_account_code: str
    merchant_reference: str
    amount: Amount
    event_code: str
    success: str
    additional_data: Additional
    original_reference: str = ""
    reason: str = ""


class Wrapped(msgspec.Struct, frozen=True):
    NotificationRequestItem: Item


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    notification_items: list[Wrapped]


class NotificationKey:
    """The HMAC key of one merchant account, read from its file at each use."""

    def __init__(self, file: Path, merchant_account: str) -> None:
        """Raises ValueError if the file holds no hexadecimal key of 32 bytes."""
        self._secret, self._merchant_account = rest.Secret(file, "hmac_key_file"), merchant_account
        self._key()

    def confirm(self, notification: bytes | dict[str, Any]) -> Confirmation:
        """One notification as it came (bytes) or decoded: an envelope with exactly one item, or the item. SignatureInvalid."""
        item = _item(notification)
        fields = (
            item.psp_reference,
            item.original_reference,
            item.merchant_account_code,
            item.merchant_reference,
            str(item.amount.value),
            item.amount.currency,
            item.event_code,
            item.success,
        )
        if any(":" in one for one in fields):  # could be read as another list of fields with the same signature
            raise SignatureInvalid("adyen notification: a protected field holds a colon")
        try:
            key = self._key()
        except ValueError as error:
            raise SignatureInvalid(f"adyen notification: {error}") from None
        expected = base64.b64encode(hmac.digest(key, ":".join(fields).encode(), hashlib.sha256))
        if not hmac.compare_digest(expected, item.additional_data.hmacSignature.encode()):
            raise SignatureInvalid(f"adyen notification {rest.code_of(item.psp_reference)}: the HMAC does not verify")
        if item.merchant_account_code != self._merchant_account:
            raise SignatureInvalid("adyen notification: it belongs to another merchant account")
        return _meaning(item)

    def _key(self) -> bytes:
        try:
            key = binascii.unhexlify(self._secret.text())
        except binascii.Error:
            key = b""
        if len(key) != 32:
            raise ValueError("hmac_key_file must hold the 64 hexadecimal digits of the HMAC key")
        return key


def _item(notification: bytes | dict[str, Any]) -> Item:
    size = len(notification) if isinstance(notification, bytes) else 0
    if size > MAX_NOTIFICATION:
        raise SignatureInvalid(f"adyen notification: {size} bytes are too many")
    try:
        raw = msgspec.json.decode(notification) if isinstance(notification, bytes) else notification
        if not (isinstance(raw, dict) and "notificationItems" in raw):
            return msgspec.convert(raw, Item)
        items = msgspec.convert(raw, Envelope).notification_items
    except (msgspec.MsgspecError, RecursionError, ValueError):
        raise SignatureInvalid("adyen notification: not of the form of a notification") from None
    if len(items) != 1:
        raise SignatureInvalid(f"adyen notification: {len(items)} items in one envelope")
    return items[0].NotificationRequestItem


def _meaning(item: Item) -> Confirmation:
    operation = _OPERATION.get(item.event_code, "")
    payment = item.original_reference or item.psp_reference
    outcome = _outcome(item, operation, payment)
    return Confirmation(item.merchant_reference, operation, payment, item.event_code, item.amount.currency, outcome)


def _outcome(item: Item, operation: str, payment: str) -> Outcome | None:
    if not operation:
        return None
    if item.event_code in _AFTERWARDS_FAILED:
        return Declined(DeclineReason.REFUSED, item.event_code)
    if item.success == "true":
        trace = {"payment": payment, "confirmed_by": item.psp_reference}
        if operation == "authorize":
            trace = {"payment": payment, "held_minor": str(item.amount.value)}
        return Approved(item.amount.value, trace)
    if operation == "authorize" or item.success != "false":  # the page stays open to another card
        return None
    return Declined(_REFUSED[operation], rest.code_of(item.reason.replace(" ", "_")[:64]) or item.event_code)
