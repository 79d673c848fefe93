"""What the pages for phones share: plain HTML without script, a bounded form, the words of the phone's language."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jinja2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from terminal_app.office.pages import clock_text, duration_text, kwh_text, local, money
from terminal_app.office.phone_words import PHONE_WORDS
from terminal_app.office.words import language_of

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}
MAX_FORM = 4 * 1024
FORM_TIMEOUT_S = 20


class Leaves:
    """Renders the pages. Any thread."""

    def __init__(self, demo: bool) -> None:
        self._demo = demo
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._templates.filters |= {"money": money, "kwh": kwh_text, "clock": clock_text, "hms": duration_text, "local": local}

    def page(self, request: Request, name: str, status: int, **values: Any) -> Response:
        language = language_of(request.headers.get("accept-language", ""))
        page = self._templates.get_template(name).render(demo=self._demo, language=language, t=PHONE_WORDS[language], **values)
        return HTMLResponse(page, status, HEADERS)

    def message(self, request: Request, message: str, status: int) -> Response:
        """A page that only says something: "expired", "unknown", "later"."""
        return self.page(request, "phone_message.html", status, message=message)


def onwards(path: str) -> Response:
    """After a form was taken: going back or loading again sends nothing twice."""
    return RedirectResponse(path, 303, HEADERS)


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form; empty for anything that is none, or too large, or too slow."""
    body = bytearray()

    async def read() -> None:
        async for chunk in request.stream():
            body.extend(chunk[: MAX_FORM + 1 - len(body)])

    try:
        await asyncio.wait_for(read(), FORM_TIMEOUT_S)
        if len(body) > MAX_FORM:
            return {}
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=8))
    except (TimeoutError, ClientDisconnect, ValueError):
        return {}
