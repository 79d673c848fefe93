"""The search for leaked card numbers finds every form it promises, and nothing in innocent files."""

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pan_search import find_pan, forms_of, main, named_forms

PANS = ("5413330089020011", "4111111111111111", "341111111111111", "6799998900000060018")
NOISE = bytes(range(256)) * 3


@pytest.mark.parametrize("pan", PANS)
def test_every_form_is_found_where_it_was_planted(tmp_path: Path, pan: str) -> None:
    for i, (name, sought) in enumerate(named_forms(pan).items()):
        place = tmp_path / f"{i}.bin"
        place.write_bytes(NOISE + sought + NOISE)
        hits = {(hit.form, hit.offset) for hit in find_pan([place], pan)}
        assert (name, len(NOISE)) in hits, name


def leaks(pan: str) -> dict[str, bytes]:
    """How programs really leak it, made by other means than the search itself."""
    track2 = pan + "D49122010000000000"
    tag57 = bytes.fromhex(track2 + "F" * (len(track2) % 2))
    padded = bytes.fromhex(pan + "F" * (len(pan) % 2))
    return {
        "log line": f"card {pan} declined".encode(),
        "printed": " ".join(pan[i : i + 4] for i in range(0, len(pan), 4)).encode(),
        "dashes": "-".join(pan[i : i + 4] for i in range(0, len(pan), 4)).encode(),
        "tag 57": b"\x57\x13" + tag57,
        "tag 5A": b"\x5a\x08" + padded,
        "apdu trace": tag57.hex(" ").upper().encode(),
        "hex of tag 57": tag57.hex().encode(),
        "hex of text": pan.encode().hex().encode(),
        "exception text": repr(tag57).encode(),
        "repr of bytearray": repr(bytearray(padded)).encode(),
        "list of numbers": str(list(tag57)).encode(),
        "json": json.dumps({"track2": tag57.decode("latin-1")}).encode(),
        "json list": json.dumps(list(tag57), separators=(",", ":")).encode(),
        "utf-16": f"card {pan}".encode("utf-16"),
        "mainframe": pan.encode("cp500"),
        "backwards": pan[::-1].encode(),
        "base64 of a message": base64.b64encode(b"x" + pan.encode() + b"yz"),
        "base64 of tag 57": base64.b64encode(b"\x57\x13" + tag57),
        "url-safe base64 of tag 57": base64.urlsafe_b64encode(b"\x57" + tag57),
        "half a byte off": bytes.fromhex("B" + pan + "D" + "0" * (len(pan) % 2)),
        "gzip": gzip.compress(f"card {pan}".encode() * 3),
    }


@pytest.mark.parametrize("pan", PANS)
def test_real_leaks_are_found(tmp_path: Path, pan: str) -> None:
    for name, content in leaks(pan).items():
        file = tmp_path / name.replace(" ", "-")
        file.write_bytes(content)
        assert find_pan([file], pan), name


def test_a_number_in_a_file_name_is_found(tmp_path: Path) -> None:
    (tmp_path / f"receipt-{PANS[0]}.txt").write_text("nothing")
    assert {hit.offset for hit in find_pan([tmp_path], PANS[0])} == {-1}


def test_what_may_be_kept_is_not_reported(tmp_path: Path) -> None:
    innocent = "541333******0011 last4 0011 A0000000041010 2026-11-23T03:45:52Z 1795405552000 5413330089021234 STAN 000011"
    (tmp_path / "log").write_text(innocent)
    (tmp_path / "noise").write_bytes(NOISE * 50)
    (tmp_path / "empty").touch()
    assert find_pan([tmp_path], PANS[0]) == []


def test_the_command_tells_by_its_exit_code_and_never_prints_the_number(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.pan_search", str(tmp_path), "--pan", PANS[1], "--pan", PANS[0]]
    assert subprocess.run(command, check=False).returncode == 0
    (tmp_path / "wal").write_bytes(NOISE + bytes.fromhex(PANS[0]))
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "wal: card number as bcd at offset 768" in done.stdout
    assert PANS[0] not in done.stdout


def test_wrong_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "some").write_text("x")
    for arguments in ([str(tmp_path / "missing"), "--pan", PANS[0]], [str(tmp_path), "--pan", "12ab"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_there_are_at_least_the_seventeen_forms_of_the_study() -> None:
    assert len(forms_of(PANS[0])) >= 17
    assert min(map(len, forms_of(PANS[0]))) >= 7
