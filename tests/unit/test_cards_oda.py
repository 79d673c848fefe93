"""Chip authentication: a card that holds its key is known by it, one that lies is not, and neither is kept from paying online."""

import datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cards import oda, tlv
from drivers.cards.apdu import Transmit
from drivers.cards.ca_keys import load_ca_keys
from drivers.cards.emv_contactless import CardReading, read_card
from drivers.cards.oda import CaKey, CaKeys, Flaw, RsaKey
from drivers.sim.card_keys import LIES, DemoScheme
from terminal_app.errors import CardMisread, CardMisreadReason
from tests.emv_certificates import AID, PAN, RECORDS, TODAY, Change, Papers, as_is, put, sealed
from tests.scripted_card import IDENTIFY, PANS, PAY, answers, emv_card, issuer_accepts

PROFILES = ("mastercard", "visa")
NUMBER = bytes.fromhex("01020304")


@pytest.fixture(scope="module")
def scheme(tmp_path_factory: pytest.TempPathFactory) -> DemoScheme:
    return DemoScheme(tmp_path_factory.mktemp("scheme"))


@pytest.fixture(scope="module")
def ca_keys(scheme: DemoScheme) -> CaKeys:
    return load_ca_keys(scheme.ca_keys)


def tags_of(emv: bytearray) -> dict[int, str]:
    return {one.tag: bytes(one.value).hex().upper() for one in tlv.parse(emv)}


def pay(transmit: Transmit, ca_keys: CaKeys) -> CardReading:
    return read_card(transmit, PAY, ca_keys=ca_keys)


def asked(seen: list[bytes]) -> list[int]:
    """P1 of each GENERATE AC."""
    return [one[2] for one in seen if one[:2] == b"\x80\xae"]


# --- the whole payment ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cdcvm", [False, True])
@pytest.mark.parametrize("profile", PROFILES)
def test_a_card_that_holds_its_key_is_authenticated(scheme: DemoScheme, ca_keys: CaKeys, profile: str, cdcvm: bool) -> None:
    seen: list[bytes] = []
    reading = pay(answers(emv_card(profile, scheme=scheme, cdcvm=cdcvm), seen=seen), ca_keys)
    assert reading.flaw is None and reading.verified_on_device is cdcvm
    assert issuer_accepts(reading.emv, PANS[profile])
    tags = tags_of(reading.emv)
    assert tags[0x9F33] == "200848" and tags[0x9F26] == reading.cryptogram and reading.atc == 1
    if profile == "mastercard":
        assert tags[0x95] == "0000008000" and asked(seen) == [0x90]
    else:
        assert tags[0x95] == "0000000000" and any(bytes.fromhex("21804000") in one for one in seen)


LYING = {
    "wrong_hash": ("transaction", "transaction"),
    "other_ca": ("signature", "signature"),
    "replay": ("transaction", "transaction"),
    "tampered_pan": ("hash", "holder"),
    "expired": ("expired", "expired"),
    "no_signature": ("signature", "missing"),
}


def test_every_lie_of_the_simulated_card_is_told_below() -> None:
    assert set(LYING) == set(LIES) - {""}


@pytest.mark.parametrize("lie", LYING)
@pytest.mark.parametrize("profile", PROFILES)
def test_a_card_that_lies_is_not_authenticated_and_goes_online_all_the_same(
    scheme: DemoScheme, ca_keys: CaKeys, profile: str, lie: str
) -> None:
    assert pay(answers(emv_card(profile, scheme=scheme)), ca_keys).flaw is None  # what "replay" then plays again
    seen: list[bytes] = []
    reading = pay(answers(emv_card(profile, scheme=scheme, lie=lie), seen=seen), ca_keys)
    assert reading.flaw is not None and reading.flaw.value == LYING[lie][PROFILES.index(profile)]
    assert issuer_accepts(reading.emv, PANS[profile]) and len(reading.cryptogram) == 16
    if profile == "mastercard":
        assert tags_of(reading.emv)[0x95] == "0400008000"  # CDA failed: the card was told, the issuer sees it
        before = lie in ("other_ca", "tampered_pan", "expired")  # known before the card is asked for anything
        assert asked(seen) == ([0x80] if before else [0x90, 0x80])
        assert reading.atc == (1 if before else 2)


@pytest.mark.parametrize("profile", PROFILES)
def test_without_ca_keys_nothing_is_asked_for(scheme: DemoScheme, profile: str) -> None:
    seen: list[bytes] = []
    reading = pay(answers(emv_card(profile, scheme=scheme), seen=seen), {})
    assert reading.flaw is Flaw.NOT_ASKED and issuer_accepts(reading.emv, PANS[profile])
    tags = tags_of(reading.emv)
    assert tags[0x9F33] == "200800" and tags[0x95] == ("8000008000" if profile == "mastercard" else "0000000000")
    assert asked(seen) == ([0x80] if profile == "mastercard" else [])
    assert not any(bytes.fromhex("21804000") in one for one in seen)


def test_keys_of_other_schemes_only_are_none(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    visa_only = {name: key for name, key in ca_keys.items() if name[0].hex().endswith("03")}
    reading = pay(answers(emv_card("mastercard", scheme=scheme)), visa_only)
    assert reading.flaw is Flaw.NOT_ASKED and tags_of(reading.emv)[0x95] == "8000008000"


@pytest.mark.parametrize("profile", PROFILES)
def test_a_card_that_cannot_is_paid_with_as_before(ca_keys: CaKeys, profile: str) -> None:
    reading = pay(answers(emv_card(profile)), ca_keys)
    assert reading.flaw is Flaw.NOT_OFFERED and issuer_accepts(reading.emv, PANS[profile])
    assert tags_of(reading.emv)[0x95] == ("8000008000" if profile == "mastercard" else "0000000000")


def test_a_ca_key_out_of_date_is_none(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    old = {name: CaKey(one.key, datetime.date(2026, 11, 22)) for name, one in ca_keys.items()}  # the day before
    reading = pay(answers(emv_card("mastercard", scheme=scheme)), old)
    assert reading.flaw is Flaw.NO_CA_KEY and tags_of(reading.emv)[0x95] == "0400008000"
    last_day = {name: CaKey(one.key, datetime.date(2026, 11, 23)) for name, one in ca_keys.items()}
    assert pay(answers(emv_card("mastercard", scheme=scheme)), last_day).flaw is None


def test_data_that_are_missing_are_told_to_the_issuer(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    def without_exponent(index: int, sent: bytes, answer: bytes) -> bytes:
        return answer.replace(b"\x9f\x47\x01", b"\xdf\x47\x01")

    reading = pay(answers(emv_card("mastercard", scheme=scheme), without_exponent), ca_keys)
    assert reading.flaw is Flaw.MISSING and tags_of(reading.emv)[0x95] == "2400008000"
    assert issuer_accepts(reading.emv, PANS["mastercard"])


def test_a_refusal_is_a_refusal_and_needs_no_signature(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    def refuse(index: int, sent: bytes, answer: bytes) -> bytes:
        if sent[:2] != b"\x80\xae":
            return answer
        return bytes.fromhex("7718" + "9F270100" + "9F36020001" + "9F2608" + "00" * 8 + "9F100100") + b"\x90\x00"

    seen: list[bytes] = []
    with pytest.raises(CardMisread) as raised:
        pay(answers(emv_card("mastercard", scheme=scheme), refuse, seen), ca_keys)
    assert raised.value.reason is CardMisreadReason.REFUSED_BY_CARD and asked(seen) == [0x90]


@pytest.mark.parametrize("profile", PROFILES)
def test_somebody_between_card_and_reader_cannot_change_the_amount(scheme: DemoScheme, ca_keys: CaKeys, profile: str) -> None:
    card = answers(emv_card(profile, scheme=scheme))

    def between(command: bytes) -> bytearray:
        return card(command.replace(bytes.fromhex("000000005000"), bytes.fromhex("000000000001")))

    assert pay(between, ca_keys).flaw is Flaw.TRANSACTION


def test_somebody_between_cannot_say_verified_on_the_device(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    def unlocked(index: int, sent: bytes, answer: bytes) -> bytes:
        return answer.replace(bytes.fromhex("9F6C020000"), bytes.fromhex("9F6C020080"))

    assert pay(answers(emv_card("visa", scheme=scheme), unlocked), ca_keys).flaw is Flaw.TRANSACTION


def test_a_changed_record_is_noticed(scheme: DemoScheme, ca_keys: CaKeys) -> None:
    """Every byte of the signed records counts: here the CVM list and the expiry date."""
    for old, new in (("8E0E0000000000000000", "8E0E0000000100000000"), ("5F2403491231", "5F2403501231")):

        def change(index: int, sent: bytes, answer: bytes, old: str = old, new: str = new) -> bytes:
            return answer.replace(bytes.fromhex(old), bytes.fromhex(new))

        assert pay(answers(emv_card("mastercard", scheme=scheme), change), ca_keys).flaw is Flaw.HASH


@pytest.mark.parametrize("profile", PROFILES)
def test_identification_authenticates_nothing(scheme: DemoScheme, ca_keys: CaKeys, profile: str) -> None:
    seen: list[bytes] = []
    reading = read_card(answers(emv_card(profile, scheme=scheme), seen=seen), IDENTIFY, ca_keys=ca_keys)
    assert reading.flaw is Flaw.NOT_ASKED and reading.pan.decode() == PANS[profile]
    assert not asked(seen) and not any(bytes.fromhex("21804000") in one for one in seen)


# --- the standard's formats, keys of real lengths -------------------------------------------------------------------


def rsa_key(bits: int, exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@pytest.fixture(scope="module")
def papers() -> Papers:
    """Long above short: every key fits into its certificate, padded with BB."""
    return Papers(rsa_key(1984, 3), rsa_key(1408, 65_537), rsa_key(1024, 3))


def key_of(papers: Papers, pan: bytes = PAN, records: bytes | None = RECORDS, today: datetime.date = TODAY) -> RsaKey | Flaw:
    signed = [memoryview(records)] if records is not None else None
    return oda.card_key(papers.ca_keys, AID, papers.shown(), bytearray(pan), signed, today)


def changed(papers: Papers, **changes: object) -> Papers:
    keys = {"ca": papers.ca, "issuer_key": papers.issuer_key, "card_key": papers.card_key}
    return Papers(**(keys | changes))  # type: ignore[arg-type]


def test_the_key_comes_out_of_the_chain(papers: Papers) -> None:
    key = key_of(papers)
    numbers = papers.card_key.private_numbers().public_numbers
    assert key == RsaKey(numbers.n, 3, 128)


@pytest.mark.parametrize("bits", [(1024, 1024, 1024), (1408, 1408, 1152)])
def test_keys_that_do_not_fit_have_a_remainder(bits: tuple[int, int, int]) -> None:
    made = Papers(*(rsa_key(one, 3) for one in bits))
    key = key_of(made)
    assert isinstance(key, RsaKey) and key.modulus == made.card_key.private_numbers().public_numbers.n
    assert key_of(changed(made, given={0x9F48: b""})) in (Flaw.HASH, Flaw.LENGTH)


SIGNED_LIES: list[tuple[str, dict[str, object], Flaw]] = [
    ("issuer certificate of another format", {"issuer": put(0, "03")}, Flaw.SIGNATURE),
    ("of another issuer", {"issuer": put(1, "541334FF")}, Flaw.HOLDER),
    ("of an issuer without number", {"issuer": put(1, "FFFFFFFF")}, Flaw.HOLDER),
    ("of an issuer with letters", {"issuer": put(1, "5413AAFF")}, Flaw.HOLDER),
    ("issuer expired last month", {"issuer": put(5, "1026")}, Flaw.EXPIRED),
    ("issuer expired last century", {"issuer": put(5, "1299")}, Flaw.EXPIRED),
    ("issuer with month 13", {"issuer": put(5, "1330")}, Flaw.EXPIRED),
    ("issuer with another hash", {"issuer": put(10, "02")}, Flaw.ALGORITHM),
    ("issuer with another signature", {"issuer": put(11, "02")}, Flaw.ALGORITHM),
    ("issuer key longer than its CA's", {"issuer": put(12, "F9")}, Flaw.LENGTH),
    ("issuer key of no length", {"issuer": put(12, "00")}, Flaw.KEY),
    ("issuer exponent of another length", {"issuer": put(13, "01")}, Flaw.LENGTH),
    ("issuer key with zeros in front", {"issuer": put(14, "00")}, Flaw.KEY),
    ("card certificate of another format", {"card": put(0, "05")}, Flaw.SIGNATURE),
    ("of another card", {"card": put(8, "0029")}, Flaw.HOLDER),
    ("of a longer number", {"card": put(9, "1FFF")}, Flaw.HOLDER),
    ("card certificate expired", {"card": put(11, "1026")}, Flaw.EXPIRED),
    ("card with another hash", {"card": put(16, "00")}, Flaw.ALGORITHM),
    ("card key longer than its issuer's", {"card": put(18, "F8")}, Flaw.LENGTH),
    ("card exponent of another length", {"card": put(19, "03")}, Flaw.LENGTH),
    ("header", {"after": put(0, "6B")}, Flaw.SIGNATURE),
    ("trailer", {"after": put(-1, "CC")}, Flaw.SIGNATURE),
    ("hash", {"after": put(-3, "0000")}, Flaw.HASH),
    ("another CA's index", {"given": {0x8F: b"\x01"}}, Flaw.NO_CA_KEY),
    ("an index of two bytes", {"given": {0x8F: b"\xf7\xf7"}}, Flaw.NO_CA_KEY),
    ("no certificate", {"given": {0x90: b""}}, Flaw.MISSING),
    ("certificate too short", {"given": {0x90: b"\x01" * 247}}, Flaw.LENGTH),
    ("certificate above the modulus", {"given": {0x90: b"\xff" * 248}}, Flaw.SIGNATURE),
    ("a remainder that is none", {"given": {0x92: b"\x01"}}, Flaw.HASH),
    ("an exponent of zero", {"given": {0x9F47: b"\x00"}}, Flaw.HASH),
    ("names data that are no AIP", {"given": {0x9F4A: b"\x82\x5a"}}, Flaw.HASH),
    ("names the AIP it does not give", {"given": {0x9F4A: b"\x82"}}, Flaw.MISSING),
]  # fmt: skip


@pytest.mark.parametrize(("what", "changes", "flaw"), SIGNED_LIES, ids=lambda one: one if isinstance(one, str) else "")
def test_certificates_wrong_in_one_place(papers: Papers, what: str, changes: dict[str, object], flaw: Flaw) -> None:
    assert key_of(changed(papers, **changes)) is flaw


def test_dates_numbers_and_records_are_compared(papers: Papers) -> None:
    assert isinstance(key_of(papers, today=datetime.date(2030, 12, 31)), RsaKey)
    assert key_of(papers, today=datetime.date(2031, 1, 1)) is Flaw.NO_CA_KEY
    assert key_of(papers, pan=b"5413330089020029") is Flaw.HOLDER
    assert key_of(papers, pan=b"541333008902001") is Flaw.HOLDER
    assert key_of(papers, records=RECORDS[:-1]) is Flaw.HASH
    assert key_of(papers, records=None) is Flaw.HASH
    visa = bytes.fromhex("A0000000031010")
    assert oda.card_key(papers.ca_keys, visa, papers.shown(), bytearray(PAN), [memoryview(RECORDS)], TODAY) is Flaw.NO_CA_KEY
    assert isinstance(key_of(changed(papers, card=put(11, "1126"))), RsaKey)  # the last month counts to its end


def dynamic(papers: Papers, content: bytes, terminal: bytes, around: Change = as_is) -> dict[int, memoryview]:
    body = b"\x05\x01" + bytes([len(content)]) + content + b"\xbb" * (128 - 25 - len(content))
    return {0x9F27: memoryview(b"\x80"), 0x9F4B: memoryview(sealed(papers.card_key, body, terminal, around))}


def test_the_cryptogram_inside_a_combined_signature(papers: Papers) -> None:
    key = key_of(papers)
    assert isinstance(key, RsaKey)
    covered = bytes.fromhex("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709")  # SHA-1 of nothing
    good = b"\x02\x00\x07" + b"\x80" + b"CRYPTOGR" + covered
    assert oda.combined(key, dynamic(papers, good, NUMBER), NUMBER, ()) == b"CRYPTOGR"
    assert oda.combined(key, dynamic(papers, good, NUMBER), b"\x01\x02\x03\x05", ()) is Flaw.TRANSACTION
    assert oda.combined(key, dynamic(papers, good, NUMBER), NUMBER, (b"more",)) is Flaw.TRANSACTION
    other_kind = dynamic(papers, good.replace(b"\x80C", b"\x40C"), NUMBER)
    assert oda.combined(key, other_kind, NUMBER, ()) is Flaw.TRANSACTION
    for short in (b"", b"\x02", good[:-1], b"\x01\x07\x80" + b"CRYPTOGR" + covered, b"\x09" + bytes(9) + good[3:]):
        assert oda.combined(key, dynamic(papers, short, NUMBER), NUMBER, ()) is Flaw.LENGTH
    assert oda.combined(key, dynamic(papers, good, NUMBER, put(1, "04")), NUMBER, ()) is Flaw.SIGNATURE
    assert oda.combined(key, dynamic(papers, good, NUMBER, put(2, "02")), NUMBER, ()) is Flaw.ALGORITHM
    assert oda.combined(key, dynamic(papers, good, NUMBER, put(3, "FF")), NUMBER, ()) is Flaw.LENGTH


def test_fast_dda_of_another_version_is_none(papers: Papers) -> None:
    key = key_of(papers)
    assert isinstance(key, RsaKey)
    terminal = {0x9F37: NUMBER, 0x9F02: bytes(6), 0x5F2A: b"\x09\x78"}
    for related, flaw in ((b"\x01ABCD", None), (b"\x00ABCD", Flaw.LENGTH), (b"\x01ABC", Flaw.LENGTH), (b"\x01" * 17, Flaw.LENGTH)):
        card = dynamic(papers, b"\x02\x00\x07", NUMBER + bytes(6) + b"\x09\x78" + related)
        assert oda.fast(key, card | {0x9F69: memoryview(related)}, terminal) is flaw


# --- hostile cards --------------------------------------------------------------------------------------------------

TAGS = (0x82, 0x8F, 0x90, 0x92, 0x9F27, 0x9F32, 0x9F46, 0x9F47, 0x9F48, 0x9F4A, 0x9F4B, 0x9F69, 0x9F6C)
SIZES = st.sampled_from([0, 1, 2, 3, 36, 42, 127, 128, 176, 248, 255])
JUNK = st.one_of(st.binary(max_size=260), SIZES.flatmap(lambda size: st.binary(min_size=size, max_size=size)))


@pytest.fixture(scope="module")
def genuine(papers: Papers) -> dict[int, memoryview]:
    return papers.shown()


@pytest.fixture(scope="module")
def short() -> Papers:
    return Papers(rsa_key(1024, 3), rsa_key(1024, 3), rsa_key(1024, 3))


@given(st.dictionaries(st.sampled_from(TAGS), JUNK), st.binary(max_size=20), st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_random_bytes_as_certificates_are_a_flaw(
    papers: Papers, genuine: dict[int, memoryview], said: dict[int, bytes], pan: bytes, records: bytes
) -> None:
    for given_before in ({}, genuine):
        card = given_before | {tag: memoryview(value) for tag, value in said.items()}
        found = oda.card_key(papers.ca_keys, AID, card, bytearray(pan), [memoryview(records)], TODAY)
        assert isinstance(found, Flaw)


@given(st.dictionaries(st.sampled_from(TAGS), JUNK), st.integers(1, 248), st.sampled_from([1, 3, 65_537]), st.integers(0, 2**1984))
@settings(max_examples=200, deadline=None)
def test_random_signatures_are_a_flaw(said: dict[int, bytes], size: int, exponent: int, modulus: int) -> None:
    key, card = RsaKey(modulus | 1, exponent, size), {tag: memoryview(value) for tag, value in said.items()}
    if not key.sound:
        return
    assert isinstance(oda.combined(key, card, NUMBER, ()), Flaw)
    assert isinstance(oda.fast(key, card, {0x9F37: NUMBER, 0x9F02: bytes(6), 0x5F2A: bytes(2)}), Flaw)


@given(st.binary(min_size=106, max_size=106), st.sampled_from(["issuer", "card"]))
@settings(max_examples=100, deadline=None)
def test_random_text_well_signed_never_raises(short: Papers, noise: bytes, which: str) -> None:
    """A CA or issuer that signs anything: the inside of a certificate is as random as its outside."""

    def fill(text: bytearray) -> None:
        text[1 : len(noise)] = noise[1 : len(text)]

    assert isinstance(key_of(changed(short, **{which: fill})), RsaKey | Flaw)


@given(
    st.sampled_from(PROFILES),
    st.integers(0, 8),
    st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=150, deadline=None)
def test_damaged_answers_are_misread_or_not_authenticated(
    scheme: DemoScheme, ca_keys: CaKeys, profile: str, at: int, changes: list[tuple[int, int]]
) -> None:
    """One answer of a good card is damaged. If the card is still called authentic, its number is still its own."""

    def damage(index: int, command: bytes, answer: bytes) -> bytes:
        if index != at:
            return answer
        body = bytearray(answer[:-2])
        for place, value in changes:
            if body:
                body[place % len(body)] = value
        return bytes(body) + answer[-2:]

    try:
        reading = pay(answers(emv_card(profile, scheme=scheme), damage), ca_keys)
    except CardMisread:
        return
    if reading.flaw is None:
        assert reading.pan.decode() == PANS[profile]
