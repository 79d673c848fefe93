"""Under the unit's sandbox the kernel may not be asked; then systemd-timesyncd's mark tells how far the clock is trusted."""

import os
from pathlib import Path

import pytest

from drivers.system import TIMESYNCD_TRUSTED_S, timesyncd_state
from terminal_app.values import ClockState

NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("age_s", "state"),
    [
        (0, ClockState.SYNCHRONISED),
        (2048, ClockState.SYNCHRONISED),  # timesyncd's longest pause
        (TIMESYNCD_TRUSTED_S, ClockState.INFORMATIVE),
        (-TIMESYNCD_TRUSTED_S, ClockState.INFORMATIVE),  # somebody put the clock back
    ],
)
def test_the_mark_is_trusted_as_long_as_the_kernel_would(tmp_path: Path, age_s: int, state: ClockState) -> None:
    mark = tmp_path / "synchronized"
    mark.touch()
    os.utime(mark, (NOW - age_s, NOW - age_s))
    assert timesyncd_state(mark, NOW) is state


def test_without_a_mark_nobody_vouches_for_the_clock(tmp_path: Path) -> None:
    assert timesyncd_state(tmp_path / "synchronized", NOW) is ClockState.INFORMATIVE
    assert timesyncd_state(tmp_path / "absent" / "synchronized", NOW) is ClockState.UNKNOWN
