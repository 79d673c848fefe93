"""What `[pull]`, `[ocpi]` and the certificate of `[office]` may say; nonsense stops the start with section, key and reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from terminal_app import config
from terminal_app.errors import ConfigError
from terminal_app.run import sync
from tests.sessions import site_files

CLIENT = '[[pull.client]]\nname = "erp"\ntoken_file = "erp.token"\n'
PULL = '[pull]\nlisten = "127.0.0.1:9465"\n'


def load(folder: Path, text: str, office: str = "") -> config.Config:
    path = site_files(folder, folder)
    path.write_text(path.read_text().replace("[office]\n", f"[office]\n{office}") + text)
    return config.load(path)


def test_what_is_left_out_is_off(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings.pull is None and settings.ocpi.url == ""


def test_a_whole_section_of_each(tmp_path: Path) -> None:
    tls = 'cert = "c.pem"\nkey = "k.pem"\nclient_ca = "ca.pem"\n'
    ocpi = '[ocpi]\nurl = "http://127.0.0.1:1/cdrs"\ntoken_file = "t"\ncountry_code = "NL"\nparty_id = "EXA"\ncity = "Delft"\n'
    settings = load(tmp_path, f'[pull]\nlisten = "[::]:9465"\n{tls}{CLIENT}{ocpi}')
    assert settings.pull is not None and settings.pull.address == ("::", 9465)
    assert settings.pull.cert == tmp_path / "c.pem" and settings.ocpi.city == "Delft"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'[pull]\nlisten = "0.0.0.0:9465"\n{CLIENT}', r"\[pull\] cert: is needed: without TLS"),
        (f'{PULL}cert = "c.pem"\n{CLIENT}', r"\[pull\] cert: cert and key belong together"),
        (f'{PULL}client_ca = "c.pem"\n', r"\[pull\] client_ca: certificates of clients need TLS"),
        (PULL, r"\[pull\]: nobody could pull"),
        (f'[pull]\nlisten = "127.0.0.1:99999"\n{CLIENT}', r"\[pull\] listen: 99999 is not a port"),
        (f'[pull]\nlisten = "999.0.0.1:80"\n{CLIENT}', r"\[pull\] listen: "),
        (f'[pull]\nlisten = "here"\n{CLIENT}', r"\[pull\] listen"),
        (f'[sync]\nlisten = "127.0.0.1:9465"\n{PULL}{CLIENT}', r"\[pull\] listen: is \[sync\] listen too"),
        (f"{PULL}{CLIENT}{CLIENT}", r"\[\[pull.client\]\] name: two clients"),
        (f"{PULL}{CLIENT}".replace("erp", "e r p", 1), r"name"),
        ('[ocpi]\nurl = "http://127.0.0.1:1/"\n', r"\[ocpi\] token_file: is needed"),
        ('[ocpi]\nparty_id = "EXA"\n', r"\[ocpi\] party_id: country_code and party_id belong together"),
        ('[ocpi]\nversion = "2.1.1"\n', r"\[ocpi\] version"),
        ('[ocpi]\nlatitude = "52,5"\n', r"\[ocpi\] latitude"),
        ('[ocpi]\nplace = "here"\n', r"unknown field `place`"),
    ],
)
def test_nonsense_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, text)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[office\] client_cert: client_cert and client_key belong together"):
        load(tmp_path, "", 'client_cert = "c.pem"\n')


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("short", "a-token-that-is-long-enough", "must hold at least 24 characters"),
        ("a-token-that-is-long-enough", "a-token-that-is-long-enough", "two clients have the same token"),
        ("", "a-token-that-is-long-enough", "must hold one line with the token"),
    ],
)
def test_tokens_of_pullers_are_looked_at_before_anything_listens(tmp_path: Path, first: str, second: str, said: str) -> None:
    settings = load(tmp_path, f"{PULL}{CLIENT}{CLIENT.replace('erp', 'archive')}")
    (tmp_path / "erp.token").write_text(first)
    (tmp_path / "archive.token").write_text(second)
    assert settings.pull is not None
    with pytest.raises(ConfigError, match=said):
        sync._pullable(settings, settings.pull, tmp_path / "terminal.toml")


def test_a_sync_that_serves_nobody_carries_no_server_in_its_memory() -> None:
    asked = "import sys, terminal_app.run.sync; print({'uvicorn', 'starlette', 'h11', 'prometheus_client'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout == "set()\n"
