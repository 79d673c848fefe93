"""The account API over HTTP, as an operator's programs and strangers see it, against an office process."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from terminal_app.office import store
from terminal_app.office.access import hash_of
from terminal_app.office.account_tables import postings
from terminal_app.office.accounts import NewAccount
from tests.unit.account_samples import OPERATOR, OfficeProcess

SECRET = "a-secret-of-the-account-holder-1"


@pytest.fixture(scope="module")
def office() -> Iterator[OfficeProcess]:
    process = OfficeProcess()
    yield process
    assert process.desk.trouble() == []
    log = process.log()
    process.close()
    assert "Traceback" not in log
    assert SECRET not in log


def ask(
    office: OfficeProcess, method: str, path: str, token: str = "", body: Any = None, media_type: str = "application/json"
) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(office.url + path, raw, {"Content-Type": media_type}, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_an_account_from_opening_to_statement(office: OfficeProcess) -> None:
    terminal, token = office.desk.terminal()
    card = "ab" * 16
    said = {"key": "1", "account": "FLEET-9", "currency": "EUR", "kind": "fleet", "credit_minor": 1000, "card": card}
    assert ask(office, "POST", "/v1/accounts", OPERATOR, said)[0] == 200
    assert ask(office, "POST", "/v1/accounts", OPERATOR, said)[1]["code"] == "exists"
    money = {"key": "t1", "amount_minor": 5000, "way": "stripe", "note": "payment 7"}
    for _ in range(2):
        status, answer = ask(office, "POST", "/v1/accounts/FLEET-9/topups", OPERATOR, money)
        assert (status, answer["balance_minor"], answer["request"]) == (200, 5000, "t1")
    hold = {"key": "h1", "amount_minor": 7000, "currency": "EUR", "card": card, "partial": True}
    status, held = ask(office, "POST", "/v1/accounts/by-card/holds", token, hold)
    assert (status, held["held_minor"], held["request"]) == (200, 6000, "h1")
    taken = {"key": "c1", "amount_minor": 1190, "vat_minor": 190}
    assert ask(office, "POST", f"/v1/holds/{held['hold']}/capture", token, taken)[1]["state"] == "captured"
    assert ask(office, "GET", "/v1/holds/by-key/h1", token)[1]["captured_minor"] == 1190
    assert ask(office, "GET", "/v1/holds/by-key/none", token)[0] == 404
    back = {"key": "r1", "amount_minor": 190, "note": "goodwill"}
    assert ask(office, "POST", f"/v1/holds/{held['hold']}/refund", token, back)[1]["refunded_minor"] == 190
    assert ask(office, "GET", "/v1/terminals/self", token)[1] == {"terminal": terminal}
    (topped_up,) = office.desk.rows(postings, key="t1")
    month = _month(topped_up["utc_ms"])
    status, told = ask(office, "GET", f"/v1/accounts/FLEET-9/statement?month={month}", OPERATOR)
    assert status == 200
    assert told["opening_minor"] + sum(entry["amount_minor"] for entry in told["entries"]) == told["closing_minor"] == 4000
    assert ask(office, "GET", "/v1/accounts/FLEET-9/statement?month=soon", OPERATOR)[0] == 422
    assert ask(office, "GET", f"/v1/accounts/NONE/statement?month={month}", OPERATOR)[0] == 404


def test_account_id_and_secret_instead_of_a_card(office: OfficeProcess) -> None:
    _, token = office.desk.terminal()
    office.desk.accounts.add(NewAccount("HOME-1", "EUR", secret_sha256=hash_of(SECRET)))
    office.desk.accounts.top_up("HOME-1", 500, "home-1", "bank", "")
    said = {"key": "h1", "amount_minor": 300, "currency": "EUR"}
    wrong = ask(office, "POST", "/v1/accounts/HOME-1/holds", token, said | {"secret": "wrong"})
    assert (wrong[0], wrong[1]["code"]) == (402, "unknown_account")
    unknown = ask(office, "POST", "/v1/accounts/HOME-2/holds", token, said | {"secret": SECRET})
    assert unknown[1] == wrong[1]  # nobody learns which accounts exist
    assert ask(office, "POST", "/v1/accounts/HOME-1/holds", token, said | {"secret": SECRET})[0] == 200
    mixed = said | {"key": "h2", "card": "ab" * 16}
    assert ask(office, "POST", "/v1/accounts/HOME-1/holds", token, mixed)[0] == 422


PATHS = (
    ("POST", "/v1/accounts"),
    ("POST", "/v1/accounts/A-1/topups"),
    ("GET", "/v1/accounts/A-1/statement?month=2026-01"),
    ("POST", "/v1/accounts/by-card/holds"),
    ("POST", "/v1/accounts/by-card/slices"),
    ("POST", "/v1/holds/AH1/capture"),
    ("POST", "/v1/holds/AH1/void"),
    ("POST", "/v1/holds/AH1/refund"),
    ("POST", "/v1/holds/by-key/k/void"),
    ("GET", "/v1/holds/by-key/k"),
    ("POST", "/v1/slices/SL1/spend"),
    ("POST", "/v1/slices/SL1/return"),
    ("GET", "/v1/terminals/self"),
)


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda part: str(part))
def test_strangers_and_the_wrong_kind_of_token_are_refused(office: OfficeProcess, method: str, path: str) -> None:
    _, token = office.desk.terminal()
    for given in ("", "wrong", OPERATOR if "accounts/A-1" not in path and path != "/v1/accounts" else token):
        status, answer = ask(office, method, path, given, {"key": "k"} if method == "POST" else None)
        assert (status, answer["code"]) == (401, "unknown_token")


def test_two_terminals_with_one_token_are_both_strangers(office: OfficeProcess) -> None:
    (first, token), (second, _) = office.desk.terminal(), office.desk.terminal()
    with office.desk.database.write() as db:
        same = sa.update(store.terminals).where(store.terminals.c.terminal == second).values(token_sha256=hash_of(token))
        db.execute(same)
    assert first != second
    assert ask(office, "GET", "/v1/terminals/self", token)[0] == 401


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff\xfe", b"[" * 5000, b'{"key":"k","amount_minor":-1,"currency":"EUR","card":"' + b"a" * 32 + b'"}']
    + [b'{"key":"k","amount_minor":1.5,"currency":"EUR"}', b'{"key":"k k","amount_minor":1,"currency":"EUR"}']
    + [b'{"key":"k","amount_minor":1,"currency":"EUR","more":1}', b'{"key":"k","amount_minor":99999999999999,"currency":"EUR"}'],
)
def test_what_is_no_request_is_refused_and_changes_nothing(office: OfficeProcess, body: bytes) -> None:
    _, token = office.desk.terminal()
    status, answer = ask(office, "POST", "/v1/accounts/by-card/holds", token, body)
    assert (status, answer["code"]) == (400, "bad_request")
    assert answer["error"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_form_of_another_site_cannot_speak_with_an_operators_login(office: OfficeProcess, media_type: str) -> None:
    name = f"EVIL-{len(media_type)}"
    said = {"key": name, "account": name, "currency": "EUR", "kind": "fleet", "credit_minor": 1000}
    status, answer = ask(office, "POST", "/v1/accounts", OPERATOR, said, media_type)
    assert (status, answer["code"]) == (415, "bad_media_type")
    assert ask(office, "POST", "/v1/accounts", OPERATOR, said)[0] == 200, "nothing was made before"


def test_a_body_that_never_ends_is_cut(office: OfficeProcess) -> None:
    _, token = office.desk.terminal()
    assert ask(office, "POST", "/v1/accounts/by-card/holds", token, b" " * 20_000)[0] == 413


def _month(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms // 1000, UTC).strftime("%Y-%m")
