"""The operator's pages of statements and daily closings: HTML, PDF, CSV, and a closing's signed form."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from terminal_app.errors import SignatureInvalid
from terminal_app.office import closing_paper, closings, queries, statement_paper, statements, store
from terminal_app.office.document_words import DOCUMENT_WORDS
from terminal_app.office.local_time import clock_words, zone
from terminal_app.office.operator_leaves import OperatorLeaves, download
from terminal_app.office.pages import kwh_text, money
from terminal_app.office.signing import OfficeKey

log = logging.getLogger(__name__)


class DocumentPages:
    """Routes of /statements and /closings. Blocking handlers; Starlette runs them in its thread pool."""

    def __init__(self, database: store.Store, key: OfficeKey, leaves: OperatorLeaves) -> None:
        self._database, self._key, self._leaves = database, key, leaves
        shown: dict[str, Callable[[Request], Response]] = {
            "/statements": self.accounts,
            "/statements/{account}/{month}.pdf": self.statement_pdf,
            "/statements/{account}/{month}.csv": self.statement_csv,
            "/statements/{account}/{month}": self.statement,
            "/closings": self.closings,
            "/closings/{terminal}/{number:int}.pdf": self.closing_pdf,
            "/closings/{terminal}/{number:int}.csv": self.closing_csv,
            "/closings/{terminal}/{number:int}.jws": self.closing_jws,
            "/closings/{terminal}/{number:int}": self.closing,
        }
        self.routes = [Route(path, leaves.only(handler)) for path, handler in shown.items()]

    # --- statements --------------------------------------------------------------------------------------------------

    def accounts(self, request: Request) -> Response:
        with self._database.read() as db:
            rows = queries.accounts(db)
        month = datetime.now(UTC).astimezone(zone(self._leaves.time_zone)).strftime("%Y-%m")
        return self._leaves.page("statements.html", rows=rows, month=month)

    def statement(self, request: Request) -> Response:
        made = self._statement(request)
        if isinstance(made, Response):
            return made
        where, balance, rows = zone(made.time_zone), made.opening_minor, []
        for one in made.entries:
            balance += one.amount_minor
            rows.append({"entry": one, "balance_minor": balance, "at": clock_words(one.utc_ms, where, "%Y-%m-%d %H:%M:%S %Z")})
        return self._leaves.page("statement.html", s=made, rows=rows, w=DOCUMENT_WORDS["en"], money=money, kwh=kwh_text)

    def statement_pdf(self, request: Request) -> Response:
        """`?language=de`."""
        made = self._statement(request)
        if isinstance(made, Response):
            return made
        language = request.query_params.get("language", "en")
        try:
            paper = statement_paper.pdf_statement(made, language if language in DOCUMENT_WORDS else "en")
        except ValueError as error:
            return self._leaves.refusal(f"{error}, or take the CSV", 422)
        return download(paper, f"statement-{made.account}-{made.month}.pdf", "application/pdf")

    def statement_csv(self, request: Request) -> Response:
        made = self._statement(request)
        if isinstance(made, Response):
            return made
        name = f"statement-{made.account}-{made.month}.csv"
        return download(statement_paper.csv_of(made).encode(), name, "text/csv; charset=utf-8")

    def _statement(self, request: Request) -> statements.Statement | Response:
        account, month = request.path_params["account"], request.path_params["month"]
        try:
            made = statements.make(self._database, account, month, self._leaves.time_zone)
        except ValueError as error:
            return self._leaves.refusal(str(error), 422)
        except statements.StatementMismatch as error:
            return self._leaves.refusal(str(error), 409)
        except sa.exc.SQLAlchemyError as problem:
            log.error("a statement was not made: %s", type(problem).__name__)
            return self._leaves.refusal("the database cannot be read now", 503)
        return made if made is not None else self._leaves.refusal("there is no such account", 404)

    # --- closings ----------------------------------------------------------------------------------------------------

    def closings(self, request: Request) -> Response:
        terminal = request.query_params.get("terminal", "")[:36].replace("\x00", "")
        with self._database.read() as db:
            rows, terminals = closings.listed(db, terminal), closings.terminals(db)
        shown = [row | {"closing": self._opened(row), "at": clock_words(row["made_utc_ms"], zone("UTC"))} for row in rows]
        return self._leaves.page("closings.html", rows=shown, terminals=terminals, chosen=terminal, money=money)

    def closing(self, request: Request) -> Response:
        def page(found: dict[str, Any], row: dict[str, Any]) -> Response:
            return self._leaves.page("closing.html", c=found, money=money, kwh=kwh_text, clock=clock_words, zone=zone)

        return self._closing(request, page)

    def closing_pdf(self, request: Request) -> Response:
        return self._closing(
            request, lambda found, row: download(closing_paper.pdf_closing(found), _name(row, "pdf"), "application/pdf")
        )

    def closing_csv(self, request: Request) -> Response:
        return self._closing(
            request,
            lambda found, row: download(closing_paper.csv_of(found).encode(), _name(row, "csv"), "text/csv; charset=utf-8"),
        )

    def closing_jws(self, request: Request) -> Response:
        return self._closing(request, lambda found, row: download(row["jws"].encode(), _name(row, "jws"), "application/jose"))

    def _closing(self, request: Request, show: Callable[[dict[str, Any], dict[str, Any]], Response]) -> Response:
        with self._database.read() as db:
            row = closings.by_number(db, request.path_params["terminal"], min(request.path_params["number"], 2**62))
        if row is None:
            return self._leaves.refusal("there is no such closing", 404)
        found = self._opened(row)
        if found is None:
            return self._leaves.refusal("this closing does not verify with the office's key", 409)
        return show(found, row)

    def _opened(self, row: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return closings.open_closing(row["jws"], self._key.public_pem)
        except SignatureInvalid:
            return None


def _name(row: dict[str, Any], ending: str) -> str:
    return f"closing-{row['terminal']}-{row['number']}.{ending}"
