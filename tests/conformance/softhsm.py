"""A PKCS#11 token of SoftHSM with one P-256 key, in a folder of its own. One per process: a module is initialised once."""

import os
import subprocess
from pathlib import Path

import pkcs11
from pkcs11.exceptions import UserAlreadyLoggedIn
from pkcs11.util.ec import encode_named_curve_parameters

PIN = "2468"
MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")


class SoftHsm:
    """`uri(label)` names a key; `make(label, curve)` makes one, as the maker of a token would."""

    def __init__(self, folder: Path) -> None:
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
        self.pin_file = folder / "pin"
        self.pin_file.write_text(PIN + "\n")
        self.pin_file.chmod(0o600)
        command = ["softhsm2-util", "--init-token", "--free", "--label", "charge", "--pin", PIN, "--so-pin", "135791"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        self.token = pkcs11.lib(str(MODULE)).get_token(token_label="charge")

    def make(self, label: str, curve: str = "secp256r1") -> str:
        with self._log_in() as session:
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
            )
            parameters.generate_keypair(store=True, label=label)
        return self.uri(label)

    def _log_in(self) -> pkcs11.Session:
        try:
            return self.token.open(user_pin=PIN, rw=True)
        except UserAlreadyLoggedIn:  # by a signer of this process
            return self.token.open(rw=True)

    def uri(self, label: str, token: str = "charge") -> str:
        return f"pkcs11:token={token};object={label}?module-path={MODULE}&pin-source={self.pin_file}"
