"""Where the tool stands: configuration, the core if it runs, the ledger, the public keys. Opened when first needed."""

import contextlib
import enum
import getpass
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from terminal_app import config
from terminal_app.billing.signature import ocmf_key_id
from terminal_app.errors import ConfigError, DeviceUnavailable, LedgerBroken, SignatureInvalid
from terminal_app.ledger.entry import Entry
from terminal_app.ledger.reading import CoreLock, LedgerReader, StoredRecord
from terminal_app.run.service.core_talk import CoreBooks, CoreTalk, ServiceTrouble, connect
from terminal_app.session.facts import TerminalBooted

DEFAULT_CONFIG = Path("/etc/charge-terminal/terminal.toml")


class Books(Protocol):
    """A ledger as the tool reads it: from the running core or from its files. LedgerBroken, ServiceTrouble."""

    @property
    def chain(self) -> str: ...
    @property
    def tail(self) -> tuple[int, str]: ...
    def waiting(self) -> int: ...
    def entries(
        self,
        after: int = 0,
        session_id: str = "",
        limit: int = -1,
        kinds: tuple[str, ...] = (),
        newest_first: bool = False,
        before: int = 0,
    ) -> Iterator[Entry]: ...
    def records(
        self, after: int = 0, limit: int = -1, subject: str = "", newest_first: bool = False, before: int = 0
    ) -> Iterable[StoredRecord]: ...
    def close(self) -> None: ...


class CoreState(enum.Enum):
    RUNNING = "running"
    CLOSED = "closed"  # it runs, but its ledger cannot be trusted or written
    STOPPED = "stopped"


class PublicKeys:
    """Key id -> DER SPKI of what signs records and OCMF here. `former`: record keys that only the ledger tells of; they count
    where the chain leads from them to one of `record`."""

    def __init__(self, record: dict[str, bytes], ocmf: dict[str, bytes], missing: str = "") -> None:
        self.record, self.ocmf, self.missing = record, ocmf, missing
        self.former: dict[str, bytes] = {}

    @property
    def known(self) -> dict[str, bytes]:
        return self.former | self.record

    def of_readings(self, session: dict[str, Any]) -> bytes | None:
        """The key a session record's OCMF verifies with: one given or known here, else the meter's own, as the record says it."""
        said = session["ocmf"]
        return self.ocmf.get(said["key"]) or (bytes.fromhex(said["meter_key"]) if "meter_key" in said else None)


class Site:
    """One run of the tool. `close` at its end."""

    def __init__(self, path: Path, as_json: bool = False) -> None:
        self.path, self.as_json = path, as_json
        self._open = contextlib.ExitStack()

    @cached_property
    def config(self) -> config.Config:
        """ConfigError names file, section, key and reason."""
        try:
            return config.load(self.path)
        except ConfigError as error:
            if not os.access(self.path, os.R_OK):
                raise ServiceTrouble(
                    f"{error}; name another with --config FILE or CHARGE_TERMINAL_CONFIG, or try with sudo"
                ) from error
            raise

    @cached_property
    def _lock(self) -> CoreLock:
        lock = CoreLock(self.config.terminal.state_dir)
        self._open.callback(lock.close)
        return lock

    @cached_property
    def core(self) -> CoreTalk | None:
        """The running core (also a closed one); None if it is stopped."""
        found = connect(self.config.terminal.runtime_dir / "control.sock")
        if found is not None:
            self._open.callback(found.close)
        return found

    @cached_property
    def core_status(self) -> dict[str, Any]:
        """What the core says of itself; empty if it is stopped."""
        return {} if self.core is None else dict(self.core.ask("status"))

    @cached_property
    def state(self) -> CoreState:
        if self.core is None:
            return CoreState.STOPPED
        return CoreState.CLOSED if "why" in self.core_status else CoreState.RUNNING

    def running(self, what: str) -> CoreTalk:
        """The core, for what only it can do. ServiceTrouble if it is stopped or closed."""
        if self.state is CoreState.STOPPED:
            raise ServiceTrouble(f"{what}: the core does not run; start it: systemctl start charge-terminal")
        if self.state is CoreState.CLOSED:
            raise ServiceTrouble(f"{what}: the core is out of service: {self.core_status['why']}")
        assert self.core is not None
        return self.core

    @cached_property
    def books(self) -> Books:
        """The ledger: through the running core, else from its files (which only the core's user and root may read)."""
        if self.state is CoreState.RUNNING:
            return CoreBooks(self.running("ledger"))
        folder = self.config.terminal.state_dir
        try:
            if not (folder / "ledger.db").exists():
                raise ServiceTrouble(f"{folder}: there is no ledger here: the core has never been started, or state_dir is another")
            self._lock.take(alone=False)  # if a core has it all the same, reading beside it does no harm
            if not os.access(folder / "ledger.db", os.R_OK):
                raise PermissionError
        except PermissionError as error:
            raise ServiceTrouble(
                f"{folder}: the core is {self.state.value}, and its ledger may not be read by {user()}: try with sudo"
            ) from error
        reader = LedgerReader(folder)
        self._open.callback(reader.close)
        return reader

    def claim_devices(self, what: str) -> None:
        """The right to open devices until the end of this run: only while no core runs, and none can start. ServiceTrouble."""
        if self.state is not CoreState.STOPPED:
            raise ServiceTrouble(f"{what}: the core runs and owns the device; stop it first: systemctl stop charge-terminal")
        try:
            free = self._lock.take(alone=True)
        except PermissionError as error:
            raise ServiceTrouble(f"{what}: {error.filename} may not be opened by {user()}: try with sudo") from error
        if not free:
            held = self.config.terminal.state_dir / "lock"
            raise ServiceTrouble(f"{what}: {held} is held, by a core that is starting or by another charge-service; try again")

    def public_keys(self, record_key: Path | None = None, ocmf_key: Path | None = None) -> PublicKeys:
        """From the running core, else from the key files, else from PEM files of public keys given by hand."""
        found = PublicKeys({}, {})
        if isinstance(self.books, CoreBooks):
            told = self.books.keys
            for kind, into in (("record", found.record), ("ocmf", found.ocmf)):
                if told[f"{kind}_spki"]:
                    into[str(told[f"{kind}_key_id"])] = bytes.fromhex(told[f"{kind}_spki"])
        else:
            from drivers.signers.opening import open_signer

            for where, into in ((self.config.keys.record, found.record), (self.config.keys.ocmf, found.ocmf)):
                try:
                    signer = open_signer(where)
                    into[signer.key_id] = signer.public_key_spki()
                except (ConfigError, DeviceUnavailable) as error:
                    found.missing = str(error)
        self._add_former_keys(found)
        for given, into in ((record_key, found.record), (ocmf_key, found.ocmf)):
            if given is not None:
                spki = public_key_of(given)
                into[ocmf_key_id(spki)] = spki
        return found

    def _add_former_keys(self, found: PublicKeys) -> None:
        """Every start committed the keys it had: records of years ago are verified with them."""
        try:
            for entry in self.books.entries(kinds=("terminal_booted",)):
                fact = entry.fact
                assert isinstance(fact, TerminalBooted)
                found.former.update({key_id: bytes.fromhex(spki) for key_id, spki in fact.record_keys.items()})
                for key_id, spki in fact.ocmf_keys.items():  # a key's id is its hash, and stands in the signed record
                    found.ocmf.setdefault(key_id, bytes.fromhex(spki))
        except LedgerBroken as error:
            found.missing = found.missing or str(error)

    def close(self) -> None:
        self._open.close()


def public_key_of(path: Path) -> bytes:
    """A PEM or DER public key file. ServiceTrouble."""
    from terminal_app.billing.signature import spki_of

    try:
        return spki_of(path.read_bytes())
    except (OSError, SignatureInvalid) as error:
        raise ServiceTrouble(f"{path}: {error}; a public key (PEM) is needed") from error


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def broken_sentence(error: LedgerBroken) -> str:
    return f"{error}; nothing is sold from it. Export what can be read: charge-service records export, then restore or replace"
