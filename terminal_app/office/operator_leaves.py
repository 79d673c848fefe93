"""What the operator's document pages share: who may see them, the time zone, plain HTML without script, downloads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from terminal_app.office.access import Access
from terminal_app.office.forms import HEADERS
from terminal_app.office.words import WORDS

_ASK = {"WWW-Authenticate": 'Basic realm="charge-office", charset="UTF-8"'}


class OperatorLeaves:
    """Renders, in English. Any thread."""

    def __init__(self, access: Access, demo: bool, time_zone: str) -> None:
        self._access, self._demo, self.time_zone = access, demo, time_zone
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )

    def only(self, handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
        """The handler, for operators."""

        def asked(request: Request) -> Response:
            if not self._access.is_operator(request):
                return self.refusal("operators only: the password is the operator token", 401, _ASK)
            return handler(request)

        return asked

    def page(self, name: str, **values: Any) -> Response:
        html = self._templates.get_template(name).render(
            demo=self._demo, language="en", t=WORDS["en"], time_zone=self.time_zone, **values
        )
        return HTMLResponse(html, 200, HEADERS)

    def refusal(self, sentence: str, status: int, more: dict[str, str] | None = None) -> Response:
        return PlainTextResponse(sentence, status, HEADERS | (more or {}))


def download(content: bytes, name: str, media_type: str) -> Response:
    """`name` is ours: letters, digits, - and a point."""
    inline = "inline" if media_type == "application/pdf" else "attachment"
    return Response(content, media_type=media_type, headers=HEADERS | {"Content-Disposition": f'{inline}; filename="{name}"'})
