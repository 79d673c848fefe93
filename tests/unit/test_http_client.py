"""The hardened HTTP client against a peer that misbehaves byte by byte."""

import contextlib
import gzip
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terminal_app.http_client import HttpClient, HttpTrouble, Trouble

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request by `reply(link, head + body)`; counts connections and requests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.reply: Callable[[socket.socket, bytes], None] = lambda link, _: link.sendall(OK)
        self.requests: list[bytes] = []
        self.connections = 0
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        try:
            if self._tls:
                link = self._tls.wrap_socket(link, server_side=True)
            while request := self._request(link):
                self.requests.append(request)
                self.reply(link, request)
        except OSError:
            pass
        finally:
            link.close()

    @staticmethod
    def _request(link: socket.socket) -> bytes:
        got = b""
        while b"\r\n\r\n" not in got:
            chunk = link.recv(65536)
            if not chunk:
                return b""
            got += chunk
        head, _, body = got.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while lengths and len(body) < lengths[0]:
            body += link.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = HttpClient(demo=True, max_body=100_000)
    yield client
    client.close()


def trouble(client: HttpClient, url: str, deadline_s: float = 5) -> Trouble:
    with pytest.raises(HttpTrouble) as caught:
        client.call("GET", url, deadline_s=deadline_s)
    return caught.value.kind


def test_an_answer_of_any_status_is_an_answer(server: Server, client: HttpClient) -> None:
    server.reply = lambda link, _: link.sendall(b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlate")
    answer = client.call("GET", server.url, deadline_s=5)
    assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "7", b"late")


def test_connections_are_kept_and_bodies_compressed(server: Server, client: HttpClient) -> None:
    for _ in range(3):
        client.call("POST", server.url, deadline_s=5, body=b"x" * 5000, gzip_body=True)
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head.lower()
    assert gzip.decompress(body) == b"x" * 5000


def test_a_redirect_is_not_followed(server: Server, client: HttpClient) -> None:
    other = Server()
    server.reply = lambda link, _: link.sendall(f"HTTP/1.1 307 Go\r\nLocation: {other.url}/\r\nContent-Length: 0\r\n\r\n".encode())
    assert trouble(client, server.url) is Trouble.REDIRECT
    assert other.requests == []
    other.close()


@pytest.mark.parametrize("prefix", [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", OK[:9]])
def test_a_trickle_does_not_outlive_the_deadline(server: Server, client: HttpClient, prefix: bytes) -> None:
    def trickle(link: socket.socket, _: bytes) -> None:
        link.sendall(prefix)
        for _ in range(600):
            link.sendall(b"a")
            time.sleep(0.1)

    server.reply = trickle
    began = time.monotonic()
    assert trouble(client, server.url, 1) is Trouble.DEADLINE
    assert time.monotonic() - began < 20  # the trickle would last 60 s
    server.reply = lambda link, _: link.sendall(OK)
    assert client.call("GET", server.url, deadline_s=5).body == b"hi"


def test_an_answer_without_length_that_is_cut_is_not_taken_for_whole(server: Server, client: HttpClient) -> None:
    def endless(link: socket.socket, _: bytes) -> None:
        link.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf an answ")
        time.sleep(30)

    server.reply = endless
    assert trouble(client, server.url, 1) is Trouble.DEADLINE


def test_a_large_body_is_refused(server: Server, client: HttpClient) -> None:
    server.reply = lambda link, _: link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
    assert trouble(client, server.url) is Trouble.TOO_LARGE


def test_a_bomb_is_refused_before_it_unfolds(server: Server, client: HttpClient) -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(bomb) < 100_000
    server.reply = lambda link, _: link.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb
    )
    assert trouble(client, server.url) is Trouble.TOO_LARGE


def test_a_compressed_answer_is_opened_and_a_cut_one_is_not_believed(server: Server, client: HttpClient) -> None:
    whole = gzip.compress(os.urandom(20_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    server.reply = lambda link, _: link.sendall(head % len(whole) + whole)
    assert client.call("GET", server.url, deadline_s=5).body == gzip.decompress(whole)
    server.reply = lambda link, _: link.sendall(head % (len(whole) - 9) + whole[:-9])
    assert trouble(client, server.url) is Trouble.BROKEN
    server.reply = lambda link, _: link.sendall(head % 20 + b"x" * 20)
    assert trouble(client, server.url) is Trouble.BROKEN


def test_ten_thousand_headers_are_refused(server: Server, client: HttpClient) -> None:
    server.reply = lambda link, _: link.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n")
    assert trouble(client, server.url) is Trouble.BROKEN


def test_a_lost_connection_and_an_absent_peer_are_told_apart(server: Server, client: HttpClient) -> None:
    server.reply = lambda link, _: link.close()
    assert trouble(client, server.url) is Trouble.BROKEN
    server.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert trouble(client, f"http://127.0.0.1:{port}/") is Trouble.UNREACHABLE


@pytest.mark.parametrize("url", ["http://example.com/", "http://10.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "https:///x"])
def test_unsafe_addresses_are_refused(client: HttpClient, url: str) -> None:
    assert trouble(client, url) is Trouble.URL


def test_plain_http_is_refused_in_production(server: Server) -> None:
    assert trouble(HttpClient(demo=False), server.url) is Trouble.URL
    assert server.connections == 0


def test_the_environment_has_no_say(server: Server, client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert client.call("GET", server.url, deadline_s=5).status == 200


def test_cookies_are_not_kept(server: Server, client: HttpClient) -> None:
    server.reply = lambda link, _: link.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")
    for _ in range(2):
        client.call("GET", server.url, deadline_s=5)
    assert b"cookie" not in server.requests[1].lower()


def test_the_address_with_its_query_never_stands_in_the_error(client: HttpClient) -> None:
    with pytest.raises(HttpTrouble) as caught:
        client.call("GET", "http://127.0.0.1:1/path?token=geheim", deadline_s=2)
    assert "geheim" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=office", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True,
        capture_output=True,
    )
    return folder


def test_tls_is_verified(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server = Server(context)
    with pytest.raises(HttpTrouble) as caught:
        HttpClient(demo=True).call("GET", server.url, deadline_s=5)
    assert caught.value.kind is Trouble.TLS
    assert server.requests == []
    pinned = HttpClient(demo=False, ca_file=certificate / "cert.pem")
    assert pinned.call("GET", server.url, deadline_s=5).body == b"hi"

    def trickle(link: socket.socket, _: bytes) -> None:
        for _ in range(600):
            link.sendall(b"H")
            time.sleep(0.1)

    server.reply = trickle
    assert trouble(pinned, server.url, 1) is Trouble.DEADLINE
    server.close()


def test_a_handshake_that_never_ends_is_cut(client: HttpClient) -> None:
    silent = socket.create_server(("127.0.0.1", 0))
    assert trouble(client, f"https://127.0.0.1:{silent.getsockname()[1]}/", 1) in {Trouble.DEADLINE, Trouble.UNREACHABLE}
    silent.close()
