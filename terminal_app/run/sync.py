"""`charge-terminal-sync --config terminal.toml`: the process that talks to the office. No state of its own.

Threads: one pushes records and facts, one waits for commands; as configured, one answers who asks for metrics (`[sync] listen`),
one lets others pull (`[pull]`), one posts CDRs to an OCPI receiver (`[ocpi] url`). Each has its own connection to the core.
"""

import argparse
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from terminal_app import config
from terminal_app.errors import ConfigError
from terminal_app.http_client import HttpClient
from terminal_app.run.watchdog import ServiceManager
from terminal_app.sync import fetch
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.fetch import Fetch
from terminal_app.sync.push import MAX_ANSWER, Push

_SLICE_S = 5.0
SHORTEST_TOKEN = 24


def main(argv: list[str] | None = None) -> int:
    arguments = argparse.ArgumentParser(prog="charge-terminal-sync", description="Carries billing records to the office.")
    arguments.add_argument("--config", type=Path, required=True, help="terminal.toml")
    path: Path = arguments.parse_args(argv).config
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("urllib3").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        settings = config.load(path)
        push_forever(settings, path, ServiceManager())
        logging.error("ended: a thread that carries something broke")
    except ConfigError as error:
        print(f"charge-terminal-sync: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 1


def push_forever(settings: config.Config, path: Path, manager: ServiceManager) -> None:
    """Runs until a signal ends it, or until another thread broke. The watchdog is fed by finished turns and by waiting,
    never during a call."""
    office, hurry = settings.office, threading.Event()  # set when commands came: their outcome is pushed at once
    client = office_client(settings, MAX_ANSWER)
    core = CoreLink(settings.terminal.runtime_dir / "sync.sock")
    token = _token(office.token_file, path)
    for name in ("client_cert", "client_key"):
        _readable(getattr(office, name), path, f"[office] {name}")
    push = Push(
        core,
        client,
        office_url=office.url,
        token=token,
        deadline_s=office.deadline_s,
        every_s=office.push_every_s,
        chance=random.SystemRandom(),
    )
    fetching = threading.Thread(target=_fetch_forever, args=(settings, token, hurry.set), name="commands", daemon=True)
    fetching.start()
    if address := settings.sync.address:
        _watchable(settings, address)
    beside = [fetching]
    if pull := settings.pull:
        beside.append(_pullable(settings, pull, path))
    if settings.ocpi.url:
        beside.append(_posting(settings, path))
    manager.ready()
    try:
        while all(one.is_alive() for one in beside):
            wait_s = push.turn(time.monotonic())
            manager.progress()
            until = time.monotonic() + wait_s
            while (left_s := until - time.monotonic()) > 0 and not hurry.wait(min(left_s, _SLICE_S)):
                manager.progress()
            hurry.clear()
    finally:
        manager.stopping()
        core.close()
        client.close()


def _fetch_forever(settings: config.Config, token: str, arrived: Callable[[], None]) -> None:
    """The commands' thread; ends with the process."""
    office, pause = settings.office, threading.Event()  # never set
    fetching = Fetch(
        CoreLink(settings.terminal.runtime_dir / "sync.sock"),
        office_client(settings, fetch.MAX_ANSWER),
        office_url=office.url,
        token=token,
        deadline_s=office.deadline_s,
        every_s=office.push_every_s,
        chance=random.SystemRandom(),
        arrived=arrived,
    )
    while True:
        pause.wait(fetching.turn(time.monotonic))


def _watchable(settings: config.Config, address: tuple[str, int]) -> None:
    """Metrics and the site's page, on a thread that ends with the process. Loaded only where they are wanted: memory."""
    from terminal_app.sync.monitor import Monitor

    monitor = Monitor(address, CoreLink(settings.terminal.runtime_dir / "sync.sock"))
    threading.Thread(target=monitor.run, name="monitor", daemon=True).start()


def _pullable(settings: config.Config, pull: config.PullSection, path: Path) -> threading.Thread:
    """The pull API, likewise."""
    from terminal_app.sync.pull_server import PullServer

    where = "[[pull.client]] token_file"
    tokens = {one.name: _token(one.token_file, path, where) for one in pull.client}
    if len(set(tokens.values())) != len(tokens):
        raise ConfigError(path.name, where, "two clients have the same token: each needs its own")
    if short := [one.token_file for one in pull.client if len(tokens[one.name]) < SHORTEST_TOKEN]:
        raise ConfigError(path.name, where, f"{short[0]}: must hold at least {SHORTEST_TOKEN} characters")
    for name in ("cert", "key", "client_ca"):
        _readable(getattr(pull, name), path, f"[pull] {name}")
    return _started(PullServer(settings, pull, tokens).run, "pull")


def _posting(settings: config.Config, path: Path) -> threading.Thread:
    """CDRs to an OCPI receiver, likewise."""
    from terminal_app.sync import ocpi_push

    ocpi, pause = settings.ocpi, threading.Event()  # never set
    assert ocpi.token_file is not None  # config.load saw to it
    pushing = ocpi_push.OcpiPush(
        CoreLink(settings.terminal.runtime_dir / "sync.sock"),
        HttpClient(demo=settings.demo, ca_file=ocpi.ca_file, max_body=ocpi_push.MAX_ANSWER),
        ocpi,
        _token(ocpi.token_file, path, "[ocpi] token_file"),
        every_s=settings.office.push_every_s,
        chance=random.SystemRandom(),
    )

    def forever() -> None:
        while True:
            pause.wait(pushing.turn())

    return _started(forever, "cdrs")


def _started(body: Callable[[], None], name: str) -> threading.Thread:
    """It ends with the process."""
    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    return thread


def office_client(settings: config.Config, max_body: int) -> HttpClient:
    """To the office, with the terminal's certificate if it has one. requests reads the files at each connection."""
    office = settings.office
    shown = (office.client_cert, office.client_key) if office.client_cert and office.client_key else None
    return HttpClient(demo=settings.demo, ca_file=office.ca_file, client_cert=shown, max_body=max_body)


def _readable(file: Path | None, path: Path, where: str) -> None:
    try:
        if file is not None:
            file.read_bytes()
    except OSError as error:
        raise ConfigError(path.name, where, f"{file}: cannot be read: {error.strerror}") from error


def _token(file: Path, path: Path, where: str = "[office] token_file") -> str:
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, where, f"{file}: cannot be read: {error}") from error
    if not token or not token.isprintable():
        raise ConfigError(path.name, where, f"{file}: must hold one line with the token")
    return token


def _end(number: int, frame: FrameType | None) -> None:
    """Whatever is under way is dropped: the core offers it again."""
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
