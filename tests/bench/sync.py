"""What it costs to bring records away: a backlog of weeks to the office, pages to a puller, and verifying them afterwards.

The backlog goes from a core on paper through the real push, over HTTP, into a real office process, which verifies each record. A
bare request posts the same gzipped bytes to a second, empty office; what our side adds is `ratio`. The puller asks a real sync
process whose core is a real ledger in this one.
"""

import gzip
import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.sync_link import SyncLink
from terminal_app.http_client import HttpClient
from terminal_app.run.service import export as exports
from terminal_app.run.service.site import PublicKeys
from terminal_app.run.service.verification import Whose, verify_ledger, verify_records
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.push import MAX_ANSWER, Push
from tests.bench.charge import Bench
from tests.conformance.test_sync_office import Site, _environment, wait_for
from tests.peers.venvs import free_port
from tests.sessions import runtime_dir, site_files
from tests.unit.office_samples import TERMINAL, TOKEN

Figures = dict[str, Any]
BACKLOG = 10_000
CHARGES = 500
PULLS = 5
PULL_TOKEN = "puller-token-0123456789abcdef"


class _Noting(HttpClient):
    """The real client; keeps what it posted."""

    def __init__(self) -> None:
        super().__init__(demo=True, max_body=MAX_ANSWER)
        self.bodies: list[bytes] = []

    def call(self, method: str, url: str, **said: Any) -> Any:
        self.bodies.append(said["body"])
        return super().call(method, url, **said)


def backlog(folder: Path) -> Figures:
    """10 000 session records to the office, and the same bytes by bare requests (aim: ratio 1.5)."""
    with runtime_dir() as place, runtime_dir() as other:
        site = Site(place)
        for _ in range(BACKLOG):
            site.terminal.session()
        core = site.start_core()
        site.start_office("--demo")
        client = _Noting()
        push = Push(
            CoreLink(place / "sync.sock"),
            client,
            office_url=site.url,
            token=TOKEN,
            deadline_s=60,
            every_s=1,
            chance=random.Random(1),
        )
        began = time.perf_counter()
        while core.through < BACKLOG:
            push.turn(time.monotonic())
        ours_s = time.perf_counter() - began
        site.close()
        bare_s = _bare(Site(other, site.terminal), client.bodies)
    return {
        "records": BACKLOG,
        "batches": len(client.bodies),
        "push_and_ingest_s": round(ours_s, 2),
        "records_per_s": round(BACKLOG / ours_s),
        "bare_requests_s": round(bare_s, 2),
        "ratio": round(ours_s / bare_s, 2),
    }


def _bare(site: Site, bodies: list[bytes]) -> float:
    """Seconds for the same posts by `http.client` over one connection, to an office that has nothing yet."""
    packed = [gzip.compress(body, 6, mtime=0) for body in bodies]
    site.start_office("--demo")
    link = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    began = time.perf_counter()
    for body in packed:
        link.request("POST", f"/v1/terminals/{TERMINAL}/batches", body, headers)
        answer = link.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
    took_s = time.perf_counter() - began
    link.close()
    site.close()
    return took_s


def pull_and_verify(folder: Path) -> Figures:
    """Records per second to a puller and as CDRs, and verified by `records verify` and by `scripts/verify_records.py`."""
    bench = Bench(folder / "pulled")
    for _ in range(CHARGES):
        bench.charge()
    found: Figures = {"records": len(bench.ledger.records())}
    with runtime_dir() as runtime:
        found |= _pulled(bench, folder, runtime)
    found |= _verified(bench, folder / "exported")
    bench.ledger.close()
    return found


def _pulled(bench: Bench, folder: Path, runtime: Path) -> Figures:
    path, port = site_files(folder, runtime), free_port()
    (folder / "pull.token").write_text(PULL_TOKEN)
    said = f'[pull]\nlisten = "127.0.0.1:{port}"\n[[pull.client]]\nname = "erp"\ntoken_file = "pull.token"\n'
    path.write_text(path.read_text() + said)
    spki = bench.record_key.public_key_spki()
    links = SyncLink(runtime / "sync.sock", bench.engine, CommandLink(bench.engine, spki, acts_of(bench.engine)), spki, None)
    command = [sys.executable, "-m", "terminal_app.run.sync", "--config", str(path)]
    process = subprocess.Popen(command, env=_environment(), stderr=subprocess.DEVNULL)
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        wait_for(lambda: _listens(port))
        return {
            "pull_records_per_s": _rate(lambda: _pages(link, "/records?limit=500&after=", "items")),
            "pull_cdrs_per_s": _rate(lambda: _pages(link, "/ocpi/2.2.1/cdrs?limit=100&offset=", "data")),
        }
    finally:
        link.close()
        process.kill()
        process.wait(10)
        links.close()


def _listens(port: int) -> bool:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        link.request("GET", "/openapi.json")
        return link.getresponse().status == 200
    except OSError:
        return False
    finally:
        link.close()


def _pages(link: http.client.HTTPConnection, path: str, name: str) -> int:
    """How many were pulled, page by page."""
    count = after = 0
    while True:
        link.request("GET", f"{path}{after}", headers={"Authorization": f"Bearer {PULL_TOKEN}"})
        page = json.loads(link.getresponse().read())
        count += len(page[name])
        after = page.get("next_after", count)
        if not page[name]:
            return count


def _rate(pull: Callable[[], int]) -> int:
    """The best of some runs: other programs run here too."""
    best = 0
    for _ in range(PULLS):
        began = time.perf_counter()
        count = pull()
        best = max(best, round(count / (time.perf_counter() - began)))
    return best


def _verified(bench: Bench, out: Path) -> Figures:
    keys = PublicKeys(
        {bench.record_key.key_id: bench.record_key.public_key_spki()}, {bench.ocmf_key.key_id: bench.ocmf_key.public_key_spki()}
    )
    whose = Whose("BENCH", bench.ledger.chain_id)
    began = time.perf_counter()
    ledger, _, sealed = verify_ledger(bench.ledger, lambda _: None)
    chain, readings, _ = verify_records(bench.ledger, whose, keys, sealed, lambda _: None)
    ours_s = time.perf_counter() - began
    assert not ledger.trouble + chain.trouble + readings.trouble
    exports.export(bench.ledger, "jws", out, keys, 0, 0, lambda _: None)
    script = Path(__file__).parents[2] / "scripts" / "verify_records.py"
    began = time.perf_counter()
    done = subprocess.run([sys.executable, str(script), str(out)], capture_output=True, text=True, check=False)
    third_s = time.perf_counter() - began
    assert done.returncode == 0, done.stdout + done.stderr
    count = len(bench.ledger.records())
    return {"records_verify_per_s": round(count / ours_s), "verify_records_py_per_s": round(count / third_s)}


MEASURES: dict[str, Callable[[Path], Figures]] = {"sync": backlog, "pull": pull_and_verify}
