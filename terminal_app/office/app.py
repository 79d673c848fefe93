"""The office as one ASGI application."""

from dataclasses import dataclass

from starlette.applications import Starlette

from terminal_app.office.access import Access
from terminal_app.office.account_api import AccountApi
from terminal_app.office.accounts import Accounts
from terminal_app.office.api import Api
from terminal_app.office.ingest import Collector
from terminal_app.office.pages import Pages
from terminal_app.office.payment_pages import PaymentPages
from terminal_app.office.signing import OfficeKey
from terminal_app.office.slices import Slices
from terminal_app.office.store import Store


@dataclass(frozen=True, slots=True)
class Office:
    """What an office is made of. `operator_token` empty outside demo: the operator's pages are closed."""

    database: Store
    key: OfficeKey
    public_url: str
    operator_token: str
    demo: bool


def build(office: Office) -> Starlette:
    access = Access(office.database, office.operator_token, office.demo)
    collector = Collector(office.database, office.key, office.demo)
    api = Api(office.database, collector, access)
    accounts = AccountApi(office.database, Accounts(office.database), Slices(office.database, office.key), access)
    pages = Pages(office.database, access, office.public_url, office.demo)
    payments = PaymentPages(office.database, access, office.demo)
    return Starlette(routes=[*api.routes, *accounts.routes, *payments.routes, *pages.routes])
