"""Tariffs: what is refused, how prices are disclosed, and what names a tariff."""

from decimal import Decimal

import pytest

from terminal_app.billing.tariff import dearest_second_price, dearest_wh_price, parse_tariff, price_lines, vat_percent_text
from terminal_app.errors import TariffRefused
from terminal_app.screens import PriceKind
from tests.unit.billing_samples import KWH_TARIFF, as_json, component, document, element, tariff


@pytest.mark.parametrize(
    ("broken", "where"),
    [
        (b"{", "tariff"),
        (b"\xff", "UTF-8"),
        (b'{"id": "1", "id": "2"}', "twice"),
        (as_json(document(KWH_TARIFF)).replace(b"0.59", b"NaN"), "NaN"),
        (as_json(document(KWH_TARIFF)).replace(b"0.59", b'"0.59"'), "elements[0].price_components[0].price"),
        (as_json(document(KWH_TARIFF)).replace(b"0.59", b"0.5900000000000000000001"), "digits"),
        (as_json(document(KWH_TARIFF)).replace(b"0.59", b"-0.59"), "elements[0].price_components[0].price"),
        (as_json(document(KWH_TARIFF, surprise=1)), "surprise"),
        (as_json(document(KWH_TARIFF, currency="XQX")), "currency"),
        (as_json(document(KWH_TARIFF, included="MAYBE")), "tax_included"),
        (as_json(document(element(component("ENERGY", "1", vat="101")))), "vat"),
        (as_json(document(element(component("ENERGY", "1")), included="N/A")), "vat"),
        (as_json(document(element(component("WATER", "1")))), "elements[0].price_components[0].type"),
        (as_json(document(element(component("ENERGY", "1"), component("ENERGY", "2")))), "elements[0].price_components"),
        (as_json(document(element(component("ENERGY", "1"), start_time="24:00"))), "elements[0].restrictions.start_time"),
        (as_json(document(element(component("ENERGY", "1"), start_time="08:00", end_time="08:00"))), "end_time"),
        (as_json(document(element(component("ENERGY", "1"), min_kwh=5, max_kwh=5))), "max_kwh"),
        (as_json(document(element(component("ENERGY", "1"), start_date="2026-02-30"))), "start_date"),
        (as_json(document(element(component("ENERGY", "1"), reservation="RESERVATION"))), "reservation"),
        (as_json(document(element(component("ENERGY", "1"), when_raining=True))), "when_raining"),
        (as_json(document(KWH_TARIFF, max_price={"before_taxes": 10, "after_taxes": 9})), "max_price"),
        (as_json(document(KWH_TARIFF, end_date_time="2026-13-01T00:00:00Z")), "end_date_time"),
        (as_json(document()), "elements"),
    ],
)
def test_a_tariff_with_anything_wrong_is_refused_as_a_whole_and_says_where(broken: bytes, where: str) -> None:
    with pytest.raises(TariffRefused) as refused:
        parse_tariff(broken)
    assert where in str(refused.value)


def test_prices_are_shown_kwh_minute_session_other_whatever_the_order_in_the_file() -> None:
    found = tariff(
        element(component("PARKING_TIME", "6.00"), component("FLAT", "1")),
        element(component("TIME", "3"), component("ENERGY", "0.59")),
    )
    assert [(one.kind, one.price) for one in price_lines(found)] == [
        (PriceKind.ENERGY, "0.59"),
        (PriceKind.TIME, "0.05"),
        (PriceKind.FLAT, "1.00"),
        (PriceKind.PARKING, "0.10"),
    ]


def test_all_tiers_and_windows_are_disclosed_with_their_conditions() -> None:
    found = tariff(
        element(component("ENERGY", "0.39"), start_time="22:00", end_time="06:00", day_of_week=["SATURDAY", "SUNDAY"]),
        element(component("ENERGY", "0.59"), max_kwh=30),
        element(component("ENERGY", "0.79")),
        element(component("PARKING_TIME", "6"), min_duration=5400),
    )
    assert [(one.note, one.note_args) for one in price_lines(found)] == [
        ("time_window+weekdays", {"time_from": "22:00", "time_to": "06:00", "weekdays": "saturday,sunday"}),
        ("to_kwh", {"to_kwh": "30"}),
        ("", {}),
        ("from_min", {"from_min": "90"}),
    ]


def test_prices_without_vat_are_shown_with_vat() -> None:
    found = tariff(element(component("ENERGY", "0.49", vat="19")), included="NO")
    assert price_lines(found)[0].price == "0.5831"
    assert dearest_wh_price(found) == Decimal("0.0005831")


def test_limits_are_shown_last() -> None:
    found = tariff(KWH_TARIFF, min_price={"before_taxes": 1, "after_taxes": Decimal("1.19")}, max_price={"before_taxes": 50})
    assert [(one.kind, one.price, one.note) for one in price_lines(found)[-2:]] == [
        (PriceKind.LIMIT, "1.19", "minimum"),
        (PriceKind.LIMIT, "50.00", "maximum"),
    ]


def test_vat_rates_as_text() -> None:
    assert vat_percent_text(tariff(KWH_TARIFF)) == "19"
    assert vat_percent_text(tariff(element(component("ENERGY", "1", "7.5"), component("FLAT", "1", "19")))) == "7.5 / 19"
    assert vat_percent_text(tariff(element(component("ENERGY", "1", None)))) == ""


def test_free_is_an_explicit_zero_tariff_only() -> None:
    assert tariff(element(component("FLAT", "0.00", None, step=0))).is_free
    assert not tariff(element(component("FLAT", "0")), element(component("ENERGY", "0.01"), min_kwh=100)).is_free
    assert not tariff(element(component("FLAT", "0")), min_price={"before_taxes": 1}).is_free


def test_the_fingerprint_names_the_meaning_not_the_spelling() -> None:
    one = parse_tariff(as_json(document(KWH_TARIFF)))
    spelled = parse_tariff(as_json(document(KWH_TARIFF)).replace(b"0.59", b"0.590").replace(b",", b" ,\n"))
    dearer = parse_tariff(as_json(document(KWH_TARIFF)).replace(b"0.59", b"0.60"))
    assert one.fingerprint == spelled.fingerprint != dearer.fingerprint
    assert parse_tariff(one.raw.encode()) == one


def test_dearest_prices_are_upper_bounds_over_all_tiers() -> None:
    found = tariff(element(component("TIME", "3.60"), max_duration=60), element(component("PARKING_TIME", "7.20")))
    assert dearest_second_price(found) == Decimal("0.002")
    assert dearest_wh_price(found) == 0


def test_a_tariff_is_valid_from_its_start_until_its_end() -> None:
    found = tariff(KWH_TARIFF, start_date_time="2026-01-01T00:00:00Z", end_date_time="2026-02-01T00:00:00Z")
    assert [found.valid_at(ms) for ms in (1_767_225_599_999, 1_767_225_600_000, 1_769_903_999_999, 1_769_904_000_000)] == [
        False,
        True,
        True,
        False,
    ]
