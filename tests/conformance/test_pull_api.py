"""The terminal's pull API over real sockets, from a real ledger: pages, cursors, OCPI, and clients that mean no good."""

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from terminal_app.billing.record import GENESIS
from terminal_app.engine.publication import Publication
from terminal_app.engine.pull_link import PullLink
from terminal_app.http_client import HttpAnswer, HttpClient, HttpTrouble
from terminal_app.http_server import Tls
from terminal_app.session.facts import PullerAcknowledged
from terminal_app.sync import ack_pace, pull_api
from terminal_app.wire import PullerHas, RecordsAfter
from tests.conformance.carrying import Carrying, carrying, pullable
from tests.peers.certificates import certificate, client_certificate
from tests.sessions import Paper

TOKENS = {"erp": "erp-token-0123456789abcdefghij", "archive": "archive-token-0123456789abcdef"}
DOCUMENT = json.loads(Path(pull_api.__file__).with_name("openapi.json").read_text())


class Client:
    """One who pulls. Whatever it is answered must be what openapi.json says."""

    def __init__(self, url: str, token: str = TOKENS["erp"], http: HttpClient | None = None) -> None:
        self.url, self.token = url, token
        self.http = http or HttpClient(demo=True, max_body=8 * 1024 * 1024)

    def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> HttpAnswer:
        said = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = path if path.startswith("http") else self.url + path
        answer = self.http.call(method, url, deadline_s=30, headers=said | headers, body=body)
        described(method, url[len(self.url) :].partition("?")[0], answer)
        return answer

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def ack(self, seq: int, sha256: str) -> tuple[int, Any]:
        body = json.dumps({"through_seq": seq, "head_sha256": sha256}).encode()
        answer = self.call("POST", "/acks", body)
        return answer.status, json.loads(answer.body)


def described(method: str, path: str, answer: HttpAnswer) -> None:
    """The answer's status and body as the document has them."""
    if answer.status in (404, 405):
        return
    responses = DOCUMENT["paths"][path][method.lower()]["responses"]
    assert str(answer.status) in responses, (method, path, answer.status)
    schema = responses[str(answer.status)]["content"]["application/json"]["schema"]
    whole = schema | {"components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole).validate(json.loads(answer.body))


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carrying]:
    """Four charges, one of them given back: each has a session and a settlement record; refund and credit follow. 5 CDRs."""
    with carrying(tmp_path_factory.mktemp("pull"), sessions=4) as found:
        assert found.credit(3) == 10
        yield found


@pytest.fixture(scope="module")
def url(core: Carrying) -> Iterator[str]:
    with pullable(core, TOKENS) as found:
        yield found


def test_the_document_names_the_routes_and_only_them(core: Carrying) -> None:
    application = pull_api.build(None, None, None)  # type: ignore[arg-type]
    routes = {(route.path, method) for route in application.routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]
    assert routes == {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}


def test_pages_hold_every_record_once_in_order_as_it_was_signed(core: Carrying, url: str) -> None:
    client, found, after = Client(url), list[tuple[int, str, str]](), 0
    while items := (page := client.get(f"/records?after={after}&limit=2"))["items"]:
        assert len(items) <= 2
        found += [(one["seq"], one["jws"], one["sha256"]) for one in items]
        after = page["next_after"]
    assert found == [(one.seq, one.jws, one.sha256) for one in core.site.ledger.records()]
    assert (page["next_after"], page["head_seq"], page["head_sha256"]) == (10, 10, found[-1][2])
    assert client.get("/records?after=4&limit=1") == client.get("/records?after=4&limit=1")
    assert len(client.get("/records?limit=5000")["items"]) == 10


def test_two_pullers_keep_cursors_of_their_own_and_may_go_back(core: Carrying, url: str) -> None:
    erp, archive = Client(url), Client(url, TOKENS["archive"])
    items = erp.get("/records")["items"]
    facts = lambda: [one.fact for one in core.site.ledger.entries(kinds=("puller_acknowledged",))]  # noqa: E731
    before = len(facts())
    assert erp.ack(6, items[5]["sha256"])[0] == 200
    assert erp.ack(6, items[5]["sha256"])[0] == 200
    assert archive.get("/acks")["through_seq"] == 0
    assert archive.ack(2, items[1]["sha256"])[1]["through_seq"] == 2
    status, refused = erp.ack(7, items[5]["sha256"])
    assert status == 409 and items[6]["sha256"] in refused["error"]
    status, refused = erp.ack(99, GENESIS)
    assert status == 409 and "never sealed here" in refused["error"]
    assert erp.get("/acks")["through_seq"] == 6
    assert erp.ack(1, items[0]["sha256"])[1]["through_seq"] == 1  # it restored an older copy
    assert erp.get("/records?after=0")["items"] == items
    assert facts()[before:] == [
        PullerAcknowledged("erp", 6, items[5]["sha256"]),
        PullerAcknowledged("archive", 2, items[1]["sha256"]),
        PullerAcknowledged("erp", 1, items[0]["sha256"]),
    ]
    assert core.engine.state.chain.acknowledged_through == 0 and core.site.ledger.waiting() == 10


def test_cursors_outlive_the_core(tmp_path: Path) -> None:
    with carrying(tmp_path, sessions=1) as found:
        link = found.links._pull
        sha256 = found.site.ledger.records(0, 1)[0].sha256
        assert link.puller_has(PullerHas("erp", 1, sha256)).error == ""
        found.site.close()
        again = Paper(found.site.path, ms=found.site.clock.ms)
        page = PullLink(again.engine).records_after(RecordsAfter("erp", 0, 1))
        assert (page.acknowledged_seq, page.acknowledged_sha256) == (1, sha256)
        again.close()


@pytest.mark.parametrize("version", ["2.2.1", "2.3.0"])
def test_ocpi_pages_by_publication_and_links_to_the_next(core: Carrying, url: str, version: str) -> None:
    client = Client(url)
    every = client.get(f"/ocpi/{version}/cdrs")["data"]
    assert len(every) == 5
    published = [one["last_updated"] for one in every]
    assert published == sorted(set(published))
    assert [one.get("credit_reference_id") for one in every] == [None] * 4 + [every[1]["id"]]
    path, pages = f"/ocpi/{version}/cdrs?date_from={published[0]}&date_to={published[4]}&limit=2", []
    while path:
        answer = client.call("GET", path)
        assert (answer.headers["x-total-count"], answer.headers["x-limit"]) == ("4", "100")
        pages += [json.loads(answer.body)["data"]]
        link = answer.headers.get("link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link[1:].partition(">")[0]
    assert pages == [every[0:2], every[2:4]]
    assert client.get(f"/ocpi/{version}/cdrs?date_from={published[4]}")["data"] == every[4:]
    assert client.get(f"/ocpi/{version}/cdrs?date_to={published[0]}")["data"] == []
    assert client.get(f"/ocpi/{version}/cdrs?offset=4")["data"] == every[4:]
    assert client.call("GET", f"/ocpi/{version}/cdrs?offset=99").headers.get("link") is None


def test_a_part_given_back_is_a_credit_and_a_corrected_cdr(tmp_path: Path) -> None:
    """OCPI knows no part of a credit: the CDR that stands is taken back, and one of what is left follows; page by page too."""
    with carrying(tmp_path, sessions=1) as found, pullable(found, TOKENS) as url:
        found.credit(1, 50)
        found.credit(1)
        client = Client(url)
        every = client.get("/ocpi/2.2.1/cdrs")["data"]
        first, credit, corrected, last = every
        assert credit["credit_reference_id"] == first["id"] and last["credit_reference_id"] == corrected["id"]
        cents = [round(one["total_cost"]["incl_vat"] * 100) for one in every]
        assert cents[1:] == [-cents[0], cents[0] - 50, 50 - cents[0]]
        assert sorted({one["last_updated"] for one in every}) == [one["last_updated"] for one in every]
        assert [one for offset in range(4) for one in client.get(f"/ocpi/2.2.1/cdrs?limit=1&offset={offset}")["data"]] == every


def test_a_credit_is_told_without_reading_the_whole_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with carrying(tmp_path, 2) as core:
        number, asked = core.credit(3, 50), list[tuple[int, int, int]]()
        ledger, read = core.engine.ledger, core.engine.ledger.records

        def noted(after: int = 0, limit: int = -1, subject: str = "", newest_first: bool = False, before: int = 0) -> Any:
            asked.append((after, limit, before))
            return read(after, limit, subject, newest_first, before)

        monkeypatch.setattr(ledger, "records", noted)
        assert Publication(ledger).between(0, 0, 0, 10)[0] == 4
        assert asked and all(limit == 1 or (after, before) == (3, number) for after, limit, before in asked)


def test_pages_are_stable_while_records_come_and_a_clock_goes_back(tmp_path: Path) -> None:
    with carrying(tmp_path, sessions=3) as found, pullable(found, TOKENS) as url:
        client = Client(url)
        first = client.get("/ocpi/2.2.1/cdrs?limit=2")["data"]
        clock = found.site.clock
        true = clock.now
        clock.now = lambda: msgspec.structs.replace(true(), utc_ms=true().utc_ms - 86_400_000)  # type: ignore[method-assign]
        found.credit(1)
        every = client.get("/ocpi/2.2.1/cdrs")["data"]
        assert every[:2] == first and len(every) == 4
        assert every[3]["last_updated"] > every[2]["last_updated"]  # whoever pages by the newest it saw gets it
        assert client.get(f"/ocpi/2.2.1/cdrs?date_from={every[3]['last_updated']}")["data"] == every[3:]


def test_ocpi_tokens_come_in_base64_too(url: str) -> None:
    client = Client(url, "")
    token = base64.b64encode(TOKENS["archive"].encode()).decode()
    assert client.call("GET", "/ocpi/2.2.1/cdrs", Authorization=f"Token {token}").status == 200
    assert client.call("GET", "/acks", Authorization=f"Token {TOKENS['archive']}").status == 200
    for wrong in ("Token AAAA", "Token ????", "Bearer", f"Basic {token}", f"Bearer {TOKENS['erp']}x", "Bearer \xe9"):
        assert client.call("GET", "/records", Authorization=wrong).status == 401
        refused = client.call("GET", "/ocpi/2.3.0/cdrs", Authorization=wrong)
        assert (refused.status, json.loads(refused.body)["status_code"]) == (401, 2001)
    assert client.call("GET", "/openapi.json").status == 200


def test_nonsense_is_answered_by_a_sentence(url: str) -> None:
    client = Client(url)
    for path in ("/records?after=-1", "/records?after=1e3", "/records?limit=0", "/records?limit=x", "/records?after=" + "9" * 16):
        assert client.call("GET", path).status == 400
    for query in ("date_from=yesterday", "offset=-1", "limit=1.5", "date_to=9999-99-99"):
        answer = client.call("GET", f"/ocpi/2.2.1/cdrs?{query}")
        assert (answer.status, json.loads(answer.body)["status_code"]) == (400, 2001), query
    for body in (b"", b"{}", b"[" * 3000, b'{"through_seq":1}', b'{"through_seq":true,"head_sha256":"%s"}' % (b"0" * 64)):
        assert client.call("POST", "/acks", body).status == 400
    assert client.call("POST", "/acks", b" " * 5000).status == 413
    assert client.call("DELETE", "/acks").status == 405
    assert client.call("GET", "/elsewhere").status == 404


def test_who_acknowledges_to_and_fro_fills_no_ledger(core: Carrying, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them would be a commit, and an entry that is kept for ever."""
    monkeypatch.setattr(ack_pace, "BURST", 4)
    first, second = core.engine.ledger.records(0, 2)
    with pullable(core, TOKENS) as url:
        before, client = core.engine.ledger.head[0], Client(url)
        answers = [client.ack(one.seq, one.sha256)[0] for one in (first, second) * 5]
        assert answers == [200] * 4 + [429] * 6
        assert core.engine.ledger.head[0] - before <= 5
        assert Client(url, TOKENS["archive"]).ack(first.seq, first.sha256)[0] == 200


def test_a_client_that_dribbles_is_cut(core: Carrying) -> None:
    with pullable(core, TOKENS, exchange_s=0.3) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as plug:
            plug.sendall(b"GET /records HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            assert plug.recv(1) == b""
        with socket.create_connection(("127.0.0.1", port), 10) as plug:
            plug.sendall(b"POST /acks HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nAuthorization: Bearer ")
            plug.sendall(TOKENS["erp"].encode() + b"\r\n\r\n{")
            assert plug.recv(1) == b""
        assert Client(url).get("/acks")["client"] == "erp"


def test_a_client_that_asks_and_never_reads_is_cut(core: Carrying) -> None:
    """Its answers fill the buffers of both ends; then the clock of the exchange runs out."""
    with pullable(core, TOKENS, exchange_s=0.3) as url, socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plug.settimeout(30)
        plug.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        ask = b"GET /records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + TOKENS["erp"].encode() + b"\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(2000):
                plug.sendall(ask)
        plug.settimeout(0.5)
        time.sleep(1.0)  # longer than the exchange: whatever comes now was in the buffers
        got = 0
        with contextlib.suppress(ConnectionError):
            while chunk := plug.recv(65536):
                got += chunk.count(b"HTTP/1.1 200")
        assert got < 2000
        assert Client(url).get("/acks")["client"] == "erp"


def test_more_at_once_than_allowed_are_told_to_come_again(core: Carrying) -> None:
    with pullable(core, TOKENS, at_once=3) as url:
        port = int(url.rpartition(":")[2])
        held = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(3)]
        for plug in held:
            plug.sendall(b"GET /records HTTP/1.1\r\n")
        client = HttpClient(demo=True)
        assert client.call("GET", f"{url}/openapi.json", deadline_s=10).status == 503
        for plug in held:
            plug.close()


def test_a_core_that_is_gone_is_no_end_of_the_api(tmp_path: Path) -> None:
    with carrying(tmp_path) as found, pullable(found, TOKENS) as url:
        client = Client(url)
        assert client.get("/records")["head_seq"] == 0
        found.links.close()
        assert client.call("GET", "/records").status == 503
        refused = client.call("GET", "/ocpi/2.2.1/cdrs")
        assert (refused.status, json.loads(refused.body)["status_code"]) == (503, 3000)


def test_certificates_of_clients_are_demanded_and_name_them(core: Carrying, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    authority = certificate(tmp_path, "authority")
    mine = client_certificate(tmp_path, authority, "erp")
    other = client_certificate(tmp_path, authority, "archive")
    foreign = client_certificate(tmp_path, certificate(tmp_path, "stranger"), "erp")

    def puller(url: str, shown: tuple[Path, Path] | None, token: str = "") -> Client:
        return Client(url, token, HttpClient(demo=False, ca_file=cert, client_cert=shown))

    tls = Tls(cert, key, authority[0])
    with pullable(core, {}, tls) as url:
        assert puller(url, mine).get("/acks")["client"] == "erp"
        assert puller(url, other).get("/acks")["client"] == "archive"
        for nobody in (None, foreign):
            with pytest.raises(HttpTrouble):
                puller(url, nobody, TOKENS["erp"]).call("GET", "/acks")
    with pullable(core, TOKENS, tls) as url:  # both are asked, and both must be of the same client
        assert puller(url, mine, TOKENS["erp"]).get("/acks")["client"] == "erp"
        assert puller(url, mine).call("GET", "/acks").status == 401
        assert puller(url, other, TOKENS["erp"]).call("GET", "/acks").status == 401
