"""The contactless EMV path to one online cryptogram (ARQC): PPSE, selection, GPO, records, GENERATE AC.

Good for a genuine ARQC of Mastercard-like (GENERATE AC) and Visa-like (the GPO answer is the cryptogram) cards. Not a
certified kernel: no offline data authentication, no relay resistance, no mag-stripe mode. No money moves here.
Identification (`pay` False) stops before GENERATE AC; a Visa-like card makes its cryptogram at GPO in any case: it is
asked for amount zero and the cryptogram is dropped. Either way the card's counter (ATC) may advance, as at any tap.
Sources: EMV Books A and B (entry point), C-2, C-3, Book 3 (records, DOL, cryptogram), cards.md section 2.
No exception, repr or log of this file holds a byte of the card: offsets, tags and status words only.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drivers.cards import cvm, dol, terminal_data, tlv
from drivers.cards.apdu import OK, Transmit, case4, exchange, wipe
from drivers.cards.schemes import Scheme, scheme_of
from drivers.cards.track2 import consistent_pan
from terminal_app.errors import CardMisread, CardMisreadReason
from terminal_app.ports import CardRequest

PPSE = b"2PAY.SYS.DDF01"
MAX_CANDIDATES = 4
MAX_RECORDS = 24
AIP_EMV_MODE = 0x80  # byte 2, Book C-2: the card is not mag-stripe only
AAC, TC, ARQC = 0x00, 0x40, 0x80  # tag 9F27, bits 8-7

# DE55 of the request, in this order, duplicates and card numbers never (cards.md 2.5)
DE55_TAGS = (
    (0x9F26, 0x9F27, 0x9F10, 0x9F37, 0x9F36, 0x95, 0x9A, 0x9C, 0x9F02, 0x5F2A, 0x82, 0x9F1A, 0x9F34, 0x9F03, 0x9F33)
    + (0x9F35, 0x84, 0x9F09, 0x9F41)
)  # fmt: skip
DE55_OF_CARD = (0x9F6E, 0x9F7C)  # form factor, customer exclusive data: only as the card gave them
MAX_DE55 = 255

Refused, Broken, Foreign = CardMisreadReason.REFUSED_BY_CARD, CardMisreadReason.ERROR, CardMisreadReason.NOT_SUPPORTED


@dataclass(eq=False, slots=True)
class CardReading:
    """What one card gave. `pan` is digits in ASCII, `track2` tag 57, `emv` DE55; all three live until `wipe()`."""

    brand: str
    aid: str
    label: str
    verified_on_device: bool
    cryptogram: str
    atc: int
    psn: int
    pan: bytearray = field(repr=False)
    track2: bytearray = field(repr=False)
    emv: bytearray = field(repr=False)

    def wipe(self) -> None:
        for secret in (self.pan, self.track2, self.emv):
            wipe(secret)


def read_card(transmit: Transmit, request: CardRequest, chance: Callable[[int], bytes] = os.urandom) -> CardReading:
    """Run the card in the field. Raises CardMisread, and whatever `transmit` raises when card or reader are gone."""
    kernel = _Kernel(transmit, request, chance)
    try:
        return kernel.run()
    except tlv.TlvError as error:
        raise CardMisread(Broken, str(error)) from None
    finally:
        kernel.wipe()


class _Tried(Exception):
    """This application of the card is of no use; the next one may be."""

    def __init__(self, reason: CardMisreadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Kernel:
    def __init__(self, transmit: Transmit, request: CardRequest, chance: Callable[[int], bytes]) -> None:
        self._transmit, self._request, self._chance = transmit, request, chance
        self._buffers: list[bytearray] = []
        self._card: dict[int, memoryview] = {}
        self._terminal: dict[int, bytes] = {}

    def wipe(self) -> None:
        for buffer in self._buffers:
            wipe(buffer)

    def run(self) -> CardReading:
        candidates = self._candidates()
        refusal = _Tried(Foreign, "no application in common")
        for aid, scheme in candidates[:MAX_CANDIDATES]:
            self._card.clear()
            self._terminal = terminal_data.terminal_objects(self._request, scheme, self._chance(4))
            try:
                self._select(aid)
                self._get_processing_options()
            except _Tried as tried:
                refusal = tried
                continue
            if scheme.gpo_cryptogram and self._request.pay and 0x9F26 not in self._card:
                raise CardMisread(Foreign, "mag-stripe mode only")
            self._read_records()
            return self._finish(aid, scheme)
        raise CardMisread(refusal.reason, str(refusal))

    # --- commands ---------------------------------------------------------------------------------------------------

    def _send(self, command: bytes) -> tuple[bytearray, int]:
        body, status = exchange(self._transmit, command)
        self._buffers.append(body)
        return body, status

    def _candidates(self) -> list[tuple[bytes, Scheme]]:
        """Applications both sides know, best priority first (Book B 3.3.2)."""
        body, status = self._send(case4(0x00, 0xA4, 0x04, 0x00, PPSE))
        if status != OK:
            raise CardMisread(Foreign, f"no contactless payment directory ({status:04X})")
        directory = tlv.find(tlv.parse(body), 0x6F, 0xA5, 0xBF0C)
        found: list[tuple[int, bytes, Scheme]] = []
        for entry in directory.children if directory else ():
            name, priority = tlv.find((entry,), 0x61, 0x4F), tlv.find((entry,), 0x61, 0x87)
            if name is None or not 5 <= len(name.value) <= 16:
                continue
            if scheme := scheme_of(bytes(name.value)):
                rank = priority.value[0] & 0x0F if priority and len(priority.value) == 1 else 0
                found.append((rank or 16, bytes(name.value), scheme))  # 0 = no priority: last
        return [(aid, scheme) for _, aid, scheme in sorted(found, key=lambda one: one[0])]

    def _select(self, aid: bytes) -> None:
        body, status = self._send(case4(0x00, 0xA4, 0x04, 0x00, aid))
        if status != OK:
            raise _Tried(Foreign, f"application not selectable ({status:04X})")
        control = tlv.parse(body)
        name = tlv.find(control, 0x6F, 0x84)
        if name is None or not bytes(name.value).startswith(aid):
            raise CardMisread(Broken, "another application answered than was selected")
        for one in tlv.primitives(control[:1]):
            self._card.setdefault(one.tag, one.value)

    def _get_processing_options(self) -> None:
        wanted = self._card.get(0x9F38)
        told = dol.answer(dol.parse(wanted), self._value) if wanted is not None else b""
        body, status = self._send(case4(0x80, 0xA8, 0x00, 0x00, tlv.encode(0x83, told)))
        if status == 0x6986:
            raise CardMisread(Refused, "the device wants its holder's confirmation first (6986)")
        if status != OK:
            raise _Tried(Refused, f"no processing options ({status:04X})")
        match tlv.parse(body):
            case (tlv.Tlv(tag=0x77) as answer,):
                self._keep(tlv.primitives(answer.children))
            case (tlv.Tlv(tag=0x80) as answer,) if len(answer.value) >= 2:
                self._card[0x82], self._card[0x94] = answer.value[:2], answer.value[2:]
            case _:
                raise CardMisread(Broken, "processing options in no known format")
        self._need(0x82, 2, 2)

    def _read_records(self) -> None:
        """Everything the application file locator lists (Book 3 section 10.2)."""
        locator = self._card.get(0x94, memoryview(b""))
        if len(locator) % 4:
            raise CardMisread(Broken, "file locator (94) is no list of entries")
        count = 0
        for i in range(0, len(locator), 4):
            sfi, first, last, signed = locator[i] >> 3, locator[i + 1], locator[i + 2], locator[i + 3]
            count += max(0, last - first + 1)
            if locator[i] & 7 or not 1 <= sfi <= 30 or not 1 <= first <= last or signed > last - first + 1 or count > MAX_RECORDS:
                raise CardMisread(Broken, f"file locator (94), entry {i // 4 + 1}, is invalid")
            for number in range(first, last + 1):
                self._read_record(sfi, number)

    def _read_record(self, sfi: int, number: int) -> None:
        body, status = self._send(bytes([0x00, 0xB2, number, sfi << 3 | 4, 0x00]))
        if status != OK:
            raise CardMisread(Broken, f"record {sfi}/{number} cannot be read ({status:04X})")
        if sfi > 10:
            return  # records in the issuer's own format: nothing in them for us
        match tlv.parse(body):
            case (tlv.Tlv(tag=0x70) as record,):
                self._keep(tlv.primitives(record.children))
            case _:
                raise CardMisread(Broken, f"record {sfi}/{number} has no template 70")

    def _generate_ac(self, aip: bytes) -> bool:
        """Ask for the ARQC. True = the cardholder's device verified."""
        if not aip[1] & AIP_EMV_MODE:
            raise CardMisread(Foreign, "mag-stripe mode only")
        wanted = dol.parse(self._need(0x8C, 1, 252))
        currency = self._card.get(0x9F42)
        same_currency = currency is not None and bytes(currency) == self._terminal[0x5F2A]
        rules = self._card.get(0x8E)
        done = cvm.verify(aip, bytes(rules) if rules is not None else None, self._request.amount_minor, same_currency)
        expiry = self._card.get(0x5F24)
        expired = expiry is not None and bytes(expiry) < self._terminal[0x9A]  # reported; the issuer decides
        verification = bytearray(5)
        verification[0] = terminal_data.ODA_NOT_PERFORMED
        verification[1] = terminal_data.EXPIRED if expired else 0
        verification[2] = terminal_data.CVM_FAILED if done.failed else 0
        verification[3] = terminal_data.ABOVE_FLOOR_LIMIT if self._request.amount_minor > 0 else 0
        self._terminal |= {0x95: bytes(verification), 0x9F34: done.results}
        body, status = self._send(case4(0x80, 0xAE, ARQC, 0x00, dol.answer(wanted, self._value)))
        if status != OK:
            raise CardMisread(Refused, f"no cryptogram ({status:04X})")
        match tlv.parse(body):
            case (tlv.Tlv(tag=0x77) as answer,):
                self._keep(tlv.primitives(answer.children))
            case (tlv.Tlv(tag=0x80) as answer,) if 11 <= len(answer.value) <= 43:
                value = answer.value
                self._card |= {0x9F27: value[:1], 0x9F36: value[1:3], 0x9F26: value[3:11]}
                if len(value) > 11:
                    self._card[0x9F10] = value[11:]
            case _:
                raise CardMisread(Broken, "cryptogram in no known format")
        return done.device

    # --- values -----------------------------------------------------------------------------------------------------

    def _keep(self, objects: Iterator[tlv.Tlv]) -> None:
        for one in objects:
            if one.tag in self._card:
                raise CardMisread(Broken, f"tag {one.tag:X} came twice")
            if len(one.value):
                self._card[one.tag] = one.value

    def _need(self, tag: int, least: int, most: int) -> memoryview:
        value = self._card.get(tag)
        if value is None or not least <= len(value) <= most:
            raise CardMisread(Broken, f"tag {tag:X} is missing or has a wrong length")
        return value

    def _value(self, tag: int) -> bytes | None:
        """For data object lists: what the terminal says, else what the card said before."""
        if tag in self._terminal:
            return self._terminal[tag]
        value = self._card.get(tag)
        return bytes(value) if value is not None else None

    def _finish(self, aid: bytes, scheme: Scheme) -> CardReading:
        aip = bytes(self._need(0x82, 2, 2))
        device = False
        if self._request.pay:
            if scheme.gpo_cryptogram:
                ctq = self._card.get(0x9F6C)
                done = cvm.verified_by_gpo(bytes(ctq) if ctq is not None else None)
                self._terminal[0x9F34], device = done.results, done.device
            else:
                device = self._generate_ac(aip)
            self._check_cryptogram()
        if 0x57 not in self._card:
            raise CardMisread(Foreign, "the card gives no track 2 equivalent (57)")
        track2 = self._need(0x57, 5, 19)
        pan = consistent_pan(track2, self._card.get(0x5A))
        sequence = self._card.get(0x5F34)
        number = bytes(sequence).hex() if sequence is not None else "0"
        return CardReading(
            brand=scheme.brand,
            aid=aid.hex().upper(),
            label=self._label(scheme),
            verified_on_device=device,
            cryptogram=bytes(self._card[0x9F26]).hex().upper() if self._request.pay else "",
            atc=int.from_bytes(self._card[0x9F36], "big") if self._request.pay else 0,
            psn=int(number) if number.isdecimal() and len(number) <= 2 else 0,
            pan=pan,
            track2=bytearray(track2) if self._request.pay else bytearray(),
            emv=self._de55() if self._request.pay else bytearray(),
        )

    def _check_cryptogram(self) -> None:
        self._need(0x9F26, 8, 8)
        self._need(0x9F36, 2, 2)
        issuer = self._need(0x9F10, 1, 32)
        if 0x9F27 in self._card:
            kind = self._need(0x9F27, 1, 1)[0] & 0xC0
        elif len(issuer) >= 5:  # Visa: CVR byte 2, bits 6-5 of the issuer application data (VIS, Book C-3)
            kind = issuer[4] << 2 & 0xC0
        else:
            raise CardMisread(Broken, "the kind of cryptogram is not told")
        if kind == AAC:
            raise CardMisread(Refused, "the card declined (AAC)")
        if kind != ARQC:
            raise CardMisread(Broken, "the card approved offline or answered another cryptogram than was asked for")
        if 0x9F27 not in self._card:
            self._terminal[0x9F27] = bytes([ARQC])

    def _de55(self) -> bytearray:
        out = bytearray()
        for tag in DE55_TAGS:
            value = self._value(tag)
            if value is None:
                raise CardMisread(Broken, f"tag {tag:X} is missing")
            out += tlv.encode(tag, value)
        for tag in DE55_OF_CARD:
            own = self._card.get(tag)
            if own is not None and len(own) <= 32:
                out += tlv.encode(tag, own)
        if len(out) > MAX_DE55:
            raise CardMisread(Broken, f"card data of {len(out)} bytes does not fit DE55")
        return out

    def _label(self, scheme: Scheme) -> str:
        """Preferred name or label, printable ASCII only; the brand if the card gives none (or digits instead of a name)."""
        table = self._card.get(0x9F11)
        preferred = 0x9F12 if table is None or bytes(table) == b"\x01" else 0x50
        for tag in (preferred, 0x50):
            text = "".join(chr(byte) for byte in self._card.get(tag, b"")[:16] if 0x20 <= byte < 0x7F).strip()
            if text and sum(letter.isdigit() for letter in text) <= 4:
                return text
        return scheme.brand
