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
    reading of its answer take (0 = no bound: long polls). OSError or ssl.SSLError at `load` if a file cannot be used."""
    host, port = address
    client_ca = tls.client_ca if tls else None
    demanded = ssl.CERT_OPTIONAL if tls and tls.asked_only else ssl.CERT_REQUIRED
    settings = uvicorn.Config(
        application,
        host=host,
        port=port,
        http=_bounded(exchange_s),
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


def _bounded(bound_s: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol with a clock per exchange, and with the client's certified name."""

    class Bounded(H11Protocol):
        _clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "certified": common_name(transport.get_extra_info)}
            self._wind()

        def on_response_complete(self) -> None:
            self._wind()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._clock:
                self._clock.cancel()
            super().connection_lost(exc)

        def _wind(self) -> None:
            if self._clock:
                self._clock.cancel()
            if bound_s:
                self._clock = self.loop.call_later(bound_s, self.transport.abort)

    return Bounded


def common_name(told: Callable[[str], Any]) -> str:
    """The one common name of the certificate that TLS verified; "" if there is none, or more than one."""
    shown = told("ssl_object")
    subject = (shown.getpeercert() or {}).get("subject", ()) if shown is not None else ()
    names = [value for parts in subject for name, value in parts if name == "commonName"]
    return names[0] if len(names) == 1 else ""
