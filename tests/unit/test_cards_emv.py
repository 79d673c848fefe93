"""The EMV path against a scripted card: genuine cryptograms, refusals, and every way a card can misbehave."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cards import cvm, tlv
from drivers.cards.apdu import Transmit
from drivers.cards.emv_contactless import CardReading, read_card
from terminal_app.errors import CardMisread, CardMisreadReason
from tests.pan_search import search_bytes
from tests.scripted_card import IDENTIFY, PANS, PAY, Rewrite, answers, emv_card, issuer_accepts

PROFILES = ("mastercard", "visa")


def tags_of(emv: bytearray) -> dict[int, str]:
    return {one.tag: bytes(one.value).hex().upper() for one in tlv.parse(emv)}


def misread(transmit: Transmit, pay: bool = True) -> CardMisread:
    with pytest.raises(CardMisread) as raised:
        read_card(transmit, PAY if pay else IDENTIFY)
    return raised.value


# --- what works -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_the_issuer_accepts_the_cryptogram(profile: str) -> None:
    reading = read_card(answers(emv_card(profile)), PAY)
    assert issuer_accepts(reading.emv, PANS[profile])
    tags = tags_of(reading.emv)
    assert tags[0x9F02] == "000000005000" and tags[0x5F2A] == "0978" and tags[0x9F1A] == "0276"
    assert tags[0x9A] == "261123" and tags[0x9C] == "00" and tags[0x9F35] == "25" and tags[0x9F41] == "00000007"
    assert tags[0x9F26] == reading.cryptogram and tags[0x9F27] == "80" and int(tags[0x9F36], 16) == reading.atc == 1
    assert reading.pan.decode() == PANS[profile] and reading.psn == 1
    assert bytes(reading.track2).hex().upper().startswith(PANS[profile] + "D4912")
    assert len(reading.emv) <= 255


@pytest.mark.parametrize("profile", PROFILES)
def test_the_issuer_refuses_it_if_anything_signed_is_changed(profile: str) -> None:
    """The check above can fail: each signed byte counts. The number is no random one: a tag is looked for among the bytes."""
    reading = read_card(answers(emv_card(profile)), PAY, bytes)
    for tag in ("9F02", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "9F36"):
        changed = bytearray(reading.emv)
        place = changed.index(bytes.fromhex(tag)) + len(tag) // 2 + 1
        changed[place] ^= 0x01
        assert not issuer_accepts(changed, PANS[profile]), tag


@pytest.mark.parametrize("profile", PROFILES)
def test_no_card_number_in_what_goes_into_de55(profile: str) -> None:
    reading = read_card(answers(emv_card(profile)), PAY)
    assert not search_bytes(bytes(reading.emv), PANS[profile])
    assert 0x57 not in tags_of(reading.emv) and 0x5A not in tags_of(reading.emv)
    assert PANS[profile] not in repr(reading) and PANS[profile][-8:] not in repr(reading)
    reading.wipe()
    assert not any(reading.pan) and not any(reading.track2) and not any(reading.emv)


def test_each_reading_has_its_own_unpredictable_number() -> None:
    numbers = {tags_of(read_card(answers(emv_card("mastercard")), PAY).emv)[0x9F37] for _ in range(5)}
    assert len(numbers) == 5


def test_commands_of_the_two_flows() -> None:
    for profile, flow in (("mastercard", "00A4 00A4 80A8 00B2 00B2 80AE"), ("visa", "00A4 00A4 80A8 00B2")):
        seen: list[bytes] = []
        read_card(answers(emv_card(profile), seen=seen), PAY)
        assert " ".join(one[:2].hex().upper() for one in seen) == flow
    seen = []
    read_card(answers(emv_card("mastercard"), seen=seen), PAY)
    assert seen[-1][2] == 0x80  # an ARQC is asked for
    read_card(answers(emv_card("visa"), seen=seen), PAY)
    assert bytes.fromhex("20804000") in seen[-2]  # terminal transaction qualifiers


@pytest.mark.parametrize("profile", PROFILES)
def test_identification_brings_the_card_number_and_no_cryptogram(profile: str) -> None:
    seen: list[bytes] = []
    reading = read_card(answers(emv_card(profile), seen=seen), IDENTIFY)
    assert reading.pan.decode() == PANS[profile]
    assert not reading.emv and not reading.track2 and not reading.cryptogram and not reading.atc
    assert not any(one[:2] == b"\x80\xae" for one in seen)


@pytest.mark.parametrize(("profile", "results"), [("mastercard", "010002"), ("visa", "010002")])
def test_a_device_that_verified_its_holder(profile: str, results: str) -> None:
    reading = read_card(answers(emv_card(profile, cdcvm=True)), PAY)
    assert reading.verified_on_device and tags_of(reading.emv)[0x9F34] == results
    assert issuer_accepts(reading.emv, PANS[profile])
    plain = read_card(answers(emv_card(profile)), PAY)
    assert not plain.verified_on_device and tags_of(plain.emv)[0x9F34] != results


def test_the_application_with_the_best_priority_is_taken() -> None:
    assert read_card(answers(emv_card("visa", "mastercard")), PAY).brand == "Visa"

    def swap(index: int, command: bytes, answer: bytes) -> bytes:
        return answer.replace(b"\x87\x01\x01", b"\x87\x01\x00").replace(b"\x87\x01\x02", b"\x87\x01\x05") if index == 0 else answer

    assert read_card(answers(emv_card("visa", "mastercard"), swap), PAY).brand == "Mastercard"  # 0 = no priority: last


@pytest.mark.parametrize("command", ["00A4", "80A8"])
def test_the_next_application_is_tried_if_the_first_is_of_no_use(command: str) -> None:
    refused: list[bytes] = []

    def refuse_visa(index: int, sent: bytes, answer: bytes) -> bytes:
        wanted = sent[:2].hex().upper() == command and (command == "80A8" or b"\xa0\x00\x00\x00\x03" in sent)
        if wanted and not refused:
            refused.append(sent)
            return bytes.fromhex("6985")
        return answer

    assert read_card(answers(emv_card("visa", "mastercard"), refuse_visa), PAY).brand == "Mastercard"
    assert refused


def t0(transmit: Transmit) -> Transmit:
    """The same card behind the T=0 protocol: 6Cxx on a wrong Le, answers to commands with data fetched by 61xx in halves."""
    waiting = bytearray()

    def half() -> bytearray:
        size = (len(waiting) + 1) // 2 if len(waiting) > 8 else len(waiting)
        return bytearray(b"\x61" + bytes([size]))

    def answer(command: bytes) -> bytearray:
        if command[1] == 0xC0:
            part = waiting[: command[4]]
            del waiting[: command[4]]
            return part + (half() if waiting else b"\x90\x00")
        if command[1] == 0xB2 and command[4] == 0:
            body = transmit(command)
            return bytearray(b"\x6c" + bytes([len(body) - 2]))
        said = transmit(command)
        if len(command) > 5 and len(said) > 2 and said[-2:] == b"\x90\x00":
            waiting[:] = said[:-2]
            return half()
        return said

    return answer


@pytest.mark.parametrize("profile", PROFILES)
def test_get_response_and_wrong_le_are_followed(profile: str) -> None:
    reading = read_card(t0(answers(emv_card(profile))), PAY)
    assert issuer_accepts(reading.emv, PANS[profile])


def test_formats_without_tags() -> None:
    """Format 1 (template 80) of GPO and GENERATE AC, as older cards answer."""

    def plain(index: int, command: bytes, answer: bytes) -> bytes:
        if command[:2] not in (b"\x80\xa8", b"\x80\xae"):
            return answer
        order = (0x82, 0x94) if command[1] == 0xA8 else (0x9F27, 0x9F36, 0x9F26, 0x9F10)
        given = {one.tag: bytes(one.value) for one in tlv.primitives(tlv.parse(answer[:-2]))}
        return tlv.encode(0x80, b"".join(given[tag] for tag in order)) + b"\x90\x00"

    reading = read_card(answers(emv_card("mastercard"), plain), PAY)
    assert issuer_accepts(reading.emv, PANS["mastercard"])


# --- what does not --------------------------------------------------------------------------------------------------


def on(command: str, answer_hex: str) -> Rewrite:
    return lambda index, sent, answer: bytes.fromhex(answer_hex) if sent[:2].hex().upper() == command else answer


def replaced(old: str, new: str) -> Rewrite:
    def rewrite(index: int, sent: bytes, answer: bytes) -> bytes:
        assert len(old) == len(new)
        return answer.replace(bytes.fromhex(old), bytes.fromhex(new))

    return rewrite


TOLD_BY_IAD = replaced("9F270180" + "9F100706010A03A0", "DF270180" + "9F100706010A0380")
REFUSED, ERROR, FOREIGN = CardMisreadReason.REFUSED_BY_CARD, CardMisreadReason.ERROR, CardMisreadReason.NOT_SUPPORTED
BAD = [
    ("mastercard", "the card declines (AAC)", replaced("9F270180", "9F270100"), REFUSED),
    ("visa", "the card declines (AAC)", replaced("9F270180", "9F270100"), REFUSED),
    ("mastercard", "the card approves offline (TC)", replaced("9F270180", "9F270140"), ERROR),
    ("visa", "the card approves offline (TC)", replaced("9F270180", "9F270140"), ERROR),
    ("visa", "declines, told by the issuer data only", TOLD_BY_IAD, REFUSED),
    ("mastercard", "no payment directory", on("00A4", "6A82"), FOREIGN),
    ("mastercard", "another kind of card", on("00A4", "6300"), FOREIGN),
    ("mastercard", "no application in common", replaced("A0000000041010", "A0000009991010"), FOREIGN),
    ("mastercard", "no processing options", on("80A8", "6985"), REFUSED),
    ("visa", "the phone wants to be unlocked", on("80A8", "6986"), REFUSED),
    ("mastercard", "no cryptogram", on("80AE", "6985"), REFUSED),
    ("mastercard", "mag-stripe mode", replaced("82021880", "82021800"), FOREIGN),
    ("visa", "mag-stripe mode", replaced("9F2608", "DF2608"), FOREIGN),
    ("mastercard", "record missing", on("00B2", "6A83"), ERROR),
    ("mastercard", "record without template", on("00B2", "5001419000"), ERROR),
    ("mastercard", "numbers of 5A and 57 differ", replaced("5A085413330089020011", "5A085413330089020012"), ERROR),
    ("mastercard", "file locator is cut", replaced("94081001010018010100", "94071001010018010100"), ERROR),
    ("mastercard", "file locator with file 0", replaced("94081001010018010100", "94080001010018010100"), ERROR),
    ("mastercard", "file locator backwards", replaced("94081001010018010100", "94081002010018010100"), ERROR),
    ("mastercard", "file locator bomb", replaced("94081001010018010100", "94081001FF0018010100"), ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "why", "rewrite", "reason"), BAD, ids=lambda one: str(one)[:30])
def test_cards_that_give_no_payment(profile: str, why: str, rewrite: Rewrite, reason: CardMisreadReason) -> None:
    assert misread(answers(emv_card(profile), rewrite)).reason is reason


def test_a_data_object_that_comes_twice_is_an_error() -> None:
    def twice(index: int, sent: bytes, answer: bytes) -> bytes:
        if sent[:3] == b"\x00\xb2\x01" and sent[3] >> 3 == 3:
            inner = answer[2:-2] if answer[1] < 0x80 else answer[3:-2]
            return tlv.encode(0x70, inner + bytes.fromhex("5F340101")) + b"\x90\x00"
        return answer

    error = misread(answers(emv_card("mastercard"), twice))
    assert error.reason is ERROR and "5F34" in str(error)


def test_another_application_than_selected_is_an_error() -> None:
    def other(index: int, sent: bytes, answer: bytes) -> bytes:
        return answer.replace(bytes.fromhex("A0000000041010"), bytes.fromhex("A0000000031010")) if index == 1 else answer

    assert misread(answers(emv_card("mastercard"), other)).reason is ERROR


def test_an_expired_card_is_reported_and_left_to_the_issuer() -> None:
    reading = read_card(answers(emv_card("mastercard"), replaced("5F2403491231", "5F2403241231")), PAY)
    assert tags_of(reading.emv)[0x95] == "8040008000"
    assert tags_of(read_card(answers(emv_card("mastercard")), PAY).emv)[0x95] == "8000008000"


def test_a_label_full_of_digits_is_not_shown() -> None:
    fake = PANS["mastercard"][:10].encode().hex()
    reading = read_card(answers(emv_card("mastercard"), replaced("500A" + b"Mastercard".hex(), "500A" + fake)), PAY)
    assert reading.label == "Mastercard" and reading.brand == "Mastercard"


# --- hostile cards --------------------------------------------------------------------------------------------------


def outcome(transmit: Transmit, pay: bool) -> CardReading | CardMisread:
    try:
        return read_card(transmit, PAY if pay else IDENTIFY)
    except CardMisread as error:
        assert not re.search(r"\d{8}", str(error))
        return error


@given(st.lists(st.binary(max_size=258), min_size=1, max_size=12), st.booleans())
@settings(max_examples=150, deadline=None)
def test_random_answers_are_misread(said: list[bytes], pay: bool) -> None:
    queue = list(said)
    assert isinstance(outcome(lambda command: bytearray(queue.pop(0) if queue else b"\x6f\x00"), pay), CardMisread)


@given(
    st.sampled_from(PROFILES),
    st.integers(0, 6),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4),
    st.integers(-20, 20),
    st.booleans(),
)
@settings(max_examples=600, deadline=None)
def test_damaged_answers_are_misread_or_harmless(
    profile: str, at: int, changes: list[tuple[int, int]], grow: int, pay: bool
) -> None:
    def damage(index: int, command: bytes, answer: bytes) -> bytes:
        if index != at:
            return answer
        body, word = bytearray(answer[:-2]), answer[-2:]
        for place, value in changes:
            if body:
                body[place % len(body)] = value
        body = body[:grow] if grow < 0 else body + bytes(grow)
        return bytes(body) + word

    outcome(answers(emv_card(profile), damage), pay)


@given(st.binary(max_size=252))
@settings(max_examples=200, deadline=None)
def test_random_cvm_lists_have_an_outcome(rules: bytes) -> None:
    done = cvm.verify(b"\x18\x80", rules, 5000, same_currency=True)
    assert len(done.results) == 3 and not done.device


@pytest.mark.parametrize(
    ("rules", "results", "failed"),
    [
        ("0000000000000000" + "42031E031F03", "1F0302", False),  # online PIN or signature if supported, else no CVM
        ("0000000000000000" + "1F00", "1F0002", False),
        ("0000000000000000" + "4200" + "1F00", "1F0002", False),  # online PIN, continue
        ("0000000000000000" + "0200" + "1F00", "3F0001", True),  # online PIN or fail
        ("0000138900000000" + "1F06" + "0200", "1F0602", False),  # no CVM under 50.01
        ("0000138800000000" + "1F06" + "0200", "3F0001", True),  # no CVM under 50.00
        ("0000000000000000", "3F0001", True),
    ],
)
def test_cvm_lists_at_a_terminal_without_pin(rules: str, results: str, failed: bool) -> None:
    done = cvm.verify(b"\x18\x80", bytes.fromhex(rules), 5000, same_currency=True)
    assert (done.results.hex().upper(), done.failed) == (results, failed)


def test_cvm_limits_in_another_currency_do_not_apply() -> None:
    rules = bytes.fromhex("0000138900000000" + "1F06")
    assert cvm.verify(b"\x18\x80", rules, 5000, same_currency=False).failed
