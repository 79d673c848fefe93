"""Whether this machine tells anything of its clock: some containers forbid even to ask, and then nothing is sold on time's word."""

import pytest

from drivers.system import SystemClock
from terminal_app.values import ClockState

NEEDS_CLOCK = pytest.mark.skipif(
    SystemClock().now().clock is ClockState.UNKNOWN, reason="this machine does not tell whether its clock is right"
)
