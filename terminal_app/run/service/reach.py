"""The parts outside this machine: network, gateways, office. Each question has a deadline; none moves money."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from terminal_app.config import GatewaySection, Iso8583Section
from terminal_app.errors import ChargeError
from terminal_app.http_client import HttpClient, HttpTrouble, Trouble
from terminal_app.run.gateways import address, build
from terminal_app.run.service.part import Part, timed
from terminal_app.run.service.redaction import plain_address
from terminal_app.run.service.site import CoreState, Site

CHECK_S = 10
RESOLVE_S = 5.0


def network(site: Site) -> Part:
    hosts = {_host(section) for section in site.config.gateway.values()}
    hosts |= {section.host for section in site.config.meter.values() if section.host}
    hosts.add(urlsplit(site.config.office.url).hostname or "")
    far = sorted(host for host in hosts if host and not _is_here(host))
    if not far:
        return Part("network", "ok", "everything configured is on this machine")
    if not _has_default_route():
        return Part(
            "network",
            "fault",
            "there is no default route: no cable, no Wi-Fi, or no address",
            "ip address; ip route; cable and router",
        )
    began = time.monotonic()
    lost = [host for host in far if not _resolves(host)]
    latency = int((time.monotonic() - began) * 1000)
    if lost:
        return Part(
            "network",
            "fault",
            f"no address for {', '.join(lost)}",
            "name server: resolvectl status; spelling in terminal.toml",
            latency,
        )
    return Part("network", "ok", f"default route, {len(far)} names resolve", "", latency)


def _host(section: GatewaySection) -> str:
    return section.host if isinstance(section, Iso8583Section) else urlsplit(section.url).hostname or ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_default_route() -> bool:
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/route").read_text("ascii").splitlines()[1:]:
            if line.split()[1] == "00000000":
                return True
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/ipv6_route").read_text("ascii").splitlines():
            fields = line.split()
            if fields[0] == "0" * 32 and fields[1] == "00" and fields[9] != "lo":
                return True
    return False


def _resolves(host: str) -> bool:
    """Within RESOLVE_S; the resolver itself knows no deadline."""
    found = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(host, None)
            found.set()

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return found.wait(RESOLVE_S)


def gateways(site: Site) -> Iterator[Part]:
    for name in site.config.gateway:
        part, host = f"gateway {name}", address(site.config.gateway[name]).partition(",")[0]
        try:
            trouble, latency = timed(partial(_gateway_trouble, site, name))
        except ChargeError as error:
            yield Part(part, "fault", str(error), "charge-service config check")
            continue
        if trouble:
            says = trouble if trouble.startswith(host) else f"{host}: {trouble}"
            yield Part(part, "fault", says, "network, address and certificates; then ask the acquirer", latency)
        else:
            yield Part(part, "ok", f"{host} answers", "", latency)


def _gateway_trouble(site: Site, name: str) -> str:
    if site.state is CoreState.RUNNING:
        answer = site.running("gateway check").ask("gateway.check", timeout_s=CHECK_S + 5, name=name, deadline_s=CHECK_S)
        return str(answer["trouble"])
    gateway = build(name, site.config.gateway[name], site.config, site.path)
    try:
        return gateway.check(CHECK_S)
    finally:
        gateway.close()


def office(site: Site) -> Part:
    section, shown = site.config.office, plain_address(site.config.office.url)
    sync = "systemctl status charge-terminal-sync; journalctl -u charge-terminal-sync"
    client = HttpClient(demo=site.config.demo, ca_file=section.ca_file)
    began = time.monotonic()
    try:
        answer = client.call("GET", f"{section.url.rstrip('/')}/healthz", deadline_s=CHECK_S)
    except HttpTrouble as error:
        latency = int((time.monotonic() - began) * 1000)
        hint = (
            "certificates: [office] ca_file, and the clock"
            if error.kind is Trouble.TLS
            else "network and [office] url; charging goes on without it"
        )
        return Part("office", "warning", f"{shown}: {error}", hint, latency)
    except OSError as error:
        return Part("office", "fault", f"[office] ca_file: {error}", "charge-service config check")
    finally:
        client.close()
    latency = int((time.monotonic() - began) * 1000)
    if answer.status >= 400:
        return Part("office", "warning", f"{shown} answers {answer.status}", "is [office] url right? ask the office", latency)
    faults = site.core_status.get("faults", [])
    trouble = [one["detail"] for one in faults if (one["device"], one["kind"]) == ("office", "unreachable")]
    if trouble:
        return Part("office", "warning", f"answers, but records do not get there: {trouble[0]}", sync, latency)
    return Part("office", "ok", f"{shown} answers", "", latency)
