"""Gateways' notifications at the office: kept before `[accepted]` is said, relayed verbatim, once, to whose hold they name."""

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any

from starlette.requests import Request

from terminal_app import wire
from terminal_app.billing.command import Command, open_command
from terminal_app.http_client import HttpAnswer, HttpTrouble
from terminal_app.office import access, store
from terminal_app.office.commands import RELAYS_PER_MINUTE
from tests.conformance import test_sync_office
from tests.conformance.test_downlink import fetch, order, post
from tests.conformance.test_sync_office import Site, wait_for
from tests.unit.office_samples import TERMINAL

site = test_sync_office.site
KEY = "a" * 32


def item(reference: str = KEY, psp: str = "PSP0000000000001") -> dict[str, Any]:
    inner = {"pspReference": psp, "merchantReference": reference, "eventCode": "AUTHORISATION", "success": "true"}
    return {"NotificationRequestItem": inner}


def body_of(*items: dict[str, Any]) -> bytes:
    return json.dumps({"live": "false", "notificationItems": items}, indent=1).encode()


def notify(site: Site, body: bytes, path: str = "/v1/notifications/adyen") -> HttpAnswer:
    return post(site, path, body, **{"Content-Type": "application/json"})


def relayed(site: Site) -> list[Command]:
    return [open_command(jws, site.public_key, TERMINAL) for jws in json.loads(fetch(site).body)["commands"]]


def rows(site: Site, question: str) -> list[tuple[Any, ...]]:
    books = sqlite3.connect(site.place / "office.db")
    try:
        return books.execute(question).fetchall()
    finally:
        books.close()


def with_a_hold(site: Site) -> None:
    """The office has heard of a hold of the terminal whose gateway knows it as KEY."""
    core = site.start_core()
    hold = {"hold_id": "H-1", "gateway": "pages", "amount_minor": 5000, "currency": "EUR", "utc_ms": 1, "key": KEY}
    fact = {"type": "authorization_intended", "session_id": "S-1", "hold": hold, "card": {}}
    core.facts.append(wire.FactRow(1, 1_767_348_000_000, "authorization_intended", "S-1", json.dumps(fact)))
    site.start_office("--demo")
    site.start_sync()
    wait_for(lambda: core.facts_through == 1)
    assert site.sync
    site.sync.kill()
    site.sync.wait(10)


def test_a_notification_goes_to_the_terminal_whose_hold_it_names_verbatim_and_once(site: Site) -> None:
    with_a_hold(site)
    body = body_of(item())
    for _ in range(3):
        answer = notify(site, body)
        assert (answer.status, answer.body) == (200, b"[accepted]")
    (command,) = relayed(site)
    assert (command.act, command.args) == ("relay.notification", {"gateway": "pages", "body": body.decode()})
    forged = body.replace(b"PSP0000000000001", b"PSP0000000000002")
    assert notify(site, forged).status == 200
    assert len(relayed(site)) == 2, "another body is another notification: which of them is genuine the terminal tells"


def test_several_in_one_envelope_are_relayed_one_by_one(site: Site) -> None:
    with_a_hold(site)
    assert notify(site, body_of(item(), item(psp="PSP0000000000002"))).body == b"[accepted]"
    found = [json.loads(command.args["body"])["notificationItems"] for command in relayed(site)]
    assert found == [[item()], [item(psp="PSP0000000000002")]]


def test_one_that_names_no_hold_is_kept_and_alarmed(site: Site) -> None:
    site.start_office("--demo")
    body = body_of(item("unknown"))
    for _ in range(2):
        assert notify(site, body).body == b"[accepted]"
    assert rows(site, "SELECT gateway, body FROM stray_notifications") == [("adyen", body.decode())]
    assert [kind for (kind,) in rows(site, "SELECT kind FROM alarms")] == ["stray-notification"]
    assert relayed(site) == []


def test_an_address_may_name_the_terminal(site: Site) -> None:
    site.start_office("--demo")
    body = body_of(item("not heard of yet"))
    assert notify(site, body, f"/v1/notifications/pages/{TERMINAL}").body == b"[accepted]"
    assert [command.args for command in relayed(site)] == [{"gateway": "pages", "body": body.decode()}]
    assert notify(site, body, "/v1/notifications/pages/T-0009").body == b"[accepted]"
    assert len(rows(site, "SELECT * FROM stray_notifications")) == 1


NOTHING: tuple[tuple[bytes, int], ...] = (
    (b"", 400),
    (b"{}", 400),
    (b"[]", 400),
    (b"\xff", 400),
    (b"[" * 60_000, 400),
    (b'{"notificationItems": []}', 400),
    (b'{"notificationItems": [1]}', 400),
    (b'{"notificationItems": [{"NotificationRequestItem": {"merchantReference": 1}}]}', 400),
    (b'{"notificationItems": [{"NotificationRequestItem": {"merchantReference": "\\ud800"}}]}', 400),
    (body_of(*(item() for _ in range(11))), 400),
    (b" " * 70_000, 413),
)


def test_what_is_no_notification_is_not_kept(site: Site) -> None:
    site.start_office("--demo")
    for number, (body, status) in enumerate(NOTHING):
        try:
            assert notify(site, body).status == status, number
        except HttpTrouble:
            assert status == 413, number
    assert notify(site, body_of(item()), "/v1/notifications/a%20b").status == 404
    assert rows(site, "SELECT * FROM stray_notifications") == []


def test_a_flood_is_stemmed_and_orders_still_get_through(site: Site) -> None:
    site.start_office("--demo")
    address = f"/v1/notifications/a/{TERMINAL}"
    seen = [notify(site, body_of(item(psp=f"PSP{number:013d}")), address).status for number in range(RELAYS_PER_MINUTE + 10)]
    assert seen[0] == 200 and seen[-1] == 429
    assert RELAYS_PER_MINUTE <= rows(site, "SELECT count(*) FROM commands")[0][0] < len(seen)
    order(site)


def test_strangers_send_nothing_to_an_office_that_is_no_demo(tmp_path: Path) -> None:
    database = store.Store(f"sqlite:///{tmp_path}/office.db", create=True)
    for token, given, wanted in (("", "", False), ("", "x", False), ("secret-of-24-characters!", "x", False)):
        assert access.Access(database, "", False, token).is_gateway(_asked(given)) is wanted
    ours = access.Access(database, "operator-token-of-24-char", False, "secret-of-24-characters!")
    assert ours.is_gateway(_asked("secret-of-24-characters!")) and not ours.is_operator(_asked("secret-of-24-characters!"))
    assert not ours.is_gateway(_asked("operator-token-of-24-char"))
    database.close()


def _asked(password: str) -> Request:
    basic = base64.b64encode(f"gateway:{password}".encode()).decode()
    return Request({"type": "http", "headers": [(b"authorization", f"Basic {basic}".encode())]})
