"""The suite of meters.md section 6, point by point: what stands for each, so that none is lost when tests move."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODELS, PEERS, PORT = (f"tests/conformance/test_meter_{name}.py" for name in ("models", "peers", "port"))
UNIT, RULES = "tests/unit/test_drivers_meters.py", "tests/unit/test_session_charge.py"
SERIAL_EVSE, MODBUS_EVSE = "tests/conformance/test_evse_port.py", "tests/conformance/test_evse_modbus.py"
POINTS: dict[int, tuple[str, tuple[tuple[str, str], ...]]] = {
    1: ("schema, overlapping addresses", ((MODELS, "test_a_profile_is_sound_and_says_where_it_is_from"),
        (UNIT, "test_a_wrong_profile_is_refused_with_file_key_and_reason"))),
    2: ("vectors", ((UNIT, "test_every_packaged_profile_is_sound_and_has_a_vector_for_what_it_bills"),)),
    3: ("table of facts", ((MODELS, "test_every_profile_has_its_facts_and_every_fact_its_profile"),
        (MODELS, "test_every_point_of_every_profile_is_read_right_from_a_device_whose_other_registers_lie"))),
    4: ("four blocks: the right function code only", ((MODELS, "test_a_wrong_profile_does_not_pass"),)),
    5: ("peers of others, byte by byte", ((PEERS, "test_a_libmodbus_slave_of_every_model_is_read_as_it_is"),
        (PEERS, "test_a_libmodbus_slave_on_a_serial_line"), (PEERS, "test_the_evidence_words_are_those_mbpoll_reads"),
        (PEERS, "test_mbpoll_reads_our_simulated_meter_on_both_lines"),
        (PEERS, "test_pysunspec2_finds_the_same_model_and_values"))),
    6: ("evil slave: never a wrong value, bounded time", ((PORT, "test_one_bad_answer_is_survived_within_the_same_reading"),
        (PORT, "test_a_question_that_was_interrupted_leaves_no_answer_for_the_next"),
        (PORT, "test_tcp_answers_that_belong_to_another_question_are_not_believed"))),
    7: ("unplugged, plugged in again, missing at the start", ((PORT, "test_the_port_is_missing_at_the_start"),
        (PORT, "test_unplugged_in_the_middle_of_a_question_and_plugged_in_again"))),
    8: ("plausibility gate", ((RULES, "test_a_glitch_of_the_register_is_never_the_new_base"),
        (RULES, "test_a_meter_not_ready_at_the_start_does_not_make_its_lifetime_the_bill"),
        (RULES, "test_a_register_below_the_last_bill_is_not_for_sale_until_it_is_back"))),
    9: ("plan within the model's limits", ((UNIT, "test_every_point_is_read_once_in_blocks_within_the_models_limits"),
        (UNIT, "test_blocks_of_one_function_code_differ_in_length"))),
    10: ("share of the wire limit", (("tests/bench/meters.py", "wire_share"),)),
    11: ("random words, 1 000 000 in --full", ((MODELS, "test_random_words_are_a_value_or_no_reading"),
         (UNIT, "test_random_words_are_a_value_or_a_clear_refusal"))),
    12: ("controllers: states, restart, keepalive, noise", ((MODBUS_EVSE, "test_every_state_of_the_pilot_is_told"),
         (MODBUS_EVSE, "test_a_restart_while_charging_ends_not_authorized"),
         (MODBUS_EVSE, "test_it_does_not_claim_to_guard_itself"),
         (SERIAL_EVSE, "test_a_restart_while_charging_ends_not_authorized"),
         (SERIAL_EVSE, "test_notes_between_the_replies_disturb_nothing"),
         (SERIAL_EVSE, "test_dangerous_commands_are_never_sent"))),
}  # fmt: skip


def test_the_points_are_the_twelve_of_the_suite() -> None:
    assert list(POINTS) == list(range(1, 13))


@pytest.mark.parametrize("point", POINTS)
def test_every_point_has_what_shows_it(point: int) -> None:
    for file, name in POINTS[point][1]:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{point}: {name} is not in {file}"
