"""The office as one ASGI application."""

from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette

from terminal_app.office.access import Access
from terminal_app.office.account_api import AccountApi
from terminal_app.office.accounts import Accounts
from terminal_app.office.api import Api
from terminal_app.office.command_api import CommandApi
from terminal_app.office.commands import Commands
from terminal_app.office.ingest import Collector
from terminal_app.office.notifications import PER_MINUTE, Notifications, Pace
from terminal_app.office.pages import Pages
from terminal_app.office.signing import OfficeKey
from terminal_app.office.slices import Slices
from terminal_app.office.store import Store


@dataclass(frozen=True, slots=True)
class Office:
    """What an office is made of. `operator_token` empty outside demo: the operator's pages are closed. `leaving`: the server
    was told to stop, whoever waits is answered."""

    database: Store
    key: OfficeKey
    public_url: str
    operator_token: str
    demo: bool
    leaving: Callable[[], bool] = lambda: False


def build(office: Office) -> Starlette:
    access = Access(office.database, office.operator_token, office.demo)
    collector = Collector(office.database, office.key, office.demo)
    api = Api(office.database, collector, access)
    accounts = AccountApi(office.database, Accounts(office.database), Slices(office.database, office.key), access)
    commands = Commands(office.database, office.key)
    downlink = CommandApi(commands, access, office.leaving)
    notifications = Notifications(office.database, commands, Pace(PER_MINUTE))
    pages = Pages(office.database, access, office.public_url, office.demo)
    return Starlette(routes=[*api.routes, *accounts.routes, *downlink.routes, *notifications.routes, *pages.routes])
