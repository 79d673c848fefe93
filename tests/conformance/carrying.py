"""A terminal on paper whose engine turns and whose sync socket listens: what sync's threads are tried against."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from drivers.signers.keyfile import KeyFileSigner
from terminal_app.billing import record
from terminal_app.engine import money_orders
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.sync_link import SyncLink
from terminal_app.http_server import Tls, server
from terminal_app.session import events
from terminal_app.sync import pull_api
from terminal_app.sync.cdr_body import CdrBodies
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.pull_access import PullAccess
from terminal_app.sync.pull_core import SharedCore
from tests.peers.venvs import free_port
from tests.sessions import Paper, terminal


class Carrying:
    """`site` and its sync socket, until `close`; then the site may charge again, and a new one may be made."""

    def __init__(self, site: Paper) -> None:
        self.site, self.engine = site, site.engine
        self.socket = site.config.terminal.runtime_dir / "sync.sock"
        self.office = KeyFileSigner(site.path.with_name("office-private.pem"))
        self._listen()

    def _listen(self) -> None:
        spki = self.office.public_key_spki()
        self.links = SyncLink(self.socket, self.engine, CommandLink(self.engine, spki, acts_of(self.engine)), spki, None)
        self.engine._stopping = False  # it may have turned before
        self._thread = threading.Thread(target=self.engine.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.links.close()
        self.engine.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def credit(self, session_seq: int, amount_minor: int | None = None) -> int:
        """The operator gives a session's money back, all of it or a part; the number of the credit record that follows."""
        engine, site = self.engine, self.site
        (bill,) = site.ledger.records(session_seq - 1, 1)
        said = record.claims_of(bill.jws.encode())
        arguments = {"hold_id": said["payment"]["hold_id"], "reason": "meter fault", "amount_minor": amount_minor}

        def order() -> None:
            engine.ask = lambda question, timeout_s=5.0: question()  # type: ignore[method-assign]
            try:
                money_orders.payment_refund(engine, arguments, "Office")
            finally:
                del engine.ask
            for _ in range(6):
                site.pass_time(1)
                site.turn(events.Ticked())

        engine.ask(order)
        (newest,) = site.ledger.records(newest_first=True, limit=1)
        assert newest.type == "credit"
        return newest.seq

    def cdrs(self) -> list[int]:
        """Numbers of the records that are CDRs."""
        return [seq for seq, _, _ in self.site.ledger.sealed(0, ("session", "credit"))]


@contextlib.contextmanager
def carrying(folder: Path, sessions: int = 0) -> Iterator[Carrying]:
    """A terminal that has charged so often: each time a session record and a settlement record."""
    with terminal(folder) as site:
        for _ in range(sessions):
            site.paid_session(500, 120)
        found = Carrying(site)
        try:
            yield found
        finally:
            found.close()


@contextlib.contextmanager
def pullable(
    found: Carrying, tokens: dict[str, str], tls: Tls | None = None, exchange_s: float = 60, at_once: int = 8
) -> Iterator[str]:
    """The pull API over a real socket; its address."""
    port = free_port()
    link = CoreLink(found.socket)
    access = PullAccess(tokens, tls is not None and tls.client_ca is not None)
    application = pull_api.build(SharedCore(link), access, CdrBodies(found.site.config.ocpi))
    listening = server(application, ("127.0.0.1", port), tls=tls, at_once=at_once, exchange_s=exchange_s)
    thread = threading.Thread(target=listening.run, daemon=True)
    thread.start()
    try:
        while not listening.started:
            assert thread.is_alive()
            os.sched_yield()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        listening.should_exit = True
        thread.join(30)
        link.close()
