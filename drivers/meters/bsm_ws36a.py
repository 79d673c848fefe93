"""Bauer BSM-WS36A: signed snapshots "start" and "end", which do not switch its contactor output (`SignedMeter`).

Source: meters.md section 2.1; chargeITmobility/bsm-python, doc/examples (snapshots, ocmf, time). Begin and end are two OCMF
records of one reading each; they are passed on verbatim, one per line, begin first. The epoch is UTC seconds although the
register list calls it local: the traces there show it. While it signs, any answer may take long: its status is asked again for
15 s.
"""

import json
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drivers.meters.signing_meter import LIMIT_S, SIGNING_LIMIT_S, SigningMeter, ascii_words

EPOCH = 40_260  # u32 seconds, then the offset to UTC in minutes: written together
META1, META2, META3 = (40_279, 70), (40_349, 50), (40_399, 50)
START, END = 41_283, 41_537  # snapshot models 64901
START_TEXT, END_TEXT = 43_291, 43_791  # their OCMF, models 64903
STATUS, TEXT, TEXT_REGISTERS = 3, 4, 496  # from the header
KEY_REGISTERS, KEY = 40_449, 40_451  # registers, bytes, then the key
VALID, UPDATING = 0, 2
PATIENCE_S = 2.0  # for its status: it is slow while it signs
WHY = {1: "invalid", 3: "failed", 4: "not enabled", 5: "contactor feedback missing"}


class BsmWs36a(SigningMeter):
    """One thread. Its clock is set at each begin and end, because it forgets it without power."""

    def begin(self, session_id: str, tariff_text: str) -> None:
        """Take the start snapshot. Blocks up to 20 s. DeviceUnavailable, DeviceMisread; then nothing was begun."""
        deadline = time.monotonic() + LIMIT_S
        self._session_id = self._begin_text = ""
        self._set_time(deadline)
        self._set_texts((session_id, tariff_text, self._evse_id), deadline)
        self._snapshot(START, deadline)
        self._begin_text = self._signed(START_TEXT, deadline).decode()
        self._session_id, self._tariff_text = session_id, tariff_text

    def end(self) -> bytes:
        """Take the end snapshot; begin and end record, one per line. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        begin = self._signed(START_TEXT, deadline)
        if not self._ended(deadline):
            self._set_time(deadline)
            self._set_texts(_texts(begin), deadline)  # the end names the same session, whatever a power cut left of it
            self._snapshot(END, deadline)
        if self._session_id and begin.decode() != self._begin_text:
            raise self._misread("its start record is not that of this session: somebody else began a measurement")
        return begin + b"\n" + self._signed(END_TEXT, deadline)

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo (secp256r1), whatever form the firmware shows it in. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        registers, size = self._get(KEY_REGISTERS, 2, deadline)
        if not 32 <= registers <= 60 or not 64 <= size <= 2 * registers:
            raise self._misread(f"a public key of {size} bytes in {registers} registers is none")
        key = b"".join(word.to_bytes(2) for word in self._get(KEY, registers, deadline))[:size]
        if size > 65:
            return key
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key[-64:])
        except ValueError as error:
            raise self._misread(f"its public key is not on secp256r1: {error}") from error
        return point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    # --- the snapshots ------------------------------------------------------------------------------------------------

    _begin_text = ""

    def _set_time(self, deadline: float) -> None:
        utc_s, _ = self._utc()
        self._put(EPOCH, (utc_s >> 16, utc_s & 0xFFFF, self._offset_min & 0xFFFF), deadline)

    def _set_texts(self, texts: tuple[str, str, str], deadline: float) -> None:
        for (addr, size), text in zip((META1, META2, META3), texts, strict=True):
            self._put(addr, ascii_words(text, size), deadline)

    def _status(self, header: int, deadline: float) -> int:
        return self._get(header + STATUS, 1, deadline, PATIENCE_S)[0]

    def _snapshot(self, header: int, deadline: float) -> None:
        self._order(header + STATUS, UPDATING, deadline)
        status = self._wait(
            "signing", lambda: self._status(header, deadline), lambda one: one != UPDATING, SIGNING_LIMIT_S, deadline
        )
        if status != VALID:
            raise self._refused(f"the snapshot failed: {WHY.get(status, f'status {status}')}")

    def _signed(self, header: int, deadline: float) -> bytes:
        if (status := self._status(header, deadline)) != VALID:
            raise self._refused(f"there is no signed record: {WHY.get(status, f'status {status}')}")
        return self._record(self._text(header + TEXT, TEXT_REGISTERS, deadline))

    def _ended(self, deadline: float) -> bool:
        """The end record there already belongs to the start record there: this is a repeated `end`."""
        if self._status(END, deadline) != VALID or self._status(START, deadline) != VALID:
            return False
        begin, end = (_page(self._text(text + TEXT, TEXT_REGISTERS, deadline)) for text in (START_TEXT, END_TEXT))
        return end == begin + 1


def _texts(record: bytes) -> tuple[str, str, str]:
    """What a record was given as its three texts."""
    try:
        body = json.loads(record.split(b"|")[1])
    except ValueError:
        body = {}
    return str(body.get("ID", "")), str(body.get("X2", "")), str(body.get("X3", ""))


def _page(record: bytes) -> int:
    """OCMF PG, the response counter: the next snapshot has the next number."""
    _, _, rest = record.partition(b'"PG":"T')
    digits = rest.partition(b'"')[0]
    return int(digits) if digits.isdigit() else -9
