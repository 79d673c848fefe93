"""A contactless EMV test card: what it holds and answers to each APDU. No input or output but its counter.

Sources: ISO/IEC 7816-4 (APDUs), EMV Contactless Book B (PPSE), Book C-2 (Mastercard), Book C-3 (Visa qVSDC), EMV books
1, 2 and 3. It makes real cryptograms (`cryptogram`). With keys of a scheme (`card_keys`) it also proves itself: CDA as a
Mastercard, fast DDA as a Visa; without them its AIP claims no offline data authentication.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drivers.sim.ber_tlv import parse, parse_dol, tlv
from drivers.sim.card_keys import Chip, DemoScheme
from drivers.sim.cryptogram import cryptogram

PPSE = b"2PAY.SYS.DDF01"
OK, WRONG_LENGTH, CONDITIONS, NOT_FOUND, NO_RECORD, WRONG_P1P2, NO_DATA, NO_INS, NO_CLASS = (
    bytes.fromhex(word) for word in ("9000", "6700", "6985", "6A82", "6A83", "6A86", "6A88", "6D00", "6E00")
)
ARQC, AAC = 0x80, 0x00
EMV_MODE_WITHOUT_CDCVM, EMV_MODE_WITH_CDCVM = 0x1880, 0x1A80
AIP_CDA, AIP_DDA = 0x0100, 0x2000
CDA_WANTED = 0x10  # GENERATE AC, P1
CDOL1 = "9F02069F03069F1A0295055F2A029A039C019F37049F35019F45029F4C089F34039F21039F7C14"
CDOL2 = "910A8A0295059F37049F4C08"
VISA_PDOL = "9F66049F02069F03069F1A0295055F2A029A039C019F3704"
QVSDC_SUPPORTED = 0x20  # terminal transaction qualifiers, byte 1
ODA_FOR_ONLINE_SUPPORTED = 0x01
MASTERCARD_APPLICATION_DATA = "0110" + "A00003020000" + "0000" + "00000000000000FF"
MASTERCARD_REFUSED = "0110" + "800003020000" + "0000" + "00000000000000FF"
VISA_APPLICATION_DATA = "06010A03A00000"
DEFAULT_PANS = {"mastercard": "5413330089020011", "visa": "4761739001010010"}
OTHER_PANS = {"mastercard": "5413330089020029", "visa": "4761739001010119"}  # what a tampered card shows
AIDS = {"mastercard": "A0000000041010", "visa": "A0000000031010"}
LABELS = {"mastercard": b"Mastercard", "visa": b"VISA"}
KERNELS = {"mastercard": "02", "visa": "03"}


@dataclass(frozen=True)
class Personalisation:
    """What the issuer has put on one application of the card. `expiry` is YYMM, `sequence` two digits."""

    profile: str
    pan: str
    expiry: str = "4912"
    sequence: str = "01"
    cdcvm: bool = False
    scheme: DemoScheme | None = None
    lie: str = ""

    def __repr__(self) -> str:
        return f"Personalisation({self.profile}, **** {self.pan[-4:]})"

    @property
    def aid(self) -> str:
        return AIDS[self.profile]

    @property
    def interchange(self) -> bytes:
        """Application interchange profile (82)."""
        if self.profile == "visa":
            return (AIP_DDA if self.scheme else 0).to_bytes(2, "big")
        mode = EMV_MODE_WITH_CDCVM if self.cdcvm else EMV_MODE_WITHOUT_CDCVM
        return (mode | (AIP_CDA if self.scheme else 0)).to_bytes(2, "big")

    @property
    def shown_pan(self) -> str:
        return OTHER_PANS[self.profile] if self.lie == "tampered_pan" else self.pan

    @property
    def track2(self) -> str:
        digits = f"{self.shown_pan}D{self.expiry}2010000000000"
        return digits + "F" * (len(digits) % 2)

    @property
    def pan_digits(self) -> str:
        return self.shown_pan + "F" * (len(self.shown_pan) % 2)


@dataclass
class EmvCard:
    """One thread. `next_atc(pan)` counts a transaction durably and returns its number."""

    applications: list[Personalisation]
    issuer_key: bytes
    uid: bytes
    next_atc: Callable[[str], int]
    _selected: Personalisation | None = field(default=None, init=False)
    _atc: int = field(default=0, init=False)
    _open: bool = field(default=False, init=False)
    _chip: Chip | None = field(default=None, init=False)
    _related: bytes = field(default=b"", init=False)  # 9F69 and 9F4B of this transaction

    def reset(self) -> None:
        self._selected, self._open = None, False

    def answer(self, apdu: bytes) -> bytes:
        """Response data and status word."""
        if len(apdu) < 4:
            return WRONG_LENGTH
        header, body = apdu[:4], apdu[4:]
        data = b""
        if len(body) > 1:
            if len(body) not in (1 + body[0], 2 + body[0]):
                return WRONG_LENGTH
            data = body[1 : 1 + body[0]]
        command = header[:2].hex().upper()
        if command == "FFCA":  # the reader's own command, which the virtual reader hands to the card
            return self.uid + OK if header[2:] == b"\0\0" else bytes.fromhex("6A81")
        actions = {
            "00A4": self._select,
            "80A8": self._get_processing_options,
            "00B2": self._read_record,
            "80AE": self._generate_ac,
            "80CA": self._get_data,
        }
        action = actions.get(command)
        if action is None:
            return NO_INS if header[0] in (0x00, 0x80) else NO_CLASS
        return action(header[2], header[3], data)

    def _select(self, p1: int, p2: int, name: bytes) -> bytes:
        self.reset()
        if p1 != 0x04:
            return WRONG_P1P2
        if name == PPSE:
            entries = [self._directory_entry(index, one) for index, one in enumerate(self.applications)]
            return tlv("6F", [tlv("84", PPSE), tlv("A5", tlv("BF0C", entries))]) + OK
        for application in self.applications:
            if len(name) >= 5 and bytes.fromhex(application.aid).startswith(name):
                self._selected = application
                return self._control_information(application) + OK
        return NOT_FOUND

    def _directory_entry(self, index: int, application: Personalisation) -> bytes:
        profile = application.profile
        parts = [tlv("4F", application.aid), tlv("50", LABELS[profile]), tlv("87", bytes([index + 1]))]
        return tlv("61", [*parts, tlv("9F2A", KERNELS[profile])])

    def _control_information(self, application: Personalisation) -> bytes:
        parts = [tlv("50", LABELS[application.profile]), tlv("87", "01"), tlv("5F2D", b"en")]
        if application.profile == "visa":
            parts.append(tlv("9F38", VISA_PDOL))
        return tlv("6F", [tlv("84", application.aid), tlv("A5", parts)])

    def _get_processing_options(self, p1: int, p2: int, data: bytes) -> bytes:
        application = self._selected
        if application is None or self._open:
            return CONDITIONS
        try:
            values = parse(data)["83"]
        except (ValueError, KeyError):
            return WRONG_LENGTH
        if application.profile == "visa":
            return self._quick_cryptogram(application, values)
        if values:
            return WRONG_LENGTH
        self._atc, self._open = self.next_atc(application.pan), True
        self._chip = self._personalised(application)
        files = "1001010118010301" if self._chip else "1001010018010100"
        return tlv("77", [tlv("82", application.interchange), tlv("94", files)]) + OK

    def _quick_cryptogram(self, application: Personalisation, values: bytes) -> bytes:
        """qVSDC: the answer to GET PROCESSING OPTIONS is the cryptogram already."""
        wanted = parse_dol(bytes.fromhex(VISA_PDOL))
        if len(values) != sum(length for _, length in wanted):
            return WRONG_LENGTH
        tags = _take(wanted, values)
        if not tags["9F66"][0] & QVSDC_SUPPORTED:
            return CONDITIONS
        self._atc, self._open = self.next_atc(application.pan), True
        tags |= {"82": application.interchange, "9F36": self._atc.to_bytes(2, "big"), "9F10": bytes.fromhex(VISA_APPLICATION_DATA)}
        signed = cryptogram(self.issuer_key, application.aid, application.pan, application.sequence, tags)
        qualifiers = "0080" if application.cdcvm else "0000"
        proves = bool(tags["9F66"][0] & ODA_FOR_ONLINE_SUPPORTED)
        self._chip = self._personalised(application) if proves else None
        if self._chip is not None:
            self._related = self._chip.fast_dda(tags | {"9F26": signed}, bytes.fromhex(qualifiers))
        answer = [
            tlv("82", tags["82"]),
            tlv("94", "1001010118010300" if self._chip else "10010100"),
            tlv("9F36", tags["9F36"]),
            tlv("9F26", signed),
            tlv("9F27", bytes([ARQC])),
            tlv("9F10", tags["9F10"]),
            tlv("57", application.track2),
            tlv("5F34", application.sequence),
            tlv("9F6C", qualifiers),
            tlv("9F6E", "20700000"),
        ]
        return tlv("77", answer) + OK

    def _read_record(self, p1: int, p2: int, data: bytes) -> bytes:
        application = self._selected
        if application is None or not self._open:
            return CONDITIONS
        records = self._records(application) | self._certificate_records(application)
        record = records.get((p2 >> 3, p1)) if p2 & 7 == 4 else None
        return tlv("70", record) + OK if record is not None else NO_RECORD

    def _records(self, application: Personalisation) -> dict[tuple[int, int], list[bytes]]:
        """(short file identifier, record) -> data objects."""
        expiry = tlv("5F24", application.expiry + "31")
        common = [expiry, tlv("5F25", "240101"), tlv("5F28", "0276"), tlv("9F07", "FF00"), tlv("9F08", "0002")]
        if application.profile == "visa":
            return {(2, 1): common}
        holder = [tlv("57", application.track2), tlv("5A", application.pan_digits), tlv("5F34", application.sequence)]
        cvm_list = tlv("8E", "0000000000000000" + "42031E031F03")
        action_codes = [tlv("9F0D", "B050BC8800"), tlv("9F0E", "0000000000"), tlv("9F0F", "B070BC9800")]
        return {
            (2, 1): [*holder, *common, tlv("9F42", "0978")],
            (3, 1): [tlv("8C", CDOL1), tlv("8D", CDOL2), cvm_list, *action_codes],
        }

    # --- proof ---

    def _personalised(self, application: Personalisation) -> Chip | None:
        """The chip with the certificates that its issuer made for these records."""
        if application.scheme is None:
            return None
        signed = [(2, 1)] if application.profile == "visa" else [(2, 1), (3, 1)]
        records = self._records(replace(application, lie=""))
        static = b"".join(b"".join(records[place]) for place in signed) + application.interchange
        return application.scheme.personalise(application.pan, static, application.lie)

    def _certificate_records(self, application: Personalisation) -> dict[tuple[int, int], list[bytes]]:
        """Certificates; a Visa-like card has its signature there, too."""
        if self._chip is None:
            return {}
        found = {tag: tlv(tag, value) for tag, value in self._chip.objects.items()}
        issuer = [found[tag] for tag in ("8F", "90", "92", "9F32")]
        own = [found[tag] for tag in ("9F46", "9F47", "9F48")]
        if application.profile == "visa":
            return {(3, 1): issuer, (3, 2): [*own, tlv("9F4A", "82")], (3, 3): [self._related]}
        return {(3, 2): issuer, (3, 3): [*own, tlv("9F4A", "82")]}

    # --- cryptogram ---

    def _generate_ac(self, p1: int, p2: int, data: bytes) -> bytes:
        application = self._selected
        if application is None or not self._open or application.profile == "visa":
            return CONDITIONS
        wanted = parse_dol(bytes.fromhex(CDOL1))
        if len(data) != sum(length for _, length in wanted):
            return WRONG_LENGTH
        self._open = False  # one cryptogram for one transaction
        refused = p1 & 0xC0 == AAC
        tags = _take(wanted, data)
        application_data = MASTERCARD_REFUSED if refused else MASTERCARD_APPLICATION_DATA
        tags |= {
            "82": application.interchange,
            "9F36": self._atc.to_bytes(2, "big"),
            "9F10": bytes.fromhex(application_data),
        }
        signed = cryptogram(self.issuer_key, application.aid, application.pan, application.sequence, tags)
        kind = bytes([AAC if refused else ARQC])  # an offline approval is asked for in vain: this card goes online
        answer = [tlv("9F27", kind), tlv("9F36", tags["9F36"]), tlv("9F26", signed), tlv("9F10", tags["9F10"])]
        if self._chip is not None and p1 & CDA_WANTED and not refused:  # the cryptogram is inside the signature, not beside it
            exchanged = data + answer[0] + answer[1] + answer[3]  # there was no PDOL
            answer[2] = self._chip.combined(kind + signed, exchanged, tags["9F37"])
        return tlv("77", answer) + OK

    def _get_data(self, p1: int, p2: int, data: bytes) -> bytes:
        if (p1, p2) == (0x9F, 0x36) and self._selected is not None:
            return tlv("9F36", self._atc.to_bytes(2, "big")) + OK
        return NO_DATA


def _take(wanted: list[tuple[str, int]], data: bytes) -> dict[str, bytes]:
    taken, position = {}, 0
    for tag, length in wanted:
        taken[tag] = data[position : position + length]
        position += length
    return taken
