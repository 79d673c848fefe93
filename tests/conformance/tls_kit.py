"""What every gateway that takes a card or has a reader must hold about whom it talks to. Subclass with a `tls_line` fixture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from terminal_app.ports import PaymentGateway
from terminal_app.values import Declined, DeclineReason, Hold, Outcome, OutcomeUnknown
from tests.conformance.fault_proxy import FaultProxy, WireProxy
from tests.conformance.gateway_kit import a_card, a_hold, a_step
from tests.conformance.scenarios import scenario
from tests.peers.certificates import certificate, server_context

TRACE = {"id": "7", "hold": "7"}


def with_a_card(gateway: PaymentGateway, hold: Hold, deadline_s: float) -> Outcome:
    return gateway.authorize(hold, a_card(), deadline_s)


@dataclass
class TlsLine:
    """`secure(url, ca_file)` makes the gateway in production mode; `peer_port` is what stands behind the certificate."""

    peer_port: int
    secure: Callable[[str, Path | None], PaymentGateway]
    proxy: type[FaultProxy] | type[WireProxy] = FaultProxy
    ask: Callable[[PaymentGateway, Hold, float], Outcome] = with_a_card


class TlsKit:
    @scenario("TLS expired", "authorize")
    @scenario("TLS untrusted", "authorize")
    @scenario("TLS other name", "authorize")
    @scenario("TLS plain", "authorize")
    @pytest.mark.parametrize("wrong", ["expired", "untrusted", "other name", "plain"])
    def test_a_peer_that_cannot_prove_who_it_is_gets_nothing(self, tls_line: TlsLine, tmp_path: Path, wrong: str) -> None:
        address = "127.0.0.2" if wrong == "other name" else "127.0.0.1"
        files = certificate(tmp_path, "peer", days_left=-1 if wrong == "expired" else 30, address=address)
        trusted = certificate(tmp_path, "somebody")[0] if wrong == "untrusted" else files[0]
        proxy = tls_line.proxy(tls_line.peer_port, tls=None if wrong == "plain" else server_context(files))
        gateway = tls_line.secure(proxy.url.replace("http://", "https://"), trusted)
        try:
            assert tls_line.ask(gateway, a_hold(), 5) == Declined(DeclineReason.UNREACHABLE)
            assert isinstance(gateway.capture(a_hold(trace=TRACE), a_step(1), 5), OutcomeUnknown)
            assert isinstance(gateway.void(a_hold(trace=TRACE), a_step(1), 5), OutcomeUnknown)
            assert gateway.check(5) != ""
            assert proxy.seen == []
        finally:
            gateway.close()
            proxy.close()

    def test_a_trusted_peer_is_talked_to_over_tls(self, tls_line: TlsLine, tmp_path: Path) -> None:
        files = certificate(tmp_path, "peer")
        proxy = tls_line.proxy(tls_line.peer_port, tls=server_context(files))
        trusting, doubting = tls_line.secure(proxy.url, files[0]), tls_line.secure(proxy.url, None)
        try:
            assert trusting.check(10) == ""
            assert doubting.check(10) != ""  # the public certificates do not vouch for it
        finally:
            trusting.close()
            doubting.close()
            proxy.close()

    def test_plain_text_is_refused_outside_demo(self, tls_line: TlsLine) -> None:
        with pytest.raises(ValueError, match=r"https|tls"):
            tls_line.secure("http://127.0.0.1:1", None)


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port
