"""The ISO 8583-1:1987 acquirer host as a payment gateway: pre-authorization, completion, reversal, echo.

0100 pre-authorization with chip data (DE55), 0220/0221 completion, 0400/0401 reversal, 0800 echo; over TCP, TLS outside
demo mode. Follow-ups carry no card number: they name the original by RRN (DE37), auth code (DE38) and DE90, all of
which follow from the committed `Hold` alone, so that a reversal can be built after any crash.
"""

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from terminal_app import units
from terminal_app.config import Iso8583Section
from terminal_app.payments import message, response_codes
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent, Wire
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Declined, DeclineReason, EntryMode, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

_MAX_AMOUNT = 10**12 - 1


class AcquirerProfile(msgspec.Struct, frozen=True):
    """Where acquirers differ, in one place. The defaults are ISO 8583-1:1987 for an unattended pre-authorization."""

    processing_code: str = "000000"
    entry_contactless: str = "071"
    entry_contact: str = "051"
    condition_authorize: str = "00"
    condition_capture: str = "06"
    capture_mti: str = "0220"
    capture_repeat_mti: str = "0221"
    reversal_mti: str = "0400"
    reversal_repeat_mti: str = "0401"
    echo_code: str = "301"


class Iso8583Gateway:
    """ports.PaymentGateway. Moves money in authorize, capture and void; never raises for the network. Thread-safe."""

    capabilities = GatewayCapabilities(partial_approval=True)

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
        try:
            self._wire = Wire(
                section.host,
                section.port,
                tls=section.tls,
                connect_timeout_s=section.connect_timeout_s,
                ca_file=section.ca_file,
                client_cert=section.client_cert,
                client_key=section.client_key,
            )
        except (OSError, ssl.SSLError) as error:
            raise ValueError(f"gateway {name}: ca_file, client_cert or client_key cannot be used: {error}") from error

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        entry = self._profile.entry_contact if source.facts.entry is EntryMode.CHIP else self._profile.entry_contactless
        question = {
            **self._common("0100", hold.serial, hold.utc_ms, hold.amount_minor, hold.currency),
            "18": self._section.mcc,
            "22": entry,
            "23": f"{source.psn:03d}",
            "25": self._profile.condition_authorize,
            "37": retrieval_reference(hold),
            "55": source.emv.hex().upper(),
        }
        try:
            encoded = message.encode(question, source.track2)
        except ValueError:  # nothing was sent; the reason may not quote the card
            return Declined(DeclineReason.CARD_INVALID, "unusable card content")
        try:
            answer = self._exchange(question, encoded, "0110", deadline_s)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        return _authorized(hold, answer)

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        mti = self._profile.capture_mti if step.attempt <= 1 else self._profile.capture_repeat_mti
        question = {
            **self._common(mti, step.serial, step.utc_ms, step.amount_minor, hold.currency),
            **self._original(hold),
            "25": self._profile.condition_capture,
        }
        code = self._follow_up(question, "0230", deadline_s)
        if isinstance(code, OutcomeUnknown):
            return code
        done_before = code == "94" and step.attempt > 1  # duplicate transmission: it had done what we ask again
        if (code in response_codes.APPROVED and code != "10") or done_before:
            return Approved(step.amount_minor, {"rrn": question["37"], "stan": question["11"]})
        return _refused(code, response_codes.CAPTURE)

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        mti = self._profile.reversal_mti if step.attempt <= 1 else self._profile.reversal_repeat_mti
        held_minor = int(hold.trace.get("held_minor", hold.amount_minor))
        question = {
            **self._common(mti, step.serial, step.utc_ms, held_minor, hold.currency),
            **self._original(hold),
            "25": self._profile.condition_authorize,
        }
        code = self._follow_up(question, "0410", deadline_s)
        if isinstance(code, OutcomeUnknown):
            return code
        if code in response_codes.APPROVED:
            return Approved(held_minor, {"rrn": question["37"], "stan": question["11"]})
        if code in response_codes.NOTHING_HELD:  # the host does not know the original: perhaps not yet
            return Approved(held_minor, {"rrn": question["37"], "stan": question["11"], "original": "unknown"})
        return _refused(code, response_codes.VOID)

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Not offered (`capabilities.refund` is False): a refund at this host needs the card again. Nothing is sent."""
        return Declined(DeclineReason.GATEWAY_REFUSED, "refund not offered")

    def check(self, deadline_s: float) -> str:
        now_ms = time.time_ns() // 1_000_000
        question = {
            "t": "0800",
            "7": _utc(now_ms).strftime("%m%d%H%M%S"),
            "11": f"{now_ms % 1_000_000:06d}",
            "41": self._section.terminal_id,
            "70": self._profile.echo_code,
        }
        try:
            answer = self._exchange(question, message.encode(question), "0810", deadline_s)
        except (NotSent, NoAnswer) as error:
            return str(error)
        code = answer.get("39", "")
        return "" if code == "00" else f"the host answered the echo with code {code!r}"

    def close(self) -> None:
        """Nothing stays open between exchanges."""

    # --- messages ------------------------------------------------------------------------------------------------

    def _common(self, mti: str, serial: int, utc_ms: int, amount_minor: int, currency: str) -> dict[str, str]:
        if not 0 <= amount_minor <= _MAX_AMOUNT:
            raise ValueError(f"an amount of {amount_minor} minor units does not fit DE4")
        local = _utc(utc_ms).astimezone(self._local_time)
        return {
            "t": mti,
            "3": self._profile.processing_code,
            "4": f"{amount_minor:012d}",
            "7": _utc(utc_ms).strftime("%m%d%H%M%S"),
            "11": _stan(serial),
            "12": local.strftime("%H%M%S"),
            "13": local.strftime("%m%d"),
            "41": self._section.terminal_id,
            "42": self._section.merchant_id,
            "49": units.numeric_code(currency),
        }

    def _original(self, hold: Hold) -> dict[str, str]:
        """How a follow-up names its original: never by the card."""
        sent_at = _utc(hold.utc_ms).strftime("%m%d%H%M%S")
        named = {"37": hold.trace.get("rrn") or retrieval_reference(hold), "90": f"0100{_stan(hold.serial)}{sent_at}{'0' * 22}"}
        if code := hold.trace.get("auth_code"):
            named["38"] = code
        return named

    def _follow_up(self, question: dict[str, str], expected: str, deadline_s: float) -> str | OutcomeUnknown:
        try:
            answer = self._exchange(question, message.encode(question), expected, deadline_s)
        except (NotSent, NoAnswer) as error:
            return OutcomeUnknown(str(error))
        code = answer.get("39", "")
        if not code or code in response_codes.UNDECIDED:
            return OutcomeUnknown(f"the host did not decide (code {code!r})")
        return code

    def _exchange(self, question: dict[str, str], encoded: bytearray, expected: str, deadline_s: float) -> dict[str, str]:
        """Send and wipe `encoded`; the answer that echoes MTI, STAN, time, RRN and terminal. NotSent, NoAnswer."""
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


def _authorized(hold: Hold, answer: Mapping[str, str]) -> Outcome:
    code = answer.get("39", "")
    if not code or code in response_codes.UNDECIDED:
        return OutcomeUnknown(f"the host did not decide (code {code!r})")
    if code not in response_codes.APPROVED:
        return _refused(code, response_codes.AUTHORIZE)
    amount_text = answer.get("4", "" if code == "10" else str(hold.amount_minor))
    if not (amount_text.isascii() and amount_text.isdigit()) or not 0 < int(amount_text) <= hold.amount_minor:
        return OutcomeUnknown("approved, but for an amount that cannot be")
    trace = {
        "rrn": answer.get("37", retrieval_reference(hold)),
        "stan": _stan(hold.serial),
        "auth_code": answer.get("38", ""),
        "held_minor": str(int(amount_text)),
    }
    return Approved(int(amount_text), trace)


def _refused(code: str, table: Mapping[str, DeclineReason]) -> Declined:
    return Declined(table.get(code, DeclineReason.REFUSED), code)


def _stan(serial: int) -> str:
    return f"{serial % 1_000_000:06d}"


def _utc(utc_ms: int) -> datetime:
    """Exact: integer arithmetic, no float on the way."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=utc_ms)
