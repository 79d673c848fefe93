"""`RecordSigner`: what every signer must do, checked with OpenSSL and joserfc as peers."""

import hashlib
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import ECKey

from drivers.signers import keyfile
from drivers.signers.keyfile import KeyFileSigner
from terminal_app.errors import ConfigError

Make = Callable[[Path], KeyFileSigner]


@pytest.fixture(params=[keyfile.create], ids=["keyfile"])
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> KeyFileSigner:
    make: Make = request.param
    return make(tmp_path / "key.pem")


@pytest.mark.parametrize("record", [b"", b"OCMF|{}", bytes(range(256)) * 400])
def test_a_signature_is_64_bytes_and_verifies(signer: KeyFileSigner, record: bytes) -> None:
    public = serialization.load_der_public_key(signer.public_key_spki())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    for _ in range(50):  # short r or s are padded: one in 256 would show
        signature = signer.sign(record)
        assert len(signature) == 64
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        public.verify(der, record, ec.ECDSA(hashes.SHA256()))


def test_openssl_verifies(signer: KeyFileSigner, tmp_path: Path) -> None:
    record, signature = b"a billing record", signer.sign(b"a billing record")
    (tmp_path / "record").write_bytes(record)
    (tmp_path / "spki.der").write_bytes(signer.public_key_spki())
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    (tmp_path / "signature").write_bytes(der)
    command = ["openssl", "dgst", "-sha256", "-verify", "spki.der", "-keyform", "DER", "-signature", "signature", "record"]
    assert "Verified OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


def test_the_key_id_is_the_rfc_7638_thumbprint(signer: KeyFileSigner, tmp_path: Path) -> None:
    assert signer.key_id == ECKey.import_key((tmp_path / "key.pem").read_bytes()).thumbprint()


# --- the key file ------------------------------------------------------------------------------------------------------


def write(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, form: serialization.PrivateFormat) -> Path:
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    path.chmod(0o600)
    return path


def test_a_new_key_file_is_private_and_loads_again_as_the_same_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = keyfile.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KeyFileSigner(path).key_id == made.key_id
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


def test_an_existing_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keyfile.create(path)
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(ConfigError, match="exists already"):
        keyfile.create(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o700])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    keyfile.create(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600") as raised:
        KeyFileSigner(path)
    assert str(path) in str(raised.value)


def test_a_read_only_credential_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keyfile.create(path)
    path.chmod(0o400)
    assert KeyFileSigner(path).sign(b"x")


def test_other_keys_and_no_keys_are_refused_with_the_reason(tmp_path: Path) -> None:
    pkcs8, sec1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
    path = tmp_path / "key.pem"
    for key, form, reason in (
        (ec.generate_private_key(ec.SECP384R1()), pkcs8, "not a P-256 key"),
        (rsa.generate_private_key(65537, 2048), pkcs8, "not a P-256 key"),
        (ec.generate_private_key(ec.SECP256R1()), sec1, "PKCS#8"),
    ):
        with pytest.raises(ConfigError, match=reason):
            KeyFileSigner(write(path, key, form))
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match="damaged"):
        KeyFileSigner(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        KeyFileSigner(tmp_path / "missing.pem")
    with pytest.raises(ConfigError):
        keyfile.create(tmp_path / "no-such-folder" / "key.pem")


def test_the_error_never_shows_the_key(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    keyfile.create(path)
    secret = path.read_text().splitlines()[1]
    path.write_text(path.read_text().replace("-----END", "----END"))
    path.chmod(0o600)
    with pytest.raises(ConfigError) as raised:
        KeyFileSigner(path)
    assert secret not in str(raised.value)
