"""A whole charging site on this machine: simulated devices, the product's four processes, a display. Used by demo and tests."""

import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import serialization

from drivers.signers import keyfile
from drivers.sim.launch import Simulated
from scripts.demo.display import Display
from terminal_app import wire
from terminal_app.errors import WireError

TERMINAL = "DEMO-0001"
TEST_PANS = {"mastercard": "5413330089020011", "visa": "4761739001010010"}  # published test cards
CHARGE_S = 12  # the simulated car is fast: about this long for any energy
METER_START_WH = 1_234_500
METERS = {  # simulated model -> profile, unit; but for the first they sign their own readings
    "sdm630": ("eastron-sdm630-v2", 1),
    "em580": ("carlo-gavazzi-em580", 1),
    "bsm-ws36a": ("bauer-bsm-ws36a", 42),
    "wm3m4c": ("iskra-wm3m4c", 33),
}


@dataclass
class Wanted:
    """What the site shall be. `price` None: no tariff (not for sale); "0": explicit zero tariff."""

    price: str | None = "0.59"
    energy_wh: int = 12_300
    brand: str = "mastercard"
    policy: Mapping[str, int] = field(default_factory=dict)
    office: bool = True
    ui: bool = True
    core_environment: Mapping[str, str] = field(default_factory=dict)
    size: str = "800x480"
    by_phone: bool = False  # accounts pay on a page of the office
    meter: str = "sdm630"  # of METERS

    @property
    def car_power_w(self) -> int:
        return max(11_000, self.energy_wh * 3600 // CHARGE_S)

    @property
    def max_power_w(self) -> int:
        return self.car_power_w * 11 // 10

    @property
    def hold_minor(self) -> int:
        """The price of the energy and what may flow until the contactor is open, rounded up to 5.00."""
        price = Decimal(self.price or "0")
        most_kwh = Decimal(self.energy_wh + self.max_power_w * 8 // 3600) / 1000
        return max(2000, int(most_kwh * price * 100) // 500 * 500 + 1000)


class Site:
    """Start with `start()`, end with `stop()`; a context manager. All is written into `folder`; short sockets into /tmp."""

    def __init__(self, folder: Path, wanted: Wanted | None = None, display: Display | None = None) -> None:
        self.folder, self.wanted, self.display = folder.absolute(), wanted or Wanted(), display
        self.sockets = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
        self.config = self.folder / "terminal.toml"
        self.profile = self.folder / "acquirer.toml"
        self.state = self.folder / "state"
        self.shots = self.folder / "screenshots"
        self.logs = self.folder / "logs"
        self.books = self.folder / "acquirer-books.db"
        self.office_db = self.folder / "office.db"
        self.rects = self.folder / "touch-areas.json"
        self.devices: dict[str, Simulated] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.office_port = _free_port()
        self.online = True

    # --- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> "Site":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        for folder in (self.folder, self.state, self.shots, self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".charge-demo").touch()
        self.start_devices()
        self.write_config()
        if self.wanted.office:
            self.start_office()
        self.start_core()
        self.start_sync()
        if self.wanted.ui:
            self.start_ui()

    def start_devices(self) -> None:
        """Meter, controller, car, card in its reader, acquirer: each its own process on the real interface."""
        imk = secrets.token_hex(16)
        load, cable = self.sockets / "load", self.sockets / "cable"
        self._device(
            "meter", "--link", self.folder / "ttyMeter", "--load", load, "--state", self.folder / "meter-register.json",
            "--register-wh", str(METER_START_WH), "--serial", "19283746",
            "--model", self.wanted.meter, "--unit", str(METERS[self.wanted.meter][1]),
        )  # fmt: skip
        self.start_controller()
        self._device("car", "--cable", cable, "--power-w", str(self.wanted.car_power_w), "--want-wh", str(self.wanted.energy_wh))
        (self.sockets / "pcscd").mkdir(exist_ok=True)
        self._device(
            "pcscd", "--run-dir", self.sockets / "pcscd", "--card-control", self.sockets / "card", "--imk", imk,
            "--pan", TEST_PANS[self.wanted.brand], "--profile", self.wanted.brand, "--state", self.folder / "card.json",
            "--certificates", self.folder / "card-scheme",
        )  # fmt: skip
        self._device("acquirer", "--books", self.books, "--imk", imk)

    def start_controller(self) -> None:
        most = self.wanted.max_power_w * 2
        self._device(
            "evse", "--link", self.folder / "ttyController", "--load", self.sockets / "load",
            "--cable", self.sockets / "cable", "--max-power-w", str(most), "--reboot-s", "1",
        )  # fmt: skip

    def _device(self, name: str, *flags: str | Path) -> None:
        self.devices[name] = Simulated(name, self.sockets / f"{name}.ctl", *flags)

    def start_office(self) -> None:
        database = f"sqlite:///{self.office_db}"
        self._run("charge-office", "serve", "--db", database, "--listen", f"127.0.0.1:{self.office_port}",
                  "--key", str(self.folder / "keys/office.pem"), "--public-url", self.office_url, "--demo")  # fmt: skip
        process = self.processes["charge-office"]
        _wait(lambda: _listens(self.office_port) or process.poll() is not None, 30, "the office does not listen")
        if process.poll() is not None:
            del self.processes["charge-office"]
            last = (self.logs / "charge-office.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"the office did not start: {' '.join(last)}")

    def start_core(self) -> None:
        self._run("charge-terminal", "--config", str(self.config), environment=self.wanted.core_environment)

    def start_sync(self) -> None:
        self._run("charge-terminal-sync", "--config", str(self.config))

    def start_ui(self) -> None:
        environment = {"KIVY_HOME": str(self.sockets / "kivy")}
        if self.display is not None:
            environment |= {"DISPLAY": self.display.name, "SDL_VIDEODRIVER": "x11"}
        self._run("charge-terminal-ui", "--socket", str(self.sockets / "ui.sock"), "--size", self.wanted.size,
                  "--rects", str(self.rects), "--screenshots", str(self.shots), environment=environment)  # fmt: skip

    def _run(self, name: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        program = Path(sys.executable).with_name(name)
        with (self.logs / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(program), *arguments], stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )

    def kill(self, *names: str) -> None:
        """SIGKILL, as a power cut would; gone when this returns."""
        for name in names:
            if process := self.processes.pop(name, None):
                process.kill()
                process.wait()

    def end(self, name: str) -> int | None:
        """SIGTERM and wait; its exit code."""
        process = self.processes.pop(name, None)
        if process is None:
            return None
        process.terminate()
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop(self) -> None:
        for name in reversed(list(self.processes)):
            self.end(name)
        for name in reversed(list(self.devices)):
            self.devices.pop(name).stop()
        with contextlib.suppress(OSError):
            for path in sorted(self.sockets.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
            self.sockets.rmdir()

    @property
    def names_a_hold(self) -> str:
        """What the keeper of the money calls a hold, in its books and in the record's trace."""
        return "hold" if self.wanted.by_phone else "rrn"

    # --- configuration -----------------------------------------------------------------------------------------------

    @property
    def office_url(self) -> str:
        return f"http://127.0.0.1:{self.office_port}"

    def write_config(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        for name in ("record", "ocmf"):
            if not (keys / f"{name}.pem").exists():
                spki = keyfile.create(keys / f"{name}.pem").public_key_spki()
                (keys / f"{name}.pub.pem").write_bytes(_pem(spki))
        if not (keys / "card.key").exists():
            (keys / "card.key").write_bytes(secrets.token_bytes(32))
            (keys / "card.key").chmod(0o600)
        database = f"sqlite:///{self.office_db}"
        office_key = keys / "office.pem"
        call("charge-office", "init", "--db", database, "--key", str(office_key))
        call("charge-office", "terminal", "add", TERMINAL, "--db", database, "--record-key", str(keys / "record.pub.pem"),
              "--ocmf-key", str(keys / "ocmf.pub.pem"), "--token-file", str(keys / "office.token"))  # fmt: skip
        host, _, port = str(self.devices["acquirer"].facts["port"]).rpartition(":")
        if self.wanted.price is not None:
            (self.folder / "tariff.json").write_text(tariff(self.wanted.price))
        self.profile.write_text("# where this acquirer differs from iso8583-1987.toml\n[refund]\noffered = true\n")
        policy = {"hold_minor": self.wanted.hold_minor, "settle_retry_s": 1, **self.wanted.policy}
        sections: dict[str, Any] = {
            "terminal": {
                "id": TERMINAL,
                "mode": "demo",
                "station": "Demo car park",
                "operator": "Demo operator",
                "operator_address": "1 Example Street, 12345 Example Town",
                "vat_id": "DE000000000",
                "country": "AT",  # where a meter that signs nothing may sell, and a minute's charge is billed too
                "time_zone": "Europe/Berlin",
                "currency": "EUR",
                "languages": ["en", "de"],
                "helpline": "+49 000 0000000",
                "state_dir": str(self.state),
                "runtime_dir": str(self.sockets),
            },
            "meter.main": {
                "profile": METERS[self.wanted.meter][0],
                "port": str(self.folder / "ttyMeter"),
                "unit": METERS[self.wanted.meter][1],
                "parity": "N",  # a pty knows none
                "stop_bits": 1,
            },
            "evse.main": {"driver": "openevse", "port": str(self.folder / "ttyController")},
            "reader": {
                "pcsc_socket": str(self.devices["pcscd"].facts["socket"]),
                "card_key": str(keys / "card.key"),
                "ca_keys": str(self.folder / "card-scheme" / "ca-keys.toml"),
            },
            "gateway.acquirer": {
                "kind": "iso8583",
                "host": host,
                "port": int(port),
                "tls": False,
                "terminal_id": "DEMO0001",
                "merchant_id": "DEMOMERCHANT001",
                "profile": str(self.profile),
            },
            **self.phone_sections(str(keys / "office.token")),
            "policy": policy,
            "keys": {"record": str(keys / "record.pem"), "ocmf": str(keys / "ocmf.pem")},
            "office": {
                "url": self.office_url,
                "public_key": f"{office_key}.pub",
                "token_file": str(keys / "office.token"),
                "receipt_url": self.office_url,
                "push_every_s": 1,
            },
        }
        connector = {
            "number": 1,
            "label": "1",
            "evse_id": "DE*DEM*E0001",
            "meter": "main",
            "evse": "main",
            "max_current_a": 12,
            "max_power_w": self.wanted.max_power_w,
        }
        if self.wanted.price is not None:
            connector["tariff"] = "tariff.json"
        text = "".join(_table(f"[{name}]", items) for name, items in sections.items()) + _table("[[connector]]", connector)
        self.config.write_text(text)

    def phone_sections(self, token_file: str) -> dict[str, dict[str, str]]:
        """The gateway whose pages a phone opens, if there shall be one."""
        if not self.wanted.by_phone:
            return {}
        return {"gateway.phone": {"kind": "account-page", "url": self.office_url, "token_file": token_file}}

    # --- what a person does ------------------------------------------------------------------------------------------

    def plug(self) -> None:
        self.devices["car"].ctl("plug")

    def unplug(self) -> None:
        self.devices["car"].ctl("unplug")

    def card(self, do: str, **parameters: object) -> dict[str, Any]:
        """Command the card that lies (or not) on the reader."""
        from drivers.sim.control import ask

        return ask(self.sockets / "card", {"do": do, **parameters})

    def tap(self, seconds: float = 1.5) -> None:
        """Hold the card on the reader for a moment and take it away."""
        self.card("insert")
        time.sleep(seconds)
        self.card("remove")

    def network(self, on: bool) -> None:
        """The charger's link to the outside: acquirer and office."""
        self.devices["acquirer"].ctl("network", on=on)
        if not on:
            self.end("charge-office")
        elif "charge-office" not in self.processes and self.wanted.office:
            self.start_office()
        self.online = on

    def power_cut(self) -> None:
        """Core, UI, sync and controller lose power together and get it back."""
        self.kill("charge-terminal", "charge-terminal-ui", "charge-terminal-sync")
        self.devices["evse"].ctl("reboot", deaf_ms=1000)
        self.start_core()
        self.start_sync()
        if self.wanted.ui:
            self.start_ui()

    # --- what can be seen --------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The core's own view (control socket). WireError while it is down."""
        endpoint = wire.connect(self.sockets / "control.sock", wire.Reply)
        try:
            endpoint.send(wire.Request("status"))
            reply = endpoint.receive(5)
        finally:
            endpoint.close()
        if reply is None or reply.error:
            raise WireError(f"the core does not answer: {reply}")
        return dict(reply.body)

    def wait_for(self, what: str, condition: Any, timeout_s: float = 30.0) -> dict[str, Any]:
        """Poll the core's status until `condition(status)`; TimeoutError says what was waited for."""
        until = time.monotonic() + timeout_s
        last: object = "nothing"
        while time.monotonic() < until:
            for name, process in self.processes.items():
                if process.poll() is not None and name != "charge-terminal-sync":
                    raise RuntimeError(f"{name} ended with {process.returncode}: see {self.logs / name}.log")
            try:
                last = status = self.status()
                if condition(status):
                    return status
            except WireError as error:
                last = error
            time.sleep(0.1)
        raise TimeoutError(f"waited {timeout_s:.0f} s for: {what}; last seen: {last}")

    def phase(self, status: Mapping[str, Any]) -> str:
        return str(status["connectors"][0]["phase"]) if status["connectors"] else ""

    def acquirer_rows(self) -> list[dict[str, Any]]:
        """The acquirer's own books, read from its file."""
        with contextlib.closing(sqlite3.connect(f"file:{self.books}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM authorizations ORDER BY id")]

    def account_rows(self) -> list[dict[str, Any]]:
        """Holds in the books of the office's accounts, under the acquirer's names for them."""
        columns = "hold, account, state, held_minor AS amount_minor, captured_minor"
        with contextlib.closing(sqlite3.connect(f"file:{self.office_db}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(f"SELECT {columns} FROM account_holds ORDER BY opened_utc_ms")]

    def ledger_rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.state / 'ledger.db'}?mode=ro", uri=True)) as db:
            return list(db.execute(query, arguments))

    def office_rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.office_db}?mode=ro", uri=True)) as db:
            return list(db.execute(query, arguments))

    def meter_wh(self) -> int:
        return int(self.devices["meter"].ctl("get")["register_wh"])

    def view(self) -> str:
        """What is on the glass, as the UI says (demo mode)."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(self.rects.read_text())["view"])
        return ""

    def press(self, button: str) -> None:
        """A finger on the glass: XTEST, where the button is drawn."""
        if self.display is None:
            raise RuntimeError("there is no display to press on")
        drawn = json.loads(self.rects.read_text())
        if button not in drawn["rects"]:
            there = ", ".join(sorted(drawn["rects"])) or "no button"
            raise RuntimeError(f"no button {button} on this screen ({drawn['view']}); there is: {there}")
        x, y, width, height = drawn["rects"][button]
        self.display.touch(int(x + width / 2), int(y + height / 2))

    def scanned(self) -> str:
        """What a phone's camera reads from the glass; "" if no code is there."""
        with contextlib.suppress(OSError, ValueError):
            return str(json.loads(self.rects.read_text())["code"])
        return ""

    def screenshot(self, name: str) -> Path:
        """A picture of the real framebuffer."""
        target = self.shots / f"{name}.png"
        target.unlink(missing_ok=True)
        (self.shots / f"request-{name}").touch()
        _wait(target.exists, 10, f"no screenshot {name}")
        return target


def tariff(price_kwh: str) -> str:
    """An OCPI 2.3.0 tariff with one energy price, VAT included."""
    component = {"type": "ENERGY", "price": Decimal(price_kwh), "vat": Decimal(19), "step_size": 1}
    whole = {
        "country_code": "DE",
        "party_id": "DEM",
        "id": "demo",
        "currency": "EUR",
        "type": "AD_HOC_PAYMENT",
        "tax_included": "YES",
        "elements": [{"price_components": [component]}],
        "last_updated": "2026-01-01T00:00:00Z",
    }
    return msgspec.json.Encoder(decimal_format="number").encode(whole).decode()


def _table(head: str, items: Mapping[str, Any]) -> str:
    return head + "\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in items.items()) + "\n"


def _pem(spki: bytes) -> bytes:
    key = serialization.load_der_public_key(spki)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def call(name: str, *arguments: str) -> None:
    done = subprocess.run([str(Path(sys.executable).with_name(name)), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} {arguments[0]}: {done.stderr or done.stdout}")


def _free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as plug:
        plug.settimeout(0.5)
        return plug.connect_ex(("127.0.0.1", port)) == 0


def _wait(condition: Any, timeout_s: float, words: str) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(words)
        time.sleep(0.05)


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that every process it started is ended too."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
