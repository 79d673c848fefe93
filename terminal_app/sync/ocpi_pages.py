"""OCPI's CDRs module for those who pull: `GET .../cdrs`, 2.2.1 and 2.3.0. The order is that of publication, so pages are stable.

Sources: OCPI 2.2.1 and 2.3.0, mod_cdrs (sender interface) and transport_and_format ("paginated").
"""

import logging
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from terminal_app.billing import canonical
from terminal_app.billing.exports.ocpi import Version, utc_text
from terminal_app.errors import WireError
from terminal_app.sync.cdr_body import CdrBodies, NotSayable
from terminal_app.sync.pull_access import PullAccess
from terminal_app.sync.pull_core import SharedCore
from terminal_app.wire import CdrPage

log = logging.getLogger(__name__)
MAX_PAGE = 100
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
VERSIONS: tuple[Version, ...] = ("2.2.1", "2.3.0")


class OcpiPages:
    """Answers in OCPI's envelope, errors too. Any thread."""

    def __init__(self, core: SharedCore, access: PullAccess, bodies: CdrBodies) -> None:
        self._core, self._access, self._bodies = core, access, bodies
        self.routes = [Route(f"/ocpi/{version}/cdrs", partial(self.cdrs, version), methods=["GET"]) for version in VERSIONS]

    def cdrs(self, version: Version, request: Request) -> Response:
        """`?date_from=` (incl.) `&date_to=` (excl.) `&offset=&limit=`; the dates are those of `last_updated`."""
        if not self._access.client(request):
            return envelope(401, 2001, "unknown client or wrong token", headers={"WWW-Authenticate": "Token"})
        asked = request.query_params
        try:
            from_ms, to_ms = moment_ms(asked.get("date_from", "")), moment_ms(asked.get("date_to", ""))
            offset, limit = whole(asked.get("offset", "0")), whole(asked.get("limit", str(MAX_PAGE)))
        except ValueError as problem:
            return envelope(400, 2001, str(problem))
        limit = min(limit, MAX_PAGE) or MAX_PAGE
        try:
            page = self._core.ask(lambda core: core.cdrs_between(from_ms, to_ms, offset, limit))
        except WireError as trouble:
            return envelope(503, 3000, f"the terminal's core does not answer: {trouble}", headers={"Retry-After": "10"})
        headers = {"X-Total-Count": str(page.total), "X-Limit": str(MAX_PAGE)}
        after = offset + len(page.rows)
        if page.rows and after < page.total:
            kept = {name: asked[name] for name in ("date_from", "date_to") if name in asked}
            query = urlencode(kept | {"offset": str(after), "limit": str(limit)})
            headers["Link"] = f'<{request.url.replace(query="", fragment="")}?{query}>; rel="next"'
        return envelope(200, 1000, "Success", self._said(page, version), headers)

    def _said(self, page: CdrPage, version: Version) -> list[dict[str, Any]]:
        found = list[dict[str, Any]]()
        for row in page.rows:
            try:
                found.append(self._bodies.cdr(row, version, page.ocmf_keys))
            except NotSayable as problem:
                log.error("left out of a page: %s", problem)
        return found


def envelope(status: int, code: int, message: str, data: object = None, headers: dict[str, str] | None = None) -> Response:
    """An answer as OCPI frames it."""
    body = {"status_code": code, "status_message": message, "timestamp": utc_text(int(datetime.now(UTC).timestamp() * 1000))}
    said = canonical.canonical(body if data is None else body | {"data": data})
    return Response(said, status, HEADERS | (headers or {}), media_type="application/json")


def moment_ms(text: str) -> int:
    """UTC ms of an OCPI DateTime (UTC, "Z" may be missing); 0 for "". ValueError in a sentence."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        since = found - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:40]!r} is no date and time such as 2026-01-31T23:59:59Z") from error
    return -(-(since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds) // 1000)  # up: never too early


def whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise ValueError(f"{text[:40]!r} is not a whole number from 0")
    return int(text)
