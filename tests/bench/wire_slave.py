"""A Modbus slave on a pty that carries every byte as slowly as a real line would.

`python -m tests.bench.wire_slave LINK BAUD RESPONSE_MS`.

One process of its own, so that its timing is not that of the program measured. Baud 0: at once. Answers any unit id with
an SDM630's registers. Says "ready" on stdout.
"""

import os
import select
import sys
import time
import tty
from pathlib import Path

from drivers.sim import modbus_slave, sdm630


def blocks() -> modbus_slave.Blocks:
    inputs = dict.fromkeys(range(0x180), 0)
    for address, value in ((0x34, 7000.0), (0x46, 50.0), (0x48, 1234.5), (0x00, 230.0)):
        inputs[address], inputs[address + 1] = sdm630.float_words(value)
    return {4: inputs, 3: {0xFC00 + place: 1 for place in range(16)}}


def main(link: Path, baud: int, response_s: float) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    link.symlink_to(os.ttyname(slave))
    print("ready", flush=True)
    char_s = 10 / baud if baud else 0.0
    held, buffer = blocks(), b""
    while True:
        select.select([master], [], [])
        buffer = (buffer + os.read(master, 512))[-8:]
        request = modbus_slave.rtu_request(buffer)
        if request is None:
            continue
        buffer = b""
        at = time.monotonic() + 8 * char_s + 3.5 * char_s + response_s
        frame = modbus_slave.rtu_frame(request[0], modbus_slave.answer(request[1], held))
        if not baud:
            os.write(master, frame)
            continue
        for place in range(len(frame)):
            time.sleep(max(0.0, at + (place + 1) * char_s - time.monotonic()))
            os.write(master, frame[place : place + 1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000)
