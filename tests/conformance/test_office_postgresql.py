"""The office on PostgreSQL behaves as on SQLite: the same collector tests, against a cluster of this test's own."""

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from terminal_app.office import store
from tests.unit import test_office_accounts as accounts
from tests.unit import test_office_charges as charges
from tests.unit import test_office_checkouts as checkouts
from tests.unit import test_office_closings as closing_tests
from tests.unit import test_office_ingest as ingest
from tests.unit import test_office_invoices as invoice_tests
from tests.unit import test_office_payment_watch as payments
from tests.unit import test_office_statements as statement_tests
from tests.unit.account_samples import AccountDesk
from tests.unit.document_samples import Charger
from tests.unit.office_samples import Desk, Terminal
from tests.unit.phone_samples import Phone

pytestmark = pytest.mark.full
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


def _as_postgres() -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    pytest.importorskip("psycopg")
    if not SERVERS:
        pytest.skip("no PostgreSQL server is installed")
    place = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    identity = _as_postgres()
    if identity:
        os.chown(place, int(str(identity["user"])), int(str(identity["group"])))

    def run(program: str, *arguments: str) -> None:
        command = [str(SERVERS[-1] / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=place, **identity)  # type: ignore[call-overload]

    run("initdb", "-D", f"{place}/d", "-U", "office", "-A", "trust", "-E", "UTF8")
    run("pg_ctl", "-D", f"{place}/d", "-w", "-l", f"{place}/log", "-o", f"-k {place} -c listen_addresses=''", "start")
    yield f"postgresql+psycopg://office@/postgres?host={place}"
    run("pg_ctl", "-D", f"{place}/d", "-w", "-m", "immediate", "stop")
    shutil.rmtree(place)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def desk(cluster: str, terminal: Terminal) -> Iterator[Desk]:
    engine = sa.create_engine(cluster)
    store.metadata.drop_all(engine)
    engine.dispose()
    desk = Desk(cluster, terminal)
    yield desk
    desk.database.close()


SAME = [
    test
    for name, test in [*vars(ingest).items(), *vars(payments).items()]
    if name.startswith("test_") and set(test.__code__.co_varnames[: test.__code__.co_argcount]) == {"desk", "terminal"}
]


@pytest.mark.parametrize("test", SAME, ids=[test.__name__ for test in SAME])
def test_the_same_as_on_sqlite(desk: Desk, terminal: Terminal, test: object) -> None:
    test(desk, terminal)  # type: ignore[operator]


def test_two_office_processes_take_the_same_batch_at_once(desk: Desk, terminal: Terminal) -> None:
    batch = terminal.batch(*(terminal.session() for _ in range(10)))
    acks: list[int] = []
    workers = [threading.Thread(target=lambda: acks.append(desk.take(batch).through_seq)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert acks == [10] * 6
    assert len(desk.rows(store.records)) == 10


# --- accounts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def books(cluster: str, tmp_path: Path) -> Iterator[AccountDesk]:
    engine = sa.create_engine(cluster)
    store.metadata.drop_all(engine)
    engine.dispose()
    desk = AccountDesk(cluster, tmp_path / "office.key")
    yield desk
    assert desk.trouble() == []
    desk.database.close()


SAME_BOOKS = [
    test
    for name, test in vars(accounts).items()
    if name.startswith("test_") and test.__code__.co_varnames[: test.__code__.co_argcount] == ("desk",)
]


@pytest.mark.parametrize("test", SAME_BOOKS, ids=[test.__name__ for test in SAME_BOOKS])
def test_accounts_behave_as_on_sqlite(books: AccountDesk, test: object) -> None:
    test(books)  # type: ignore[operator]


@pytest.mark.parametrize("table", [accounts.entries, accounts.postings], ids=lambda table: table.name)
def test_entries_can_be_neither_changed_nor_deleted(books: AccountDesk, table: sa.Table) -> None:
    accounts.test_entries_can_be_neither_changed_nor_deleted(books, table)


def test_terminals_and_the_office_at_once_neither_block_nor_double(books: AccountDesk) -> None:
    """Holds, captures and top-ups of one account from many threads: no deadlock, nothing lost, the audit is clean."""
    account, card = books.account(100_000)
    terminals = [books.terminal()[0] for _ in range(4)]
    done: list[int] = []

    def run(terminal: str) -> None:
        for n in range(5):
            hold = accounts.placed(books, terminal, card, 1000, f"h{n}")
            books.accounts.capture(terminal, hold["hold"], f"c{n}", 600)
            books.accounts.top_up(account, 600, f"{terminal}-{n}", "bank", "")
            done.append(n)

    threads = [threading.Thread(target=run, args=(terminal,)) for terminal in terminals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(done) == 20
    assert accounts.balance(books, account) == (100_000, 0, 0)


# --- paying and steering by phone -------------------------------------------------------------------------------------


def _with(module: object, *names: str) -> list[Callable[..., None]]:
    """Tests of a module that take exactly these fixtures."""
    tests = [one for name, one in vars(module).items() if name.startswith("test_")]
    return [one for one in tests if one.__code__.co_varnames[: one.__code__.co_argcount] == names]


@pytest.mark.parametrize("test", _with(checkouts, "place"), ids=lambda test: test.__name__)
def test_pages_behave_as_on_sqlite(books: AccountDesk, test: Callable[..., None]) -> None:
    test(checkouts.Place(books))


@pytest.mark.parametrize("round_no", range(4))
def test_a_page_is_paid_and_ended_at_once(books: AccountDesk, round_no: int) -> None:
    checkouts.test_paid_and_ended_at_once_both_sides_are_told_the_same(checkouts.Place(books), round_no)


@pytest.mark.parametrize("test", _with(charges, "phone"), ids=lambda test: test.__name__)
def test_charges_behave_as_on_sqlite(
    desk: Desk, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, test: Callable[..., None]
) -> None:
    test(Phone(desk, terminal, monkeypatch))


# --- documents ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def charger(desk: Desk, terminal: Terminal) -> Charger:
    return Charger(desk, terminal)


DOCUMENTS = [*_with(invoice_tests, "charger"), *_with(closing_tests, "charger")]


@pytest.mark.parametrize("test", DOCUMENTS, ids=lambda test: test.__name__)
def test_documents_behave_as_on_sqlite(charger: Charger, test: Callable[..., None]) -> None:
    """Numbers without a gap under concurrent requests and crashes among them."""
    test(charger)


@pytest.mark.parametrize("act", ["UPDATE invoices SET actor = 'x'", "DELETE FROM invoices"])
def test_documents_never_change(charger: Charger, act: str) -> None:
    invoice_tests.test_what_was_issued_can_be_neither_changed_nor_deleted(charger, act)


@pytest.mark.parametrize("test", _with(statement_tests, "desk", "clock"), ids=lambda test: test.__name__)
def test_statements_behave_as_on_sqlite(books: AccountDesk, monkeypatch: pytest.MonkeyPatch, test: Callable[..., None]) -> None:
    clock = statement_tests.Clock()
    monkeypatch.setattr(store, "now_ms", clock)
    test(books, clock)
