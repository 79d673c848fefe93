"""What our side of a payment costs: each gateway's authorization and capture without its peer, and 1 000 captures after an outage.

The peers are those of the conformance tests. A bare request is what the gateway had sent, sent again by a plain socket or
`http.client` to the same peer, under a fresh key where nothing signs it: a peer that knows it again has less to do, so that
`ratio` is an upper bound. `our_cpu_ms` is the processor time of the calling thread, which no peer is part of.
"""

import contextlib
import dataclasses
import http.client
import itertools
import re
import shutil
import socket
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from drivers.sim.launch import Simulated
from terminal_app import config
from terminal_app.payments.account import AccountGateway
from terminal_app.payments.adyen import AdyenGateway
from terminal_app.payments.cybersource import CyberSourceGateway
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.payments.stripe import StripeGateway
from terminal_app.session import actions, events
from terminal_app.session.state import SettlementPhase
from terminal_app.values import Approved, CardFacts, EntryMode, Hold, PaymentCard
from terminal_app.workers.payment import PaymentWorker
from tests.bench.charge import Bench
from tests.conformance.cybersource_double import KEY_ID, MERCHANT, SECRET, CyberSource
from tests.conformance.fault_kit import hold_of, now_ms, step_of, told
from tests.conformance.fault_proxy import FaultProxy, Request, WireProxy
from tests.conformance.gateway_kit import a_card
from tests.conformance.test_gateway_acquirer import fresh_card
from tests.peers import adyen as adyen_peer
from tests.peers import stripe as stripe_peer
from tests.unit.account_samples import OfficeProcess

Figures = dict[str, Any]
CALLS = 40
CAPTURES = 1000


@dataclass
class Stand:
    """One gateway and its peer; `authorize` gives the hold that `capture` takes."""

    authorize: Callable[[], Hold]
    capture: Callable[[Hold], object]
    sent: Callable[[], Callable[[], None]]
    """Make a bare request of what the gateway sent last."""
    paid: Callable[[Hold], Hold] = lambda hold: hold
    """A page that was opened is paid by the phone: outside what is measured."""


def calls(folder: Path) -> Figures:
    """Ours per authorization and capture, for each gateway."""
    warnings.filterwarnings("ignore", message=".*TripleDES.*")
    found: Figures = {}
    for name, stand_of in (
        ("iso8583", _iso8583),
        ("account", _account),
        ("cybersource", _visa),
        ("stripe", _stripe),
        ("adyen", _adyen),
    ):
        with stand_of(folder) as stand:
            found[name] = _measured(stand)
    return found


def _measured(stand: Stand) -> Figures:
    stand.capture(stand.paid(stand.authorize()))  # imports, connections
    holds: list[Hold] = []
    ours = _timed(lambda: holds.append(stand.authorize()), CALLS)
    bare_authorize = stand.sent()
    holds = [stand.paid(hold) for hold in holds]
    captures = _timed(lambda: stand.capture(holds.pop()), CALLS)
    bare_capture = stand.sent()
    found: Figures = {}
    for name, (wall, cpu), bare in (("authorize", ours, bare_authorize), ("capture", captures, bare_capture)):
        bare()
        bare_ms = _timed(bare, CALLS)[0]
        found[name] = {"our_cpu_ms": cpu, "wall_ms": wall, "bare_wall_ms": bare_ms, "ratio": round(wall / bare_ms, 2)}
    return found


def _timed(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Medians of wall and of this thread's processor time, in ms."""
    walls, cpus = [], []
    for _ in range(count):
        wall, cpu = time.perf_counter(), time.thread_time()
        call()
        cpus.append(time.thread_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return round(statistics.median(walls) * 1000, 2), round(statistics.median(cpus) * 1000, 2)


def _bare_http(proxy: FaultProxy) -> Callable[[], None]:
    """The last POST again, over a connection that is kept alive."""
    last: Request = next(one for one in reversed(proxy.seen) if one.method == "POST")
    link, serial = http.client.HTTPConnection("127.0.0.1", proxy.port), itertools.count(1)
    key = max(re.findall(rb"key-\d{7}", last.body + last.key.encode()), default=b"-")

    def ask() -> None:
        fresh = key if key == b"-" or "signature" in last.headers else b"bare%07d" % next(serial)  # as long as ours
        headers = {name: value for name, value in last.headers.items() if name not in ("content-length", "connection")}
        headers = {name: value.replace(key.decode(), fresh.decode()) for name, value in headers.items()}
        link.request(last.method, last.path, last.body.replace(key, fresh), headers)
        link.getresponse().read()

    return ask


def _bare_wire(port: int, message: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(message)
        stream = link.makefile("rb")
        stream.read(int.from_bytes(stream.read(2), "big"))


def _card_gateway(gateway: Any, card: Callable[[], PaymentCard], sent: Callable[[], Callable[[], None]]) -> Stand:
    cards = iter([card() for _ in range(2 * CALLS)])  # a cryptogram is the card's work

    def authorize() -> Hold:
        hold = hold_of()
        return told(hold, gateway.authorize(hold, next(cards), 10))

    return Stand(authorize, lambda hold: told(hold, gateway.capture(hold, step_of(100), 10)), sent)


def _page_gateway(gateway: Any, pay: Callable[[Hold, str], Hold], sent: Callable[[], Callable[[], None]]) -> Stand:
    """A page is opened where a card would be read; the phone pays it outside the measured time."""
    pages: dict[str, str] = {}

    def authorize() -> Hold:
        hold = msgspec.structs.replace(hold_of(), utc_ms=now_ms())
        page = gateway.open_checkout(hold, "Station", 10)
        pages[hold.key] = page.url
        return msgspec.structs.replace(hold, trace={"checkout": page.reference})

    def capture(hold: Hold) -> object:
        return gateway.capture(hold, step_of(100), 10)

    return Stand(authorize, capture, sent, lambda hold: pay(hold, pages[hold.key]))


@contextlib.contextmanager
def _iso8583(folder: Path) -> Iterator[Stand]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as simulated:
        port = int(simulated.facts["port"].rsplit(":", 1)[1])
        gateway, proxy = Iso8583Gateway("bank", _bank(port), True), WireProxy(port)
        spied = Iso8583Gateway("bank", _bank(proxy.port), True)
        kind = iter(("authorize", "capture"))

        def sent() -> Callable[[], None]:
            hold = hold_of()
            hold = told(hold, spied.authorize(hold, fresh_card(), 10))
            if next(kind) == "capture":
                spied.capture(hold, step_of(100), 10)
            message = proxy.seen[-1]
            return lambda: _bare_wire(port, message)

        yield _card_gateway(gateway, fresh_card, sent)
        proxy.close()
    shutil.rmtree(place)


def _bank(port: int, terminal_id: str = "BENCH001") -> config.Iso8583Section:
    return config.Iso8583Section(host="127.0.0.1", port=port, tls=False, terminal_id=terminal_id, merchant_id="M00000000000001")


@contextlib.contextmanager
def _account(folder: Path) -> Iterator[Stand]:
    office = OfficeProcess()
    _, token = office.desk.terminal()
    (folder / "token").write_text(token)
    _, card = office.desk.account(10_000_000)
    proxy = FaultProxy(office.port)
    gateway = AccountGateway("account", config.AccountSection(url=proxy.url, token_file=folder / "token"), True)

    def fleet() -> PaymentCard:
        shown = a_card()
        shown.facts = CardFacts("Fleet", "", card, "", "", EntryMode.ACCOUNT)
        return shown

    yield _card_gateway(gateway, fleet, lambda: _bare_http(proxy))
    gateway.close()
    proxy.close()
    office.close()


@contextlib.contextmanager
def _visa(folder: Path) -> Iterator[Stand]:
    (folder / "secret").write_text(SECRET)
    double = CyberSource()
    proxy = FaultProxy(double.port)
    said = {"merchant_id": MERCHANT, "key_id": KEY_ID, "shared_secret_file": folder / "secret", "terminal_id": "TERM0001"}
    gateway = CyberSourceGateway("visa", config.CyberSourceSection(**said, url=proxy.url), True)
    yield _card_gateway(gateway, a_card, lambda: _bare_http(proxy))
    gateway.close()
    proxy.close()
    double.close()


@contextlib.contextmanager
def _stripe(folder: Path) -> Iterator[Stand]:
    (folder / "stripe").write_text(stripe_peer.KEY)
    with stripe_peer.getpaid() as peer:
        proxy = FaultProxy(peer.port, stripe_peer.StripeFront())
        books = stripe_peer.GetpaidBooks(peer.port, proxy)
        section = config.StripeSection(secret_key_file=folder / "stripe", url=proxy.url, return_url="https://office.example/")
        gateway = StripeGateway("qr", section, True)

        def pay(hold: Hold, url: str) -> Hold:
            books.phone(url, "pay")
            return told(hold, gateway.poll_checkout(hold, 10))

        yield _page_gateway(gateway, pay, lambda: _bare_http(proxy))
        gateway.close()
        proxy.close()


@contextlib.contextmanager
def _adyen(folder: Path) -> Iterator[Stand]:
    for name, content in (("api", adyen_peer.API_KEY), ("hmac", adyen_peer.HMAC_KEY)):
        (folder / name).write_text(content)
    double = adyen_peer.AdyenDouble()
    proxy = FaultProxy(0, double)
    keys = {"api_key_file": folder / "api", "hmac_key_file": folder / "hmac", "merchant_account": adyen_peer.ACCOUNT}
    gateway = AdyenGateway("qr", config.AdyenSection(**keys, url=proxy.url, return_url="https://office.example/"), True)

    def pay(hold: Hold, url: str) -> Hold:
        double.pay(url)
        notified = double.told(hold.key)
        assert notified
        return told(hold, gateway.confirm(notified).outcome)

    yield _page_gateway(gateway, pay, lambda: _bare_http(proxy))
    gateway.close()
    proxy.close()


# --- after an outage --------------------------------------------------------------------------------------------------


def settlement(folder: Path, count: int = CAPTURES) -> Figures:
    """`count` captures that an outage left behind: the real engine, ledger and settling worker, against bare requests."""
    warnings.filterwarnings("ignore", message=".*TripleDES.*")
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as simulated:
        port = int(simulated.facts["port"].rsplit(":", 1)[1])
        found = {"captures": count, "bare_s": _bare_captures(port, count)}
        gateway = Iso8583Gateway("bank", _bank(port), True)
        core = Outage(folder / "outage", gateway)
        for _ in range(count):
            core.sell()
        began = time.perf_counter()
        core.settle()
        found["ours_s"] = round(time.perf_counter() - began, 2)
        captured = simulated.ctl("sums")["currencies"]["978"]["captured"]
        found["captured_at_the_acquirer"] = captured - count  # without the bare ones
        core.bench.ledger.close()
    shutil.rmtree(place)
    found["ratio"] = round(found["ours_s"] / found["bare_s"], 1)
    found["captures_per_s"] = round(count / found["ours_s"], 1)
    return found


def _bare_captures(port: int, count: int) -> float:
    """Seconds for `count` captures of other holds by a plain socket, one after the other, a connection each."""
    direct = Iso8583Gateway("bank", _bank(port, "BARE0001"), True)
    holds, messages = list[Hold](), list[bytes]()
    for _ in range(count):
        hold = hold_of()
        holds.append(told(hold, direct.authorize(hold, fresh_card(), 10)))
    with socket.create_server(("127.0.0.1", 0)) as nowhere:  # what the gateway would send, without sending it
        silent = Iso8583Gateway("bank", _bank(int(nowhere.getsockname()[1]), "BARE0001"), True)
        caught = threading.Thread(target=_catch, args=(nowhere, messages, count), daemon=True)
        caught.start()
        for hold in holds:
            silent.capture(hold, step_of(100), 5)
        caught.join(30)
    began = time.perf_counter()
    for message in messages:
        _bare_wire(port, message)
    return round(time.perf_counter() - began, 2)


def _catch(server: socket.socket, messages: list[bytes], count: int) -> None:
    for _ in range(count):
        link, _ = server.accept()
        with link, link.makefile("rb") as stream:
            header = stream.read(2)
            messages.append(header + stream.read(int.from_bytes(header, "big")))


class Outage:
    """Sells while the settling worker is away; then settles everything with the real loop."""

    def __init__(self, folder: Path, gateway: Iso8583Gateway) -> None:
        self.bench, self._gateway = Bench(folder, hold_minor=5000), gateway
        self.worker = PaymentWorker("settling", {"bank": gateway}, 30.0, self.bench.clock, self.bench.engine.inbox)

    def sell(self) -> None:
        """A charge that is approved by the acquirer and sealed; its capture is intended."""
        self.bench.offered()
        authorize = self.bench.tapped(fresh_card())
        outcome = self._gateway.authorize(authorize.hold, fresh_card(), 10)
        assert isinstance(outcome, Approved), outcome
        self.bench.engine.turn(events.AuthorizationAnswered(authorize.hold.hold_id, outcome))
        self.bench.charged()

    def settle(self) -> None:
        """Until every hold has ended at the acquirer; the loop is the engine's own, the signer answers at once."""
        engine = self.bench.engine
        engine._out = dataclasses.replace(engine._out, act=self._act)
        self.worker.start()
        loop = threading.Thread(target=engine.run, daemon=True)
        loop.start()
        while engine.ask(self._open, 60.0):
            time.sleep(0.05)
        engine.stop()
        loop.join(10)
        self.worker.stop()
        self.worker.join(10)

    def _open(self) -> int:
        """Holds that are neither captured nor released. Engine's thread."""
        done = (SettlementPhase.ENDED,)
        return sum(one.phase not in done for one in self.bench.engine.state.settlements.values())

    def _act(self, action: actions.Action) -> None:
        if isinstance(action, actions.Capture | actions.Void):
            self.worker.order(action)
        elif isinstance(action, actions.SignRecord):
            signature = self.bench.record_key.sign(action.signing_input)
            self.bench.engine.inbox.post(events.RecordSigned(action.record_seq, signature))


MEASURES: dict[str, Callable[[Path], Figures]] = {"payment_calls": calls, "settlement_after_outage": settlement}
