"""Known test card numbers through whole journeys with every gateway, everything logged: no byte form of them is written anywhere.

Gateways that take a card run with the real engine, ledger and payment worker: approved and captured, refused, an answer that is
garbage, one that is lost, one that echoes back every byte that was sent. What is searched: the ledger, the log at DEBUG, all that
was printed, and the office's own database where it is the gateway.
"""

import contextlib
import itertools
import logging
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drivers.sim.launch import Simulated
from terminal_app.ports import CheckoutGateway, OwnReader, PaymentGateway
from terminal_app.session import actions, events
from terminal_app.session.state import SettlementPhase
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, OutcomeUnknown, PaymentCard
from terminal_app.workers.payment import PaymentWorker
from tests.bench.charge import Bench
from tests.conformance import test_gateway_account as account
from tests.conformance import test_gateway_cybersource as cybersource
from tests.conformance.fault_kit import hold_of, now_ms, step_of, told
from tests.conformance.fault_proxy import Fault, FaultProxy, WireProxy
from tests.conformance.gateway_kit import PAN, a_card
from tests.conformance.test_gateway_account_page import Driver
from tests.conformance.test_gateway_acquirer import Acquirer, fresh_card
from tests.conformance.test_gateway_acquirer_faults import PROFILE, peer_port
from tests.conformance.test_gateway_iso8583 import section
from tests.conformance.test_gateway_matrix import kinds
from tests.conformance.test_gateway_own_reader import OwnReaderGateway, Terminal
from tests.pan_search import find_pan
from tests.peers import adyen as adyen_peer
from tests.peers import stripe as stripe_peer
from tests.peers.venvs import free_port
from tests.unit.account_samples import OfficeProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES.*")
TWO_MINUTES_MS = 120_000


@dataclass
class Stand:
    """A gateway with its peer. `order(fault)` spoils the next answer, `refuse()` makes the next card refused."""

    fresh: Callable[[], PaymentGateway]
    """The gateway of another terminal of ours: each ledger counts its serials from 1."""
    order: Callable[[Fault], None]
    refuse: Callable[[], None]
    card: Callable[[], PaymentCard]
    echoed: Callable[[int], PaymentGateway]
    """The same gateway, whose peer at this port sends back what it gets."""
    ours: list[Path]
    """Files of ours besides those of the terminal."""


# --- a peer that repeats every byte ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def echo(http: bool) -> Iterator[int]:
    """Answers each request with the request itself: as a message, or as a 200 and then a 400 with it as JSON text and raw."""
    listening = socket.create_server(("127.0.0.1", 0))
    count = iter(range(10**6))

    def serve(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            link.settimeout(10)
            got = link.recv(65536)
            if http:
                while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < _length(got):
                    got += link.recv(65536)
                body = got.split(b"\r\n\r\n", 1)[1]
                status = (b"200 OK", b"400 Bad Request", b"402 Payment Required")[next(count) % 3]
                link.sendall(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
                link.sendall(body)
            else:
                link.sendall(got)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = listening.accept()
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield int(listening.getsockname()[1])
    listening.close()


def _length(head: bytes) -> int:
    found = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(found[0].split(b":")[1]) if found else 0


# --- the stands -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def iso8583(folder: Path) -> Iterator[Stand]:
    from terminal_app.payments import acquirer_profile
    from terminal_app.payments.iso8583 import Iso8583Gateway

    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    (folder / "acquirer.toml").write_text(PROFILE)
    profile = acquirer_profile.load(folder / "acquirer.toml")
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as simulated:
        proxy = WireProxy(peer_port(simulated))

        numbers = itertools.count(1)

        def at(port: int) -> PaymentGateway:
            return Iso8583Gateway("bank", section(port, terminal_id=f"TERM{next(numbers):04d}"), True, profile=profile)

        books = Acquirer(simulated, "TERM0001")
        yield Stand(lambda: at(proxy.port), proxy.next, lambda: books.next(DeclineReason.REFUSED), fresh_card, at, [])
        proxy.close()
    shutil.rmtree(place)


@contextlib.contextmanager
def visa(folder: Path) -> Iterator[Stand]:
    (folder / "keys").mkdir()
    stage = cybersource.Stage(folder / "keys")

    def at(url: str) -> PaymentGateway:  # two minutes ahead: a timeout reversal waits one
        return stage.at(url, now_ms=lambda: now_ms() + TWO_MINUTES_MS)

    def refuse() -> None:
        stage.peer.next(DeclineReason.REFUSED)

    yield Stand(lambda: at(stage.proxy.url), stage.proxy.next, refuse, a_card, lambda port: at(f"http://127.0.0.1:{port}"), [])
    stage.close()


@contextlib.contextmanager
def prepaid(folder: Path) -> Iterator[Stand]:
    (folder / "keys").mkdir()
    office = account.OfficeProcess()
    stage = account.Stage(office, folder / "keys")

    def refuse() -> None:
        stage.peer.next(DeclineReason.REFUSED)

    def at(port: int) -> PaymentGateway:
        return stage.at(f"http://127.0.0.1:{port}")

    yield Stand(lambda: stage.gateway, stage.proxy.next, refuse, stage.peer.card, at, [office.place])
    stage.close()
    office.close()


# --- the real core --------------------------------------------------------------------------------------------------------


class Core:
    """Engine and ledger in a folder of their own, with a real payment worker; the test is every other device."""

    def __init__(self, folder: Path, gateway: PaymentGateway) -> None:
        self.bench = Bench(folder, hold_minor=5000)
        self.posted: list[events.Event] = []
        self.worker = PaymentWorker("authorizing", {"bank": gateway}, 2.0, self.bench.clock, self)

    def post(self, event: events.Event, droppable: bool = False) -> bool:
        self.posted.append(event)
        return True

    def post_latest(self, source: object, event: events.Event) -> None:
        self.posted.append(event)

    def tap(self, card: PaymentCard) -> Hold:
        self.bench.offered()
        authorize = self.bench.tapped(card)
        self._carry_out(authorize)
        assert not any(card.track2) and not any(card.emv)
        return authorize.hold

    def charge_and_settle(self) -> None:
        self.bench.charged()
        self.settle()

    def settle(self) -> None:
        """Until no settlement is left open."""
        for _ in range(20):
            self.bench.engine.turn(events.Ticked())
            for one in [action for action in self.bench.taken if isinstance(action, actions.Capture | actions.Void)]:
                self.bench.taken.remove(one)
                self._carry_out(one)
            phases = {one.phase for one in self.bench.engine.state.settlements.values()}
            if phases <= {SettlementPhase.ENDED}:
                return
        raise AssertionError(f"not settled: {phases}")

    def _carry_out(self, action: Any) -> None:
        self.worker.order(action)
        self.worker.step()
        self.bench.engine.turn(self.posted.pop())

    def close(self) -> None:
        self.bench.ledger.close()


@pytest.fixture
def written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], Path]]:
    """The folder of everything that is written, with the log of all modules at DEBUG; call it to add what was printed."""
    root = logging.getLogger()
    level, page = root.level, logging.FileHandler(tmp_path / "log.txt")
    root.addHandler(page)
    root.setLevel(logging.DEBUG)

    def everything() -> Path:
        page.flush()
        out, err = capfd.readouterr()
        (tmp_path / "printed.txt").write_text(out + err)
        return tmp_path

    yield everything
    root.removeHandler(page)
    root.setLevel(level)


WITH_A_CARD = {"iso8583": (iso8583, False), "cybersource": (visa, True), "account": (prepaid, True)}


@pytest.mark.parametrize("kind", WITH_A_CARD)
def test_no_form_of_a_card_number_is_written_by_a_journey_with_a_card(
    kind: str, tmp_path: Path, written: Callable[[], Path]
) -> None:
    stand_of, http = WITH_A_CARD[kind]
    said: list[object] = []
    with stand_of(tmp_path) as stand:
        gateway = stand.fresh()
        core = Core(tmp_path / "captured", gateway)
        hold = core.tap(stand.card())
        core.charge_and_settle()
        trace = core.bench.engine.state.settlements[hold.hold_id].hold.trace
        paid = msgspec.structs.replace(hold, trace=trace)
        said.append(gateway.refund(paid, step_of(1), 10))
        core.close()

        core = Core(tmp_path / "refused", stand.fresh())
        stand.refuse()
        core.tap(stand.card())
        assert core.bench.engine.state.settlements == {}
        core.close()

        for fault in (Fault.GARBAGE, Fault.LOST, Fault.TRUNCATED):
            core = Core(tmp_path / fault.value, stand.fresh())
            stand.order(fault)
            core.tap(stand.card())
            core.settle()
            core.close()

        with echo(http) as port:
            hostile = stand.echoed(port)
            core = Core(tmp_path / "echoed", hostile)
            core.tap(stand.card())
            core.close()
            for _ in range(6):
                card, other = stand.card(), hold_of()
                said += [hostile.authorize(other, card, 2), card, hostile, hostile.check(2)]
                said += [hostile.capture(paid, step_of(1), 2), hostile.void(paid, step_of(5000), 2)]
        ours = list(stand.ours)
        (tmp_path / "said.txt").write_text(repr(said))
        assert find_pan([written(), *ours], PAN) == []
    assert (tmp_path / "captured" / "state").is_dir()
    assert "DEBUG" in {logging.getLevelName(logging.getLogger().level)}


def test_it_would_be_found_if_it_were_written(tmp_path: Path, written: Callable[[], Path]) -> None:
    """The known-bad variant: one log line quotes the bytes of a message, as a dump would."""
    logging.getLogger("charge.payments").debug("sent %r", bytes(a_card().track2))
    assert [one.form for one in find_pan([written()], PAN)]


# --- gateways that never see a card ---------------------------------------------------------------------------------------


def test_no_form_of_a_card_number_is_written_by_a_terminal_with_its_own_reader(written: Callable[[], Path]) -> None:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    terminal = Terminal(place)
    gateway = OwnReaderGateway("own", terminal.proxy.port, demo=True)
    assert isinstance(gateway, OwnReader)
    log, said = logging.getLogger("charge.payments"), list[object]()
    for order in (Fault.NONE, Fault.GARBAGE, Fault.LOST, DeclineReason.REFUSED):
        terminal.next(order) if isinstance(order, DeclineReason) else terminal.proxy.next(order)  # type: ignore[func-returns-value]
        hold = hold_of()
        outcome = gateway.authorize_at_reader(hold, lambda: False, 5)
        said += [outcome, gateway.look_up(hold, 5)]
        if isinstance(outcome, Approved):
            said += [gateway.capture(told(hold, outcome), step_of(100), 5), gateway.refund(told(hold, outcome), step_of(50), 5)]
        elif isinstance(outcome, OutcomeUnknown):
            said.append(gateway.void(hold, step_of(5000), 5))
    log.debug("%r", said)
    terminal.close()
    assert find_pan([written(), place], PAN) == []
    shutil.rmtree(place)


@pytest.mark.parametrize("kind", ["stripe", "adyen", "account-page"])
def test_no_form_of_a_card_number_is_written_by_a_page(kind: str, tmp_path: Path, written: Callable[[], Path]) -> None:
    """The driver types the number at the gateway's page; a card that is offered all the same is neither taken nor sent."""
    with _page_gateway(kind, tmp_path) as (gateway, proxy, pay):
        said: list[object] = [gateway.authorize(hold_of(), a_card(), 5)]
        assert isinstance(said[0], Declined)
        hold = msgspec.structs.replace(hold_of(), utc_ms=now_ms())
        for fault in (Fault.GARBAGE, Fault.LOST, Fault.NONE):
            proxy.next(fault)
            page = gateway.open_checkout(hold, "Station", 5)
            said.append(page)
        assert isinstance(page, Checkout)
        hold = msgspec.structs.replace(hold, trace={"checkout": page.reference})
        pay(page.url)
        said += [gateway.poll_checkout(hold, 5), gateway.capture(hold, step_of(100), 5), gateway.void(hold, step_of(5000), 5)]
        with echo(True) as port:
            hostile = _at(kind, tmp_path, f"http://127.0.0.1:{port}")
            said += [hostile.open_checkout(hold_of(), "Station", 2), hostile.check(2), hostile.authorize(hold_of(), a_card(), 2)]
            hostile.close()
        logging.getLogger("charge.payments").debug("%r", said)
        (tmp_path / "sent").write_bytes(b"\n".join(request.body for request in proxy.seen))
    assert find_pan([written()], PAN) == []


def _at(kind: str, folder: Path, url: str) -> Any:
    from terminal_app import config
    from terminal_app.payments.account_page import AccountPageGateway
    from terminal_app.payments.adyen import AdyenGateway
    from terminal_app.payments.stripe import StripeGateway

    for name, content in (("s", stripe_peer.KEY), ("a", adyen_peer.API_KEY), ("h", adyen_peer.HMAC_KEY)):
        (folder / name).write_text(content)
    back = "https://office.example/thanks"
    if kind == "stripe":
        return StripeGateway("qr", config.StripeSection(secret_key_file=folder / "s", url=url, return_url=back), True)
    if kind == "account-page":
        return AccountPageGateway("qr", config.AccountPageSection(url=url, token_file=folder / "t"), True)
    keys = {"api_key_file": folder / "a", "hmac_key_file": folder / "h", "merchant_account": adyen_peer.ACCOUNT}
    return AdyenGateway("qr", config.AdyenSection(**keys, url=url, return_url=back), True)


@contextlib.contextmanager
def _page_gateway(kind: str, folder: Path) -> Iterator[tuple[Any, FaultProxy, Callable[[str], None]]]:
    with contextlib.ExitStack() as peers:
        if kind == "stripe":
            peer = peers.enter_context(stripe_peer.getpaid())
            proxy = FaultProxy(peer.port, stripe_peer.StripeFront())
            books = stripe_peer.GetpaidBooks(peer.port, proxy)
            pay: Callable[[str], None] = lambda url: books.phone(url, "pay")  # noqa: E731
        elif kind == "account-page":
            driver = Driver(peers.enter_context(contextlib.closing(OfficeProcess())))
            (folder / "t").write_text(driver.token)
            proxy, pay = FaultProxy(driver.office.port), driver.pay  # type: ignore[assignment]
        else:
            double = adyen_peer.AdyenDouble()
            proxy, pay = FaultProxy(free_port(), double), double.pay
        gateway = _at(kind, folder, proxy.url)
        assert isinstance(gateway, CheckoutGateway)
        yield gateway, proxy, pay
        gateway.close()
        proxy.close()


def test_every_kind_of_gateway_has_its_journeys() -> None:
    assert {*WITH_A_CARD, "stripe", "adyen", "account-page", "own_reader"} == set(kinds())
