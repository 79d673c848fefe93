"""Carlo Gavazzi EM580: its OCMF machine (`SignedMeter`). Signs with brainpoolP384r1 or brainpoolP256r1.

Source: meters.md section 2.1; EM580 Modbus protocol as read by EVerest CarloGavazzi_EM580. Reads by function code 4, writes
by 16. After a power cut the device closes an open measurement by itself; the file waits until it is confirmed, and it is
confirmed only at the next `begin`.
"""

import time

from drivers.meters import bus
from drivers.meters.signing_meter import LIMIT_S, SIGNING_LIMIT_S, SigningMeter, ascii_words

OFFSET, TIME, MODALITY = 0x7031, 0x7032, 0x7036
ASSIGNED, LEVEL, FLAGS, ID_TYPE, ID, PLACE_TYPE, PLACE, TARIFF = (
    0x7000, 0x7001, 0x7002, 0x7006, 0x7007, 0x701B, 0x701C, 0x6900,
)  # fmt: skip
COMMAND, STATE, SIZE, FILE = 0x7040, 0x7100, 0x7101, 0x7110
KEY_TYPE, KEY = 0x24FF, 0x2600
KEY_REGISTERS = {0: 46, 1: 62}  # brainpoolP256r1, P384r1
NOT_READY, RUNNING, READY, CORRUPTED = range(4)
LONGEST_FILE = 2031
MARK = "<=>"  # between tariff text and session id in TT


class Em580(SigningMeter):
    """One thread."""

    read_fc = bus.READ_INPUT
    _given = b""  # what `end` gave last

    def begin(self, session_id: str, tariff_text: str) -> None:
        """Start a measurement; an older one is closed and kept first. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        self._clear(deadline)
        utc_s, _ = self._utc()
        self._put(TIME, tuple(utc_s >> 16 * place & 0xFFFF for place in range(4)), deadline)
        self._put(OFFSET, (self._offset_min & 0xFFFF,), deadline)
        for addr, value in ((ASSIGNED, 1), (LEVEL, 0), (ID_TYPE, 0), (PLACE_TYPE, 0), (MODALITY, 0)):
            self._put(addr, (value,), deadline)
        self._put(FLAGS, (0, 0, 0, 0), deadline)
        self._put(ID, ascii_words(session_id, 20), deadline)
        self._put(PLACE, ascii_words(self._evse_id, 20), deadline)
        room = 2 * 126 - 1 - len(MARK) - len(session_id)
        self._put(TARIFF, ascii_words(tariff_text[:room] + MARK + session_id, 126), deadline)
        self._order(COMMAND, ord("B"), deadline)
        self._wait("starting", lambda: self._state(deadline), lambda state: state == RUNNING, 2.0, deadline)
        self._session_id, self._tariff_text = session_id, tariff_text

    def end(self) -> bytes:
        """Close the measurement and give its record. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        state = self._state(deadline)
        if state == NOT_READY:
            raise self._refused("no measurement is open")
        if state == RUNNING:
            self._close(deadline)
        record = self._file(deadline)
        if self._session_id and f'{MARK}{self._session_id}"'.encode() not in record:
            raise self._misread(f"the record it gives is not that of session {self._session_id}")
        self._given = record
        return record

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo. DeviceUnavailable, DeviceMisread (no key configured)."""
        deadline = time.monotonic() + LIMIT_S
        kind = self._get(KEY_TYPE, 1, deadline)[0]
        if kind not in KEY_REGISTERS:
            raise self._misread("no signature key is configured in this meter")
        key = b"".join(word.to_bytes(2) for word in self._get(KEY, KEY_REGISTERS[kind], deadline))
        if key[0] != 0x30 or key[1] > 0x7F or 2 + key[1] > len(key):
            raise self._misread("its public key is not DER")
        return key[: 2 + key[1]]

    # --- the machine --------------------------------------------------------------------------------------------------

    def _state(self, deadline: float) -> int:
        return self._get(STATE, 1, deadline)[0]

    def _close(self, deadline: float) -> None:
        self._order(COMMAND, ord("E"), deadline)
        state = self._wait(
            "signing", lambda: self._state(deadline), lambda one: one not in (RUNNING, NOT_READY), SIGNING_LIMIT_S, deadline
        )
        if state != READY:
            raise self._misread("the meter says its record is corrupted")

    def _file(self, deadline: float) -> bytes:
        size = self._get(SIZE, 1, deadline)[0]
        if not 1 <= size <= LONGEST_FILE:
            raise self._misread(f"a record of {size} registers cannot be")
        return self._record(self._text(FILE, size, deadline).rstrip())

    def _clear(self, deadline: float) -> None:
        """To NOT_READY. What an earlier measurement left is kept for `left_over`, unless `end` gave it already."""
        state = self._state(deadline)
        if state == RUNNING:
            self._close(deadline)
            state = READY
        if state == READY:
            record = self._file(deadline)
            self._left_over = None if record == self._given else record
        self._session_id = ""
        if state != NOT_READY:
            self._order(STATE, NOT_READY, deadline)
            self._wait("confirming", lambda: self._state(deadline), lambda one: one == NOT_READY, 2.0, deadline)
