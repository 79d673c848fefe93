"""The conformance kit of gateways with hosted pages (QR): what must hold whatever happens between them and their peer.

A gateway's test module subclasses `CheckoutKit` and gives a `bench` fixture: the gateway behind a `FaultProxy`, the phone of
the driver, and the books of the peer. Holds and steps are dated now: peers look at the clock.
"""

import io
import logging
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from terminal_app.ports import CheckoutGateway, LookUp, PaymentGateway
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown
from tests.conformance.fault_proxy import REFUSED_FOR_NOW, UNKNOWN_AFTER, Fault, FaultProxy
from tests.conformance.gateway_kit import REASONS, a_card
from tests.conformance.scenarios import offered, scenario
from tests.peers.certificates import certificate, server_context

STATION = "Example Station, connector 1 (check word: maple)"
HARMLESS = (Fault.SLOW, Fault.DOUBLED_ANSWER, Fault.DOUBLED_REQUEST)


class Gateway(PaymentGateway, CheckoutGateway, Protocol):
    pass


class Books(Protocol):
    def held_minor(self) -> int: ...
    def captures(self) -> list[int]: ...
    def refunds(self) -> list[int]: ...
    def open_pages(self) -> int: ...


@dataclass
class CheckoutBench:
    gateway: Gateway
    unreachable: Gateway
    proxy: FaultProxy
    books: Books
    pay: Callable[[str], None]
    """The driver pays the page of this address."""
    decline: Callable[[str, DeclineReason], None]
    """The driver's card is refused there; the page stays open."""
    declines: tuple[DeclineReason, ...]
    """Reasons the gateway tells after a page has ended."""
    never: Mapping[DeclineReason, str]
    """Classes of refusal that it never tells, and why."""
    finish: Callable[[Hold, MoneyStep, Outcome], Outcome]
    """What a follow-up comes to: the outcome itself, or what a notification says about it later."""
    secrets: list[str]
    key_file: Path
    at: Callable[[str, int], Gateway]
    """A gateway at another address, or whose clock is off by so many milliseconds."""
    secure: Callable[[str, Path | None], Gateway]
    """A gateway in production mode at an https address that trusts only this CA file."""
    forget: Callable[[], None]
    """A day passes at the peer: what it forgets in that time, it forgets now."""
    learn: Callable[[Hold, Outcome | None], Outcome | None] = lambda hold, outcome: outcome
    """What asking for a page comes to: the outcome itself, or what a notification says about it."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def fresh_hold(serial: int = 41, amount_minor: int = 5000, age_ms: int = 0, **more: Any) -> Hold:
    return Hold(f"hold-{serial}", "qr", serial, now_ms() - age_ms, amount_minor, "EUR", 1, f"key-{serial}-authorize", **more)


def fresh_step(what: str, amount_minor: int, attempt: int = 1, age_ms: int = 0) -> MoneyStep:
    return MoneyStep(42, now_ms() - age_ms, amount_minor, f"key-41-{what}", attempt)


def shown(hold: Hold, opened: object) -> Hold:
    """The hold with its page's reference, as the engine commits it before it shows the page."""
    assert isinstance(opened, Checkout), opened
    return msgspec.structs.replace(hold, trace={"checkout": opened.reference})


def paid(bench: CheckoutBench, hold: Hold | None = None) -> Hold:
    hold = hold or fresh_hold()
    opened = bench.gateway.open_checkout(hold, STATION, 10)
    hold = shown(hold, opened)
    assert isinstance(opened, Checkout)
    bench.pay(opened.url)
    outcome = bench.learn(hold, bench.gateway.poll_checkout(hold, 10))
    assert isinstance(outcome, Approved), outcome
    return msgspec.structs.replace(hold, trace=outcome.trace)


def patience(fault: Fault) -> float:
    return 0.6 if fault is Fault.SILENT else 10


class CheckoutKit:
    # --- the page ------------------------------------------------------------------------------------------------

    @scenario("approve", "open")
    def test_a_page_holds_nothing_until_it_is_paid_and_then_the_asked_amount(self, bench: CheckoutBench) -> None:
        hold = fresh_hold()
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        assert isinstance(opened, Checkout)
        assert opened.expires_utc_ms > now_ms()
        hold = shown(hold, opened)
        assert bench.gateway.poll_checkout(hold, 10) is None
        assert bench.books.held_minor() == 0
        bench.pay(opened.url)
        outcome = bench.learn(hold, bench.gateway.poll_checkout(hold, 10))
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 5000 == bench.books.held_minor()

    def test_the_same_hold_opens_one_page_however_often(self, bench: CheckoutBench) -> None:
        hold = fresh_hold()
        first, again = (bench.gateway.open_checkout(hold, STATION, 10) for _ in range(2))
        assert isinstance(first, Checkout)
        assert first == again
        assert bench.books.open_pages() == 1

    def test_a_refused_card_leaves_the_page_to_another_try(self, bench: CheckoutBench) -> None:
        hold = fresh_hold()
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        hold = shown(hold, opened)
        assert isinstance(opened, Checkout)
        bench.decline(opened.url, DeclineReason.REFUSED)
        assert bench.gateway.poll_checkout(hold, 10) is None
        bench.pay(opened.url)
        assert isinstance(bench.learn(hold, bench.gateway.poll_checkout(hold, 10)), Approved)

    @scenario("decline, each class", "open")
    def test_every_class_of_refusal_is_told_after_the_page_ended(self, bench: CheckoutBench) -> None:
        assert {*bench.declines, *bench.never} == REASONS
        for n, reason in enumerate(bench.declines):
            hold = fresh_hold(500 + n)
            opened = bench.gateway.open_checkout(hold, STATION, 10)
            hold = shown(hold, opened)
            assert isinstance(opened, Checkout)
            bench.decline(opened.url, reason)
            bench.gateway.expire_checkout(hold, 10)
            outcome = bench.gateway.poll_checkout(hold, 10)
            assert isinstance(outcome, Declined)
            assert outcome.reason is reason
            assert outcome.code
        assert bench.books.held_minor() == 0

    def test_an_expired_page_holds_nothing_and_cannot_be_paid(self, bench: CheckoutBench) -> None:
        hold = shown(fresh_hold(), bench.gateway.open_checkout(fresh_hold(), STATION, 10))
        for _ in range(2):
            outcome = bench.gateway.expire_checkout(hold, 10)
            assert isinstance(outcome, Declined)
            assert outcome.reason is DeclineReason.TOO_LATE
        assert isinstance(bench.gateway.poll_checkout(hold, 10), Declined)
        assert bench.books.open_pages() == bench.books.held_minor() == 0

    @scenario("paid in the moment of expiry", "expire")
    def test_who_paid_in_the_moment_of_expiry_has_paid(self, bench: CheckoutBench) -> None:
        hold = fresh_hold()
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        hold = shown(hold, opened)
        assert isinstance(opened, Checkout)
        bench.pay(opened.url)
        outcome = bench.learn(hold, bench.gateway.expire_checkout(hold, 10))
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 5000
        assert bench.books.held_minor() == 5000

    def test_a_release_ends_a_page_paid_or_not(self, bench: CheckoutBench) -> None:
        hold = shown(fresh_hold(), bench.gateway.open_checkout(fresh_hold(), STATION, 10))
        assert isinstance(self.void(bench, hold, "void-open"), Approved)
        assert bench.books.open_pages() == 0
        hold = fresh_hold(77)
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        hold = shown(hold, opened)
        assert isinstance(opened, Checkout)
        bench.pay(opened.url)  # nobody polled: the release finds the money
        assert bench.books.held_minor() == 5000
        assert isinstance(self.void(bench, hold, "void-paid"), Approved)
        assert bench.books.held_minor() == 0

    def test_no_card_is_ever_taken(self, bench: CheckoutBench) -> None:
        assert isinstance(bench.gateway.authorize(fresh_hold(), a_card(), 10), Declined)
        assert bench.proxy.seen == []

    # --- lost and spoiled answers --------------------------------------------------------------------------------

    @scenario("lost reply", "open")
    @scenario("garbage", "open")
    @scenario("5xx", "open")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_an_opening_without_a_trustworthy_answer_is_repeated_or_released(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = fresh_hold()
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.open_checkout(hold, STATION, patience(fault)), OutcomeUnknown)
        assert isinstance(self.void(bench, hold, "void"), Approved)  # no reference was ever committed
        again = bench.gateway.open_checkout(hold, STATION, 10)
        assert isinstance(again, Checkout)
        assert bench.books.open_pages() == 1
        assert isinstance(bench.gateway.expire_checkout(shown(hold, again), 10), Declined)
        assert bench.books.open_pages() == bench.books.held_minor() == 0

    @scenario("lost reply", "poll")
    @scenario("garbage", "poll")
    @scenario("5xx", "poll")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_polling_through_faults_finds_the_payment(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = fresh_hold()
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        hold = shown(hold, opened)
        assert isinstance(opened, Checkout)
        bench.pay(opened.url)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.poll_checkout(hold, patience(fault)), OutcomeUnknown)
        assert isinstance(bench.learn(hold, bench.gateway.poll_checkout(hold, 10)), Approved)

    @scenario("lost reply", "look_up")
    @scenario("garbage", "look_up")
    @scenario("5xx", "look_up")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_a_look_up_through_faults_finds_the_payment(self, bench: CheckoutBench, fault: Fault) -> None:
        offered(bench.gateway, "look_up")
        assert isinstance(bench.gateway, LookUp)
        hold = fresh_hold()
        opened = bench.gateway.open_checkout(hold, STATION, 10)
        assert isinstance(opened, Checkout)
        bench.pay(opened.url)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.look_up(shown(hold, opened), patience(fault)), OutcomeUnknown)
        assert isinstance(bench.learn(hold, bench.gateway.look_up(shown(hold, opened), 10)), Approved)

    @scenario("lost reply", "expire")
    @scenario("garbage", "expire")
    @scenario("5xx", "expire")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_expiring_through_faults_ends_the_page(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = shown(fresh_hold(), bench.gateway.open_checkout(fresh_hold(), STATION, 10))
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.expire_checkout(hold, patience(fault)), OutcomeUnknown)
        assert isinstance(bench.gateway.expire_checkout(hold, 10), Declined)
        assert bench.books.open_pages() == 0

    @scenario("lost reply", "capture")
    @scenario("garbage", "capture")
    @scenario("5xx", "capture")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_a_capture_repeated_after_no_answer_takes_the_money_once(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = paid(bench)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), patience(fault)), OutcomeUnknown)
        outcome = self.capture(bench, hold, 1234, attempt=2)
        assert isinstance(outcome, Approved)
        assert outcome.amount_minor == 1234
        assert bench.books.captures() == [1234]

    @scenario("lost reply", "void")
    @scenario("garbage", "void")
    @scenario("5xx", "void")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_a_release_is_repeated_until_answered(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = paid(bench)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.void(hold, fresh_step("void", 5000), patience(fault)), OutcomeUnknown)
        assert isinstance(self.void(bench, hold, "void", attempt=2), Approved)
        assert bench.books.held_minor() == 0
        assert bench.books.captures() == []

    @scenario("lost reply", "refund")
    @scenario("garbage", "refund")
    @scenario("5xx", "refund")
    @pytest.mark.parametrize("fault", UNKNOWN_AFTER, ids=lambda fault: fault.name)
    def test_a_refund_repeated_after_no_answer_is_given_once(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = paid(bench)
        assert isinstance(self.capture(bench, hold, 1234), Approved)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.refund(hold, fresh_step("refund", 500), patience(fault)), OutcomeUnknown)
        assert isinstance(self.refund(bench, hold, 500, attempt=2), Approved)
        assert bench.books.refunds() == [500]

    @scenario("slow", "open", "capture", "void", "refund")
    @scenario("duplicate", "open", "capture", "void", "refund")
    @pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: fault.name)
    def test_slow_and_doubled_exchanges_change_nothing(self, bench: CheckoutBench, fault: Fault) -> None:
        bench.proxy.next(*[fault] * 40)
        hold = paid(bench)
        assert isinstance(self.capture(bench, hold, 1234), Approved)
        assert isinstance(self.refund(bench, hold, 500), Approved)
        assert isinstance(self.void(bench, paid(bench, fresh_hold(43)), "void-43"), Approved)
        assert bench.books.held_minor() == 1234
        assert bench.books.captures() == [1234]
        assert bench.books.refunds() == [500]

    @scenario("4xx", "capture", "void", "refund")
    @pytest.mark.parametrize("fault", REFUSED_FOR_NOW, ids=lambda fault: fault.name)
    def test_a_refusal_that_says_nothing_about_the_money_is_asked_again(self, bench: CheckoutBench, fault: Fault) -> None:
        hold = paid(bench)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
        assert isinstance(self.capture(bench, hold, 1234, attempt=2), Approved)
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.refund(hold, fresh_step("refund", 500), 10), OutcomeUnknown)
        assert isinstance(self.refund(bench, hold, 500, attempt=2), Approved)
        hold = paid(bench, fresh_hold(43))
        bench.proxy.next(fault)
        assert isinstance(bench.gateway.void(hold, fresh_step("void", 5000), 10), OutcomeUnknown)
        assert isinstance(self.void(bench, hold, "void", attempt=2), Approved)
        assert (bench.books.captures(), bench.books.refunds()) == ([1234], [500])

    def test_two_threads_never_take_each_others_answers(self, bench: CheckoutBench) -> None:
        """The engine authorizes and settles at once."""
        holds = [fresh_hold(600 + n) for n in range(6)]
        with ThreadPoolExecutor(6) as pool:
            pages = list(pool.map(lambda hold: bench.gateway.open_checkout(hold, STATION, 20), holds))
        ready = []
        for hold, page in zip(holds, pages, strict=True):
            assert isinstance(page, Checkout)
            bench.pay(page.url)
            ready.append(shown(hold, page))
        with ThreadPoolExecutor(6) as pool:
            polled = list(pool.map(lambda hold: bench.gateway.poll_checkout(hold, 20), ready))
        assert all(isinstance(bench.learn(hold, one), Approved) for hold, one in zip(ready, polled, strict=True))

    @scenario("random faults", "all")
    @pytest.mark.parametrize("seed", [*range(3), *(pytest.param(n, marks=pytest.mark.full) for n in range(3, 60))])
    def test_journeys_through_random_faults_end_each_hold_once(self, bench: CheckoutBench, seed: int) -> None:
        """Any fault at any exchange, a restarted gateway after each answer; each hold ends as the books say, once."""
        chance = random.Random(seed)
        faults = [one for one in Fault if one is not Fault.SILENT]
        taken: list[int] = []

        def ask(call: Callable[[Gateway], Outcome | Checkout | None]) -> Outcome | Checkout | None:
            gateway = bench.at(bench.proxy.url, 0)
            bench.proxy.next(*chance.choices([Fault.NONE, *faults], [len(faults), *[1] * len(faults)], k=8))
            try:
                return call(gateway)
            finally:
                bench.proxy.next()

        def until_answered(hold: Hold, call: Callable[[Gateway], Outcome | None], step: MoneyStep | None = None) -> Outcome:
            for _ in range(60):
                outcome = ask(call)
                assert not isinstance(outcome, Checkout)
                outcome = bench.learn(hold, outcome) if step is None else bench.finish(hold, step, outcome or OutcomeUnknown(""))
                if isinstance(outcome, Approved | Declined):
                    return outcome
            raise AssertionError("never answered")

        for serial in range(700, 704):
            hold, plan = fresh_hold(serial), chance.choice(["capture", "void", "expire", "race"])
            page: object = None
            for _ in range(60):
                page = ask(lambda gateway, hold=hold: gateway.open_checkout(hold, STATION, 10))  # type: ignore[misc]
                if isinstance(page, Checkout):
                    break
            hold = shown(hold, page)
            assert isinstance(page, Checkout)
            step = fresh_step(f"{serial}-{plan}", chance.randint(1, 5000))
            if plan != "expire":
                bench.pay(page.url)
            if plan in ("expire", "race"):
                ended = until_answered(hold, lambda gateway, hold=hold: gateway.expire_checkout(hold, 10))  # type: ignore[misc]
                assert isinstance(ended, Approved if plan == "race" else Declined)
            if plan == "capture":
                held = until_answered(hold, lambda gateway, hold=hold: gateway.poll_checkout(hold, 10))  # type: ignore[misc]
                assert isinstance(held, Approved)
                hold = msgspec.structs.replace(hold, trace=held.trace)
                taken.append(step.amount_minor)
                do = "capture"
            else:
                do = "void"
            end = until_answered(hold, lambda g, hold=hold, step=step, do=do: getattr(g, do)(hold, step, 10), step)  # type: ignore[misc]
            assert isinstance(end, Approved), (plan, end)
        assert sorted(bench.books.captures()) == sorted(taken)
        assert bench.books.held_minor() == sum(taken)
        assert bench.books.open_pages() == 0

    # --- wrong orders --------------------------------------------------------------------------------------------

    @scenario("wrong order", "void")
    def test_a_captured_hold_is_not_released_any_more(self, bench: CheckoutBench) -> None:
        hold = paid(bench)
        assert isinstance(self.capture(bench, hold, 777), Approved)
        outcome = self.void(bench, hold, "void")
        assert isinstance(outcome, Declined)
        assert outcome.reason is DeclineReason.ALREADY_DONE
        assert bench.books.captures() == [777]

    @scenario("wrong order", "capture")
    def test_a_released_hold_is_not_captured_any_more(self, bench: CheckoutBench) -> None:
        hold = paid(bench)
        assert isinstance(self.void(bench, hold, "void"), Approved)
        outcome = self.capture(bench, hold, 777)
        assert isinstance(outcome, Declined)
        assert outcome.reason in {DeclineReason.ALREADY_DONE, DeclineReason.TOO_LATE}
        assert bench.books.captures() == []

    @pytest.mark.parametrize("amount_minor", [0, -1, 5001])
    def test_no_capture_outside_the_hold_is_ever_sent(self, bench: CheckoutBench, amount_minor: int) -> None:
        hold = paid(bench)
        before = len(bench.proxy.seen)
        assert isinstance(bench.gateway.capture(hold, fresh_step("capture", amount_minor), 10), Declined)
        assert len(bench.proxy.seen) == before

    def test_no_more_is_refunded_than_was_captured(self, bench: CheckoutBench) -> None:
        hold = paid(bench)
        assert isinstance(self.capture(bench, hold, 1234), Approved)
        assert isinstance(self.refund(bench, hold, 1235), Declined)
        assert bench.books.refunds() == []

    def test_releasing_what_the_peer_never_saw_is_done(self, bench: CheckoutBench) -> None:
        assert isinstance(self.void(bench, fresh_hold(), "void"), Approved)

    # --- links, keys, clocks -------------------------------------------------------------------------------------

    @scenario("unreachable", "open")
    def test_an_unreachable_peer_certainly_holds_nothing(self, bench: CheckoutBench) -> None:
        outcome = bench.unreachable.open_checkout(fresh_hold(), STATION, 5)
        assert isinstance(outcome, Declined)
        assert outcome.reason is DeclineReason.UNREACHABLE

    def test_everything_after_it_stays_unknown_while_unreachable(self, bench: CheckoutBench) -> None:
        page = shown(fresh_hold(77), bench.gateway.open_checkout(fresh_hold(77), STATION, 10))
        assert isinstance(bench.unreachable.poll_checkout(page, 5), OutcomeUnknown)
        assert isinstance(bench.unreachable.expire_checkout(page, 5), OutcomeUnknown)
        assert isinstance(bench.unreachable.void(page, fresh_step("void-77", 5000), 5), OutcomeUnknown)
        hold = paid(bench)
        assert isinstance(bench.unreachable.capture(hold, fresh_step("capture", 1), 5), OutcomeUnknown)
        assert isinstance(bench.unreachable.void(hold, fresh_step("void", 5000), 5), OutcomeUnknown)
        assert isinstance(bench.unreachable.refund(hold, fresh_step("refund", 1), 5), OutcomeUnknown)

    @scenario("TLS expired", "open")
    @scenario("TLS untrusted", "open")
    @scenario("TLS other name", "open")
    @scenario("TLS plain", "open")
    @pytest.mark.parametrize("wrong", ["expired", "untrusted", "other name", "plain"])
    def test_nothing_is_sent_to_a_peer_that_is_not_who_it_should_be(self, bench: CheckoutBench, tmp_path: Path, wrong: str) -> None:
        files = certificate(
            tmp_path,
            "peer",
            days_left=-1 if wrong == "expired" else 30,
            address="127.0.0.2" if wrong == "other name" else "127.0.0.1",
        )
        trusted = certificate(tmp_path, "somebody")[0] if wrong == "untrusted" else files[0]
        proxy = FaultProxy(bench.proxy.peer_port, bench.proxy.front, None if wrong == "plain" else server_context(files))
        try:
            gateway = bench.secure(proxy.url.replace("http:", "https:"), trusted)
            outcome = gateway.open_checkout(fresh_hold(), STATION, 10)
            assert isinstance(outcome, Declined)
            assert outcome.reason is DeclineReason.UNREACHABLE
            hold = paid(bench)
            assert isinstance(gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
            assert gateway.check(10) != ""
            assert proxy.seen == []
        finally:
            proxy.close()
        assert isinstance(self.capture(bench, hold, 1234, attempt=2), Approved)

    def test_a_trusted_peer_is_talked_to_over_tls(self, bench: CheckoutBench, tmp_path: Path) -> None:
        files = certificate(tmp_path, "peer")
        proxy = FaultProxy(bench.proxy.peer_port, bench.proxy.front, server_context(files))
        try:
            assert bench.secure(proxy.url, files[0]).check(10) == ""
            assert bench.secure(proxy.url, None).check(10) != ""  # the public certificates do not vouch for it
        finally:
            proxy.close()

    def test_plain_http_is_refused_outside_demo(self, bench: CheckoutBench) -> None:
        with pytest.raises(ValueError, match="https://"):
            bench.secure(bench.proxy.url, None)

    @scenario("lost reply", "check")
    @scenario("garbage", "check")
    @scenario("5xx", "check")
    def test_check_says_nothing_when_all_is_well_and_what_is_wrong_otherwise(self, bench: CheckoutBench) -> None:
        assert bench.gateway.check(10) == ""
        assert bench.unreachable.check(5) != ""
        for fault in UNKNOWN_AFTER:
            bench.proxy.next(fault)
            assert bench.gateway.check(patience(fault)) != "" or fault in (Fault.STRANGER, Fault.WRONG_FORM)
        assert bench.books.held_minor() == bench.books.open_pages() == 0

    def test_a_lapsed_key_opens_nothing_and_loses_nothing(self, bench: CheckoutBench) -> None:
        """Refused credentials say nothing about money that is held already; the renewed key goes on without a restart."""
        hold = paid(bench)
        good = bench.key_file.read_text()
        bench.key_file.write_text("lapsed_0123456789")
        assert "401" in bench.gateway.check(10)
        refused = bench.gateway.open_checkout(fresh_hold(99), STATION, 10)
        assert isinstance(refused, Declined)
        assert refused.reason is DeclineReason.GATEWAY_REFUSED
        assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
        bench.key_file.unlink()
        assert isinstance(bench.gateway.capture(hold, fresh_step("capture", 1234), 10), OutcomeUnknown)
        bench.key_file.write_text(good)
        assert isinstance(self.capture(bench, hold, 1234, attempt=3), Approved)

    @scenario("key lapse", "capture", "void", "refund")
    @pytest.mark.parametrize("lost", [Fault.LOST, Fault.UNSENT], ids=lambda fault: fault.name)
    @pytest.mark.parametrize("what", ["capture", "void", "refund"])
    def test_a_day_later_a_repeat_still_takes_effect_once(self, bench: CheckoutBench, what: str, lost: Fault) -> None:
        hold = paid(bench)
        if what == "refund":
            assert isinstance(self.capture(bench, hold, 1234), Approved)
        step = fresh_step(what, {"capture": 1234, "void": 5000, "refund": 500}[what])
        bench.proxy.next(lost)
        assert isinstance(getattr(bench.gateway, what)(hold, step, 10), OutcomeUnknown)
        bench.forget()
        later = msgspec.structs.replace(step, attempt=9)
        outcome = bench.finish(hold, later, getattr(bench.at(bench.proxy.url, 25 * 3_600_000), what)(hold, later, 10))
        assert isinstance(outcome, Approved), outcome
        got = {"capture": bench.books.captures, "refund": bench.books.refunds, "void": bench.books.held_minor}[what]()
        assert got == {"capture": [1234], "refund": [500], "void": 0}[what]

    @scenario("clock skew", "open", "capture")
    @pytest.mark.parametrize(
        "off_ms",
        [-3 * 86_400_000, -86_400_000, -7_200_000, 7_200_000, 86_400_000, 3 * 86_400_000],
        ids=["-3d", "-1d", "-2h", "+2h", "+1d", "+3d"],
    )
    def test_a_wrong_clock_still_sells(self, bench: CheckoutBench, off_ms: int) -> None:
        gateway = bench.at(bench.proxy.url, off_ms)
        hold = fresh_hold(age_ms=-off_ms)
        opened = gateway.open_checkout(hold, STATION, 10)
        assert isinstance(opened, Checkout), opened
        hold = shown(hold, opened)
        bench.pay(opened.url)
        outcome = bench.learn(hold, gateway.poll_checkout(hold, 10))
        assert isinstance(outcome, Approved)
        hold = msgspec.structs.replace(hold, trace=outcome.trace)
        step = fresh_step("capture", 1234, age_ms=-off_ms)
        assert isinstance(bench.finish(hold, step, gateway.capture(hold, step, 10)), Approved)
        assert bench.books.captures() == [1234]

    @scenario("no secret written", "open")
    def test_no_secret_in_any_log_repr_or_answer(self, bench: CheckoutBench) -> None:
        page = io.StringIO()
        listening = logging.StreamHandler(page)
        root = logging.getLogger()
        level = root.level
        root.addHandler(listening)
        root.setLevel(logging.DEBUG)
        try:
            said: list[object] = [bench.gateway, vars(bench.gateway)]
            for fault in (Fault.NONE, *UNKNOWN_AFTER):
                bench.proxy.next(fault)
                said.append(bench.gateway.open_checkout(fresh_hold(), STATION, patience(fault)))
                bench.proxy.next(fault)
                said.append(bench.gateway.check(patience(fault)))
            said.append(bench.unreachable.check(5))
        finally:
            root.removeHandler(listening)
            root.setLevel(level)
        everything = page.getvalue() + "".join(repr(one) for one in said)
        for secret in bench.secrets:
            assert secret not in everything

    # --- words ---------------------------------------------------------------------------------------------------

    @staticmethod
    def capture(bench: CheckoutBench, hold: Hold, amount_minor: int, attempt: int = 1) -> Outcome:
        step = fresh_step("capture", amount_minor, attempt)
        return bench.finish(hold, step, bench.gateway.capture(hold, step, 10))

    @staticmethod
    def void(bench: CheckoutBench, hold: Hold, what: str, attempt: int = 1) -> Outcome:
        step = fresh_step(what, 5000, attempt)
        return bench.finish(hold, step, bench.gateway.void(hold, step, 10))

    @staticmethod
    def refund(bench: CheckoutBench, hold: Hold, amount_minor: int, attempt: int = 1) -> Outcome:
        step = fresh_step("refund", amount_minor, attempt)
        return bench.finish(hold, step, bench.gateway.refund(hold, step, 10))
