"""Pages about invoices: the driver's (behind the receipt's unguessable code, its only credential) and the operator's list.

The driver's form is bounded in every field and in number; asking again with the same data gives the same invoice.
"""

import logging
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import jinja2
import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from terminal_app.office import invoice_cases, store
from terminal_app.office.accounts import Refused
from terminal_app.office.buyer_form import FIELDS, buyer_of, typed
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.forms import HEADERS, form_of, onwards
from terminal_app.office.invoice_paper import csv_of
from terminal_app.office.invoices import Invoices
from terminal_app.office.local_time import clock_words
from terminal_app.office.notifications import Pace
from terminal_app.office.operator_leaves import OperatorLeaves, download
from terminal_app.office.pages import money
from terminal_app.office.words import WORDS, language_of

log = logging.getLogger(__name__)
PER_MINUTE = 60
"""New invoices of all drivers together; each is a PDF made while the books are locked."""
_CODE = re.compile(r"[a-z2-7]{32}")
_NUMBER = re.compile(r"[A-Z0-9-]{1,40}")


class InvoicePages:
    """Routes of /r/CODE/invoice and /invoices. Blocking handlers run in Starlette's thread pool."""

    def __init__(self, database: store.Store, invoices: Invoices, leaves: OperatorLeaves, demo: bool) -> None:
        self._database, self._invoices, self._leaves, self._demo = database, invoices, leaves, demo
        self._pace = Pace(PER_MINUTE)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._templates.globals["invoice_words"] = DOCUMENT_WORDS
        self.routes = [
            Route("/r/{code}/invoice", self.show),
            Route("/r/{code}/invoice", self.ask, methods=["POST"]),
            Route("/r/{code}/invoice/{number}.pdf", self.driver_pdf),
            Route("/invoices", leaves.only(self.listed)),
            Route("/invoices/{month}.csv", leaves.only(self.csv)),
            Route("/invoices/{number}.pdf", leaves.only(self.pdf)),
        ]

    # --- the driver's ------------------------------------------------------------------------------------------------

    def show(self, request: Request) -> Response:
        return self._page(request, 200, "", dict.fromkeys(FIELDS, ""))

    async def ask(self, request: Request) -> Response:
        fields = typed(await form_of(request))
        known = await run_in_threadpool(self._known, request.path_params["code"])
        if known and not self._pace.allows(time.monotonic()):  # who has no receipt takes nobody's turn
            return await run_in_threadpool(self._page, request, 429, "too_many", fields)
        return await run_in_threadpool(self._ask, request, fields)

    def _known(self, code: str) -> bool:
        return _CODE.fullmatch(code) is not None and self._invoices.offer(code).why_not != "unknown"

    def _ask(self, request: Request, fields: dict[str, str]) -> Response:
        code = request.path_params["code"]
        buyer = buyer_of(fields)
        if isinstance(buyer, str):
            return self._page(request, 422, buyer, fields)
        try:
            if not _CODE.fullmatch(code):
                raise Refused(404, "not_unknown", "no such receipt")
            self._invoices.issue(code, buyer, language_of(request.headers.get("accept-language", "")))
        except Refused as refusal:
            return self._page(request, refusal.status, refusal.code, fields)
        except sa.exc.SQLAlchemyError as problem:
            log.error("an invoice was not issued: %s", type(problem).__name__)
            return self._page(request, 503, "later", fields)
        return onwards(f"/r/{code}/invoice")

    def driver_pdf(self, request: Request) -> Response:
        """Only documents of the very session whose code the address has."""
        code, number = request.path_params["code"], request.path_params["number"]
        offer = self._invoices.offer(code) if _CODE.fullmatch(code) else None
        for row in offer.documents if offer else ():
            if row["number"] == number:
                return download(row["pdf"], f"{number}.pdf", "application/pdf")
        return self._page(request, 404, "not_unknown", dict.fromkeys(FIELDS, ""))

    def _page(self, request: Request, status: int, problem: str, fields: dict[str, str]) -> Response:
        code = request.path_params["code"]
        offer = self._invoices.offer(code) if _CODE.fullmatch(code) else None
        language = language_of(request.headers.get("accept-language", ""))
        page = self._templates.get_template("invoice.html").render(
            demo=self._demo,
            language=language,
            t=WORDS[language],
            w=DOCUMENT_WORDS[language],
            code=code if offer else "",
            why_not=offer.why_not if offer else "unknown",
            current=offer.current if offer else None,
            documents=offer.documents if offer else (),
            problem=problem,
            typed=fields,
        )
        if status == 200 and (offer is None or offer.why_not == "unknown"):
            status = 202 if offer else 404  # as for the receipt: a good code whose record is still on its way
        return HTMLResponse(page, status, HEADERS)

    # --- the operator's ----------------------------------------------------------------------------------------------

    def listed(self, request: Request) -> Response:
        """`?month=2026-11`, default this month."""
        where = ZoneInfo(self._leaves.time_zone)
        month = request.query_params.get("month", "") or datetime.now(UTC).astimezone(where).strftime("%Y-%m")
        try:
            with self._database.read() as db:
                rows = invoice_cases.of_month(db, month, self._leaves.time_zone)
        except ValueError as error:
            return self._leaves.refusal(str(error), 422)
        shown = [
            row
            | {"gross": money(row["gross_minor"], row["currency"]), "issued": clock_words(row["issued_utc_ms"], where)}
            | {"buyer": invoice_cases.document_of(row).buyer}
            for row in rows
        ]
        return self._leaves.page("invoices.html", rows=shown, month=month)

    def csv(self, request: Request) -> Response:
        month = request.path_params["month"]
        try:
            with self._database.read() as db:
                rows = invoice_cases.of_month(db, month, self._leaves.time_zone)
        except ValueError as error:
            return self._leaves.refusal(str(error), 422)
        return download(csv_of(rows).encode(), f"invoices-{month}.csv", "text/csv; charset=utf-8")

    def pdf(self, request: Request) -> Response:
        number = request.path_params["number"]
        with self._database.read() as db:
            row = invoice_cases.by_number(db, number) if _NUMBER.fullmatch(number) else None
        if row is None:
            return self._leaves.refusal("there is no such invoice", 404)
        return download(row["pdf"], f"{number}.pdf", "application/pdf")
