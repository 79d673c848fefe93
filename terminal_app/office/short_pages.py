"""`/s`: from the bank statement to the receipt. Code, amount and day must all agree; guessing is slow (DE-6 in rules of trade).

The short code alone opens nothing: it stands on statements that others may see, and is only 40 bits long.
"""

from decimal import Decimal, InvalidOperation

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from terminal_app.office import tries
from terminal_app.office.forms import Leaves, form_of, onwards
from terminal_app.office.receipts import Receipts
from terminal_app.office.store import Store

PER_ADDRESS, PER_CODE = 12, 6  # tries a minute; a good one costs nothing


class ShortPages:
    """Routes of /s."""

    def __init__(self, database: Store, demo: bool) -> None:
        self._database, self._receipts, self._leaves = database, Receipts(database), Leaves(demo)
        self.routes = [Route("/s", self.show), Route("/s", self.find, methods=["POST"])]

    def show(self, request: Request) -> Response:
        return self._page(request, 200, "", {})

    async def find(self, request: Request) -> Response:
        return await run_in_threadpool(self._find, request, await form_of(request))

    def _find(self, request: Request, form: dict[str, str]) -> Response:
        short = form.get("code", "").strip().lower()[:16]
        address = request.client.host if request.client else "unknown"
        limits = (tries.Limit(f"short-from:{address[:64]}", PER_ADDRESS), tries.Limit(f"short:{short}", PER_CODE))
        with self._database.write() as db:
            if not tries.take(db, *limits):
                return self._page(request, 429, "short_later", form)
        code = self._receipts.by_short(short, amount_of(form.get("amount", "")), form.get("day", "").strip())
        if not code:
            return self._page(request, 404, "short_none", form)
        with self._database.write() as db:
            tries.give_back(db, *limits)
        return onwards(f"/r/{code}")

    def _page(self, request: Request, status: int, problem: str, form: dict[str, str]) -> Response:
        said = {name: form.get(name, "")[:32] for name in ("code", "amount", "day")}
        return self._leaves.page(request, "short.html", status, problem=problem, **said)


def amount_of(text: str) -> Decimal:
    """The number in "9.48" or "9,48 EUR"; -1, which no receipt has, for anything else."""
    number = "".join(sign for sign in text.strip()[:16] if sign.isascii() and (sign.isdigit() or sign in ".,"))
    try:
        return Decimal(number.replace(",", "."))
    except InvalidOperation:
        return Decimal(-1)
