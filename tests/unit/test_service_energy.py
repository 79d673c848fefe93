"""charge-service on energy: a meter is accepted by name, a weld alarm cleared, the account of every meter shown."""

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from terminal_app.session import events
from terminal_app.session.facts import FaultCleared, MeterAccepted, ServiceAct
from terminal_app.values import Pilot
from tests.service_tool import Tool, answering
from tests.sessions import Paper, terminal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def tool(site: Paper, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Tool:
    return Tool(site.path, capsys).without_pcsc(monkeypatch)


def idle(site: Paper, seconds: int = 3, wh_each: int = 0) -> None:
    for _ in range(seconds):
        site.pass_time(1)
        site.wh += wh_each
        site.evse(Pilot.A)
        site.turn(events.MeterReported(1, site.reading()))


def test_a_reset_meter_is_named_accepted_by_name_and_for_sale_again(site: Paper, tool: Tool) -> None:
    site.paid_session(5_000)
    site.wh = 17
    idle(site)
    with answering(site):
        code, text = tool("status")
        assert code == 2 and "register_reset" in text and "charge-service meter accept" in text
        assert tool("meter", "accept", 1)[0] == 3, "a reason is needed"
        code, text = tool("meter", "accept", 1, "--reason", "meter was reset by the grid operator")
        assert code == 0 and "0.017 kWh" in text
        assert tool("status")[0] == 0
        code, _ = tool("meter", "accept", 1, "--reason", "again")
        assert code == 2 and "nothing to accept" in tool.stderr
    facts = [entry.fact for entry in site.ledger.entries()]
    (act,) = (one for one in facts if isinstance(one, ServiceAct))
    (accepted,) = (one for one in facts if isinstance(one, MeterAccepted))
    assert (act.act, act.actor, act.reason) == ("meter.accept", getpass.getuser(), "meter was reset by the grid operator")
    assert accepted.old is not None and (accepted.old.energy_wh, accepted.value.energy_wh) == (1_239_560, 17)


def test_the_account_shows_where_the_energy_went(site: Paper, tool: Tool) -> None:
    with answering(site):
        assert "no charge yet" in tool("meter", "balance")[1]
    site.paid_session(5_000)
    idle(site, 10, wh_each=1)
    with answering(site):
        code, found = tool.json("meter", "balance")
        assert code == 0 and "unexplained" in tool("meter", "balance")[1]
    (one,) = found["open"]
    assert (one["risen_wh"], one["sessions_wh"], one["tests_wh"], one["unexplained_wh"]) == (5_010, 5_000, 0, 10)
    site.pass_time(86_400)
    site.wh += 2_000
    idle(site)
    with answering(site):
        code, found = tool.json("meter", "balance")
        assert code == 1, "much energy that nobody can explain is a warning"
        code, text = tool("status")
        assert code == 1 and "unexplained" in text and "for sale" in text
    (closed,) = found["closed"]
    assert (closed["sessions_wh"], closed["unexplained_wh"], closed["why"]) == (5_000, 2_010, "daily")


def test_a_weld_alarm_is_cleared_by_name_when_the_register_has_stood_still(site: Paper, tool: Tool) -> None:
    site.paid_session(5_000)
    idle(site, 12, wh_each=5)
    with answering(site):
        code, text = tool("status")
        assert code == 2 and "energy_while_open" in text and "charge-service evse accept" in text
        code, _ = tool("evse", "accept", 1, "--reason", "contactor replaced")
        assert code == 2 and "stood still for 60 s" in tool.stderr
    idle(site, 62)
    with answering(site):
        code, text = tool("evse", "accept", 1, "--reason", "contactor replaced")
        assert code == 0 and "energy_while_open" in text and tool("status")[0] == 0
        assert tool("evse", "accept", 1, "--reason", "again")[0] == 2
    facts = [entry.fact for entry in site.ledger.entries()]
    assert sum(isinstance(one, FaultCleared) for one in facts) == sum(isinstance(one, ServiceAct) for one in facts) == 1


def test_a_second_stop_order_is_refused_and_leaves_no_fact(site: Paper, tool: Tool, caplog: pytest.LogCaptureFixture) -> None:
    """SteVe #1293: the first stop counts; the second is rejected and logged."""
    site.tap()
    site.charge(1_000, seconds=600)
    with answering(site):
        assert tool("session", "stop", 1, "--reason", "smell of burning")[0] == 0
        code, _ = tool("session", "stop", 1, "--reason", "another reason")
    assert code == 2 and "being stopped already" in tool.stderr
    assert "a second stop was rejected" in caplog.text and "another reason" in caplog.text
    acts = [entry.fact for entry in site.ledger.entries() if isinstance(entry.fact, ServiceAct)]
    assert [one.reason for one in acts] == ["smell of burning"]


def test_the_same_start_and_stop_value_is_said(site: Paper, tool: Tool) -> None:
    """SteVe #1264."""
    session_id = site.paid_session(0)
    site.close()
    _, text = tool("session", "explain", session_id)
    assert "the same as at the start, nothing was delivered" in text
