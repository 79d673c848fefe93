"""A signer from what the configuration says: the path of a key file, or a PKCS#11 URI."""

from pathlib import Path

from drivers.signers.keyfile import KeyFileSigner
from terminal_app.errors import ConfigError
from terminal_app.ports import RecordSigner


def open_signer(where: Path | str) -> RecordSigner:
    """ConfigError says what is wrong with file or token. A PKCS#11 URI needs the extra [pkcs11]."""
    text = str(where)
    if not text.startswith("pkcs11:"):
        return KeyFileSigner(Path(text))
    try:
        from drivers.signers.pkcs11 import Pkcs11Signer
    except ImportError as error:
        raise ConfigError("pkcs11 URI", "", "python-pkcs11 is not installed; install charge-terminal[pkcs11]") from error
    return Pkcs11Signer(text)
