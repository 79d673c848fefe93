"""What went wrong for others, as far as price and record can make it impossible. Each test names where it was reported."""

import json
from decimal import Decimal

import pytest

from terminal_app import units
from terminal_app.billing import ocmf, record
from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.receipt import receipt_of
from terminal_app.billing.tariff import parse_tariff
from terminal_app.errors import SignatureInvalid, TariffRefused
from terminal_app.screens import PriceKind
from tests.unit.billing_samples import (
    BERLIN,
    HOUR_MS,
    T0,
    Key,
    as_json,
    component,
    document,
    element,
    head,
    ocmf_context,
    ocmf_text,
    sealed,
    session_bill,
    tariff,
)

KEY = Key()
HOURLY = tariff(
    element(component("ENERGY", "0.30"), start_time="10:00", end_time="11:00"),
    element(component("ENERGY", "0.50")),
)


def test_a_lifetime_register_is_never_the_energy_of_a_session() -> None:
    """evcc #29654, #29374, PR #29656, #12844; SmartEVSE #62: the meter was not ready at the start."""
    with pytest.raises(ValueError, match="register moved"):
        record.session_payload(head(), session_bill("", start_wh=0, stop_wh=12_345, energy_wh=1_246_905))
    begin = ocmf.OcmfReading(T0, "S", 60, "B", 0, status="N")  # "no meter there": signed, but not good
    section = ocmf.payload(ocmf_context(), begin, ocmf.OcmfReading(T0 + HOUR_MS, "S", 60, "L", 1_246_905))
    with pytest.raises(SignatureInvalid, match="not good"):
        ocmf.verify(ocmf.assemble(section, ocmf.raw_to_der(KEY.sign(section))), KEY.spki)


@pytest.mark.parametrize("energy_wh", [12_344, 12_346, 4_000_000_000, -1])
def test_session_energy_is_end_minus_begin(energy_wh: int) -> None:
    """evcc #18073 (four million kWh), #13390, #16890; MaEVE tariff.go."""
    with pytest.raises(ValueError, match="register moved"):
        record.session_payload(head(), session_bill("", energy_wh=energy_wh))


def test_a_restart_in_between_counts_nothing_twice() -> None:
    """evcc #5696, #13640, #20384, #6569; OpenEVSE #710: the same session in one, two or many parts costs the same."""
    sold = tariff(element(component("ENERGY", "0.3333"), component("TIME", "1.1111", step=60), component("FLAT", "0.99")))
    whole = cost_of(sold, [ChargingPeriod(T0, 12_347, HOUR_MS)], BERLIN).total_minor
    for cut_wh, cut_ms in ((0, 1), (5_000, HOUR_MS // 3), (12_347, HOUR_MS - 1)):
        parts = [ChargingPeriod(T0, cut_wh, cut_ms), ChargingPeriod(T0 + cut_ms, 12_347 - cut_wh, HOUR_MS - cut_ms)]
        assert cost_of(sold, parts, BERLIN).total_minor == whole


def test_a_power_cut_stands_on_the_receipt() -> None:
    """evcc #8788; MicroOcpp #174, #227; OpenEVSE #787; EVerest #1515; libocpp #475, #480."""
    payload = record.session_payload(head(), session_bill("", interrupted=True, stop_reason="power_cut", stop_source="checkpoint"))
    assert (receipt_of(payload).interrupted, receipt_of(payload).stop_reason) == (True, "power_cut")
    assert payload["register"]["stop_source"] == "checkpoint"


def test_a_reading_nobody_took_is_never_invented() -> None:
    """Eichrecht DE-4; evcc ClosePendingSessions; WARP repair_logic: over an unread boundary the cheaper price counts, marked."""
    late = [ChargingPeriod(T0 + HOUR_MS // 2, 10_000, HOUR_MS)]  # 10:30 to 11:30 without a reading at 11:00
    lines = cost_of(HOURLY, late, BERLIN).lines
    assert [(line.price, line.amount, line.late) for line in lines] == [(Decimal("0.30"), 10_000, 10_000)]


def test_a_register_that_runs_backwards_is_not_billed() -> None:
    """snaptec #1670, #673: the meter went backwards or was reset."""
    with pytest.raises(SignatureInvalid, match="backwards"):
        ocmf.verify(ocmf_text(KEY, 1_246_905, 1_246_904), KEY.spki)
    with pytest.raises(ValueError, match="upwards"):
        ChargingPeriod(T0, -1, 0)


def test_the_price_is_exact_across_a_change_of_hour() -> None:
    """openWB PR #1757, #3905; snaptec #2024; evcc #13446."""
    periods = [ChargingPeriod(T0 + HOUR_MS // 2, 5_000, HOUR_MS // 2), ChargingPeriod(T0 + HOUR_MS, 5_000, HOUR_MS // 2)]
    assert cost_of(HOURLY, periods, BERLIN).total_minor == 150 + 250
    last_second = [ChargingPeriod(T0 + HOUR_MS - 1000, 1_000, 1000), ChargingPeriod(T0 + HOUR_MS, 1_000, 1000)]
    assert [line.amount for line in cost_of(HOURLY, last_second, BERLIN).lines] == [1_000, 1_000]


def test_one_stop_value_is_sealed_and_no_second_one_can_replace_it() -> None:
    """SteVe #1293: several StopTransactions with different values were accepted."""
    first, second = sealed(KEY), sealed(KEY, 1, stop_wh=1_246_906, energy_wh=12_346)
    record.verify_chain([(1, first)], lambda _: KEY.spki)
    with pytest.raises(SignatureInvalid, match="does not follow record 1"):
        record.verify_chain([(1, first), (1, second)], lambda _: KEY.spki)


def test_nothing_delivered_is_nothing_billed() -> None:
    """SteVe #1264: the same start and stop value; no fee and no minimum for a charge that never happened."""
    sold = tariff(element(component("FLAT", "1.00"), component("ENERGY", "0.5")), min_price={"before_taxes": 3})
    assert (cost_of(sold, [], BERLIN).total_minor, cost_of(sold, [], BERLIN).lines) == (0, ())


def test_a_cost_above_the_hold_is_a_visible_shortfall() -> None:
    """EVerest zvt driver: capped without a word."""
    payment = record.Payment(gateway="main", hold_id="H-7", authorized_minor=900, capture_minor=900, shortfall_minor=48)
    found = record.session_payload(head(), session_bill("", payment=payment))
    assert (found["totals"]["total_minor"], found["payment"]["capture_minor"], found["payment"]["shortfall_minor"]) == (
        948,
        900,
        48,
    )


@pytest.mark.parametrize("text", ["19.99", "0.29", "1.15", "4.35", "8.20", "16.40", "1025.10", "1000000.01"])
def test_money_from_decimals_never_loses_a_cent(text: str) -> None:
    """citrineos-payment `int(x*100)`; EVerest PR #768: 19.99 became 1998."""
    assert units.to_minor(text, "EUR") == int(text.replace(".", ""))
    cost = cost_of(tariff(element(component("FLAT", text, None))), [ChargingPeriod(T0, 1, 1)], BERLIN)
    assert cost.total_minor == int(text.replace(".", ""))


def test_no_tariff_is_not_a_price_of_zero() -> None:
    """CitrineOS CostCalculator: a missing tariff cost nothing."""
    for empty in (b"", b"null", b"{}", b"[]", as_json(document())):
        with pytest.raises(TariffRefused):
            parse_tariff(empty)


def test_the_running_cost_and_the_bill_are_one_function() -> None:
    """citrineos-core #903, #944: the session said 22.50, the CDR 25.20."""
    sold = tariff(element(component("ENERGY", "0.45"), component("TIME", "2.70", step=60)))
    periods = [ChargingPeriod(T0 + n * 60_000, 917, 60_000) for n in range(55)]
    running = cost_of(sold, periods, BERLIN)
    found = record.session_payload(
        head(),
        session_bill(
            "",
            energy_wh=917 * 55,
            stop_wh=1_234_560 + 917 * 55,
            tariff=sold.raw,
            periods=tuple(periods),
            lines=record.record_lines(running),
            net_minor=running.net_minor,
            vat_minor=running.vat_minor,
            total_minor=running.total_minor,
        ),
    )
    assert receipt_of(found).total_minor == running.total_minor


def test_charging_time_is_billed_not_the_time_on_the_wall() -> None:
    """citrineos-core #1112: wall-clock time was billed instead of charging time."""
    sold = tariff(element(component("TIME", "6.00")))
    cost = cost_of(sold, [ChargingPeriod(T0, 1_000, HOUR_MS // 2, HOUR_MS)], BERLIN)
    assert {line.kind: line.amount for line in cost.lines} == {PriceKind.TIME: HOUR_MS // 2}


def test_who_charged_cannot_be_read_from_a_record() -> None:
    """golem 2020; konkludenz: identifiers in history, receipt and log."""
    said = json.dumps(record.open_record(sealed(KEY), KEY.spki))
    assert "5e5e5e5e" not in said  # the card's token
    assert receipt_of(record.open_record(sealed(KEY), KEY.spki)).card_last4 == "0011"
