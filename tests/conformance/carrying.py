"""A terminal on paper whose engine turns and whose sync socket listens: what sync's threads are tried against."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from drivers.signers.keyfile import KeyFileSigner
from terminal_app.billing import record
from terminal_app.billing.chain_records import CreditBill, credit_of, credit_payload
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.sync_link import SyncLink
from terminal_app.http_server import Tls, server
from terminal_app.session.facts import Sealed
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

    def credit(self, session_seq: int) -> None:
        """A credit record over the whole of a session, committed as sealed."""
        ledger = self.site.ledger
        (bill,) = ledger.records(session_seq - 1, 1)
        said = record.open_record(bill.jws, self.site.keys.records.public_key_spki())
        (head,) = ledger.records(newest_first=True, limit=1)
        moment = record.Moment(self.site.clock.now().utc_ms, "S")
        place = record.RecordHead(
            terminal=said["terminal"],
            chain_id=said["chain_id"],
            seq=head.seq + 1,
            prev=head.sha256,
            created=moment,
            software="test",
            demo=True,
        )
        lines = credit_of(said)
        made = CreditBill(
            session_id=said["session_id"],
            authorization_reference=said["authorization_reference"],
            credited_seq=bill.seq,
            credited_sha256=bill.sha256,
            credited_receipt=said["receipt"]["number"],
            number=1,
            reason="meter fault",
            actor="Office",
            lines=lines,
            currency=said["totals"]["currency"],
            receipt_number="CREDIT-1",
        )
        signing = record.signing_input(credit_payload(place, made), self.site.keys.records.key_id)
        jws = record.seal(signing, self.site.keys.records.sign(signing))
        fact = Sealed(place.seq, "credit", said["session_id"], record.sha256_of(jws))

        def commit() -> None:
            ledger.append([fact], self.site.clock.now(), jws)
            state = self.engine.state
            chain = msgspec.structs.replace(state.chain, next_record_seq=place.seq + 1, head_sha256=fact.sha256)
            self.engine.state = msgspec.structs.replace(state, chain=chain)

        self.engine.ask(commit)


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
