"""What every tap gateway over HTTPS must hold about whom it talks to. Subclass with a `line` fixture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from terminal_app.ports import PaymentGateway
from terminal_app.values import Declined, DeclineReason, OutcomeUnknown
from tests.conformance.fault_proxy import FaultProxy
from tests.conformance.gateway_kit import a_card, a_hold, a_step
from tests.peers.certificates import certificate, server_context


@dataclass
class Line:
    """`secure(url, ca_file)` makes the gateway in production mode; `peer_port` is what stands behind the certificate."""

    peer_port: int
    secure: Callable[[str, Path | None], PaymentGateway]


class TlsKit:
    @pytest.mark.parametrize("wrong", ["expired", "untrusted", "other name", "plain"])
    def test_a_peer_that_cannot_prove_who_it_is_gets_nothing(self, line: Line, tmp_path: Path, wrong: str) -> None:
        address = "127.0.0.2" if wrong == "other name" else "127.0.0.1"
        files = certificate(tmp_path, "peer", days_left=-1 if wrong == "expired" else 30, address=address)
        trusted = certificate(tmp_path, "somebody")[0] if wrong == "untrusted" else files[0]
        proxy = FaultProxy(line.peer_port, tls=None if wrong == "plain" else server_context(files))
        gateway = line.secure(proxy.url.replace("http://", "https://"), trusted)
        try:
            assert gateway.authorize(a_hold(), a_card(), 5) == Declined(DeclineReason.UNREACHABLE)
            assert isinstance(gateway.capture(a_hold(trace={"id": "7", "hold": "7"}), a_step(1), 5), OutcomeUnknown)
            assert gateway.check(5) != ""
            assert proxy.seen == []
        finally:
            gateway.close()
            proxy.close()

    def test_a_trusted_peer_is_talked_to_over_tls(self, line: Line, tmp_path: Path) -> None:
        files = certificate(tmp_path, "peer")
        proxy = FaultProxy(line.peer_port, tls=server_context(files))
        trusting, doubting = line.secure(proxy.url, files[0]), line.secure(proxy.url, None)
        try:
            assert trusting.check(10) == ""
            assert doubting.check(10) != ""  # the public certificates do not vouch for it
        finally:
            trusting.close()
            doubting.close()
            proxy.close()

    def test_plain_http_is_refused_outside_demo(self, line: Line) -> None:
        with pytest.raises(ValueError, match="https"):
            line.secure("http://127.0.0.1:1", None)
