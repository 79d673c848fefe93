"""A start reads what came after the newest signed snapshot; one that does not fit is not believed; the audit reads everything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.signers.keyfile import KeyFileSigner, create
from terminal_app.engine import engine, snapshots
from terminal_app.engine.snapshots import Snapshots
from terminal_app.errors import LedgerBroken
from terminal_app.session.events import FaultSeen
from terminal_app.values import Device
from terminal_app.workers.audit import AuditWorker
from tests.unit.test_engine_turns import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A terminal with a charge in its ledger."""
    one = Desk(tmp_path / "state")
    one.engine.start(resumed_after_crash=False)
    one.to_charging()
    monkeypatch.setattr(engine, "WORTH_ENTRIES", 5)
    yield one
    one.ledger.close()


@pytest.fixture
def kept(desk: Desk, tmp_path: Path) -> Snapshots:
    return snapshots_of(desk, tmp_path)


def snapshots_of(desk: Desk, folder: Path, software: str = "1") -> Snapshots:
    key = folder / "snapshot-key.pem"
    if not key.exists():
        create(key)
    return Snapshots(desk.ledger.path.parent, desk.ledger.chain_id, software, desk.engine.standing.config, KeyFileSigner(key))


def again(desk: Desk, using: Snapshots | None) -> engine.Engine:
    """Another start on the same ledger, before its first turn."""
    one = desk.fresh(using)
    one._replay()
    return one


def test_a_start_from_a_snapshot_knows_the_same_as_one_that_read_everything(desk: Desk, kept: Snapshots) -> None:
    again(desk, kept)  # keeps one
    found = kept.newest(desk.ledger)
    assert found is not None and found[1].seq == desk.ledger.head[0]
    desk.telemetry()
    state, whole = again(desk, kept).state, again(desk, None).state
    assert desk.ledger.head[0] > found[1].seq
    assert state.sessions == whole.sessions and state.settlements == whole.settlements
    assert (state.chain, state.registers, state.slices, state.manual) == (whole.chain, whole.registers, whole.slices, whole.manual)


def test_only_what_came_after_it_is_read(desk: Desk, kept: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    again(desk, kept)
    read: list[int] = []
    real = engine.folded
    monkeypatch.setattr(engine, "folded", lambda state, entry, software: (read.append(entry.seq), real(state, entry, software))[1])
    again(desk, kept)
    assert read == []


@pytest.mark.parametrize("place", ["head", "state", "gone", "other software"])
def test_a_snapshot_that_does_not_fit_is_not_used(desk: Desk, kept: Snapshots, tmp_path: Path, place: str) -> None:
    again(desk, kept)
    file = desk.ledger.path.with_name("snapshot")
    head, _, body = file.read_bytes().partition(b"\n")
    if place == "head":
        file.write_bytes(head[:-4] + b"AAAA\n" + body)
    elif place == "state":
        file.write_bytes(head + b"\n" + body.replace(b"5000", b"9000"))
    elif place == "gone":
        file.unlink()
    using = snapshots_of(desk, tmp_path, "2" if place == "other software" else "1")
    assert using.newest(desk.ledger) is None
    assert again(desk, using).state.sessions == again(desk, None).state.sessions


def test_a_snapshot_of_another_ledger_is_not_used(desk: Desk, kept: Snapshots, tmp_path: Path) -> None:
    again(desk, kept)
    other = Desk(tmp_path / "other")
    other.engine.start(resumed_after_crash=False)
    file = other.ledger.path.with_name("snapshot")
    file.write_bytes(desk.ledger.path.with_name("snapshot").read_bytes())
    assert snapshots_of(other, tmp_path).newest(other.ledger) is None
    other.ledger.close()


def test_the_audit_reads_all_and_keeps_a_snapshot(desk: Desk, kept: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAGE", 2)
    pages = len(list(kept.audit(desk.ledger)))
    assert pages > 2
    found = kept.newest(desk.ledger)
    assert found is not None and found[1].seq == desk.ledger.head[0]
    assert found[0].sessions == again(desk, None).state.sessions


def test_what_the_audit_finds_takes_the_terminal_out_of_service(desk: Desk, kept: Snapshots) -> None:
    said: list[object] = []

    class Inbox:
        def post(self, event: object, droppable: bool = False) -> bool:
            said.append(event)
            return True

        def post_latest(self, source: object, event: object) -> None: ...

    def broken() -> Iterator[None]:
        yield
        raise LedgerBroken("does not follow the one before", 7)

    AuditWorker(broken, Inbox(), first_s=0.0).step()
    assert isinstance(said[0], FaultSeen) and said[0].raised and said[0].fault.device is Device.LEDGER
