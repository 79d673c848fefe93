"""The ISO 8583 gateway and the simulated acquirer with the fault proxy between them: the kit's questions, other faults.

The acquirer spoils its own answers in test_gateway_acquirer; here a stranger does, and the acquirer's books are as true.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.sim.launch import Simulated
from terminal_app.payments.iso8583 import Iso8583Gateway
from terminal_app.values import Approved, OutcomeUnknown
from tests.conformance.checkout_kit import patience
from tests.conformance.fault_proxy import Fault, WireProxy
from tests.conformance.gateway_kit import a_hold, a_step, held
from tests.conformance.test_gateway_acquirer import Acquirer, fresh_card
from tests.conformance.test_gateway_iso8583 import section

pytestmark = pytest.mark.filterwarnings("ignore:.*TripleDES.*")
UNKNOWN_AFTER = (Fault.UNSENT, Fault.LOST, Fault.RESET, Fault.SILENT, Fault.TRUNCATED, Fault.GARBAGE)
EACH = pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    with Simulated("acquirer", place / "c", "--books", place / "books.db") as acquirer:
        yield acquirer
    shutil.rmtree(place)


@pytest.fixture
def proxy(simulated: Simulated) -> Iterator[WireProxy]:
    proxy = WireProxy(int(simulated.facts["port"].rsplit(":", 1)[1]))
    yield proxy
    proxy.close()


@pytest.fixture
def books(simulated: Simulated) -> Acquirer:
    return Acquirer(simulated, f"WIRE{next(numbers):04d}")


@pytest.fixture
def gateway(proxy: WireProxy, books: Acquirer) -> Iso8583Gateway:
    return Iso8583Gateway("bank", section(proxy.port, terminal_id=books.terminal_id), True)


@EACH
def test_an_authorization_without_a_trustworthy_answer_is_reversed(
    gateway: Iso8583Gateway, proxy: WireProxy, books: Acquirer, fault: Fault
) -> None:
    proxy.next(fault)
    assert isinstance(gateway.authorize(a_hold(), fresh_card(), patience(fault)), OutcomeUnknown)
    assert isinstance(gateway.void(a_hold(), a_step(5000), 10), Approved)
    assert books.held_minor() == 0


@EACH
def test_a_capture_repeated_takes_the_money_once(gateway: Iso8583Gateway, proxy: WireProxy, books: Acquirer, fault: Fault) -> None:
    hold = held(a_hold(), gateway.authorize(a_hold(), fresh_card(), 10))
    proxy.next(fault)
    assert isinstance(gateway.capture(hold, a_step(1234), patience(fault)), OutcomeUnknown)
    assert isinstance(gateway.capture(hold, a_step(1234, attempt=2), 10), Approved)
    assert books.captures() == [1234]


@EACH
def test_a_release_is_repeated_until_answered(gateway: Iso8583Gateway, proxy: WireProxy, books: Acquirer, fault: Fault) -> None:
    hold = held(a_hold(), gateway.authorize(a_hold(), fresh_card(), 10))
    proxy.next(fault, fault)
    for attempt in (1, 2):
        assert isinstance(gateway.void(hold, a_step(5000, attempt=attempt), patience(fault)), OutcomeUnknown)
    assert isinstance(gateway.void(hold, a_step(5000, attempt=3), 10), Approved)
    assert books.held_minor() == 0
    assert books.captures() == []


@pytest.mark.parametrize("fault", [Fault.SLOW, Fault.DOUBLED_ANSWER, Fault.DOUBLED_REQUEST], ids=lambda fault: fault.name)
def test_slow_and_doubled_exchanges_take_the_money_once(
    gateway: Iso8583Gateway, proxy: WireProxy, books: Acquirer, fault: Fault
) -> None:
    hold = held(a_hold(), gateway.authorize(a_hold(), fresh_card(), 10))
    proxy.next(fault)
    assert isinstance(gateway.capture(hold, a_step(1234), 10), Approved)
    assert books.captures() == [1234]
