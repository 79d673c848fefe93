"""CDRs to an OCPI receiver that does everything wrong: each gets there once, in order, in the same bytes, or is told of."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from terminal_app.billing import canonical
from terminal_app.config import OcpiSection
from terminal_app.engine import cdr_orders
from terminal_app.http_client import HttpAnswer, HttpClient
from terminal_app.session.facts import CdrDelivered, CdrRejected
from terminal_app.sync import ocpi_push
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.ocpi_push import OcpiPush
from terminal_app.sync.receiver import Fate, same_origin, shown_is_ours, verdict
from tests.conformance.carrying import Carrying, carrying
from tests.conformance.ocpi_receiver import KEEPS, TOKEN, Mood, Receiver

TURNS = 60


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Carrying]:
    with carrying(tmp_path, sessions=3) as found:
        yield found


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


class Pushing:
    """Sync's thread that posts CDRs, turn by turn; `reborn` as after a kill."""

    def __init__(self, core: Carrying, receiver: Receiver, **ocpi: object) -> None:
        self._core = core
        self._ocpi = OcpiSection(url=receiver.url, token_file=Path("/"), **{"deadline_s": 1, **ocpi})  # type: ignore[arg-type]
        self.reborn()

    def reborn(self) -> None:
        self.link = CoreLink(self._core.socket)
        client = HttpClient(demo=True, max_body=ocpi_push.MAX_ANSWER)
        self.push = OcpiPush(self.link, client, self._ocpi, TOKEN, every_s=5, chance=random.Random(1))

    def until_idle(self) -> int:
        """Turns it took. The waits between are not waited for."""
        for count in range(TURNS):
            if not self.link.next_cdr().rows:
                self.push.turn()
                return count
            self.push.turn()
        raise AssertionError(f"not done after {TURNS} turns")


def fates(core: Carrying) -> list[tuple[int, str]]:
    facts = [one.fact for one in core.site.ledger.entries(kinds=("cdr_delivered", "cdr_rejected"))]
    return [(one.record_seq, one.location if isinstance(one, CdrDelivered) else "") for one in facts]  # type: ignore[union-attr]


def test_each_cdr_in_order_and_its_place_is_kept(core: Carrying, receiver: Receiver) -> None:
    credit = core.credit(1, 50)
    pushing = Pushing(core, receiver)
    pushing.until_idle()
    ids = receiver.books.came
    assert ids[3:] == [f"{ids[0][:34]}-C1", f"{ids[0][:34]}-R1"] and not receiver.books.wrong
    assert fates(core) == [(seq, receiver.place(cdr_id)) for seq, cdr_id in zip((1, 3, 5, credit, credit), ids, strict=True)]
    assert core.engine.state.chain.carried.cdrs_through == (credit, 1)
    cdr_orders.cdrs_again(core.engine, {"record": credit, "reason": "they lost it"}, "me")
    assert core.engine.state.chain.carried.cdrs_again == ((credit, 0), (credit, 1))
    pushing.until_idle()
    assert receiver.books.came == ids and not receiver.books.wrong
    assert core.engine.state.chain.acknowledged_through == 0  # the office's watermark is another matter


@pytest.mark.parametrize(("guessable", "conflicts"), [(True, True), (False, False)])
@pytest.mark.parametrize("mood", [mood for mood in Mood if mood is not Mood.REFUSES_2001])
def test_whatever_it_does_once_each_is_there_once(tmp_path: Path, mood: Mood, guessable: bool, conflicts: bool) -> None:
    receiver = Receiver(guessable, conflicts)
    try:
        with carrying(tmp_path, sessions=2) as core:
            receiver.moods = [mood, Mood.FINE, mood]
            pushing = Pushing(core, receiver)
            pushing.until_idle()
            books = receiver.books
            assert not books.wrong
            assert list(books.cdrs) == books.came and len(books.came) == 2
            assert [seq for seq, _ in fates(core)] == [1, 3]
            assert all(place for _, place in fates(core))
    finally:
        receiver.close()


def test_what_is_refused_is_told_and_holds_up_nothing(core: Carrying, receiver: Receiver) -> None:
    receiver.moods = [Mood.FINE, Mood.REFUSES_2001, Mood.FINE]
    pushing = Pushing(core, receiver)
    pushing.until_idle()
    rejected = [one.fact for one in core.site.ledger.entries(kinds=("cdr_rejected",))]
    assert rejected == [CdrRejected(3, 200, "answered 200 with 2001: no such tariff")]
    assert len(receiver.books.cdrs) == 2
    assert core.engine.state.chain.carried.cdrs_rejected == ((3, 0),)
    core.engine.ask(lambda: None)
    assert "office/0/cdr_rejected" in core.engine.state.faults
    with pytest.raises(ValueError, match="is not a CDR"):
        cdr_orders.cdrs_again(core.engine, {"record": 2, "reason": "r"}, "me")
    with pytest.raises(ValueError, match="needs a reason"):
        cdr_orders.cdrs_again(core.engine, {"record": 3}, "me")
    cdr_orders.cdrs_again(core.engine, {"record": 3, "reason": "they mended it"}, "me")
    with pytest.raises(ValueError, match="due anyway"):
        cdr_orders.cdrs_again(core.engine, {"record": 3, "reason": "again"}, "me")
    pushing.until_idle()
    assert len(receiver.books.cdrs) == 3 and core.engine.state.chain.carried.cdrs_through == (5, 0)
    core.engine.ask(lambda: None)
    assert "office/0/cdr_rejected" not in core.engine.state.faults
    shown = cdr_orders.cdrs_show(core.engine, {}, "me")
    assert (shown["through"], shown["rejected"], [one["record"] for one in shown["fates"]]) == (5, [], [3, 5, 3, 1])


def test_a_kill_between_store_and_answer_leads_to_a_look_first(core: Carrying, receiver: Receiver) -> None:
    pushing = Pushing(core, receiver)
    for _ in range(3):
        receiver.moods = [Mood.STORES_RESET]
        pushing.push.turn()
        pushing.reborn()
        pushing.push.turn()
    assert [seq for seq, _ in fates(core)] == [1, 3, 5]
    assert len(receiver.books.tries) == 3  # never posted again: it was read back


def test_another_cdr_under_the_same_id_is_never_taken_for_ours(core: Carrying, receiver: Receiver) -> None:
    pushing = Pushing(core, receiver)
    receiver.moods = [Mood.STORES_RESET]
    pushing.push.turn()
    (cdr_id,) = receiver.books.cdrs
    receiver.books.cdrs[cdr_id] = receiver.books.cdrs[cdr_id].replace(b'"total_energy":0.5', b'"total_energy":0.6')
    pushing.until_idle()
    first = [one.fact for one in core.site.ledger.entries(kinds=("cdr_rejected",))]
    assert [(one.record_seq, "another CDR" in one.why) for one in first if isinstance(one, CdrRejected)] == [(1, True)]


def test_a_receiver_that_never_says_where_is_given_up_not_waited_for(core: Carrying) -> None:
    receiver = Receiver(guessable=False)
    receiver.moods = [Mood.STORES_NO_LOCATION] * ocpi_push.UNCLEAR_MOST
    receiver.conflicts = False
    try:
        Pushing(core, receiver).until_idle()
        assert [bool(place) for _, place in fates(core)] == [False, True, True]
    finally:
        receiver.close()


def test_the_core_believes_no_fate_of_a_cdr_that_is_not_due(core: Carrying) -> None:
    link = CoreLink(core.socket)
    assert "not due" in link.cdr_ended(3, 201, "http://x/", "")
    assert link.cdr_ended(1, 201, "http://x/", "") == ""
    assert "not due" in link.cdr_ended(1, 201, "http://x/", "")
    link.close()


def test_the_operators_own_codes_stand_in_the_cdr(core: Carrying, receiver: Receiver) -> None:
    Pushing(core, receiver, country_code="NL", party_id="ABC", city="Delft", version="2.3.0").until_idle()
    said = msgspec.json.decode(next(iter(receiver.books.cdrs.values())))
    assert (said["country_code"], said["party_id"], said["cdr_token"]["party_id"]) == ("NL", "ABC", "ABC")
    assert said["cdr_location"]["city"] == "Delft" and "taxes" in said["total_cost"]


@pytest.mark.parametrize(
    ("status", "body", "location", "fate"),
    [
        (201, b'{"status_code":1000}', "/cdrs/1", Fate.STORED),
        (200, b'{"status_code":1000}', "https://else.example/1", Fate.STORED),
        (200, b'{"status_code":1000}', "", Fate.THERE),
        (200, b'{"status_code":1000}', "x" * 600, Fate.THERE),
        (200, b'{"status_code":1000}', "javascript:alert(1)", Fate.THERE),
        (200, b'{"status_code":2001}', "/cdrs/1", Fate.REFUSED),
        (200, b'{"status_code":3000}', "/cdrs/1", Fate.LATER),
        (200, b'{"status_code":"1000"}', "/cdrs/1", Fate.LATER),
        (200, b"", "/cdrs/1", Fate.LATER),
        (409, b"", "", Fate.THERE),
        (422, b"", "", Fate.REFUSED),
        (401, b'{"status_code":2001}', "", Fate.LATER),
        (404, b"", "", Fate.LATER),
        (500, b'{"status_code":1000}', "/cdrs/1", Fate.LATER),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, location: str, fate: Fate) -> None:
    answer = HttpAnswer(status, {"location": location} if location else {}, body)
    assert verdict(answer, "https://r.example/ocpi/cdrs").fate is fate


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "odd", [DEEP, b"1e9999999", b"1e99999999999999999999", b"1e-99999999999999999999", b"9" * 5000, b'"\\ud800"', b"NaN", b"null"]
)
def test_no_answer_ends_the_thread_that_reads_it(odd: bytes) -> None:
    """It is the process that carries the records to the office."""
    cdr = {"id": "A", "country_code": "DE", "party_id": "ABC", "currency": "EUR", "total_energy": 1, "total_cost": {"excl_vat": 1}}
    cdr |= dict.fromkeys(("start_date_time", "end_date_time"), "2026-01-01T00:00:00Z")
    shown = canonical.canonical(cdr).replace(b'"total_energy":1', b'"total_energy":' + odd)
    answer = HttpAnswer(200, {"location": "/cdrs/1"}, b'{"status_code":1000,"data":' + shown + b"}")
    assert shown_is_ours(answer, cdr) is not True
    assert verdict(answer, "https://r.example/ocpi/cdrs").fate in (Fate.STORED, Fate.LATER)


def test_our_token_goes_to_no_other_origin() -> None:
    ours = "https://r.example/ocpi/cdrs"
    assert same_origin("https://r.example/x", ours)
    for other in ("https://r.example:444/x", "http://r.example/x", "https://r.example.evil/x", "https://r.example@evil/x"):
        assert not same_origin(other, ours)
    assert Mood.FINE in KEEPS
