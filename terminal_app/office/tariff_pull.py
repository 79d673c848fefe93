"""Tariffs of somebody else's OCPI endpoint (2.2.1 or 2.3.0, the sender's `tariffs` list): all pages, or nothing. Moves no money.

Source: OCPI 2.3.0 transport_and_format (Authorization: Token base64, Link header of the next page). Nothing read here is
believed by a terminal before the operator or the office has signed it.
"""

import base64
import re
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from terminal_app.billing import canonical
from terminal_app.billing.foreign import tariffs_of
from terminal_app.billing.model import Tariff
from terminal_app.errors import TariffRefused
from terminal_app.http_client import HttpAnswer

MAX_PAGES = 50
MAX_TARIFFS = 1000
MAX_PAGE_BYTES = 2 * 1024 * 1024
DEADLINE_S = 30.0
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


class Caller(Protocol):
    """`http_client.HttpClient`."""

    def call(self, method: str, url: str, *, deadline_s: float, headers: dict[str, str]) -> HttpAnswer: ...


def pull(client: Caller, url: str, token: str) -> tuple[Tariff, ...]:
    """Every tariff of the list. TariffRefused: an answer or a tariff that is not understood as a whole; HttpTrouble."""
    headers = {"Authorization": f"Token {base64.b64encode(token.encode()).decode()}", "Accept": "application/json"}
    found, page = list[Tariff](), url
    for _ in range(MAX_PAGES):
        answer = client.call("GET", page, deadline_s=DEADLINE_S, headers=headers)
        if answer.status != 200:
            raise TariffRefused(f"{_place(page)}: answered HTTP {answer.status}")
        found += _tariffs(answer.body, page)
        if len(found) > MAX_TARIFFS:
            raise TariffRefused(f"{_place(url)}: more than {MAX_TARIFFS} tariffs")
        following = _NEXT.search(answer.headers.get("link", ""))
        if following is None:
            return tuple(found)
        page = _next_page(page, following[1])
    raise TariffRefused(f"{_place(url)}: more than {MAX_PAGES} pages")


def _tariffs(body: bytes, page: str) -> tuple[Tariff, ...]:
    try:
        answer = canonical.parse(body, MAX_PAGE_BYTES)
    except ValueError as error:
        raise TariffRefused(f"{_place(page)}: is not JSON: {error}") from error
    if not isinstance(answer, dict) or not isinstance(answer.get("status_code"), int):
        raise TariffRefused(f"{_place(page)}: is not an OCPI answer")
    if answer["status_code"] in range(1000, 2000) and answer.get("data") == []:
        return ()  # an empty last page
    return tariffs_of(answer)


def _next_page(page: str, link: str) -> str:
    """The next page lies on the same server: the token is for nobody else."""
    following = urljoin(page, link)
    if urlsplit(following)[:2] != urlsplit(page)[:2]:
        raise TariffRefused(f"{_place(page)}: its next page lies on another server")
    return following


def _place(url: str) -> str:
    """Without its query, which may hold anything."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"
