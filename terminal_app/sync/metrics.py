"""What the core lets be seen, in Prometheus' text format. Figures are integers; the format itself knows only floating numbers.

A scrape without an answer of the core is one too: `charge_core_up 0` and nothing else.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from terminal_app.wire import Seen


def text_of(seen: Seen | None) -> bytes:
    """One scrape, from a registry of its own: nothing of this process is in it but what is named here."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(seen))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, seen: Seen | None) -> None:
        self._seen = seen

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _one("charge_core_up", "1 if the core answers", int(self._seen is not None))
        if self._seen is not None:
            yield from _terminal(self._seen)
            yield from _money(self._seen)
            yield from _connectors(self._seen)


def _terminal(seen: Seen) -> Iterator[GaugeMetricFamily]:
    status, faults = seen.status, seen.status["faults"]
    records = status["records"]
    yield _one("charge_out_of_service", "1 if nothing is for sale", int(bool(status["out_of_service"])))
    yield _one("charge_records_sealed", "billing records of this chain", records["sealed"])
    yield _one("charge_records_waiting", "billing records that the office has not acknowledged", records["waiting"])
    yield _one("charge_ledger_entries", "entries of the ledger", status["ledger"]["entries"])
    yield _one("charge_clock_synchronised", "1 if the clock is disciplined", int(status["clock"] == "S"))
    yield _one("charge_office_reachable", "0 while the office fault is raised", int(not _raised(faults, "office", "unreachable")))
    yield _one("charge_faults", "raised faults", len(faults))
    each = _family("charge_fault", "1 per raised fault", "device", "connector", "kind")
    for labels in sorted({(str(one["device"]), str(one["connector"]), str(one["kind"])) for one in faults}):
        each.add_metric(labels, 1)
    yield each


def _money(seen: Seen) -> Iterator[GaugeMetricFamily]:
    """Holds that have not ended with a sealed record, and those that a person must look at."""
    yield _one("charge_open_holds", "holds without a sealed end", len(seen.payments))
    yield _one("charge_holds_manual", "holds that a person must look at", len(seen.status["manual_holds"]))
    late = sum(bool(one["overdue"]) for one in seen.payments)
    yield _one("charge_holds_overdue", "captures, releases and refunds with half of their time gone", late)
    ages = _family("charge_oldest_open_hold_age_seconds", "age of the oldest open hold", "phase")
    oldest: dict[str, int] = {}
    amounts: Counter[str] = Counter()
    for one in seen.payments:
        oldest[one["phase"]] = max(oldest.get(one["phase"], 0), one["age_s"])
        amounts[one["currency"]] += one["approved_minor"] or one["asked_minor"]
    for phase, age_s in sorted(oldest.items()):
        ages.add_metric((phase,), age_s)
    yield ages
    minor = _family("charge_open_hold_minor", "reserved in open holds, in minor units", "currency")
    for currency, amount in sorted(amounts.items()):
        minor.add_metric((currency,), amount)
    yield minor


def _connectors(seen: Seen) -> Iterator[GaugeMetricFamily]:
    connectors = seen.status["connectors"]
    yield _one("charge_sessions", "sessions under way", sum(bool(one["session"]) for one in connectors))
    for_sale = _family("charge_connector_for_sale", "1 if a driver can start", "connector")
    power = _family("charge_connector_power_watts", "power as the meter says", "connector")
    register = _family("charge_connector_register_watthours", "the meter's register", "connector")
    for one in connectors:
        labels = (str(one["connector"]),)
        for_sale.add_metric(labels, int(one["for_sale"]))
        if one["power_w"] is not None:
            power.add_metric(labels, one["power_w"])
        if one["meter_wh"] is not None:
            register.add_metric(labels, one["meter_wh"])
    yield from (for_sale, power, register)


def _raised(faults: list[dict[str, object]], device: str, kind: str) -> bool:
    return any((one["device"], one["kind"]) == (device, kind) for one in faults)


def _family(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, labels=labels)


def _one(name: str, what: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=value)
