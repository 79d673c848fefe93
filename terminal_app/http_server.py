"""The one hardened HTTP server: uvicorn with bounds it lacks. Loaded only where something listens: it costs memory.

A connection may idle, speak and read only so long: uvicorn bounds the pause between requests, not a request that drips in or
an answer that is never read. Certificates of clients are verified by TLS; the common name reaches the application as
`request.state.certified` ("" = none was shown).
"""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD = 32 * 1024
HEAD_S = 30.0
"""So long may the head of a request take, from the first connection on."""
UNREAD_S = 60.0
"""So long may a client let an answer lie unread in full buffers."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files. `client_ca`: clients show a certificate of this authority, all of them or (`asked_only`) those who have one."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    asked_only: bool = False


def server(
    application: Any, address: tuple[str, int], *, tls: Tls | None, at_once: int, exchange_s: float = 0, keep_alive_s: int = 75
) -> uvicorn.Server:
    """Not started yet. `at_once` connections are served, further ones get 503. `exchange_s`: so long may a request and the
    reading of its answer take (0 = no bound but HEAD_S and UNREAD_S: long polls).
    OSError or ssl.SSLError at `load` if a file cannot be used."""
    host, port = address
    client_ca = tls.client_ca if tls else None
    demanded = ssl.CERT_OPTIONAL if tls and tls.asked_only else ssl.CERT_REQUIRED
    settings = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=_bounded(exchange_s, exchange_s or HEAD_S, exchange_s or keep_alive_s + HEAD_S),
        ws="none",
        ssl_certfile=str(tls.cert) if tls else None,
        ssl_keyfile=str(tls.key) if tls else None,
        ssl_ca_certs=str(client_ca) if client_ca else None,
        ssl_cert_reqs=demanded if client_ca else ssl.CERT_NONE,
        access_log=False,  # addresses of receipt pages are secrets
        server_header=False,
        log_config=None,
        limit_concurrency=at_once,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    return uvicorn.Server(settings)


def _bounded(exchange_s: float, first_s: float, next_s: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol with a clock per exchange, and with the client's certified name. Without `exchange_s` the clock runs only
    until a request's head is there: `first_s` after the connection, `next_s` after an answer (which includes idling)."""

    class Bounded(H11Protocol):
        _clock: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "certified": common_name(transport.get_extra_info)}
            self._wind(first_s)

        def handle_events(self) -> None:
            super().handle_events()
            if not exchange_s and self._clock and self.cycle is not None and not self.cycle.response_complete:
                self._clock.cancel()

        def on_response_complete(self) -> None:
            self._wind(next_s)
            super().on_response_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

        def resume_writing(self) -> None:
            if self._unread:
                self._unread.cancel()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            for clock in (self._clock, self._unread):
                if clock:
                    clock.cancel()
            super().connection_lost(exc)

        def _wind(self, seconds: float) -> None:
            if self._clock:
                self._clock.cancel()
            self._clock = self.loop.call_later(seconds, self.transport.abort)

    return Bounded


def common_name(told: Callable[[str], Any]) -> str:
    """The one common name of the certificate that TLS verified; "" if there is none, or more than one."""
    shown = told("ssl_object")
    subject = (shown.getpeercert() or {}).get("subject", ()) if shown is not None else ()
    names = [value for parts in subject for name, value in parts if name == "commonName"]
    return names[0] if len(names) == 1 else ""
