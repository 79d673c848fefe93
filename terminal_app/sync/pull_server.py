"""The pull API's listening side, on a thread of its own that tries again: records to the office matter more than this."""

import logging
import ssl
import threading

from terminal_app.config import Config, PullSection
from terminal_app.http_server import Tls, server
from terminal_app.sync import pull_api
from terminal_app.sync.cdr_body import CdrBodies
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.pull_access import PullAccess
from terminal_app.sync.pull_core import SharedCore

log = logging.getLogger(__name__)
AT_ONCE = 8
EXCHANGE_S = 60.0
KEEP_ALIVE_S = 20
AGAIN_S = 30.0


class PullServer:
    """`run` is the thread's body; it ends with the process."""

    def __init__(self, settings: Config, pull: PullSection, tokens: dict[str, str]) -> None:
        self._pull, self._pause = pull, threading.Event()  # never set
        core = SharedCore(CoreLink(settings.terminal.runtime_dir / "sync.sock"))
        self._application = pull_api.build(core, PullAccess(tokens, pull.client_ca is not None), CdrBodies(settings.ocpi))
        self._tls = Tls(pull.cert, pull.key, pull.client_ca) if pull.cert and pull.key else None

    def run(self) -> None:
        """Listens; what keeps it from listening is logged and tried again."""
        while True:
            why = "it ended"
            try:
                listening = server(
                    self._application,
                    self._pull.address,
                    tls=self._tls,
                    at_once=AT_ONCE,
                    exchange_s=EXCHANGE_S,
                    keep_alive_s=KEEP_ALIVE_S,
                )
                listening.run()
            except (OSError, ssl.SSLError) as error:
                why = str(error)
            except SystemExit:  # uvicorn's way to say that the address is taken; it has logged why
                why = "the address cannot be had"
            log.error("no pull API at %s: %s; again in %.0f s", self._pull.listen, why, AGAIN_S)
            self._pause.wait(AGAIN_S)
