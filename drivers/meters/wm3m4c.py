"""Iskra WM3M4 and WM3M4C: signed measurements (`SignedMeter`). Signs with secp256r1.

Source: meters.md section 2.1; Iskra K_WM3M4 users manual 1.14 as read by EVerest RsIskraMeter. Holding registers, decimal
addresses; single registers are written by function code 6. The meter gives payload and signature apart: the payload goes
verbatim between the pipes. After a power failure it wants clock and metadata again before it can stop.
"""

import json
import struct
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from drivers.meters import bus
from drivers.meters.signing_meter import LIMIT_S, SIGNING_LIMIT_S, SigningMeter, minimal_der

STATE, COMMAND, STATUS, OFFSET, TIME_HIGH, TIME_LOW = 7000, 7051, 7052, 7053, 7054, 7055
METADATA_BYTES, TEXT_BYTES, SIGNATURE_BYTES, ALGORITHM, SYNCHRONISED = 7056, 7057, 7058, 7059, 7071
METADATA, TEXT, KEY, SIGNATURE = 7100, 7612, 8124, 8188
LONGEST_TEXT, LONGEST_SIGNATURE = 1024, 80
START_COMMAND, STOP_COMMAND = 0x4200, 0x7200
IDLE, ACTIVE, AFTER_POWER_FAILURE = 0, 1, 2
SIGNED, FIRST_ERROR = 15, 128
STATE_LIMIT_S = 2.0


class Wm3m4c(SigningMeter):
    """One thread."""

    def begin(self, session_id: str, tariff_text: str) -> None:
        """Start a measurement; an older one is closed and kept first. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        if self._state(deadline) != IDLE:
            self._left_over = self._stopped(deadline)
        self._session_id, self._tariff_text = session_id, tariff_text
        self._set_time(deadline)
        self._set(ALGORITHM, 0, deadline)
        self._set_metadata(deadline)
        self._order(COMMAND, START_COMMAND, deadline, bus.WRITE_ONE)
        self._wait("starting", lambda: self._state(deadline), lambda state: state == ACTIVE, STATE_LIMIT_S, deadline)
        self._signed(deadline)

    def end(self) -> bytes:
        """Close the measurement and give its record. Blocks up to 20 s. DeviceUnavailable, DeviceMisread."""
        deadline = time.monotonic() + LIMIT_S
        if self._state(deadline) != IDLE:
            return self._of_this_session(self._stopped(deadline))
        if self._get(STATUS, 1, deadline)[0] != SIGNED:
            raise self._refused("no measurement is open")
        return self._of_this_session(self._result(deadline))

    def public_key_spki(self) -> bytes:
        """DER SubjectPublicKeyInfo (secp256r1). DeviceUnavailable, DeviceMisread."""
        words = self._get(KEY, 32, time.monotonic() + LIMIT_S)
        try:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + struct.pack(">32H", *words))
        except ValueError as error:
            raise self._misread(f"its public key is not on secp256r1: {error}") from error
        return point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    # --- the machine --------------------------------------------------------------------------------------------------

    def _state(self, deadline: float) -> int:
        return self._get(STATE, 1, deadline)[0]

    def _set(self, addr: int, value: int, deadline: float) -> None:
        self._put(addr, (value & 0xFFFF,), deadline, bus.WRITE_ONE)

    def _set_time(self, deadline: float) -> None:
        utc_s, synchronised = self._utc()
        self._set(TIME_HIGH, utc_s >> 16, deadline)
        self._set(TIME_LOW, utc_s, deadline)
        self._set(OFFSET, self._offset_min, deadline)
        if synchronised:
            self._set(SYNCHRONISED, 2, deadline)

    def _set_metadata(self, deadline: float) -> None:
        """What the meter puts into its record. The session id stands first in ID."""
        session_id, tariff_text = (self._session_id, self._tariff_text) if self._session_id else self._resumed
        body = {
            "FV": "1.0",
            "GI": "",
            "GS": "",
            "GV": "",
            "PG": "",
            "MV": "",
            "MM": "",
            "MS": "",
            "MF": "",
            "IS": True,
            "IF": [],
            "IT": "NONE",
            "ID": f"{session_id} {tariff_text}".strip(),
            "CT": "EVSEID",
            "CI": self._evse_id,
            "RD": [],
        }
        plain = json.dumps(body, separators=(",", ":")).replace("|", " ").encode("ascii")
        if len(plain) > LONGEST_TEXT - 400:  # the readings and what the meter fills in must fit, too
            raise self._refused(f"session id and tariff text are {len(plain)} bytes with their frame: too long for this meter")
        padded = plain + b"\0" * (len(plain) % 2)
        self._put(METADATA, struct.unpack(f">{len(padded) // 2}H", padded), deadline)
        self._set(METADATA_BYTES, len(plain), deadline)

    def _signed(self, deadline: float) -> None:
        status = self._wait(
            "signing",
            lambda: self._get(STATUS, 1, deadline)[0],
            lambda one: one == SIGNED or one >= FIRST_ERROR,
            SIGNING_LIMIT_S,
            deadline,
        )
        if status != SIGNED:
            raise self._refused(f"the meter refuses to sign: status {status}")

    def _stopped(self, deadline: float) -> bytes:
        if self._state(deadline) == AFTER_POWER_FAILURE:
            self._set_time(deadline)
            self._set_metadata(deadline)
        self._order(COMMAND, STOP_COMMAND, deadline, bus.WRITE_ONE)
        self._wait("stopping", lambda: self._state(deadline), lambda state: state == IDLE, STATE_LIMIT_S, deadline)
        self._signed(deadline)
        return self._result(deadline)

    def _result(self, deadline: float) -> bytes:
        text_bytes, signature_bytes = self._get(TEXT_BYTES, 2, deadline)
        if not 2 <= text_bytes <= LONGEST_TEXT or not 8 <= signature_bytes <= LONGEST_SIGNATURE:
            raise self._misread(f"a record of {text_bytes} bytes with a signature of {signature_bytes} cannot be")
        payload = self._bytes(TEXT, text_bytes, deadline)
        try:
            signature = minimal_der(self._bytes(SIGNATURE, signature_bytes, deadline))
        except ValueError as error:
            raise self._misread(f"its signature: {error}") from error
        return self._record(b"OCMF|" + payload + b'|{"SD":"' + signature.hex().encode() + b'"}')

    def _bytes(self, addr: int, size: int, deadline: float) -> bytes:
        words = self._get(addr, (size + 1) // 2, deadline)
        return struct.pack(f">{len(words)}H", *words)[:size]

    def _of_this_session(self, record: bytes) -> bytes:
        if self._session_id and self._session_id.encode() not in record:
            raise self._misread(f"the record it gives is not that of session {self._session_id}")
        return record
