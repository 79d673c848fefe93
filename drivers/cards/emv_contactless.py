"""The contactless EMV path to one online cryptogram (ARQC): PPSE, selection, GPO, records, GENERATE AC.

Good for a genuine ARQC of Mastercard-like (GENERATE AC) and Visa-like (the GPO answer is the cryptogram) cards. Not a
certified kernel: no relay resistance, no mag-stripe mode. With the scheme's CA keys the chip is authenticated (`oda`): CDA, or
fast DDA of Visa-like cards. What fails there never refuses the card: the reading says so, and the issuer decides. If the
answer to GENERATE AC with CDA cannot be trusted the card is run once more without, and is told that CDA failed. No money moves.
Identification (`pay` False) stops before GENERATE AC; a Visa-like card makes its cryptogram at GPO in any case: it is
asked for amount zero and the cryptogram is dropped. Either way the card's counter (ATC) may advance, as at any tap.
Sources: EMV Books A and B (entry point), C-2, C-3, Book 3 (records, DOL, cryptogram), cards.md section 2.
No exception, repr or log of this file holds a byte of the card: offsets, tags and status words only.
"""

import datetime
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from drivers.cards import application, cvm, dol, file_locator, oda, terminal_data, tlv
from drivers.cards.apdu import OK, Transmit, case4, exchange, wipe
from drivers.cards.de55 import de55
from drivers.cards.oda import CaKeys, Flaw, RsaKey
from drivers.cards.schemes import Scheme
from drivers.cards.track2 import consistent_pan
from terminal_app.errors import CardMisread, CardMisreadReason
from terminal_app.ports import CardRequest

PPSE = b"2PAY.SYS.DDF01"
MAX_CANDIDATES = 4
AIP_EMV_MODE = 0x80  # byte 2, Book C-2: the card is not mag-stripe only
AIP_DDA, AIP_CDA = 0x20, 0x01  # byte 1
CDA = 0x10  # P1 of GENERATE AC
AAC, TC, ARQC = 0x00, 0x40, 0x80  # tag 9F27, bits 8-7

Refused, Broken, Foreign = CardMisreadReason.REFUSED_BY_CARD, CardMisreadReason.ERROR, CardMisreadReason.NOT_SUPPORTED

NO_KEYS: CaKeys = {}


@dataclass(eq=False, slots=True)
class CardReading:
    """What one card gave. `pan` is digits in ASCII, `track2` tag 57, `emv` DE55; all three live until `wipe()`.

    `flaw` None: the chip is authenticated.
    """

    brand: str
    aid: str
    label: str
    verified_on_device: bool
    cryptogram: str
    atc: int
    psn: int
    flaw: Flaw | None
    pan: bytearray = field(repr=False)
    track2: bytearray = field(repr=False)
    emv: bytearray = field(repr=False)

    def wipe(self) -> None:
        for secret in (self.pan, self.track2, self.emv):
            wipe(secret)


def read_card(
    transmit: Transmit, request: CardRequest, chance: Callable[[int], bytes] = os.urandom, ca_keys: CaKeys = NO_KEYS
) -> CardReading:
    """Run the card in the field. Raises CardMisread, and whatever `transmit` raises when card or reader are gone."""
    kernel = _Kernel(transmit, request, chance, ca_keys)
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


class _Unproven(Exception):
    """The answer to GENERATE AC with CDA is not what the card's key signed for this payment."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.value)
        self.flaw = flaw


class _Kernel:
    def __init__(self, transmit: Transmit, request: CardRequest, chance: Callable[[int], bytes], ca_keys: CaKeys) -> None:
        self._transmit, self._request, self._chance, self._ca_keys = transmit, request, chance, ca_keys
        self._buffers: list[bytearray] = []
        self._card: dict[int, memoryview] = {}
        self._terminal: dict[int, bytes] = {}
        self._signed: list[memoryview] | None = []  # records under the card's certificate; None = not as they must be
        self._told = b""  # values of the PDOL as sent

    def wipe(self) -> None:
        for buffer in self._buffers:
            wipe(buffer)

    def run(self) -> CardReading:
        candidates = self._candidates()
        refusal = _Tried(Foreign, "no application in common")
        for aid, scheme in candidates[:MAX_CANDIDATES]:
            try:
                return self._run_application(aid, scheme)
            except _Tried as tried:
                refusal = tried
        raise CardMisread(refusal.reason, str(refusal))

    def _run_application(self, aid: bytes, scheme: Scheme) -> CardReading:
        try:
            return self._run_once(aid, scheme, failed=None)
        except _Unproven as unproven:
            return self._run_once(aid, scheme, failed=unproven.flaw)

    def _run_once(self, aid: bytes, scheme: Scheme, failed: Flaw | None) -> CardReading:
        """`failed`: CDA was tried and failed; it is not asked for again."""
        self._card.clear()
        self._signed, self._told = [], b""
        authenticate = self._request.pay and any(rid == aid[:5] for rid, _ in self._ca_keys)
        self._terminal = terminal_data.terminal_objects(self._request, scheme, self._chance(4), authenticate)
        self._select(aid)
        self._get_processing_options()
        if scheme.gpo_cryptogram and self._request.pay and 0x9F26 not in self._card:
            raise CardMisread(Foreign, "mag-stripe mode only")
        self._read_records()
        offered = AIP_DDA if scheme.gpo_cryptogram else AIP_CDA
        key = self._card_key(aid, offered) if authenticate and failed is None else failed or Flaw.NOT_ASKED
        return self._finish(aid, scheme, key)

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
        return application.candidates(body)

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
        self._told = dol.answer(dol.parse(wanted), self._value) if wanted is not None else b""
        body, status = self._send(case4(0x80, 0xA8, 0x00, 0x00, tlv.encode(0x83, self._told)))
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
        for sfi, number, signed in file_locator.records(self._card.get(0x94, memoryview(b""))):
            self._read_record(sfi, number, signed)

    def _read_record(self, sfi: int, number: int, signed: bool) -> None:
        body, status = self._send(bytes([0x00, 0xB2, number, sfi << 3 | 4, 0x00]))
        if status != OK:
            raise CardMisread(Broken, f"record {sfi}/{number} cannot be read ({status:04X})")
        if sfi > 10:  # a record in the issuer's own format: nothing in it for us, but signed as a whole
            if signed:
                self._sign(memoryview(body) if body[:1] == b"\x70" else None)
            return
        match tlv.parse(body):
            case (tlv.Tlv(tag=0x70) as record,):
                self._keep(tlv.primitives(record.children))
                if signed:
                    self._sign(record.value)
            case _:
                raise CardMisread(Broken, f"record {sfi}/{number} has no template 70")

    def _sign(self, part: memoryview | None) -> None:
        self._signed = None if part is None or self._signed is None else [*self._signed, part]

    def _generate_ac(self, aip: bytes, key: RsaKey | Flaw) -> bool:
        """Ask for the ARQC, signed by the card's `key` if it has one. True = the cardholder's device verified."""
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
        verification[0] = terminal_data.authentication_results(key)
        verification[1] = terminal_data.EXPIRED if expired else 0
        verification[2] = terminal_data.CVM_FAILED if done.failed else 0
        verification[3] = terminal_data.ABOVE_FLOOR_LIMIT if self._request.amount_minor > 0 else 0
        self._terminal |= {0x95: bytes(verification), 0x9F34: done.results}
        told = dol.answer(wanted, self._value)
        body, status = self._send(case4(0x80, 0xAE, ARQC | CDA if isinstance(key, RsaKey) else ARQC, 0x00, told))
        if status != OK:
            raise CardMisread(Refused, f"no cryptogram ({status:04X})")
        exchanged: tuple[bytes | memoryview, ...] = ()  # without tags there is no place for a signature
        match tlv.parse(body):
            case (tlv.Tlv(tag=0x77) as answer,):
                self._keep(tlv.primitives(answer.children))
                exchanged = (self._told, told, *tlv.without(answer.value, 0x9F4B))
            case (tlv.Tlv(tag=0x80) as answer,) if 11 <= len(answer.value) <= 43:
                value = answer.value
                self._card |= {0x9F27: value[:1], 0x9F36: value[1:3], 0x9F26: value[3:11]}
                if len(value) > 11:
                    self._card[0x9F10] = value[11:]
            case _:
                raise CardMisread(Broken, "cryptogram in no known format")
        if isinstance(key, RsaKey) and self._need(0x9F27, 1, 1)[0] & 0xC0 != AAC:  # a refusal is never signed
            proven = oda.combined(key, self._card, self._terminal[0x9F37], exchanged)
            if isinstance(proven, Flaw):
                raise _Unproven(proven)
            self._card[0x9F26] = memoryview(proven)
        return done.device

    def _card_key(self, aid: bytes, offered: int) -> RsaKey | Flaw:
        if not self._need(0x82, 2, 2)[0] & offered:
            return Flaw.NOT_OFFERED
        pan = self._pan()
        try:
            today = datetime.datetime.fromtimestamp(self._request.utc_ms // 1000, datetime.UTC).date()
            return oda.card_key(self._ca_keys, aid, self._card, pan, self._signed, today)
        finally:
            wipe(pan)

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

    def _pan(self) -> bytearray:
        """The caller wipes it."""
        if 0x57 not in self._card:
            raise CardMisread(Foreign, "the card gives no track 2 equivalent (57)")
        return consistent_pan(self._need(0x57, 5, 19), self._card.get(0x5A))

    def _finish(self, aid: bytes, scheme: Scheme, key: RsaKey | Flaw) -> CardReading:
        flaw = key if isinstance(key, Flaw) else None
        aip = bytes(self._need(0x82, 2, 2))
        device = False
        if self._request.pay:
            if scheme.gpo_cryptogram:
                ctq = self._card.get(0x9F6C)
                done = cvm.verified_by_gpo(bytes(ctq) if ctq is not None else None)
                self._terminal[0x9F34], device = done.results, done.device
                if isinstance(key, RsaKey):
                    flaw = oda.fast(key, self._card, self._terminal)
            else:
                device = self._generate_ac(aip, key)
            self._check_cryptogram()
        pan, track2 = self._pan(), self._need(0x57, 5, 19)
        sequence = self._card.get(0x5F34)
        number = bytes(sequence).hex() if sequence is not None else "0"
        return CardReading(
            brand=scheme.brand,
            aid=aid.hex().upper(),
            label=application.label(self._card, scheme.brand),
            verified_on_device=device,
            cryptogram=bytes(self._card[0x9F26]).hex().upper() if self._request.pay else "",
            atc=int.from_bytes(self._card[0x9F36], "big") if self._request.pay else 0,
            psn=int(number) if number.isdecimal() and len(number) <= 2 else 0,
            pan=pan,
            track2=bytearray(track2) if self._request.pay else bytearray(),
            emv=de55(self._value, self._card) if self._request.pay else bytearray(),
            flaw=flaw,
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
