"""Where acquirers differ: one TOML file per acquirer, `profile` of `[gateway.NAME]`. What it leaves out is ISO 8583-1:1987
for an unattended pre-authorization; `profiles/iso8583-1987.toml` says all of it, with comments.

Unknown keys, impossible values and fields that would carry a card stop the start: `file: [section] key: reason`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from terminal_app.config import decode
from terminal_app.errors import ConfigError
from terminal_app.payments import message, response_codes
from terminal_app.payments.response_codes import Meaning

Mti = Annotated[str, Meta(pattern=r"^[0-2][1-4][024][01]$")]  # a request or advice, perhaps repeated: it has an answer
Digits2 = Annotated[str, Meta(pattern=r"^\d{2}$")]
Digits3 = Annotated[str, Meta(pattern=r"^\d{3}$")]
Digits6 = Annotated[str, Meta(pattern=r"^\d{6}$")]
Code = Annotated[str, Meta(pattern=r"^[0-9A-Z]{2}$")]
Field = Annotated[str, Meta(pattern=r"^[ -~]{1,255}$")]
OWN_FIELDS = frozenset({1, 3, 4, 7, 11, 12, 13, 18, 22, 23, 25, 37, 38, 39, 41, 42, 49, 55, 70, 90})
CARD_FIELDS = frozenset({2, 14, 34, 35, 36, 45, 52, 53, 102, 103})


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`fields`: constant data elements the acquirer wants besides, by number ("60" = "..."), e.g. a pre-authorization mark."""

    fields: dict[str, Field] = {}

    def __post_init__(self) -> None:
        for name in self.fields:
            number = int(name) if name.isascii() and name.isdigit() else 0
            if number in CARD_FIELDS:
                raise ValueError(f"fields: DE{number} would carry card data")
            if number in OWN_FIELDS or not 2 <= number <= 128 or name != str(number):
                raise ValueError(f"fields: {name!r} is not a data element that a profile can give")
        try:
            message.encode({"t": "0100", **self.fields})
        except ValueError as error:
            raise ValueError(f"fields: {error}") from None


class _Repeated(_Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A message that is repeated until answered; `repeat_mti` equal to `mti` where the acquirer knows no x1 messages."""

    mti: Mti
    repeat_mti: Mti
    processing_code: Digits6 = "000000"
    condition_code: Digits2 = "00"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repeat_mti[:3] != self.mti[:3]:
            raise ValueError(f"repeat_mti: {self.repeat_mti} is no repeat of {self.mti}")

    def mti_of(self, attempt: int) -> str:
        return self.mti if attempt <= 1 else self.repeat_mti


class AuthorizePart(_Part, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[authorize] The pre-authorization. It is never repeated: a cryptogram is good for one message."""

    mti: Mti = "0100"
    processing_code: Digits6 = "000000"
    condition_code: Digits2 = "00"
    entry_contactless: Digits3 = "071"
    entry_contact: Digits3 = "051"


class IncrementPart(_Repeated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[increment] Raising a live hold by DE4, the original named by DE37, 38 and 90, without the card."""

    offered: bool = False
    mti: Mti = "0100"
    repeat_mti: Mti = "0101"


class CapturePart(_Repeated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[capture] The completion."""

    mti: Mti = "0220"
    repeat_mti: Mti = "0221"
    condition_code: Digits2 = "06"


class ReversalPart(_Repeated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[reversal] The release of a hold, known or not."""

    mti: Mti = "0400"
    repeat_mti: Mti = "0401"


class RefundPart(_Repeated, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[refund] Money back on a captured hold, the original named by DE37, 38 and 90, without the card."""

    offered: bool = False
    mti: Mti = "0220"
    repeat_mti: Mti = "0221"
    processing_code: Digits6 = "200000"


class EchoPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[echo] The 0800 that proves the link."""

    code: Digits3 = "301"


class CodesPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[codes.OPERATION] Response codes that mean something else here than `response_codes` says: "N7" = "card_invalid"."""

    authorize: dict[Code, Meaning] = {}
    increment: dict[Code, Meaning] = {}
    capture: dict[Code, Meaning] = {}
    reversal: dict[Code, Meaning] = {}
    refund: dict[Code, Meaning] = {}

    def __post_init__(self) -> None:
        possible = {
            Meaning.PARTIAL: ("authorize", "increment"),
            Meaning.NOTHING_HELD: ("reversal",),
            Meaning.DUPLICATE: ("increment", "capture", "refund"),
        }
        for operation in self.__struct_fields__:
            for code, meaning in getattr(self, operation).items():
                if operation not in possible.get(meaning, (operation,)):
                    raise ValueError(f"{operation}: {code}: {meaning.value!r} is no answer to this operation")


class AcquirerProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One acquirer. `length_header`: how the two bytes before each message count it, 0x01 0x23 = 291 (binary) or 123 (bcd)."""

    length_header: Literal["binary", "bcd"] = "binary"
    authorize: AuthorizePart = AuthorizePart()
    increment: IncrementPart = IncrementPart()
    capture: CapturePart = CapturePart()
    reversal: ReversalPart = ReversalPart()
    refund: RefundPart = RefundPart()
    echo: EchoPart = EchoPart()
    codes: CodesPart = CodesPart()

    def __post_init__(self) -> None:
        if self.refund.offered and (self.refund.mti, self.refund.processing_code) == (
            self.capture.mti,
            self.capture.processing_code,
        ):
            raise ValueError("refund: the same mti and processing_code as a capture: the host could not tell them apart")

    def meanings(self, operation: str) -> Mapping[str, Meaning]:
        """The table of an operation, this acquirer's own meanings first."""
        usual = {
            "authorize": response_codes.AUTHORIZE,
            "increment": response_codes.INCREMENT,
            "capture": response_codes.CAPTURE,
            "reversal": response_codes.VOID,
            "refund": response_codes.CAPTURE,
        }
        return {**usual[operation], **getattr(self.codes, operation)}


def load(path: Path) -> AcquirerProfile:
    """Read and check a profile file. ConfigError names file, section, key and reason."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"is not TOML: {error}") from error
    return decode(raw, AcquirerProfile, path)


def answer_mti(mti: str) -> str:
    """0100 and 0101 are answered by 0110, 0220 and 0221 by 0230."""
    return f"{mti[:2]}{int(mti[2]) + 1}0"
