"""What went wrong for others, row by row: which of our tests makes it impossible here. A row without its test fails.

The rows are the failures users reported to other projects (project and number where); several tests may stand against one.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BILL, CHARGE, MONEY = "unit/test_billing_field_failures.py", "unit/test_session_charge.py", "unit/test_session_money.py"
ENERGY = "unit/test_field_failures_energy.py"

ROWS: dict[str, tuple[str, ...]] = {
    "meter not ready at start: session energy is not the lifetime register (evcc #29654, #29374, #12844; SmartEVSE #62)": (
        f"{BILL}::test_a_lifetime_register_is_never_the_energy_of_a_session",
        f"{CHARGE}::test_a_meter_not_ready_at_the_start_does_not_make_its_lifetime_the_bill",
        f"{ENERGY}::test_a_meter_that_is_not_ready_never_makes_its_lifetime_the_energy_of_a_session",
    ),
    "energy is end minus begin and below power x time (evcc #18073, #13390)": (
        f"{BILL}::test_session_energy_is_end_minus_begin",
        f"{CHARGE}::test_a_glitch_of_the_register_is_never_the_new_base",
        f"{ENERGY}::test_session_energy_is_end_minus_begin_and_below_power_times_time",
    ),
    "restart amid a session: one session, nothing counted twice (evcc #5696, #13640, #20384, #6569; OpenEVSE #710)": (
        f"{BILL}::test_a_restart_in_between_counts_nothing_twice",
        f"{CHARGE}::test_restart_after_the_stop_ends_once",
    ),
    "pause and resume by card: one record or two that do not overlap (evcc #25956)": (
        f"{CHARGE}::test_the_card_that_pays_ends_the_charge_and_no_other_does",
        f"{CHARGE}::test_a_register_below_the_last_bill_is_not_for_sale_until_it_is_back",
    ),
    "frozen meter with fresh timestamps: noticed within 5 s (EVerest PR #2673)": (
        f"{ENERGY}::test_a_frozen_register_is_a_fault_within_five_seconds",
        "simulation/test_energy.py::test_a_freeze_is_a_fault_within_five_seconds_and_ends_the_charge_within_a_minute",
    ),
    "meter goes backwards or is reset (snaptec #1670, #673)": (
        f"{ENERGY}::test_a_register_that_goes_backwards_or_is_reset_ends_the_charge_with_the_last_good_value",
        "unit/test_session_energy.py::test_a_changed_meter_is_not_for_sale_until_a_technician_accepts_it",
        "simulation/test_energy.py::test_a_lie_of_the_meter_is_never_billed",
    ),
    "an outlier becomes the new base (evcc #29286, #30555, PRs #30267, #30592, #31011)": (
        f"{ENERGY}::test_an_outlier_is_named_and_never_the_new_base",
        "simulation/test_energy.py::test_a_terminal_that_rebases_on_an_outlier_is_caught",
    ),
    "power cut amid a session: closed with the truth, said on the receipt (evcc #8788; MicroOcpp #174, #227; OpenEVSE #787)": (
        f"{BILL}::test_a_power_cut_stands_on_the_receipt",
        f"{CHARGE}::test_restart_while_charging_ends_with_the_register",
        "crash/test_every_commit.py::test_every_commit",
    ),
    "a missing reading is never invented (evcc ClosePendingSessions; WARP repair_logic)": (
        f"{BILL}::test_a_reading_nobody_took_is_never_invented",
        f"{CHARGE}::test_a_meter_that_never_comes_back_ends_the_bill_at_the_last_committed_reading",
        f"{ENERGY}::test_a_missing_reading_is_never_invented",
    ),
    "price exact across an hour or tariff boundary (openWB PR #1757, #3905; snaptec #2024; evcc #13446)": (
        f"{BILL}::test_the_price_is_exact_across_a_change_of_hour",
        "unit/test_billing_cost.py::test_with_a_reading_at_the_boundary_each_side_has_its_price",
    ),
    "two stops with different values: the second is rejected (SteVe #1293)": (
        f"{BILL}::test_one_stop_value_is_sealed_and_no_second_one_can_replace_it",
        f"{ENERGY}::test_a_second_stop_register_is_rejected",
        "unit/test_service_energy.py::test_a_second_stop_order_is_refused_and_leaves_no_fact",
        "unit/test_office_ingest.py::test_other_bytes_under_a_stored_number_are_kept_aside_and_alarmed",
    ),
    "same start and stop value (SteVe #1264)": (
        f"{BILL}::test_nothing_delivered_is_nothing_billed",
        "unit/test_service_energy.py::test_the_same_start_and_stop_value_is_said",
        f"{CHARGE}::test_no_energy_no_bill_and_the_hold_is_released",
    ),
    "offline start, stop and reboot: both reach the back office once (MicroOcpp #454, #298; libocpp #907, #495)": (
        "e2e/test_faults_start.py::test_office_down_the_charge_works_and_its_record_waits",
        "conformance/test_sync_office.py::test_kill_9_of_sync_and_office_at_any_moment",
        "crash/test_every_commit.py::test_every_commit",
    ),
    "timeout after the server accepted: no duplicate (Odoo #40567, #40600, #42862, #108518, #152259)": (
        "unit/test_sync_push.py::test_an_office_that_stores_and_then_misbehaves_gets_each_record_once",
        "unit/test_office_ingest.py::test_the_same_batch_again_changes_nothing",
    ),
    "a receipt that is shown is durable (Odoo #22766, #60939)": (
        "unit/test_engine_turns.py::test_a_turn_that_cannot_be_committed_has_not_happened",
        "crash/test_power_loss.py::test_nothing_acknowledged_is_ever_lost",
    ),
    "reader unplugged, pcscd restarted, card yanked amid an APDU (pyscard #63, #74, #82, #86, #128)": (
        "conformance/test_reader_port.py::test_a_card_pulled_at_any_apdu",
        "conformance/test_reader_port.py::test_the_reader_heals_by_itself_when_pcscd_comes_back",
    ),
    "hold placed, charging never starts: released (Payter integration guide; operators' FAQs)": (
        f"{CHARGE}::test_nobody_plugs_in_and_the_hold_is_released",
        f"{MONEY}::test_who_does_not_charge_is_told_that_the_hold_is_released",
    ),
    "retry after a failed start: at most one open hold (paythru, stacked holds)": (
        f"{MONEY}::test_the_driver_may_take_the_hold_to_the_next_connector_with_a_card_that_proves_itself",
        f"{MONEY}::test_only_the_same_card_is_taken_by_the_screen_that_asks_for_it",
    ),
    "controller restart with an open hold: captured later (EVerest zvt driver keeps holds in RAM)": (
        "crash/test_every_commit.py::test_every_commit",
        f"{CHARGE}::test_restart_while_charging_ends_with_the_register",
    ),
    "idle must not end a charge early (EVerest payment terminal module)": (
        f"{CHARGE}::test_a_car_that_never_asks_is_not_waited_for_for_ever",
        f"{ENERGY}::test_a_car_that_pauses_does_not_end_the_charge",
    ),
    "cost above the hold: a visible shortfall (EVerest zvt driver, silent cap)": (
        f"{BILL}::test_a_cost_above_the_hold_is_a_visible_shortfall",
        f"{MONEY}::test_what_was_delivered_beyond_the_hold_is_a_loss_of_its_own",
    ),
    "money from decimals: 19.99 is 1999 (citrineos-payment; EVerest PR #768)": (
        f"{BILL}::test_money_from_decimals_never_loses_a_cent",
    ),
    "no tariff: no sale, not a price of zero (CitrineOS CostCalculator)": (
        f"{BILL}::test_no_tariff_is_not_a_price_of_zero",
        f"{CHARGE}::test_no_tariff_is_not_for_sale",
    ),
    "database truncated or malformed: the service stays up (evcc #15686, #15696, #29254)": (
        "e2e/test_faults_start.py::test_ledger_that_does_not_verify",
        "unit/test_ledger_store.py::test_a_file_that_is_no_ledger_is_refused_with_its_name",
    ),
    "a half-written log file (openWB .unparsable_*)": (
        "crash/test_power_loss.py::test_nothing_acknowledged_is_ever_lost",
        "unit/test_ledger_store.py::test_flipped_bits_are_found_or_harmless",
    ),
    "a session of more than ten days (SmartEVSE-3 #145)": (
        "unit/test_billing_cost.py::test_a_session_of_more_than_ten_days_is_priced_through_every_night",
        f"{ENERGY}::test_a_session_of_more_than_ten_days_is_billed_like_any_other",
    ),
    "touch input lost after an update: the self-test says so (openWB/core #1504)": (
        "ui/test_process.py",
    ),
    "an identifier is never readable in history, receipt or log (golem 2020; konkludenz OCPP UID leak)": (
        f"{BILL}::test_who_charged_cannot_be_read_from_a_record",
        "conformance/test_gateway_pan_journeys.py",
    ),
}  # fmt: skip


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS)
def test_a_test_stands_against_it(row: str) -> None:
    for test in ROWS[row]:
        file, _, name = test.partition("::")
        assert names_in(file), f"{row}: {file} has no test"
        assert not name or name in names_in(file), f"{row}: there is no {test} any more"
