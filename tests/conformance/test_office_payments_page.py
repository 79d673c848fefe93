"""The payments page of a real office process: who may see it, what it shows, and that it renews itself by events."""

import http.client
import json
import time
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from terminal_app.office import live_page, store
from terminal_app.session import facts as f
from terminal_app.values import MoneyStep
from tests.peers.chromium import Chromium, installed
from tests.unit.account_samples import OPERATOR, OfficeProcess
from tests.unit.office_samples import TERMINAL, Desk, Terminal
from tests.unit.payment_samples import DAY, HOUR, Story, imported, line

DEADLINE_S = 60.0
ALLOWED = {"Authorization": f"Bearer {OPERATOR}"}
PATHS = ("/payments", "/payments/events", "/v1/payments", "/v1/payments/open", "/v1/payments/discrepancies")
PARTS = {"sums", "findings", "open", "recent"}


@pytest.fixture
def office() -> Iterator[OfficeProcess]:
    office = OfficeProcess()
    yield office
    office.close()


@pytest.fixture
def story(office: OfficeProcess) -> Iterator[Story]:
    desk = Desk(office.desk.url, terminal := Terminal())
    yield Story(desk, terminal)
    desk.database.close()


class Answer:
    """One answer, read line by line as a browser does."""

    def __init__(self, office: OfficeProcess, path: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", office.port, timeout=DEADLINE_S)
        self._connection.request("GET", path, headers=ALLOWED | headers)
        self._answer = self._connection.getresponse()
        self.status, self.headers = self._answer.status, self._answer.headers

    def text(self) -> str:
        with self:
            return self._answer.read().decode()

    def event(self) -> tuple[str, str, str]:
        """Id, name and data of the next event; what is no event (comments, the pause) is passed over."""
        said: dict[str, list[str]] = {}
        while True:
            raw = self._answer.readline()
            assert raw, "the stream ended"
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name:
                said.setdefault(name, []).append(value)
            elif "event" in said:
                return said["id"][0], said["event"][0], "\n".join(said["data"])
            else:
                said = {}

    def rest(self) -> str:
        """All that still comes; the server ends it."""
        return self._answer.read().decode()

    def until(self, name: str, shown: str) -> str:
        """The id of the event of that name that shows it."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            found, event, data = self.event()
            if event == name and shown in data:
                return found
        raise AssertionError(f"{shown!r} did not come")

    def __enter__(self) -> "Answer":
        return self

    def __exit__(self, *_: object) -> None:
        self._answer.close()
        self._connection.close()


class _Page(HTMLParser):
    """Every tag is closed in order; scripts are named."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs).get("src"))
        if tag not in ("meta", "link", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def orphan(story: Story, hold_id: str = "H-7") -> None:
    """A hold of yesterday whose session is over."""
    at = store.now_ms() - DAY
    story.held(hold_id, at=at, before=at + 10 * DAY)
    story.tell(f.SessionAborted("S-1", f.StopReason.NOT_PLUGGED), at=at)


def test_operators_only(office: OfficeProcess) -> None:
    for path in PATHS:
        for wrong in ("", "Bearer wrong"):
            with Answer(office, path, Authorization=wrong) as answer:
                assert answer.status == 401, path
                assert "Basic" in answer.headers["WWW-Authenticate"]


def test_the_page_is_complete_without_its_script(office: OfficeProcess, story: Story) -> None:
    orphan(story)
    page = Answer(office, "/payments")
    text = page.text()
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'; connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert _Page(text).scripts == ["/static/live.js"]
    for shown in ("orphan hold", "50.00 EUR", "1 d ago", f"charge-office command payment.release {TERMINAL} --hold H-7", "accept "):
        assert shown in text, shown
    with Answer(office, "/static/live.js") as script:
        assert script.status == 200
        assert "javascript" in script.headers["Content-Type"]
    assert '<a href="/payments">' in Answer(office, "/").text()
    with Answer(office, "/") as overview:
        assert "script-src" not in overview.headers["Content-Security-Policy"]


def test_filters_and_what_strangers_wrote(office: OfficeProcess, story: Story) -> None:
    story.held("H-1", at=store.now_ms() - HOUR, gateway="<b>bank")
    now = store.now_ms()
    row = line("hold", 700, now - DAY, reference="<script>alert(1)</script>")
    imported(story.desk, row, period=(now - 2 * DAY, now), gateway="other")
    text = Answer(office, "/payments?gateway=%3Cb%3Ebank&state=held").text()
    _Page(text)
    assert "<b>bank" not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<option selected>&lt;b&gt;bank</option>" in text
    assert 'class="sum">50.00 EUR' in text
    none = Answer(office, "/payments?state=captured&terminal=%00").text()
    assert "No payment" in none
    assert 'data-live="recent"' not in none, "a filtered list is not renewed with the unfiltered one"


def test_json(office: OfficeProcess, story: Story) -> None:
    orphan(story)
    (one,) = json.loads(Answer(office, "/v1/payments?state=held&limit=5").text())["payments"]
    assert (one["hold_id"], one["gateway"], one["amount_minor"]) == ("H-7", "main", 5000)
    assert json.loads(Answer(office, "/v1/payments?terminal=T-2").text())["payments"] == []
    (hold,) = json.loads(Answer(office, "/v1/payments/open").text())["open"]
    assert hold["age_s"] >= 24 * 3600
    (found,) = json.loads(Answer(office, "/v1/payments/discrepancies").text())["discrepancies"]
    assert (found["class"], found["hold_id"], found["accepted"]) == ("orphan_hold", "H-7", None)
    assert found["command"].startswith("charge-office command payment.release")


def test_a_browser_is_told_what_happens_and_after_a_break_only_what_is_new(office: OfficeProcess, story: Story) -> None:
    with Answer(office, "/payments/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        first = {stream.event()[1] for _ in PARTS}
        assert first == PARTS
        orphan(story)
        stream.until("findings", "orphan hold")
        last = stream.until("recent", "50.00 EUR")
    story.held("H-8", at=store.now_ms(), trace={})
    with Answer(office, "/payments/events", **{"Last-Event-ID": last}) as again:
        seen = again.until("open", "H-8")
        assert int(seen.partition("-")[2]) > int(last.partition("-")[2])
    with Answer(office, "/payments/events", **{"Last-Event-ID": "another-process"}) as stranger:
        assert {stranger.event()[1] for _ in PARTS} == PARTS


def test_an_office_that_is_told_to_stop_lets_its_listeners_go(office: OfficeProcess, story: Story) -> None:
    with Answer(office, "/payments/events") as stream:
        stream.event()
        office.stop()
        assert stream.rest().count("event: ") < len(PARTS)


def test_listeners_are_bounded_and_make_room_when_they_leave(office: OfficeProcess, story: Story) -> None:
    listeners = [Answer(office, "/payments/events") for _ in range(live_page.MAX_LISTENERS)]
    for one in listeners:
        one.event()
    with Answer(office, "/payments/events") as refused:
        assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
    assert "Everything agrees" in Answer(office, "/payments").text(), "the page itself is there for everybody"
    for one in listeners:
        one.__exit__()
    end = time.monotonic() + DEADLINE_S
    while (answer := Answer(office, "/payments/events")).status != 200:
        answer.text()
        assert time.monotonic() < end
        time.sleep(0.1)
    with answer:
        assert answer.event()[1] in PARTS


# --- in a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture
def browser() -> Iterator[Chromium]:
    if not installed():
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    browser = Chromium(390, 844)
    yield browser
    browser.close()


@pytest.mark.full
def test_in_a_browser_the_page_renews_itself_and_fits_a_phone(browser: Chromium, office: OfficeProcess, story: Story) -> None:
    orphan(story)
    browser.open(f"http://operator:{OPERATOR}@127.0.0.1:{office.port}/payments")
    assert "still held, but its session is over" in browser.run("document.body.innerText")
    browser.wait(lambda: str(browser.run("document.getElementById('live-state').textContent")).startswith("live"))
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    browser.run("window.same = true; getSelection().selectAllChildren(document.querySelector('[data-live=findings]'))")
    story.held("H-8", at=store.now_ms(), trace={})
    story.tell(f.VoidIntended("H-7", MoneyStep(2, store.now_ms(), 5000, "k"), "not plugged"), at=store.now_ms())
    browser.wait(lambda: "H-8" in browser.run("document.querySelector('[data-live=open]').innerText"))
    browser.wait(lambda: browser.run("document.querySelector('[data-live=sums] .figure').textContent") == "0")
    findings = "document.querySelector('[data-live=findings]').innerText"
    assert "payment.release" in browser.run(findings), "nothing moves under somebody who copies a command"
    browser.run("getSelection().removeAllRanges()")
    browser.wait(lambda: "Everything agrees" in browser.run(findings))
    assert browser.run("window.same"), "it was never loaded again"
    office.kill()
    browser.wait(lambda: str(browser.run("document.getElementById('live-state').textContent")).startswith("not live"))
    office.start()
    browser.wait(lambda: str(browser.run("document.getElementById('live-state').textContent")).startswith("live"))
