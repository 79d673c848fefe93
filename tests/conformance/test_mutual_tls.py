"""The office link with certificates on both sides: the real sync and office processes, and those who have no business there."""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.http_client import HttpClient, HttpTrouble, Trouble
from tests.conformance.test_sync_office import Site, _environment, batch_body, wait_for
from tests.peers.certificates import certificate, client_certificate
from tests.unit.office_samples import TERMINAL, TOKEN


@pytest.fixture
def site() -> Iterator[Site]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    found = Site(place)
    yield found
    found.close()
    shutil.rmtree(place)


def test_a_certificate_lets_the_terminal_in_and_only_itself(site: Site) -> None:
    place = site.place
    cert, key = certificate(place, "office-tls")
    authority = certificate(place, "terminals")
    mine = client_certificate(place, authority, TERMINAL)
    other = client_certificate(place, authority, "T-0002")
    foreign = client_certificate(place, certificate(place, "stranger"), TERMINAL)
    site.url = site.url.replace("http://", "https://")
    shown = f'client_cert = "{mine[0]}"\nclient_key = "{mine[1]}"\nca_file = "{cert}"\n'
    text = (place / "terminal.toml").read_text().replace("http://127.0.0.1", "https://127.0.0.1")
    (place / "terminal.toml").write_text(text.replace("[office]\n", f"[office]\n{shown}"))
    (place / "token").write_text("not-the-token-of-anybody-at-all")  # the certificate alone must do
    start_office(site, "--tls-cert", str(cert), "--tls-key", str(key), "--client-ca", str(authority[0]))

    def posted(pair: tuple[Path, Path] | None, token: str = "") -> int:
        client = HttpClient(demo=False, ca_file=cert, client_cert=pair)
        try:
            said = {"Authorization": f"Bearer {token}"} if token else {}
            url = f"{site.url}/v1/terminals/{TERMINAL}/batches"
            return client.call("POST", url, deadline_s=30, headers=said, body=batch_body(site)).status
        finally:
            client.close()

    assert posted(mine) == 200
    assert posted(None, TOKEN) == 200  # a phone or an old terminal has none: then the token counts
    assert posted(None) == 401
    assert posted(other, TOKEN) == 401  # who shows a certificate is who it names
    with pytest.raises(HttpTrouble) as refused:
        posted(foreign, TOKEN)
    assert refused.value.kind in (Trouble.TLS, Trouble.BROKEN)  # TLS 1.3 tells the client only when it reads
    with pytest.raises(HttpTrouble) as untrusted:
        HttpClient(demo=False, client_cert=mine).call("GET", f"{site.url}/healthz", deadline_s=10)
    assert untrusted.value.kind is Trouble.TLS  # the pinned authority, not the public ones

    core = site.start_core()
    for _ in range(3):
        site.terminal.session()
    site.start_sync()
    wait_for(lambda: core.through == 3)
    site.run("terminal", "block", TERMINAL, "--why", "stolen")
    assert posted(mine) == posted(None, TOKEN) == 401  # neither its certificate nor its token any more


def start_office(site: Site, *flags: str) -> None:
    command = [sys.executable, "-m", "terminal_app.run.office", "serve", "--db", site.database, "--key", "office.key", "--demo"]
    command += ["--listen", f"127.0.0.1:{site.port}", "--public-url", site.url, *flags]
    with (site.place / "office.log").open("ab") as log:
        site.office = subprocess.Popen(command, cwd=site.place, env=_environment(), stderr=log, stdout=log)

    def up() -> bool:
        try:
            socket.create_connection(("127.0.0.1", site.port), 1).close()
        except OSError:
            return False
        return True

    wait_for(up)
