"""What the OpenEVSE board says of itself in its answer to GS. PURE. Source: firmware rapi_proc.h, meters.md section 4.2."""

from terminal_app.values import Pilot

PILOTS = {0x01: Pilot.A, 0x02: Pilot.B, 0x03: Pilot.C, 0x04: Pilot.D}
STARTING, CHARGING, DIODE, SLEEPING, DISABLED = 0x00, 0x03, 0x05, 0xFE, 0xFF
FAULTS = {
    0x04: "ventilation_wanted",
    DIODE: "diode",
    0x06: "ground_fault",
    0x07: "no_ground",
    0x08: "stuck_relay",
    0x09: "ground_fault_self_test",
    0x0A: "over_temperature",
    0x0B: "over_current",
    0x0E: "relay_closure",
}
HARD_FAULT, RELAY_ON = 0x0002, 0x0040


class BoardState:
    """The answer to GS: state, seconds of the charge timer, pilot and flags."""

    def __init__(self, words: tuple[str, ...]) -> None:
        state, elapsed, pilot, flags = words  # ValueError if there are more or less
        self.state, self.elapsed_s = int(state, 16), int(elapsed)
        self.pilot, self.flags = int(pilot, 16), int(flags, 16)
        self.relay = bool(self.flags & RELAY_ON)
        self.awake = self.state in PILOTS  # would close its relay for a car that asks
        self.asleep = self.state in (SLEEPING, DISABLED)
        self.fault = FAULTS.get(self.state, "hard_fault" if self.flags & HARD_FAULT else "")
        if self.state == STARTING:
            self.fault = "starting"
        elif not (self.fault or self.awake or self.asleep):
            raise ValueError(f"unknown state {self.state:02x}")

    @property
    def shown(self) -> Pilot:
        """The IEC 61851 state: what the car shows, also while the board sleeps; E = diode fault, F = starting or disabled."""
        if self.state == DIODE:
            return Pilot.E
        if self.state in (STARTING, DISABLED):
            return Pilot.F
        return PILOTS.get(self.pilot, Pilot.F)
