"""The demo itself, as a newcomer runs it: exit code, figures against the peers' own books, and no card number anywhere."""

import base64
import hashlib
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts.demo.site import TERMINAL, TEST_PANS
from tests.e2e.visit import payload_of, price_of, rows_of
from tests.pan_search import Found, find_pan

PAN = TEST_PANS["mastercard"]
PRICE = "0.45"
ENERGY_WH = 2500
KEYS = {
    *("session_id", "energy_wh", "meter_start", "meter_stop", "total_minor", "currency", "authorized_minor", "captured_minor"),
    *("record_seq", "office_record_sha256", "ocmf", "public_key", "jws", "jws_key", "acquirer_books", "office_db"),
    *("screenshots", "timings"),
}


class Run:
    """One run of the demo: what it said, what it left, and card numbers found in its sockets' folder while it ran."""

    def __init__(self, folder: Path) -> None:
        self.out = folder / "out"
        self.leaked: list[Found] = []
        self.runtime: Path | None = None
        with (folder / "said").open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "scripts.demo", "--headless", "--out", self.out]
                + ["--energy-kwh", "2.5", "--price-kwh", PRICE],
                stdout=said, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                self._watch(process)
            finally:
                if process.poll() is None:
                    process.terminate()
                self.code = process.wait(60)
        self.said = (folder / "said").read_text()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """The runtime folder is gone afterwards: look into it meanwhile."""
        until = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < until:
            time.sleep(1)
            config = self.out / "terminal.toml"
            if config.exists() and (text := config.read_text()).endswith("\n"):
                self.runtime = Path(tomllib.loads(text)["terminal"]["runtime_dir"])
                try:
                    self.leaked += find_pan([self.runtime], PAN)
                except FileNotFoundError:
                    continue  # a file went away while it was looked at; the folder is looked at again


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def summary(run: Run) -> dict[str, Any]:
    assert run.code == 0, run.said
    return dict(json.loads((run.out / "summary.json").read_text()))


def test_everything_agrees(run: Run) -> None:
    assert run.code == 0, run.said
    assert "DIFFERS" not in run.said
    assert "Everything agrees" in run.said


def test_nothing_is_left_running(run: Run) -> None:
    assert run.runtime is not None and not run.runtime.exists()


def test_summary_is_complete(summary: dict[str, Any]) -> None:
    assert summary.keys() >= KEYS
    assert set(summary["screenshots"]) == {"price", "wait", "charging", "receipt"}
    for picture in summary["screenshots"].values():
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    timings = summary["timings"]
    assert timings["ready_for_a_tap"] < timings["approved"] < timings["energy_flows"] < timings["stop_pressed"]


def test_energy_and_money_are_exact(summary: dict[str, Any]) -> None:
    assert summary["energy_wh"] == summary["meter_stop"] - summary["meter_start"] == ENERGY_WH
    assert summary["total_minor"] == price_of(ENERGY_WH, PRICE)
    assert summary["captured_minor"] == summary["total_minor"] < summary["authorized_minor"]
    assert summary["currency"] == "EUR"


def test_the_acquirers_books_say_the_same(summary: dict[str, Any]) -> None:
    (row,) = rows_of(Path(summary["acquirer_books"]), "SELECT * FROM authorizations")
    assert (row["state"], row["captured_minor"], row["amount_minor"]) == (
        "captured", summary["captured_minor"], summary["authorized_minor"],
    )  # fmt: skip
    assert row["arqc_ok"] == 1
    (capture,) = rows_of(Path(summary["acquirer_books"]), "SELECT * FROM captures")
    assert capture["amount_minor"] == summary["captured_minor"]


def test_the_office_has_the_same_bytes_once(summary: dict[str, Any]) -> None:
    assert hashlib.sha256(summary["jws"].encode()).hexdigest() == summary["office_record_sha256"]
    rows = rows_of(Path(summary["office_db"]), "SELECT * FROM records WHERE terminal = ? ORDER BY seq", TERMINAL)
    assert [row["jws"] for row in rows].count(summary["jws"]) == 1
    assert [row["seq"] for row in rows] == [1, 2]  # the bill and the end of the hold


def test_the_record_says_what_the_summary_says(summary: dict[str, Any]) -> None:
    body = payload_of(summary["jws"])
    assert body["session_id"] == summary["session_id"]
    assert body["seq"] == summary["record_seq"]
    assert body["totals"]["total_minor"] == summary["total_minor"]
    assert body["ocmf"]["record"] == summary["ocmf"]
    assert json.loads(summary["ocmf"].split("|")[1])["RD"][-1]["RV"] == pytest.approx(summary["meter_stop"] / 1000)
    assert summary["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert len(base64.urlsafe_b64decode(summary["jws_key"]["x"] + "=")) == 32


def test_no_card_number_in_any_byte_written(run: Run, tmp_path: Path) -> None:
    assert run.runtime is not None, "the runtime folder was never seen"
    (tmp_path / "said").write_text(run.said)
    names = {path.name for path in run.out.rglob("*")}
    assert {"ledger.db", "office.db", "acquirer-books.db", "charge-terminal.log", "summary.json"} <= names
    assert run.leaked + find_pan([run.out, tmp_path], PAN) == []


@pytest.mark.full
def test_by_phone_everything_agrees_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.demo", "--headless", "--by-phone", "--out", tmp_path / "out", "--energy-kwh", "2.5"]
    done = subprocess.run([*command, "--price-kwh", PRICE], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the account's books say captured" in done.stdout and "Everything agrees" in done.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["total_minor"] == summary["captured_minor"] == price_of(ENERGY_WH, PRICE)
    assert set(summary["screenshots"]) == {"price", "code", "charging", "receipt"}
