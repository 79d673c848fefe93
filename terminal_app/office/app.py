"""The office as one ASGI application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from terminal_app.office.access import Access
from terminal_app.office.account_api import AccountApi
from terminal_app.office.accounts import Accounts
from terminal_app.office.api import Api
from terminal_app.office.charge_pages import ChargePages
from terminal_app.office.charges import Charges
from terminal_app.office.checkout_api import CheckoutApi
from terminal_app.office.checkouts import Checkouts
from terminal_app.office.command_api import CommandApi
from terminal_app.office.commands import Commands
from terminal_app.office.document_pages import DocumentPages
from terminal_app.office.ingest import Collector
from terminal_app.office.invoice_pages import InvoicePages
from terminal_app.office.invoices import Invoices
from terminal_app.office.notifications import PER_MINUTE, Notifications, Pace
from terminal_app.office.operator_leaves import OperatorLeaves
from terminal_app.office.pages import Pages
from terminal_app.office.pay_pages import PayPages
from terminal_app.office.payment_pages import PaymentPages
from terminal_app.office.short_pages import ShortPages
from terminal_app.office.signing import OfficeKey
from terminal_app.office.slices import Slices
from terminal_app.office.store import Store

log = logging.getLogger(__name__)
SETTLE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Office:
    """What an office is made of. `operator_token` empty outside demo: the operator's pages are closed; `notify_token`
    empty: gateways' notifications are. `time_zone`: of the operator's months and days; `invoice_series` begins invoice
    numbers. `leaving`: the server was told to stop, whoever waits is answered."""

    database: Store
    key: OfficeKey
    public_url: str
    operator_token: str
    demo: bool
    notify_token: str = ""
    time_zone: str = "UTC"
    invoice_series: str = "INV"
    leaving: Callable[[], bool] = lambda: False


def build(office: Office) -> Starlette:
    access = Access(office.database, office.operator_token, office.demo, office.notify_token)
    collector = Collector(office.database, office.key, office.demo)
    api = Api(office.database, collector, access)
    accounts = AccountApi(office.database, Accounts(office.database), Slices(office.database, office.key), access)
    commands = Commands(office.database, office.key)
    downlink = CommandApi(commands, access, office.leaving)
    notifications = Notifications(office.database, commands, access, Pace(PER_MINUTE))
    pages = Pages(office.database, access, office.public_url, office.demo)
    payments = PaymentPages(office.database, access, office.demo, office.leaving)
    checkouts = Checkouts(office.database)
    charges = Charges(office.database, commands)
    by_phone = [*CheckoutApi(checkouts, access, office.public_url).routes, *PayPages(checkouts, office.demo).routes]
    by_phone += ShortPages(office.database, office.demo).routes
    by_phone += ChargePages(office.database, charges, office.demo).routes
    machines = [*api.routes, *accounts.routes, *downlink.routes, *notifications.routes]
    invoices = Invoices(office.database, office.time_zone, office.invoice_series)
    leaves = OperatorLeaves(access, office.demo, office.time_zone)
    documents = InvoicePages(office.database, invoices, leaves, office.demo).routes
    documents += DocumentPages(office.database, office.key, leaves).routes
    routes = [*machines, *by_phone, *documents, *payments.routes, *pages.routes]
    return Starlette(routes=routes, lifespan=partial(_settling, (charges.settle, invoices.follow_credits)))


@contextlib.asynccontextmanager
async def _settling(acts: tuple[Callable[[], object], ...], app: Starlette) -> AsyncIterator[None]:
    """While the office serves, every few seconds: what became of starts by phone; credit notes for credits that arrived."""

    async def keep_looking() -> None:
        while True:
            for act in acts:
                try:
                    await run_in_threadpool(act)
                except sa.exc.SQLAlchemyError as problem:
                    log.error("%s was not done: %s", getattr(act, "__qualname__", "an act"), type(problem).__name__)
            await asyncio.sleep(SETTLE_EVERY_S)

    task = asyncio.create_task(keep_looking())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
