"""The OpenEVSE board, firmware D8.1.1: what it knows, decides and answers. No input or output of its own.

Sources: a transcript of the real firmware (states, flags, texts, sequence of the notices) and rapi_proc.h of the firmware.
vflags: 0002 hard fault, 0008 auth lock, 0040 relay on, 0100 car connected, 0200 session ended, 0400 was connected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

VERSION = "D8.1.1"
PROTOCOL = "5.2.1"
HARD_FAULT, AUTH_LOCK, RELAY_ON, CONNECTED, SESSION_ENDED, WAS_CONNECTED = 0x02, 0x08, 0x40, 0x100, 0x200, 0x400
UNKNOWN, STATE_A, STATE_B, STATE_C, GFCI, STUCK_RELAY = 0x00, 0x01, 0x02, 0x03, 0x06, 0x08
SLEEPING, DISABLED = 0xFE, 0xFF
MIN_AMPERES = 6
FEATURE_FLAGS = {"D": 0x0002, "V": 0x0004, "G": 0x0008, "R": 0x0010, "F": 0x0200, "T": 0x0400}


@dataclass(frozen=True)
class Use:
    """What the board has measured: of the present or last charge, and ever."""

    elapsed_s: int
    milliamperes: int
    session_ws: int
    lifetime_wh: int


@dataclass
class Board:
    """One thread. `notice` takes every line the board says unasked, `switched` hears every change of relay or pilot."""

    notice: Callable[[str], None]
    switched: Callable[[], None]
    hardware_amperes: int = 16
    configured_amperes: int = 12
    millivolts: int = 120_000
    state: int = UNKNOWN
    mode: int = STATE_A  # STATE_A: enabled; or SLEEPING, DISABLED
    fault: int = 0
    amperes: int = 0
    relay: bool = False
    plugged: bool = False
    wanting: bool = False
    auth_locked: bool = False
    session_ended: bool = True
    was_connected: bool = False
    maximum_set: bool = False
    welded: bool = False
    features_off: set[str] = field(default_factory=set)

    def boot(self) -> None:
        """Power on: volatile settings are gone, and the board is enabled."""
        self.state, self.mode, self.fault = UNKNOWN, STATE_A, 0
        self.amperes = 0
        self.auth_locked, self.relay = False, False
        self.session_ended, self.was_connected = True, False
        self.features_off.clear()
        self.switched()

    def post_done(self) -> None:
        """The self test is over: the firmware starts to look at the pilot."""
        self.amperes = self.configured_amperes
        self.was_connected = self.plugged
        self.notice(f"$AB 00 {VERSION}")
        self.state = STATE_B if self.plugged and self.mode == STATE_A else STATE_A
        self._tell()
        self.update()

    @property
    def pilot_state(self) -> int:
        """What the car shows on the pilot line."""
        if self.state == UNKNOWN:
            return UNKNOWN
        if not self.plugged:
            return STATE_A
        return STATE_C if self.wanting else STATE_B

    @property
    def vflags(self) -> int:
        flags = 0
        for bit, on in (
            (HARD_FAULT, self.fault != 0),
            (AUTH_LOCK, self.auth_locked),
            (RELAY_ON, self.relay),
            (CONNECTED, self.plugged and self.state != UNKNOWN),
            (SESSION_ENDED, self.session_ended),
            (WAS_CONNECTED, self.was_connected),
        ):
            flags |= bit if on else 0
        return flags

    @property
    def pilot_amperes(self) -> int:
        """What the pilot's duty cycle offers to the car; 0 when there is no square wave."""
        offering = self.state in (STATE_B, STATE_C) and not self.auth_locked
        return self.amperes if offering else 0

    @property
    def closed(self) -> bool:
        """Whether the contacts are together, which a welded relay is against the board's will."""
        return self.relay or self.welded

    def next_state(self) -> int:
        if self.fault:
            return self.fault
        if self.mode != STATE_A:
            return self.mode
        if not self.plugged:
            return STATE_A
        return STATE_C if self.wanting and not self.auth_locked else STATE_B

    def update(self) -> None:
        """Go where pilot, mode and faults lead: one step of the firmware's loop. Nothing happens during the self test."""
        if self.state == UNKNOWN:
            return
        self.was_connected = self.plugged
        if not self.plugged:
            self.session_ended = True
        target = self.next_state()
        if target == self.state:
            self.switched()
            return
        if target == SLEEPING:  # the firmware tells of sleep before it opens the relay
            self.state = target
            self._tell()
            self._open()
        elif target == STATE_C:
            if self.state != STATE_B:
                self.state = STATE_B
                self._tell()
            self.session_ended = False
            self._close()
            self.state = target
            self._tell()
        else:
            self._open()
            self.state = target
            self._tell()
        self.switched()
        if self.welded and self.state not in (STATE_C, STUCK_RELAY) and "R" not in self.features_off:
            self.raise_fault(STUCK_RELAY)

    def raise_fault(self, state: int) -> None:
        self.fault = state
        self.update()

    def clear_fault(self) -> None:
        self.fault = 0
        self.update()

    def _close(self) -> None:
        self.relay = True
        self.notice("relayCloseMs: 25\r\n")
        self.notice("relayHoldPwm: 75\r\n")
        self.switched()

    def _open(self) -> None:
        self.relay = False
        self.switched()

    def _tell(self) -> None:
        self.notice(f"$AT {self.state:02x} {self.pilot_state:02x} {self.amperes} {self.vflags:04x}")

    def set_mode(self, mode: int) -> None:
        if self.mode != mode:
            self.mode = mode
            self.update()

    def answer(self, words: tuple[str, ...], use: Use) -> tuple[bool, str]:
        """The outcome of one command: accepted or not, and the parameters of the reply. FR is not for here."""
        name, arguments = words[0] if words else "", words[1:]
        if name in ("FE", "FD", "FS"):
            self.set_mode({"FE": STATE_A, "FD": DISABLED, "FS": SLEEPING}[name])
            return True, ""
        if name == "GS":
            return True, f"{self.state:02x} {use.elapsed_s} {self.pilot_state:02x} {self.vflags:04x}"
        if name == "GC":
            return True, f"{MIN_AMPERES} {self.hardware_amperes} {self.amperes} {self.configured_amperes}"
        if name == "GE":
            flags = sum(FEATURE_FLAGS.get(feature, 0) for feature in self.features_off)
            return True, f"{self.amperes} {flags:04x}"
        if name == "GG":
            return True, f"{use.milliamperes} {self.millivolts}"
        if name == "GU":
            return True, f"{use.session_ws} {use.lifetime_wh}"
        if name == "GV":
            return True, f"{VERSION} {PROTOCOL}"
        if name == "G0":
            return True, str(int(self.plugged))
        if name == "G4":
            return True, str(int(self.auth_locked))
        if name == "GF":
            return True, "0 0 0"
        if name == "S4" and len(arguments) == 1:
            self.auth_locked = arguments[0] == "1"
            self.update()
            return True, ""
        if name == "SC" and len(arguments) in (1, 2) and arguments[0].isdigit():
            return self._set_amperes(int(arguments[0]), arguments[1] if len(arguments) == 2 else "")
        if name == "FF" and len(arguments) == 2 and arguments[0] in "BEDVGRFT" and arguments[1] in ("0", "1"):
            (self.features_off.add if arguments[1] == "0" else self.features_off.discard)(arguments[0])
            return True, ""
        return False, ""

    def _set_amperes(self, amperes: int, kind: str) -> tuple[bool, str]:
        if kind == "M":
            if self.maximum_set:
                return False, str(self.hardware_amperes)
            self.maximum_set = True
            self.hardware_amperes = min(amperes, self.hardware_amperes)
            self.configured_amperes = min(self.configured_amperes, self.hardware_amperes)
            self.amperes = min(self.amperes, self.configured_amperes)
            self.switched()
            return True, str(self.hardware_amperes)
        self.amperes = max(MIN_AMPERES, min(amperes, self.configured_amperes))
        self.switched()
        return self.amperes == amperes, str(self.amperes)
