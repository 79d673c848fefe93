"""The computer's clock and disk, the plain text printer."""

import os
import subprocess
import threading
from pathlib import Path

import pytest

from drivers import system
from drivers.printers.text_file import TextFilePrinter
from drivers.system import SystemClock
from terminal_app.errors import DeviceUnavailable
from terminal_app.ports import Clock
from terminal_app.values import ClockState


def test_stamps_run_forward_and_name_this_boot() -> None:
    clock: Clock = SystemClock()
    stamps = [clock.now() for _ in range(100)]
    assert [stamp.mono_ms for stamp in stamps] == sorted(stamp.mono_ms for stamp in stamps)
    assert {stamp.boot_id for stamp in stamps} == {Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    assert stamps[0].utc_ms > 1_700_000_000_000


def test_the_clock_state_is_the_kernels_own_word() -> None:
    assert system.clock_state(0, 0x0001) is ClockState.SYNCHRONISED
    assert system.clock_state(0, 0x0041) is ClockState.INFORMATIVE
    assert system.clock_state(5, 0x0001) is ClockState.INFORMATIVE
    assert system.clock_state(-1, 0) is ClockState.UNKNOWN


def test_the_structure_given_to_the_kernel_is_read_where_the_kernel_writes(tmp_path: Path) -> None:
    """A C program of the system's own header is the peer, where a compiler is installed."""
    source = tmp_path / "t.c"
    source.write_text(
        '#include <sys/timex.h>\n#include <stdio.h>\nint main(){struct timex t={0};int r=adjtimex(&t);printf("%d %d",r,t.status);}'
    )
    try:
        subprocess.run(["cc", "-o", str(tmp_path / "t"), str(source)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler")
    outcome, status = subprocess.run([str(tmp_path / "t")], check=True, capture_output=True, text=True).stdout.split()
    assert SystemClock().now().clock is system.clock_state(int(outcome), int(status))


def test_disk_space_counts_what_this_program_may_write(tmp_path: Path) -> None:
    space = system.disk_space(tmp_path)
    assert 0 < space.free_bytes <= space.total_bytes and not space.read_only
    with pytest.raises(OSError):
        system.disk_space(tmp_path / "missing")


def test_a_receipt_is_printed_line_by_line_without_control_characters(tmp_path: Path) -> None:
    path = tmp_path / "printer"
    TextFilePrinter(path, "printer").print_receipt(["Total 7,26 €", "a\x1bcommand\n"], "https://office.example/r/abc#line")
    assert path.read_text("utf-8") == "Total 7,26 €\na command \nhttps://office.example/r/abc\n\n\n\f"


def test_a_missing_printer_is_a_fault_not_a_new_file() -> None:
    with pytest.raises(DeviceUnavailable, match="cannot be opened"):
        TextFilePrinter(Path("/dev/ct-no-such-printer"), "printer").print_receipt(["x"], "")


def test_a_slow_printer_gets_the_whole_receipt(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received: list[bytes] = []
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)

    def drain() -> None:
        while part := os.read(reading, 4096):
            received.append(part)

    lines = ["x" * 200] * 1000  # more than the pipe holds
    thread = threading.Thread(target=drain)
    printer = TextFilePrinter(path, "printer")
    holder = os.open(path, os.O_WRONLY)  # the reader must not see an end before the receipt begins
    thread.start()
    printer.print_receipt(lines, "")
    os.close(holder)
    thread.join(20)
    os.close(reading)
    assert b"".join(received).count(b"\n") == 1002
