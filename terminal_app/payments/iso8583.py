"""The ISO 8583-1:1987 acquirer host as a payment gateway: pre-authorization, completion, reversal, echo.

0100 pre-authorization with chip data (DE55), 0220/0221 completion, 0400/0401 reversal, 0800 echo, and where the acquirer's
profile offers them incremental authorization and refund; over TCP, TLS outside demo mode. Follow-ups carry no card number:
they name the original by RRN (DE37), auth code (DE38) and DE90, all of which follow from the committed `Hold` alone, so that a
reversal can be built after any crash. A host has no look-up and no keys that lapse: a repeat, however late, carries the same
STAN, RRN and original, and is known by them or refused by the state of the original (94, 12).
"""

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from terminal_app import units
from terminal_app.config import Iso8583Section
from terminal_app.payments import message
from terminal_app.payments.acquirer_profile import AcquirerProfile, answer_mti
from terminal_app.payments.response_codes import Meaning
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent, Wire
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, EntryMode, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

_MAX_AMOUNT = 10**12 - 1


class Iso8583Gateway:
    """ports.PaymentGateway, Increment. Moves money in all but `check`; never raises for the network. Thread-safe.

    `trace` of an approval: rrn, stan, auth_code, held_minor; of an increment: held_minor, the new sum.
    """

    def __init__(
        self,
        name: str,
        section: Iso8583Section,
        demo: bool,
        *,
        profile: AcquirerProfile | None = None,
        local_time: tzinfo = UTC,
    ) -> None:
        """`local_time` dates DE12/DE13. Raises ValueError for plain TCP outside demo or unusable certificate files."""
        if not section.tls and not demo:
            raise ValueError(f"gateway {name}: tls must be true outside demo mode")
        self.name = name
        self._section, self._profile, self._local_time = section, profile or AcquirerProfile(), local_time
        offers = {"increment": self._profile.increment.offered, "refund": self._profile.refund.offered}
        self.capabilities = GatewayCapabilities(partial_approval=True, **offers)
        try:
            self._wire = Wire(
                section.host,
                section.port,
                tls=section.tls,
                connect_timeout_s=section.connect_timeout_s,
                ca_file=section.ca_file,
                client_cert=section.client_cert,
                client_key=section.client_key,
                length_in_bcd=self._profile.length_header == "bcd",
            )
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"gateway {name}: ca_file, client_cert or client_key cannot be used: {error}") from error

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        part = self._profile.authorize
        question = {
            **self._common(part.mti, part.processing_code, hold.serial, hold.utc_ms, hold.amount_minor, hold.currency),
            **part.fields,
            "18": self._section.mcc,
            "22": part.entry_contact if source.facts.entry is EntryMode.CHIP else part.entry_contactless,
            "23": f"{source.psn:03d}",
            "25": part.condition_code,
            "37": retrieval_reference(hold),
            "55": source.emv.hex().upper(),
        }
        try:
            encoded = message.encode(question, source.track2)
        except ValueError:  # nothing was sent; the reason may not quote the card
            return Declined(DeclineReason.CARD_INVALID, "unusable card content")
        try:
            answer = self._exchange(question, encoded, deadline_s)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        code = answer.get("39", "")
        meaning = self._profile.meanings("authorize").get(code, Meaning.REFUSED)
        amount_minor = _given(meaning, code, answer, hold.amount_minor)
        if not isinstance(amount_minor, int):
            return amount_minor
        trace = {
            "rrn": answer.get("37", question["37"]),
            "stan": question["11"],
            "auth_code": answer.get("38", ""),
            "held_minor": str(amount_minor),
        }
        return Approved(amount_minor, trace)

    def increment(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        part = self._profile.increment
        if not part.offered:
            return Declined(DeclineReason.GATEWAY_REFUSED, "increment not offered")
        question = self._follow_up(part.mti_of(step.attempt), part.processing_code, hold, step, step.amount_minor)
        question |= {**part.fields, "25": part.condition_code}
        try:
            answer = self._exchange(question, message.encode(question), deadline_s)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        code = answer.get("39", "")
        meaning = self._profile.meanings("increment").get(code, Meaning.REFUSED)
        if meaning is Meaning.DUPLICATE and step.attempt > 1:
            meaning = Meaning.APPROVED
        added_minor = _given(meaning, code, answer, step.amount_minor)
        if not isinstance(added_minor, int):
            return added_minor
        return Approved(added_minor, {"held_minor": str(_held_minor(hold) + added_minor)})

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        part = self._profile.capture
        question = self._follow_up(part.mti_of(step.attempt), part.processing_code, hold, step, step.amount_minor)
        question |= {**part.fields, "25": part.condition_code}
        return self._settled("capture", question, step, deadline_s)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """For all that is held, raised or approved in part, whatever `step.amount_minor` says."""
        part = self._profile.reversal
        question = self._follow_up(part.mti_of(step.attempt), part.processing_code, hold, step, _held_minor(hold))
        question |= {**part.fields, "25": part.condition_code}
        return self._settled("reversal", question, step, deadline_s)

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Only where the profile offers it; else nothing is sent."""
        part = self._profile.refund
        if not part.offered:
            return Declined(DeclineReason.GATEWAY_REFUSED, "refund not offered")
        question = self._follow_up(part.mti_of(step.attempt), part.processing_code, hold, step, step.amount_minor)
        question |= {**part.fields, "25": part.condition_code}
        return self._settled("refund", question, step, deadline_s)

    def check(self, deadline_s: float) -> str:
        now_ms = time.time_ns() // 1_000_000
        question = {
            "t": "0800",
            "7": _utc(now_ms).strftime("%m%d%H%M%S"),
            "11": f"{now_ms % 1_000_000:06d}",
            "41": self._section.terminal_id,
            "70": self._profile.echo.code,
        }
        try:
            answer = self._exchange(question, message.encode(question), deadline_s)
        except (NotSent, NoAnswer) as error:
            return str(error)
        code = answer.get("39", "")
        return "" if code == "00" else f"the host answered the echo with code {code!r}"

    def close(self) -> None:
        """Nothing stays open between exchanges."""

    # --- messages ------------------------------------------------------------------------------------------------

    def _common(self, mti: str, processing_code: str, serial: int, utc_ms: int, amount_minor: int, currency: str) -> dict[str, str]:
        if not 0 <= amount_minor <= _MAX_AMOUNT:
            raise ValueError(f"an amount of {amount_minor} minor units does not fit DE4")
        local = _utc(utc_ms).astimezone(self._local_time)
        return {
            "t": mti,
            "3": processing_code,
            "4": f"{amount_minor:012d}",
            "7": _utc(utc_ms).strftime("%m%d%H%M%S"),
            "11": _stan(serial),
            "12": local.strftime("%H%M%S"),
            "13": local.strftime("%m%d"),
            "41": self._section.terminal_id,
            "42": self._section.merchant_id,
            "49": units.numeric_code(currency),
        }

    def _follow_up(self, mti: str, processing_code: str, hold: Hold, step: MoneyStep, amount_minor: int) -> dict[str, str]:
        """A message about a hold. It names its original, never the card."""
        sent_at = _utc(hold.utc_ms).strftime("%m%d%H%M%S")
        original = f"{self._profile.authorize.mti}{_stan(hold.serial)}{sent_at}{'0' * 22}"
        question = {
            **self._common(mti, processing_code, step.serial, step.utc_ms, amount_minor, hold.currency),
            "37": hold.trace.get("rrn") or retrieval_reference(hold),
            "90": original,
        }
        if code := hold.trace.get("auth_code"):
            question["38"] = code
        return question

    def _settled(self, operation: str, question: dict[str, str], step: MoneyStep, deadline_s: float) -> Outcome:
        """A follow-up that takes effect for its whole amount or not at all."""
        try:
            answer = self._exchange(question, message.encode(question), deadline_s)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        code, trace = answer.get("39", ""), {"rrn": question["37"], "stan": question["11"]}
        match self._profile.meanings(operation).get(code, Meaning.REFUSED):
            case Meaning.APPROVED:
                return Approved(int(question["4"]), trace)
            case Meaning.DUPLICATE if step.attempt > 1:  # our own earlier try had done it
                return Approved(int(question["4"]), trace)
            case Meaning.NOTHING_HELD:  # the host does not know the original: perhaps not yet
                return Approved(int(question["4"]), {**trace, "original": "unknown"})
            case Meaning.UNDECIDED | Meaning.PARTIAL:
                return _undecided(code)
            case meaning:
                return Declined(meaning.reason, code)

    def _exchange(self, question: dict[str, str], encoded: bytearray, deadline_s: float) -> dict[str, str]:
        """Send and wipe `encoded`; the answer that echoes MTI, STAN, time, RRN and terminal. NotSent, NoAnswer."""
        expected = answer_mti(question["t"])
        must_echo = {name: question[name] for name in ("7", "11", "37", "41", "49") if name in question}
        found: dict[str, str] = {}

        def is_ours(raw: bytes) -> bool:
            fields = message.decode(raw)
            if fields["t"] != expected or fields.get("11") != question["11"]:
                return False
            if any(fields.get(name, value) != value for name, value in must_echo.items()):
                return False
            found.update(fields)
            return True

        try:
            self._wire.exchange(encoded, is_ours, deadline_s)
        finally:
            message.wipe(encoded)
        return found


def retrieval_reference(hold: Hold) -> str:
    """DE37 of a hold: last digit of the year, day of the year, hour (UTC), STAN. The same after any restart."""
    return _utc(hold.utc_ms).strftime("%Y%j%H")[3:] + _stan(hold.serial)


def _given(meaning: Meaning, code: str, answer: Mapping[str, str], asked_minor: int) -> int | Declined | OutcomeUnknown:
    """How much of what was asked for the host gave: DE4 of the answer, above 0 and never more than asked."""
    if meaning is Meaning.UNDECIDED:
        return _undecided(code)
    if meaning not in (Meaning.APPROVED, Meaning.PARTIAL):
        return Declined(meaning.reason, code)
    amount_text = answer.get("4", "" if meaning is Meaning.PARTIAL else str(asked_minor))
    if not (amount_text.isascii() and amount_text.isdigit()) or not 0 < int(amount_text) <= asked_minor:
        return OutcomeUnknown("approved, but for an amount that cannot be")
    return int(amount_text)


def _undecided(code: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"the host did not decide (code {code!r})")


def _held_minor(hold: Hold) -> int:
    return int(hold.trace.get("held_minor", hold.amount_minor))


def _stan(serial: int) -> str:
    return f"{serial % 1_000_000:06d}"


def _utc(utc_ms: int) -> datetime:
    """Exact: integer arithmetic, no float on the way."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
