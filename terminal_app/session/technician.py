"""Test charges of service personnel: every closing of a contactor belongs to a session, so a technician's does, too. PURE.

It goes the way of any charge (two readings, contactor, two readings, OCMF, sealed record marked as a test, energy booked); only
nobody pays, and it has an end by time. Its tariff is its own and zero, so that the connector needs none.
"""

from functools import lru_cache

from terminal_app.billing import canonical
from terminal_app.billing.tariff import Tariff, parse_tariff
from terminal_app.session import events, limits, sale, start
from terminal_app.session import facts as f
from terminal_app.session.state import Phase, State, Terms
from terminal_app.session.turn import Turn

LONGEST_S = 600
SILENT_MS = 5_000


@lru_cache(maxsize=4)
def test_tariff(currency: str, country: str) -> Tariff:
    """What a test costs: nothing."""
    component = {"type": "ENERGY", "price": 0, "step_size": 1}
    written = {
        "country_code": country,
        "party_id": "TST",
        "id": "TEST",
        "currency": currency,
        "tax_included": "N/A",
        "elements": [{"price_components": [component]}],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    return parse_tariff(canonical.canonical(written))


def refusal(state: State, terms: Terms, event: events.TestCommanded) -> str:
    """Why a test cannot begin, as a sentence; "" if it can."""
    connector = event.connector
    if why := state.no_connector(connector):
        return why
    if not 1 <= event.seconds <= LONGEST_S:
        return f"a test takes 1 to {LONGEST_S} seconds"
    if event.limit_a and event.limit_a < limits.LEAST_A:
        return f"no controller can limit to {event.limit_a} A, only down to {limits.LEAST_A} A"
    if session := state.sessions.get(connector):
        what = "a test" if session.test else "a driver's charge"
        return f"connector {connector} has {what} ({session.session_id}): wait for its end, or stop it first"
    if out := sale.out_of_service(state, terms):
        return f"the terminal is out of service ({out.value}): no record of a test could be sealed"
    evse = state.live[connector].evse
    if evse is None or terms.now.mono_ms - evse.stamp.mono_ms > SILENT_MS:
        return f"the charge controller of connector {connector} does not answer"
    if evse.fault:
        return f"the charge controller of connector {connector} reports {evse.fault}"
    if evse.pilot not in start.PLUGGED:
        return f"no car and no test adapter is plugged in at connector {connector} (pilot {evse.pilot.value})"
    return ""


def commanded(turn: Turn, connector: int, event: events.Event) -> None:
    """Open the session; what was asked before may have changed since, then nothing begins."""
    assert isinstance(event, events.TestCommanded)
    terms = turn.terms
    if refusal(turn.state, terms, event):
        return
    tariff = test_tariff(terms.config.terminal.currency, terms.config.terminal.country)
    turn.commit(
        f.SessionOpened(
            session_id=terms.fresh_id,
            connector=connector,
            tariff=tariff.raw,
            tariff_fingerprint=tariff.fingerprint,
            free=True,
            language=terms.config.terminal.languages[0],
            plug_deadline_mono_ms=terms.now.mono_ms + terms.config.policy.plug_window_s * 1000,
            origin="service",
            test=True,
            test_s=event.seconds,
            test_limit_a=event.limit_a,
        )
    )
    start.authorized_evse(turn, connector, event)


def over(turn: Turn, connector: int) -> bool:
    """The time of a test is over."""
    session = turn.state.sessions[connector]
    if not session.test or session.phase is not Phase.CHARGING or session.started is None:
        return False
    return turn.terms.now.mono_ms - session.started.mono_ms >= session.test_s * 1000
