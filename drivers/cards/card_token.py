"""The card token: the same card gives the same token, at this terminal only, and nobody can count back to the number.

HMAC-SHA256 with the terminal's own card key (PCI DSS 3.5.1.1: hashes of card numbers must be keyed).
"""

import hmac
import os
import stat
from pathlib import Path

from terminal_app.errors import ConfigError

KEY_BYTES = 32
_WHERE = "[reader] card_key"


def load_card_key(file: Path) -> bytes:
    """The key. ConfigError if the file is missing, readable by others (unless systemd credentials guard it) or no 32 bytes."""
    try:
        with file.open("rb") as source:
            status = os.fstat(source.fileno())
            key = source.read(KEY_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            "terminal.toml", _WHERE, f"{file} cannot be read: {error.strerror}; make one: head -c 32 /dev/urandom"
        ) from None
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError("terminal.toml", _WHERE, f"{file} is not a regular file")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if status.st_mode & 0o077 and not (credentials and file.is_relative_to(credentials)):
        raise ConfigError("terminal.toml", _WHERE, f"{file} is open to others (mode {status.st_mode & 0o777:04o}): chmod 600 it")
    if len(key) != KEY_BYTES:
        size = f"{len(key)}" if len(key) < KEY_BYTES else "more"
        raise ConfigError("terminal.toml", _WHERE, f"{file} has {size} bytes, it must have exactly {KEY_BYTES}")
    return key


def token_of(key: bytes, pan: bytearray) -> str:
    """32 hexadecimal characters for a card number in ASCII digits."""
    return hmac.new(key, pan, "sha256").hexdigest()[:32]
