"""Out of service: a ledger that cannot be trusted or written. Nothing is sold; the screen says so, and export still works."""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from terminal_app.config import Config
from terminal_app.engine.control_link import Answering
from terminal_app.engine.ui_link import UiLink
from terminal_app.ports import ChargeControl
from terminal_app.run import access
from terminal_app.run.watchdog import ServiceManager
from terminal_app.screens import OutOfService, OutOfServiceReason, Screen
from terminal_app.session.events import Event
from terminal_app.workers.evse import EvseWorker

log = logging.getLogger("charge.closed")
TRY_AGAIN_S = 300.0


class Deaf:
    """An inbox for workers whose news nobody can write down."""

    def post(self, event: Event, droppable: bool = False) -> bool:
        return True

    def post_latest(self, source: object, event: Event) -> None:
        return


def run_closed(
    settings: Config,
    ui: UiLink,
    controls: Mapping[int, ChargeControl],
    manager: ServiceManager,
    stopped: threading.Event,
    why: str,
) -> int:
    """Until a signal (0), or for five minutes (1: the restart tries again; a full disk may have been cleared).

    All contactors are opened and kept open: a charge that was under way can no longer be billed.
    """
    log.critical("out of service: %s", why)
    openers = [EvseWorker(number, control, Deaf()) for number, control in controls.items()]
    for opener in openers:
        opener.start()
    terminal = settings.terminal
    ui.open(None)

    def status(arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
        return {"terminal": terminal.id, "mode": terminal.mode, "out_of_service": "ledger", "why": why, "connectors": []}

    control = Answering(terminal.runtime_dir / "control.sock", {"status": status}, access.members(access.CONTROL_GROUP))
    manager.ready()
    until, revision = time.monotonic() + TRY_AGAIN_S, 0
    try:
        while time.monotonic() < until:
            revision += 1
            ui.publish(
                Screen(
                    screen_no=1,
                    revision=revision,
                    view=OutOfService(OutOfServiceReason.LEDGER),
                    language=terminal.languages[0],
                    languages=terminal.languages,
                    currency=terminal.currency,
                    station=terminal.station,
                    helpline=terminal.helpline,
                    utc_ms=time.time_ns() // 1_000_000,
                    time_zone=terminal.time_zone,
                    demo=settings.demo,
                )
            )
            manager.progress(f"out of service: {why}"[:200])
            if stopped.wait(1.0):
                return 0
        return 1
    finally:
        manager.stopping()
        for opener in openers:
            opener.stop()
        for opener in openers:
            opener.join(5)
        control.close()
        ui.close()
