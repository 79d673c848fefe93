"""Stripe's peers: python-getpaid-simulator (checkout pages) and localstripe (payments), and the front both lack.

What the originals have and these have not is added here, in front of them: idempotency keys, the check of the secret key,
balance, search, lists, `capture_before`, decline codes. Measured defects: reference payments.md sections 1.2 and 1.3.
"""

import hashlib
import http.client
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from tests.conformance.fault_proxy import FaultProxy, Front, Reply, Request
from tests.peers.venvs import PeerProcess, free_port, python_of

KEY = "sk_test_sim_stripe_key"
CAPTURE_BEFORE_S = 1_796_000_000

_GETPAID = (
    ("--ignore-requires-python", "--no-deps", "python-getpaid-simulator==3.2.0", "python-getpaid-stripe==0.2.1",
     "python-getpaid-core==3.2.0"),
    ("httpx", "jinja2", "litestar<3", "uvicorn", "anyio", "stripe>=12,<13", "aiohttp"),
)  # fmt: skip
_LOCALSTRIPE = (("localstripe==1.15.10",),)


@contextmanager
def getpaid() -> Iterator[PeerProcess]:
    python = python_of("getpaid", _GETPAID)
    port = free_port()
    command = [str(python.parent / "getpaid-simulator"), "--host", "127.0.0.1", "--port", str(port)]
    with PeerProcess("getpaid", command, port) as peer:
        yield peer


@contextmanager
def localstripe() -> Iterator[PeerProcess]:
    """Not by its own command, which would listen on every address."""
    python = python_of("localstripe", _LOCALSTRIPE)
    port = free_port()
    code = (
        f"from aiohttp import web; from localstripe.server import app; web.run_app(app, host='127.0.0.1', port={port}, print=None)"
    )
    with PeerProcess("localstripe", [str(python), "-c", code], port) as peer:
        yield peer


class StripeFront(Front):
    """docs.stripe.com/api as far as the peers do not have it. Keeps what was created, so that it can be searched."""

    def __init__(self) -> None:
        self.memory: dict[str, tuple[str, Reply]] = {}
        self.intents: dict[str, str] = {}  # payment -> hold key
        self.refunds: dict[str, list[Any]] = {}  # payment -> refunds
        self.decline_code = ""
        self.livemode = False

    def lapse(self) -> None:
        """A day later: the idempotency keys are forgotten."""
        self.memory.clear()

    def answer(self, request: Request, proxy: FaultProxy) -> Reply:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return _error(401, "invalid_request_error")
        if not (request.method == "POST" and request.key):
            return self._answer(request, proxy)
        print_of = hashlib.sha256(f"{request.path}\n".encode() + request.body).hexdigest()
        if request.key in self.memory:
            known, reply = self.memory[request.key]
            return reply if known == print_of else _error(400, "idempotency_error")
        reply = self._answer(request, proxy)
        if reply.status != 400:  # what fails validation is not remembered
            self.memory[request.key] = (print_of, reply)
        return reply

    def _answer(self, request: Request, proxy: FaultProxy) -> Reply:
        where = urlsplit(request.path)
        asked = dict(parse_qsl(where.query))
        form = dict(parse_qsl(request.body.decode()))
        if where.path == "/v1/balance":
            return Reply.of(200, {"object": "balance", "livemode": self.livemode, "available": []})
        if where.path == "/v1/payment_intents/search":
            return self._search(asked["query"], proxy, request)
        if request.method == "GET" and where.path == "/v1/refunds":
            return Reply.of(200, {"object": "list", "data": self.refunds.get(asked["payment_intent"], [])})
        if request.method == "GET" and where.path == "/v1/checkout/sessions":
            number = asked["payment_intent"].rsplit("_", 1)[1]
            return Reply.of(200, {"data": [proxy.forward(Request("GET", f"{where.path}/cs_sim_{number}", {}, b"")).json]})
        if "expires_at" in form and not 1800 <= int(form["expires_at"]) - time.time() <= 86_400:
            return Reply.of(400, {"error": {"type": "invalid_request_error", "param": "expires_at"}})
        reply = self.mended(request, proxy.forward(self.fitting(request)))
        if request.method == "POST" and where.path == "/v1/refunds" and reply.status == 200:
            self.refunds.setdefault(form["payment_intent"], []).append(reply.json)
        return reply

    def fitting(self, request: Request) -> Request:
        return request

    def mended(self, request: Request, reply: Reply) -> Reply:
        """capture_before and decline codes, which no peer has."""
        if not re.search(r"^/v1/payment_intents/\w+(/\w+)?(\?|$)", request.path) or reply.status != 200:
            return reply
        intent = reply.json
        if intent["status"] == "expired":  # a status of pages, not of payments
            intent["status"] = "canceled"
        card = {"brand": "visa", "last4": "4242", "capture_before": CAPTURE_BEFORE_S}
        intent["latest_charge"] = {"id": "ch_" + intent["id"], "object": "charge", "payment_method_details": {"card": card}}
        if intent["status"] in ("requires_payment_method", "canceled") and self.decline_code:
            intent["last_payment_error"] = {"type": "card_error", "code": "card_declined", "decline_code": self.decline_code}
        return Reply.of(200, intent)

    def _search(self, query: str, proxy: FaultProxy, request: Request) -> Reply:
        found = re.fullmatch(r"metadata\['hold_key'\]:'([^']*)'", query)
        assert found, query
        made = [
            (sent, reply.json)
            for sent, reply in proxy.forwarded
            if sent.path in ("/v1/checkout/sessions", "/v1/payment_intents") and sent.method == "POST" and reply.status == 200
        ]
        data = []
        for sent, created in made:
            form = dict(parse_qsl(sent.body.decode()))
            if found[1] not in (form.get("metadata[hold_key]"), form.get("payment_intent_data[metadata][hold_key]")):
                continue
            page = created
            if created["object"] == "checkout.session":
                page = proxy.forward(Request("GET", f"/v1/checkout/sessions/{created['id']}", request.headers, b"")).json
            if reference := page.get("payment_intent") or (page["id"] if page["object"] == "payment_intent" else None):
                intent = proxy.forward(Request("GET", f"/v1/payment_intents/{reference}", request.headers, b"")).json
                data.append({**intent, "metadata": {"hold_key": found[1]}})
        return Reply.of(200, {"object": "search_result", "data": data, "has_more": False})


class GetpaidBooks:
    """The simulator seen past the proxy: the phone in the driver's hand, and its own books."""

    def __init__(self, port: int, proxy: FaultProxy) -> None:
        self._port, self._proxy = port, proxy

    def phone(self, page_url: str, action: str) -> None:
        """pay, decline, pay_delayed or abandon on the hosted page."""
        status, _ = self._call("POST", urlsplit(page_url).path, urlencode({"action": action}), "application/x-www-form-urlencoded")
        assert status < 400, (action, status)

    def ops(self, page_url: str, action: str) -> None:
        order = urlsplit(page_url).path.rsplit("/", 1)[1]
        status, _ = self._call("POST", f"/sim/stripe/ops/{order}", json.dumps({"action": action}), "application/json")
        assert status == 200, status

    def pages(self) -> list[Any]:
        made = {
            reply.json["id"]: reply.json
            for sent, reply in list(self._proxy.forwarded)
            if (sent.method, sent.path) == ("POST", "/v1/checkout/sessions") and reply.status == 200
        }
        return [json.loads(self._call("GET", f"/v1/checkout/sessions/{one}")[1]) for one in made]

    def intents(self) -> list[Any]:
        return [
            json.loads(self._call("GET", f"/v1/payment_intents/{page['payment_intent']}")[1])
            for page in self.pages()
            if page["payment_intent"]
        ]

    def held_minor(self) -> int:
        return sum(one["amount_capturable"] + one["amount_received"] for one in self.intents())

    def captures(self) -> list[int]:
        return [one["amount_received"] for one in self.intents() if one["status"] == "succeeded"]

    def refunds(self) -> list[int]:
        made = (reply for sent, reply in self._proxy.forwarded if (sent.method, sent.path) == ("POST", "/v1/refunds"))
        return [reply.json["amount"] for reply in made if reply.status == 200]

    def open_pages(self) -> int:
        return sum(page["status"] == "open" for page in self.pages())

    def _call(self, method: str, path: str, body: str = "", kind: str = "") -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            link.request(method, path, body or None, {"Content-Type": kind} if kind else {})
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()


class LocalstripeFront(StripeFront):
    """localstripe knows fewer parameters and fields, takes money from canceled payments and refunds beyond what was captured."""

    def __init__(self) -> None:
        super().__init__()
        self.received: dict[str, int] = {}

    def fitting(self, request: Request) -> Request:
        unknown = ("cancellation_reason", "statement_descriptor_suffix")  # to localstripe; Stripe's own description judges them
        form = {key: value for key, value in parse_qsl(request.body.decode()) if key not in unknown}
        return Request(request.method, request.path.split("?")[0], request.headers, urlencode(form).encode())

    def _answer(self, request: Request, proxy: FaultProxy) -> Reply:
        where = urlsplit(request.path).path
        form = dict(parse_qsl(request.body.decode()))
        if where.endswith("/capture"):
            before = proxy.forward(Request("GET", where.removesuffix("/capture"), request.headers, b"")).json
            if before["status"] != "requires_capture":
                return _error(400, "invalid_request_error")
        if (request.method, where) == ("POST", "/v1/refunds"):
            given = sum(one["amount"] for one in self.refunds.get(form["payment_intent"], []))
            if given + int(form["amount"]) > self.received.get(form["payment_intent"], 0):
                return _error(400, "invalid_request_error")
        reply = super()._answer(request, proxy)
        if where.endswith("/capture") and reply.status == 200:
            self.received[reply.json["id"]] = int(form["amount_to_capture"])
            return self.mended(request, reply)
        return reply

    def mended(self, request: Request, reply: Reply) -> Reply:
        if reply.status != 200 or reply.json.get("object") != "payment_intent":
            return reply
        intent = reply.json
        intent["amount_received"] = self.received.get(intent["id"], 0)
        intent["amount_capturable"] = intent["amount"] if intent["status"] == "requires_capture" else 0
        return Reply.of(200, intent)


class LocalstripeBooks:
    """localstripe seen past the proxy."""

    def __init__(self, port: int) -> None:
        self._port = port

    def hold(self, amount_minor: int) -> str:
        """A payment held for a card that was given in another way than by a page."""
        method = self._post("/v1/payment_methods", {"type": "card", **{f"card[{k}]": v for k, v in _CARD.items()}})["id"]
        form = {"amount": str(amount_minor), "currency": "eur", "capture_method": "manual", "confirm": "true"}
        intent = self._post("/v1/payment_intents", {**form, "payment_method": method})
        assert intent["status"] == "requires_capture"
        return str(intent["id"])

    def charge(self, reference: str) -> Any:
        return self._call("GET", f"/v1/payment_intents/{reference}")["latest_charge"]

    def status(self, reference: str) -> str:
        return str(self._call("GET", f"/v1/payment_intents/{reference}")["status"])

    def refunds(self, reference: str) -> list[int]:
        listed = self._call("GET", f"/v1/refunds?charge={self.charge(reference)['id']}")
        return [one["amount"] for one in listed["data"]]

    def _post(self, path: str, form: dict[str, str]) -> Any:
        return self._call("POST", path, urlencode(form))

    def _call(self, method: str, path: str, body: str = "") -> Any:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/x-www-form-urlencoded"}
            link.request(method, path, body or None, headers)
            answer = link.getresponse()
            content = answer.read()
            assert answer.status == 200, (method, path, answer.status, content[:300])
            return json.loads(content)
        finally:
            link.close()


_CARD = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2040", "cvc": "123"}


def form_of(request: Request) -> dict[str, str]:
    assert all(len(values) == 1 for values in parse_qs(request.body.decode()).values())
    return dict(parse_qsl(request.body.decode(), strict_parsing=bool(request.body)))


def _error(status: int, kind: str) -> Reply:
    return Reply.of(status, {"error": {"type": kind, "message": f"refused {KEY[:8]}****"}})
