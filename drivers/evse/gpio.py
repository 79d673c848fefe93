"""GPIO lines of a Linux character device. The only file that imports the optional package `gpiod` (libgpiod 2).

Not tried on real hardware here: no machine of ours in reach has a GPIO chip. The calls are those of the package's
documentation (`request_lines`, `LineSettings`, `set_value`, `get_value`, `release`); what the relay driver makes of the lines
is tested on `tests`' simulated ones, which behave as the kernel documents: values are logical (active or inactive).
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol


class Lines(Protocol):
    """Some lines of one chip, held until `close`. Every method may raise OSError (the chip is gone, not permitted)."""

    def write(self, line: int, active: bool) -> None: ...

    def read(self, line: int) -> bool: ...

    def close(self) -> None: ...


class GpiodLines:
    """Lines held through libgpiod: outputs begin inactive. One thread. OSError; ImportError if `gpiod` 2 is not installed."""

    def __init__(self, chip: str, outputs: Mapping[int, bool], inputs: Mapping[int, bool]) -> None:
        """`outputs`, `inputs`: line -> active low."""
        gpiod = importlib.import_module("gpiod")
        if not hasattr(gpiod, "request_lines"):
            raise ImportError("the package gpiod is older than 2.0")
        line: Any = importlib.import_module("gpiod.line")
        self._on, self._off = line.Value.ACTIVE, line.Value.INACTIVE
        settings = {
            number: gpiod.LineSettings(direction=line.Direction.OUTPUT, active_low=low, output_value=self._off)
            for number, low in outputs.items()
        } | {number: gpiod.LineSettings(direction=line.Direction.INPUT, active_low=low) for number, low in inputs.items()}
        self._request: Any = gpiod.request_lines(chip, consumer="charge-terminal", config=settings)

    def write(self, line: int, active: bool) -> None:
        self._request.set_value(line, self._on if active else self._off)

    def read(self, line: int) -> bool:
        return bool(self._request.get_value(line) == self._on)

    def close(self) -> None:
        self._request.release()
