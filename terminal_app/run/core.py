"""`charge-terminal --config terminal.toml`: the core. Engine, devices, payments, ledger; no network port, no Kivy.

Start: configuration, keys, ledger (verified and replayed), devices, sockets, then ready. A wrong configuration ends it with
exit code 2 and one sentence; a ledger that cannot be trusted leaves it out of service with the screen and export alive.
"""

import argparse
import hashlib
import logging
import os
import resource
import secrets
import signal
import sys
import threading
import uuid
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from drivers.cards.pcsc_reader import PcscReader
from drivers.evse.open import open_control
from drivers.meters.modbus_meter import ModbusMeter
from drivers.meters.open import open_meter
from drivers.printers.open import open_printer
from drivers.system import SystemClock, disk_space
from terminal_app import __version__, config
from terminal_app.billing.receipt import CODE_BYTES, receipt_code
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.control_link import Answering
from terminal_app.engine.engine import Engine, Outside, Standing
from terminal_app.engine.notifications import Notifications
from terminal_app.engine.operations import operations
from terminal_app.engine.pocket import LedgerPocket, PocketCare
from terminal_app.engine.snapshots import Snapshots
from terminal_app.engine.sync_link import SyncLink
from terminal_app.engine.ui_link import UiLink
from terminal_app.errors import ConfigError, LedgerBroken, LedgerBusy
from terminal_app.ledger.store import CommitProbe, Ledger
from terminal_app.payments.offline import Offline
from terminal_app.ports import ChargeControl, Clock, Increment
from terminal_app.run import access
from terminal_app.run.closed import run_closed
from terminal_app.run.gateways import build
from terminal_app.run.keys import Keys, digests_of, open_keys
from terminal_app.run.starts import Starts
from terminal_app.run.tariffs import operator_key, read_files
from terminal_app.run.watchdog import ServiceManager
from terminal_app.session import actions
from terminal_app.workers.audit import AuditWorker
from terminal_app.workers.base import Worker
from terminal_app.workers.checkout import CheckoutWorker
from terminal_app.workers.evse import EvseWorker
from terminal_app.workers.health import HealthWorker
from terminal_app.workers.meter import MeterWorker
from terminal_app.workers.payment import SETTLE_DEADLINE_S, PaymentWorker
from terminal_app.workers.printer import PrinterWorker
from terminal_app.workers.reach import Reach
from terminal_app.workers.reader import ReaderWorker
from terminal_app.workers.signer import SignerWorker
from terminal_app.workers.slices import Keeper, SliceWorker

log = logging.getLogger("charge.core")
WATCH_S = 2.0
BUSY_TRIES = 10
CRASH_AT = "CHARGE_TERMINAL_CRASH_AT"
"""Demo mode only: "before:N" or "after:N" ends the process at its N-th commit as a power cut would."""


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 stopped by a signal, 1 broken while running (the service manager restarts it), 2 wrong configuration."""
    parser = argparse.ArgumentParser(prog="charge-terminal", description="The payment terminal's core.")
    parser.add_argument("--config", type=Path, required=True, help="terminal.toml")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # card data may be in memory
    try:
        return run(options.config)
    except ConfigError as error:
        print(f"charge-terminal: {error}", file=sys.stderr)  # noqa: T201
        return 2


def run(path: Path) -> int:
    """Build everything, run until a signal."""
    settings = config.load(path)
    manager, stopped = ServiceManager(), threading.Event()
    keys = open_keys(settings, path)
    settings.terminal.runtime_dir.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    ui = UiLink(settings.terminal.runtime_dir / "ui.sock", access.users(access.UI_USER))
    read_files(settings, path), spki_of(settings.office.public_key)  # a wrong file is no crash: said before it is counted
    starts, clock = Starts(settings.terminal.state_dir / "starts"), SystemClock()
    try:
        ledger = open_ledger(settings, stopped)
    except LedgerBusy as error:
        log.error("not started: %s", error)
        return 1
    except LedgerBroken as error:
        starts.ended_well()
        return run_closed(settings, ui, controls(settings, clock), manager, stopped, str(error))
    with ledger:
        standing = read_standing(settings, path, keys, starts.too_many)
        core = Core(standing, keys, ledger, ui, path, clock)
        try:
            core.engine.start(resumed_after_crash=starts.crashed_before)
        except ConfigError:
            starts.ended_well()  # a configuration that does not fit this ledger is no crash
            raise
        except LedgerBroken as error:
            starts.ended_well()
            return run_closed(settings, ui, core.evses, manager, stopped, str(error))
        broken = core.run(stopped, manager, starts)
    if broken:
        log.error("ended: %s", broken)
        return 1
    starts.ended_well()
    return 0


def open_ledger(settings: config.Config, stopped: threading.Event) -> Ledger:
    """The ledger under its lock; waits ten seconds for a technician's tool to let go. LedgerBusy, LedgerBroken."""
    for _ in range(BUSY_TRIES):
        try:
            return Ledger(settings.terminal.state_dir, crash_probe(settings))
        except LedgerBusy:
            stopped.wait(1.0)
    return Ledger(settings.terminal.state_dir, crash_probe(settings))


class Core:
    """Engine, workers and sockets of one running terminal."""

    def __init__(self, standing: Standing, keys: Keys, ledger: Ledger, ui: UiLink, path: Path, clock: Clock) -> None:
        settings = standing.config
        self._ui, self._settings = ui, settings
        snapshots = Snapshots(settings.terminal.state_dir, ledger.chain_id, standing.software, settings, keys.records)
        outside = Outside(self._act, self._wish_evse, self._wish_reader, ui.publish)
        self.engine = Engine(standing, ledger, clock, chance, outside, snapshots)
        inbox = self.engine.inbox
        office_spki = spki_of(settings.office.public_key)
        gateways = {
            name: build(name, section, settings, path, Offline(settings.terminal.id, office_spki, LedgerPocket(self.engine, name)))
            for name, section in settings.gateway.items()
        }
        self._gateways = gateways
        raising = (name for name, one in gateways.items() if one.capabilities.increment and isinstance(one, Increment))
        keeping = (name for name, one in gateways.items() if not one.capabilities.refund)
        self._meters = {one.number: MeterWorker(one.number, meter(settings, one, clock, path), inbox) for one in settings.connector}
        signing = (number for number, worker in self._meters.items() if worker.signed is not None)
        self.engine.standing = replace(  # accounts need the engine, so it comes first
            standing, incrementing=frozenset(raising), without_refund=frozenset(keeping), signing=frozenset(signing)
        )
        keepers = {name: one for name, one in gateways.items() if isinstance(one, Keeper)}
        self.evses = controls(settings, clock)
        self._evses = {number: EvseWorker(number, control, inbox) for number, control in self.evses.items()}
        self._reader = ReaderWorker(PcscReader(settings.reader, clock), clock, inbox)
        reach = Reach({name: gateways[name] for name in settings.tap_gateways}, inbox)
        self._authorizing = PaymentWorker("authorizing", gateways, settings.policy.authorize_deadline_s, clock, inbox, reach)
        self._settling = PaymentWorker("settling", gateways, SETTLE_DEADLINE_S, clock, inbox)
        policy = settings.policy
        longest_watch_s = policy.checkout_window_s + SETTLE_DEADLINE_S
        self._checkout = CheckoutWorker(gateways, policy.authorize_deadline_s, longest_watch_s, clock, inbox)
        self._signer = SignerWorker(keys.records, keys.ocmf, inbox, keys.previous)
        self._printer = PrinterWorker(open_printer(settings.printer), inbox) if settings.printer is not None else None
        self._health = HealthWorker(lambda: disk_space(settings.terminal.state_dir).free_bytes, inbox)
        self._workers: list[Worker] = [
            *self._meters.values(),
            *self._evses.values(),
            self._reader,
            self._authorizing,
            self._checkout,
            self._settling,
            self._signer,
            self._health,
            *([self._printer] if self._printer is not None else []),
            AuditWorker(lambda: snapshots.audit(ledger), inbox),
            *([SliceWorker(keepers, PocketCare(self.engine), inbox)] if keepers else []),
        ]

    def run(self, stopped: threading.Event, manager: ServiceManager, starts: Starts) -> str:
        """Until a signal (empty text) or until something broke (why). Feeds the watchdog only while all make progress."""
        for worker in self._workers:
            worker.start()
        runtime = self._settings.terminal.runtime_dir
        self._ui.open(self.engine)
        office = spki_of(self._settings.office.public_key)
        acts = acts_of(self.engine) | {"relay.notification": Notifications(self.engine, self._gateways)}
        commands = CommandLink(self.engine, office, acts)
        sync = SyncLink(runtime / "sync.sock", self.engine, commands, office, access.users(access.SYNC_USER))
        orders = operations(self.engine, self._gateways) | sync.operations
        control = Answering(runtime / "control.sock", orders, access.members(access.CONTROL_GROUP))
        broken: list[BaseException] = []
        turning = threading.Thread(target=self._turn, args=(broken,), name="engine", daemon=True)
        turning.start()
        manager.ready()
        turns = -1
        while not stopped.wait(WATCH_S) and turning.is_alive():
            if dead := [worker.name for worker in self._workers if not worker.running]:
                broken.append(RuntimeError(f"the thread {dead[0]} ended"))
                break
            lame = [worker.name for worker in self._workers if not worker.alive]
            if not lame and self.engine.turns != turns:
                manager.progress()
                if starts.lived():
                    self.engine.out_of_service = False
            elif lame:
                log.error("no progress: %s", ", ".join(lame))
            turns = self.engine.turns
        manager.stopping()
        self.engine.stop()
        turning.join(5)
        self.engine.open_everything()
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join(5)
        for link in (self._ui, sync, control):
            link.close()
        if not broken and not stopped.is_set():
            return "the engine ended by itself"
        return "" if not broken else f"{type(broken[0]).__name__}: {broken[0]}"

    def _turn(self, broken: list[BaseException]) -> None:
        """Whatever ends the engine opens the contactors first and ends the process; its restart tells what is true."""
        try:
            self.engine.run()
        finally:
            error = sys.exception() if sys.version_info >= (3, 11) else sys.exc_info()[1]
            if error is not None:
                self.engine.open_everything()
                broken.append(error)

    # --- what the engine hands out ----------------------------------------------------------------------------------

    def _act(self, action: actions.Action) -> None:
        match action:
            case actions.Authorize():
                self._authorizing.order(action)
            case actions.OpenCheckout() | actions.WatchCheckout() | actions.ExpireCheckout():
                self._checkout.order(action)
            case actions.Capture() | actions.Void() | actions.Refund() | actions.Increment():
                self._settling.order(action)
            case actions.ReadRegister(connector=connector, session_id=session_id, purpose=purpose):
                self._meters[connector].read_register(session_id, purpose)
            case actions.BeginSigned():
                self._meters[action.connector].begin_signed(action)
            case actions.EndSigned():
                self._meters[action.connector].end_signed(action)
            case actions.PrintReceipt() if self._printer is not None:
                self._printer.order(action)
            case actions.SignOcmf() | actions.SignRecord() | actions.SignReceipt():
                self._signer.order(action)

    def _wish_evse(self, connector: int, wish: actions.EvseWish) -> None:
        self._evses[connector].wish(wish)

    def _wish_reader(self, wish: actions.ReaderWish | None) -> None:
        self._reader.wish(wish)


def controls(settings: config.Config, clock: Clock) -> dict[int, ChargeControl]:
    """The charge controller of each connector; nothing is opened yet."""
    return {one.number: open_control(settings.evse[one.evse], f"evse.{one.evse}", clock) for one in settings.connector}


def chance() -> tuple[str, str]:
    """A fresh session id and a fresh receipt code."""
    return str(uuid.uuid4()), receipt_code(secrets.token_bytes(CODE_BYTES))


def read_standing(settings: config.Config, path: Path, keys: Keys, out_of_service: bool) -> Standing:
    """What stays the same while the process lives. ConfigError names a tariff that cannot be read."""
    files, old = read_files(settings, path), keys.previous
    return Standing(
        config=settings,
        tariffs=files.tariffs,
        signed_files=files.signed,
        spare_tariffs=files.spare,
        tariff_spki=operator_key(settings, path) or spki_of(settings.office.public_key),
        record_key_id=keys.records.key_id,
        record_spki=keys.records.public_key_spki(),
        ocmf_spki=keys.ocmf.public_key_spki(),
        ocmf_key_id=keys.ocmf.key_id,
        software=__version__,
        config_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        out_of_service=out_of_service,
        previous_key_id=old.key_id if old else "",
        previous_spki=old.public_key_spki() if old else b"",
        change_reason=settings.keys.change_reason.strip(),
        digests=digests_of(settings, path, {number: tariff.fingerprint for number, tariff in files.tariffs.items()}),
    )


def meter(settings: config.Config, connector: config.ConnectorSection, clock: Clock, path: Path) -> ModbusMeter:
    """The connector's `[meter.NAME]`. ConfigError names that section also when its profile is what is wrong."""
    name = connector.meter
    try:
        return open_meter(settings.meter[name], f"meter.{name}", clock, connector.evse_id)
    except ConfigError as error:
        if str(error).startswith(f"{path.name}: "):
            raise
        raise ConfigError(path.name, f"[meter.{name}] profile", str(error)) from error


def spki_of(path: Path) -> bytes:
    """DER SubjectPublicKeyInfo of a PEM public key file. ConfigError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError("terminal.toml", "[office] public_key", f"{path}: {error}") from error
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def crash_probe(settings: config.Config) -> CommitProbe | None:
    """The power cut on order, in demo mode only (see CRASH_AT)."""
    order = os.environ.get(CRASH_AT, "")
    if not order or not settings.demo:
        return None
    when_wanted, _, number_wanted = order.partition(":")

    def probe(when: str, number: int) -> None:
        if (when, str(number)) == (when_wanted, number_wanted):
            os.kill(os.getpid(), signal.SIGKILL)

    return probe


if __name__ == "__main__":
    sys.exit(main())
