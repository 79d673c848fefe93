"""CyberSource / Visa Acceptance REST as a payment gateway (tap): authorization with raw EMV data, increment, capture, refund.

developer.cybersource.com, /pts/v2. Follow-ups carry no card number: they name the payment by the service's id; a hold of
unknown outcome is reversed by our own transactionId, a minute after it was asked for at the earliest. A capture uses the
authorization up, so a repeated one cannot take money twice (multiple partial captures must be off for the merchant account);
what a lost answer had done is read from the search service, which is minutes late: until then the outcome stays unknown.
"""

import base64
import binascii
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import msgspec

from terminal_app import units
from terminal_app.config import CyberSourceSection
from terminal_app.http_client import HttpAnswer
from terminal_app.payments import cybersource_answers as answers
from terminal_app.payments import cybersource_wire as wire
from terminal_app.payments import rest
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, EntryMode, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

REVERSAL_AFTER_MS = 60_000
"""A timeout reversal that comes earlier may find nothing yet and leave a hold behind (payments.md section 2.3)."""
AGAIN_AFTER_MS = 3_600_000
"""Refunds and increments are not single-use: one is only repeated when the search service had an hour to show the first, and
does not."""
FIRST_WITHIN_MS = 10_000
"""An intent older than this may have been sent before a restart: its first attempt counts as a repeat."""
_MAX_RELATED = 8
_NOWHERE = "0" * 22


class _Refusal(Exception):
    """A genuine 4xx: the request had no effect. `code` is the service's reason, or http_NNN."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"refused with {status} ({code})")
        self.status, self.code = status, code


class CyberSourceGateway:
    """ports.PaymentGateway, Increment. Moves money in all but `check`; never raises for the network. Thread-safe.

    `trace` of an approval: id, held_minor, auth_code, rrn; of an increment: held_minor, the new sum; of a capture: capture.
    """

    def __init__(
        self,
        name: str,
        section: CyberSourceSection,
        demo: bool,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """Connects to nothing. Raises ValueError for an unusable address, CA file or secret file."""
        self.name = name
        self._section, self._now_ms = section, now_ms
        self.capabilities = GatewayCapabilities(partial_approval=True, increment=section.increments, refund=True)
        self._host, self._base = urlsplit(section.url).netloc, urlsplit(section.url).path.rstrip("/")
        self._file = rest.Secret(section.shared_secret_file, "shared_secret_file")
        self._secret()
        self._rest = rest.Rest(section.url, demo=demo, ca_file=section.ca_file)

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        try:
            body = wire.body_with_track(self._authorization(hold, source), source.track2)
        except ValueError:  # nothing was sent; the reason may not quote the card
            return Declined(DeclineReason.CARD_INVALID, "unusable card content")
        try:
            done = self._send("/pts/v2/payments", body, time.monotonic() + deadline_s)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            if refusal.code in answers.UNDECIDED:
                return OutcomeUnknown(str(refusal))
            return Declined(answers.AUTHORIZE.get(refusal.code, DeclineReason.GATEWAY_REFUSED), refusal.code)
        finally:
            wire.wipe(body)
        return answers.authorized(hold, done)

    def increment(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Only where the contract has it; else nothing is sent."""
        payment = hold.trace.get("id")
        if not (self.capabilities.increment and payment):
            return Declined(DeclineReason.GATEWAY_REFUSED, "increment not offered")
        held_minor = int(hold.trace.get("held_minor", hold.amount_minor))
        more = str(units.major(step.amount_minor, hold.currency))
        asked = {
            **_reference(step.key),
            "processingInformation": {"authorizationOptions": {"initiator": {"storedCredentialUsed": True}}},
            "orderInformation": {"amountDetails": {"additionalAmount": more, "currency": hold.currency}},
        }
        raised = Approved(step.amount_minor, {"held_minor": str(held_minor + step.amount_minor)})

        def act(end: float) -> Outcome:
            if self._may_be_done(step):
                if self._related(payment, "", step.key, end):
                    return raised
                if not self._surely_undone(step):
                    return OutcomeUnknown("whether the first request raised the hold is not known yet")
            done = self._send(f"/pts/v2/payments/{rest.segment(payment)}", _json(asked), end, method="PATCH")
            if done.client_reference_information.code != step.key:
                return OutcomeUnknown("an answer to somebody else's question")
            reason, code = done.error_information.reason, done.processor_information.response_code
            if done.status == "DECLINED" and reason not in answers.UNDECIDED:
                return Declined(answers.decline(reason, code), rest.code_of(reason) or rest.code_of(code) or done.status)
            told = done.order_information.amount_details
            sums = (None, step.amount_minor, held_minor + step.amount_minor)  # the vendor says neither which nor that it is told
            if done.status != "AUTHORIZED" or answers.minor(told.authorized_amount, told.currency, hold.currency) not in sums:
                return OutcomeUnknown(f"an answer that cannot be (status {rest.code_of(done.status)!r})")
            return raised

        return self._settled(act, deadline_s)

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        if not (payment := hold.trace.get("id")):
            return OutcomeUnknown("the hold has no payment id: it can only be released")
        asked = {**_reference(step.key), "orderInformation": _amount(step.amount_minor, hold.currency)}

        def act(end: float) -> Outcome:
            if step.attempt > 1 and (found := self._related(payment, "ics_bill", step.key, end)):
                return answers.captured(hold, step, found.id, found.order_information.amount_details)
            try:
                done = self._send(f"/pts/v2/payments/{rest.segment(payment)}/captures", _json(asked), end)
            except _Refusal as refusal:
                if refusal.code not in answers.AMBIGUOUS:
                    raise
                return self._used_up(hold, step, payment, refusal, end)
            if done.status not in ("PENDING", "TRANSMITTED") or done.client_reference_information.code != step.key:
                return OutcomeUnknown(f"an answer that cannot be (status {rest.code_of(done.status)!r})")
            return answers.captured(hold, step, done.id, done.order_information.amount_details)

        return self._settled(act, deadline_s)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        held_minor = int(hold.trace.get("held_minor", hold.amount_minor))
        asked: dict[str, Any] = {**_reference(hold.key), "reversalInformation": _amount(held_minor, hold.currency)}
        payment = hold.trace.get("id", "")
        if not payment and self._now_ms() < hold.utc_ms + REVERSAL_AFTER_MS:
            return OutcomeUnknown("a hold of unknown outcome is reversed a minute after it was asked for")
        path = f"/pts/v2/payments/{rest.segment(payment)}/reversals" if payment else "/pts/v2/reversals"

        def act(end: float) -> Outcome:
            try:
                done = self._send(path, _json(asked), end)
            except _Refusal as refusal:
                if refusal.code == "AUTH_ALREADY_REVERSED":
                    return Approved(held_minor, {})
                if not payment and (refusal.status == 404 or refusal.code in answers.NOTHING_HELD):
                    return Approved(held_minor, {})
                if refusal.code not in answers.AMBIGUOUS:
                    raise
                if self._related(payment, "ics_auth_reversal", "", end):
                    return Approved(held_minor, {})
                if self._related(payment, "ics_bill", "", end):
                    return Declined(DeclineReason.ALREADY_DONE, refusal.code)
                return OutcomeUnknown(f"{refusal}; what ended the hold is not known yet")
            if done.status != "REVERSED" or done.client_reference_information.code != hold.key:
                return OutcomeUnknown(f"an answer that cannot be (status {rest.code_of(done.status)!r})")
            return Approved(held_minor, {"reversal": rest.code_of(done.id)})

        return self._settled(act, deadline_s)

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        asked = {**_reference(step.key), "orderInformation": _amount(step.amount_minor, hold.currency)}

        def act(end: float) -> Outcome:
            capture = hold.trace.get("capture")
            if capture is None:
                found = self._related(hold.trace["id"], "ics_bill", "", end) if "id" in hold.trace else None
                if found is None:
                    return Declined(DeclineReason.TOO_LATE, "no_capture")
                capture = found.id
            if self._may_be_done(step):
                if found := self._related(capture, "ics_credit", step.key, end):
                    return Approved(step.amount_minor, {"refund": rest.code_of(found.id)})
                if not self._surely_undone(step):
                    return OutcomeUnknown("whether the first request refunded is not known yet")
            done = self._send(f"/pts/v2/captures/{rest.segment(capture)}/refunds", _json(asked), end)
            if done.client_reference_information.code != step.key:
                return OutcomeUnknown("an answer to somebody else's question")
            if done.status in ("DECLINED", "INVALID_REQUEST"):
                return Declined(DeclineReason.REFUSED, rest.code_of(done.error_information.reason) or done.status)
            if done.status != "PENDING":
                return OutcomeUnknown(f"an answer that cannot be (status {rest.code_of(done.status)!r})")
            return Approved(step.amount_minor, {"refund": rest.code_of(done.id)})

        return self._settled(act, deadline_s)

    def check(self, deadline_s: float) -> str:
        """Looks for a payment that does not exist: that it is looked for proves key, secret and clock."""
        try:
            answer = self._ask("GET", f"/tss/v2/transactions/{_NOWHERE}", b"", time.monotonic() + deadline_s)
            if answer.status in (200, 404):
                rest.read(answer, dict[str, Any])
        except (NotSent, NoAnswer) as error:
            return str(error)
        if answer.status in (401, 403):
            return f"key_id, shared_secret_file, merchant_id or the clock is wrong (answered {answer.status})"
        return "" if answer.status in (200, 404) else f"answered {answer.status}"

    def close(self) -> None:
        self._rest.close()

    # --- messages ------------------------------------------------------------------------------------------------

    def _authorization(self, hold: Hold, source: PaymentCard) -> dict[str, Any]:
        """Everything but the track data. ValueError for unusable chip data."""
        chip = source.facts.entry is EntryMode.CHIP
        return {
            **_reference(hold.key),
            "processingInformation": {
                "commerceIndicator": "retail",
                "capture": False,
                "authorizationOptions": {"partialAuthIndicator": True},
            },
            "orderInformation": _amount(hold.amount_minor, hold.currency),
            "pointOfSaleInformation": {
                "terminalId": self._section.terminal_id,
                "catLevel": 2,  # self-service terminal
                "entryMode": "contact" if chip else "contactless",
                "terminalCapability": 4 if chip else 5,
                "emv": {"tags": wire.emv_tags(source.emv), "cardSequenceNumber": f"{source.psn:03d}"},
            },
        }

    def _used_up(self, hold: Hold, step: MoneyStep, payment: str, refusal: _Refusal, end: float) -> Outcome:
        """The authorization is gone: by our own lost capture, or by a reversal?"""
        if found := self._related(payment, "ics_bill", step.key, end):
            return answers.captured(hold, step, found.id, found.order_information.amount_details)
        if self._related(payment, "ics_auth_reversal", "", end):
            return Declined(DeclineReason.ALREADY_DONE, refusal.code)
        return OutcomeUnknown(f"{refusal}; what used the hold up is not known yet")

    def _related(self, payment: str, application: str, code: str, end: float) -> answers.Detail | None:
        """A successful follow-up of a payment ("" = of any kind), by our own code ("" = any). None: not shown (yet).

        NotSent, NoAnswer.
        """
        one = self._detail(payment, end)
        for link in one.links.related_transactions[:_MAX_RELATED] if one else ():
            found = self._detail(urlsplit(link.href).path.rpartition("/")[2], end)
            if found and found.did(application) and code in ("", found.client_reference_information.code):
                return found
        return None

    def _detail(self, reference: str, end: float) -> answers.Detail | None:
        answer = self._ask("GET", f"/tss/v2/transactions/{rest.segment(reference)}", b"", end)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise NoAnswer(f"the search service answered {answer.status}")
        found = rest.read(answer, answers.Detail)
        if found.id != reference:
            raise NoAnswer("an answer to somebody else's question")
        return found

    def _may_be_done(self, step: MoneyStep) -> bool:
        return step.attempt > 1 or not 0 <= self._now_ms() - step.utc_ms < FIRST_WITHIN_MS

    def _surely_undone(self, step: MoneyStep) -> bool:
        """The search service does not show it, and had the time to."""
        return self._now_ms() >= step.utc_ms + AGAIN_AFTER_MS

    def _settled(self, act: Callable[[float], Outcome], deadline_s: float) -> Outcome:
        try:
            return act(time.monotonic() + deadline_s)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        except _Refusal as refusal:
            if refusal.status in (401, 403) or refusal.code in answers.UNDECIDED:  # says nothing about the money
                return OutcomeUnknown(str(refusal))
            return Declined(answers.FOLLOW_UP.get(refusal.code, DeclineReason.GATEWAY_REFUSED), refusal.code)

    def _send(self, path: str, body: bytearray, end: float, method: str = "POST") -> answers.Done:
        """A 201, or NotSent, NoAnswer, _Refusal."""
        answer = self._ask(method, path, body, end)
        if answer.status == 201:
            return rest.read(answer, answers.Done)
        if answer.status == 400:
            raise _Refusal(400, rest.code_of(rest.read(answer, answers.Invalid).reason) or "http_400")
        if answer.status == 404:  # only the service's own says that the object is not there
            raise _Refusal(404, rest.code_of(rest.read(answer, answers.Missing).status) or "http_404")
        if answer.status in (401, 403):
            raise _Refusal(answer.status, f"http_{answer.status}")
        raise NoAnswer(f"answered {answer.status}: nothing was decided")

    def _ask(self, method: str, path: str, body: bytes | bytearray, end: float) -> HttpAnswer:
        try:
            secret = self._secret()
        except ValueError as error:
            raise NotSent(str(error)) from None
        date = formatdate(self._now_ms() // 1000, usegmt=True)
        headers = wire.sign(
            self._section.key_id,
            secret,
            merchant=self._section.merchant_id,
            host=self._host,
            date=date,
            method=method,
            target=self._base + path,
            body=body,
        )
        headers["Content-Type"] = "application/json"
        return self._rest.call(method, path, end, headers=headers, body=bytes(body))

    def _secret(self) -> bytes:
        try:
            return base64.b64decode(self._file.text(), validate=True)
        except binascii.Error:
            raise ValueError(f"shared_secret_file {self._section.shared_secret_file} does not hold base64") from None


def _reference(key: str) -> dict[str, Any]:
    return {"clientReferenceInformation": {"code": key, "transactionId": key}}


def _amount(amount_minor: int, currency: str) -> dict[str, Any]:
    return {"amountDetails": {"totalAmount": str(units.major(amount_minor, currency)), "currency": currency}}


def _json(question: dict[str, Any]) -> bytearray:
    return bytearray(msgspec.json.encode(question))
