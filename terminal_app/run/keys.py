"""The core's keys as `[keys]` names them: files or PKCS#11 tokens; and what a start needs to know of them."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import drivers
import terminal_app
from drivers.signers.opening import open_signer
from terminal_app import config
from terminal_app.config import MeterSection
from terminal_app.errors import ConfigError, DeviceUnavailable
from terminal_app.ports import RecordSigner


@dataclass(frozen=True)
class Keys:
    """The signers: billing records, terminal-made OCMF, and the record key before this one while it is still there."""

    records: RecordSigner
    ocmf: RecordSigner
    previous: RecordSigner | None = None


def open_keys(settings: config.Config, path: Path) -> Keys:
    """ConfigError names the key of [keys] that cannot be used, and why."""
    keys = settings.keys
    found = Keys(
        records=signer(keys.record, path, "record"),
        ocmf=signer(keys.ocmf, path, "ocmf"),
        previous=None if keys.previous_record is None else signer(keys.previous_record, path, "previous_record"),
    )
    if found.records.key_id == found.ocmf.key_id:
        raise ConfigError(path.name, "[keys] ocmf", "is the same key as [keys] record; they must differ")
    if found.previous is not None and found.previous.key_id == found.records.key_id:
        raise ConfigError(path.name, "[keys] previous_record", "is the same key as [keys] record; it must be the one before")
    return found


def signer(key: Path, path: Path, name: str) -> RecordSigner:
    """One key of [keys]. ConfigError names it."""
    try:
        return open_signer(key)
    except DeviceUnavailable as error:
        raise ConfigError(path.name, f"[keys] {name}", error.reason) from error
    except ConfigError as error:  # it names file or token only
        raise ConfigError(path.name, f"[keys] {name}", str(error)) from error


def digests_of(settings: config.Config, path: Path, tariffs: dict[int, str]) -> dict[str, str]:
    """Name -> SHA-256 of what decides: the program's own files, the configuration, each tariff and meter profile."""
    from drivers.meters import profile

    def profile_sha256(name: str, section: MeterSection) -> str:
        try:
            return profile.load(section.profile).sha256
        except ConfigError as error:
            raise ConfigError(path.name, f"[meter.{name}] profile", str(error)) from error

    found = {"software": software_sha256(), "configuration": hashlib.sha256(path.read_bytes()).hexdigest()}
    found |= {f"tariff of connector {number}": fingerprint for number, fingerprint in sorted(tariffs.items())}
    return found | {f"meter profile {one.profile}": profile_sha256(name, one) for name, one in settings.meter.items()}


@lru_cache(maxsize=1)
def software_sha256() -> str:
    """Over names and contents of all Python files of terminal_app and drivers, in order."""
    whole = hashlib.sha256()
    for package in (terminal_app, drivers):
        root = Path(str(package.__file__)).parent
        for file in sorted(root.rglob("*.py")):
            content = file.read_bytes()
            whole.update(f"{root.name}/{file.relative_to(root)} {len(content)}\n".encode() + content)
    return whole.hexdigest()
