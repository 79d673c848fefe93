"""`RecordSigner`: what every signer must do, checked with OpenSSL and joserfc as peers."""

import contextlib
import hashlib
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc.jwk import ECKey

from drivers.signers import keyfile
from drivers.signers.keyfile import KeyFileSigner
from drivers.signers.opening import open_signer
from drivers.signers.pkcs11 import Pkcs11Signer, parse_uri
from terminal_app import config
from terminal_app.billing import record
from terminal_app.errors import ConfigError, DeviceUnavailable
from terminal_app.ports import RecordSigner
from terminal_app.run.keys import open_keys
from terminal_app.run.service import main
from terminal_app.session.events import Ticked
from tests.conformance.softhsm import SoftHsm
from tests.sessions import Paper, runtime_dir, site_files
from tests.unit.billing_samples import head, session_bill


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    return SoftHsm(tmp_path_factory.mktemp("hsm"))


@pytest.fixture(params=["keyfile", "pkcs11"])
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RecordSigner]:
    if request.param == "keyfile":
        yield keyfile.create(tmp_path / "key.pem")
        return
    token: SoftHsm = request.getfixturevalue("hsm")
    with contextlib.closing(Pkcs11Signer(token.make(f"key-{tmp_path.name}"))) as found:
        yield found


@pytest.mark.parametrize("record", [b"", b"OCMF|{}", bytes(range(256)) * 400])
def test_a_signature_is_64_bytes_and_verifies(signer: RecordSigner, record: bytes) -> None:
    public = serialization.load_der_public_key(signer.public_key_spki())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    for _ in range(50):  # short r or s are padded: one in 256 would show
        signature = signer.sign(record)
        assert len(signature) == 64
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        public.verify(der, record, ec.ECDSA(hashes.SHA256()))


def test_openssl_verifies(signer: RecordSigner, tmp_path: Path) -> None:
    record, signature = b"a billing record", signer.sign(b"a billing record")
    (tmp_path / "record").write_bytes(record)
    (tmp_path / "spki.der").write_bytes(signer.public_key_spki())
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    (tmp_path / "signature").write_bytes(der)
    command = ["openssl", "dgst", "-sha256", "-verify", "spki.der", "-keyform", "DER", "-signature", "signature", "record"]
    assert "Verified OK" in subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


def test_the_key_id_is_the_rfc_7638_thumbprint(signer: RecordSigner) -> None:
    public = serialization.load_der_public_key(signer.public_key_spki())
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert signer.key_id == ECKey.import_key(pem).thumbprint()


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


# --- the PKCS#11 token -------------------------------------------------------------------------------------------------


def test_a_record_sealed_in_a_token_opens_like_any_other(hsm: SoftHsm) -> None:
    signer = Pkcs11Signer(hsm.make("records"))
    signing_bytes = record.signing_input(record.session_payload(head(), session_bill("")), signer.key_id)
    sealed = record.seal(signing_bytes, signer.sign(signing_bytes))
    assert record.open_record(sealed, signer.public_key_spki())["session_id"] == "S-7"
    again, other = Pkcs11Signer(hsm.uri("records")), Pkcs11Signer(hsm.make("readings"))
    assert (again.key_id, again.public_key_spki()) == (signer.key_id, signer.public_key_spki()) != (other.key_id, b"")
    signer.close()  # its login was the login of all three
    for one in (again, other):
        assert len(one.sign(b"x")) == 64
        one.close()


def test_a_lost_session_is_opened_again_and_a_lost_token_is_told(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Pkcs11Signer(hsm.make("lost"))
    signer._session.close()
    assert len(signer.sign(b"x")) == 64
    signer._session.close()
    monkeypatch.setattr(signer, "_pin", "0000")
    with pytest.raises(DeviceUnavailable, match="charge"):
        signer.sign(b"x")
    signer.close()


def test_what_is_wrong_with_a_token_is_said(hsm: SoftHsm, tmp_path: Path) -> None:
    hsm.make("p384", "secp384r1")
    wrong_pin = tmp_path / "pin"
    wrong_pin.write_text("9999")
    wrong_pin.chmod(0o600)
    for uri, why in (
        (hsm.uri("nobody"), "nobody"),
        (hsm.uri("records", token="other"), "other"),
        (hsm.uri("p384"), "P-256"),
        (hsm.uri("p384").replace("libsofthsm2.so", "none.so"), "none.so"),
        (hsm.uri("p384").replace(str(hsm.pin_file), str(wrong_pin)), "pin"),
        (hsm.uri("p384").replace(str(hsm.pin_file), str(tmp_path / "no-pin")), "PIN cannot be read"),
    ):
        with pytest.raises(ConfigError, match=why):
            Pkcs11Signer(uri)
    wrong_pin.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Pkcs11Signer(hsm.uri("p384").replace(str(hsm.pin_file), str(wrong_pin)))


@pytest.mark.parametrize(
    "uri",
    ["records", "pkcs11:token=a;object=b", "pkcs11:token=a;object=b?module-path=/m&pin-source=/p&pin-value=1234",
     "pkcs11:token=a;token=b;object=c?module-path=/m&pin-source=/p", "pkcs11:object=b?module-path=/m&pin-source=/p"],
)  # fmt: skip
def test_a_uri_with_anything_missing_or_unknown_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError):
        parse_uri(uri)


def test_a_uri_may_be_percent_encoded() -> None:
    found = parse_uri("pkcs11:token=my%20token;object=a%3Bb?module-path=/m&pin-source=file:/p")
    assert (found.token, found.label, found.pin_file) == ("my token", "a;b", Path("/p"))


def test_the_configuration_names_a_file_or_a_token(hsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = keyfile.create(tmp_path / "key.pem")
    assert open_signer(tmp_path / "key.pem").key_id == made.key_id
    uri = hsm.make("configured")
    signer = open_signer(Path(uri))  # as the configuration decodes it
    assert len(signer.sign(b"x")) == 64
    monkeypatch.setitem(sys.modules, "drivers.signers.pkcs11", None)
    with pytest.raises(ConfigError, match=r"\[pkcs11\]"):
        open_signer(uri)


# --- a terminal whose keys are in a token --------------------------------------------------------------------------------


def test_a_terminal_bills_and_changes_its_key_with_keys_in_a_token(hsm: SoftHsm, tmp_path: Path) -> None:
    """Configuration, start, charge, records; then a file hands over to nothing: the next record key is in the token as well."""
    uris = {name: hsm.make(f"{name}-of-a-terminal") for name in ("record", "ocmf", "second")}
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        text = path.read_text()
        for name in ("record", "ocmf"):
            text = text.replace(f'{name} = "{name}.pem"', f'{name} = "{uris[name]}"')
        path.write_text(text)
        with contextlib.closing(Paper(path)) as site:
            site.paid_session()
            first = site.keys.records
            assert isinstance(first, Pkcs11Signer) and isinstance(site.keys.ocmf, Pkcs11Signer)
        lines = f'record = "{uris["second"]}"\nprevious_record = "{uris["record"]}"\nchange_reason = "yearly change"'
        path.write_text(text.replace(f'record = "{uris["record"]}"', lines))
        with contextlib.closing(Paper(path, wh=1_300_000, ms=3_600_000)) as site:
            for _ in range(4):
                site.turn(Ticked())
            site.paid_session(2_000)
            records = list(site.ledger.records())
        assert [one.type for one in records][2] == "key-change"
        spki = {first.key_id: first.public_key_spki()}
        assert record.verify_chain([(one.seq, one.jws) for one in records], spki.get).key_id == site.keys.records.key_id
        assert main(["--config", str(path), "records", "verify"]) == 0, "the technician's tool finds the keys there, too"
        assert main(["--config", str(path), "keys", "show"]) == 0
        assert main(["--config", str(path), "keys", "rotate", "--reason", "x"]) == 2, "never a key file beside a token"


def test_a_token_that_is_not_there_is_named_by_file_section_and_key(hsm: SoftHsm, tmp_path: Path) -> None:
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        path.write_text(path.read_text().replace('"ocmf.pem"', f'"{hsm.uri("nothing-of-this-name")}"'))
        with pytest.raises(ConfigError, match=r"terminal.toml: \[keys\] ocmf: .*nothing-of-this-name"):
            open_keys(config.load(path), path)
