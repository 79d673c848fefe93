"""A certified payment terminal: it reads the card and authorises in one act. No card number ever leaves it; durable books.

THE WIRE: 2-byte big-endian length, then one JSON object; one answer per question, over TCP (TLS with --tls-cert).
Every question has `op` and `id` (the asker's key); the answer repeats both and has `result`: ok, refused or undecided, and
`code` where it is not ok. The same question again has the same answer and one effect.

| op        | asks                                | ok: what it says                                                        |
|-----------|-------------------------------------|-------------------------------------------------------------------------|
| begin     | amount_minor, currency              | the reservation: shows "hold your card" until it is read or aborted     |
| find      | -                                   | the reservation of that id                                              |
| abort     | -                                   | the reservation: aborted if no card was read before                     |
| increment | reservation, amount_minor           | added_minor, and the reservation                                        |
| capture   | reservation, amount_minor           | the reservation                                                         |
| void      | reservation                         | the reservation; one that never came can never come any more            |
| refund    | reservation, amount_minor           | the reservation                                                         |
| echo      | -                                   | -                                                                       |

A reservation: state (waiting, approved, declined, aborted, voided, captured), code (declined), asked_minor, held_minor,
captured_minor, refunded_minor, currency, brand, last4, card_token (the same card, the same token), auth.
Refusals: unknown, busy (another card is waited for), not_held, above_held, above_captured, captured, key_reused.

THE BOOKS (--books FILE): JSON, on the disk before any answer leaves: `reservations` by id, and `done`, the acts by their id.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import ssl
from pathlib import Path
from typing import Any

from drivers.sim.control import Command, Reply, SimulationError, forever, ready, serve_control
from drivers.sim.durable import write_durably
from drivers.sim.flags import address

QUESTION_LIMIT = 4096
ANSWERS = ("approve", "decline", "partial", "undecided")
Row = dict[str, Any]


class Refused(Exception):
    """The answer is no, with this code."""


class Books:
    """Reservations and acts. One thread. Raises SimulationError if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            known = json.loads(path.read_text()) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise SimulationError(f"{path}: no books can be read there: {error}") from None
        self.secret = bytes.fromhex(known.get("secret") or secrets.token_hex(32))
        self.reservations: dict[str, Row] = known.get("reservations", {})
        self.done: dict[str, Row] = known.get("done", {})
        self.write()

    def write(self) -> None:
        said = {"secret": self.secret.hex(), "reservations": self.reservations, "done": self.done}
        try:
            write_durably(self._path, json.dumps(said, indent=1))
        except OSError as error:
            raise SimulationError(f"{self._path}: cannot keep books there: {error.strerror}") from None


class Terminal:
    """What the terminal and the bank behind it decide. `next` are orders for the reservations, or answers, to come."""

    def __init__(self, books: Books, limit_minor: int) -> None:
        self.books, self.limit_minor = books, limit_minor
        self.card = ""
        self.next: list[tuple[str, str, int]] = []

    def answer(self, question: Row) -> Row:
        """The answer, its effect on the disk. KeyError, TypeError, ValueError: not understood."""
        op, key = str(question["op"]), str(question["id"])
        said: Row = {"op": op, "id": key, "result": "ok"}
        try:
            if op != "echo":
                said |= getattr(self, f"_{op}")(key, question) if op in self.OPS else {"result": "refused", "code": "unknown"}
        except Refused as refusal:
            said |= {"result": "refused", "code": str(refusal)}
        self.books.write()
        return said

    OPS = ("begin", "find", "abort", "increment", "capture", "void", "refund")

    # --- the card ---

    def present(self, pan: str) -> None:
        """A card is held to the reader and stays there."""
        self.card = pan
        for row in self.books.reservations.values():
            if row["state"] == "waiting":
                self._read(row)
        self.books.write()

    def _read(self, row: Row) -> None:
        is_ordered = self.next and self.next[0][0] in ("approve", "decline", "partial")
        kind, code, amount = self.next.pop(0) if is_ordered else ("approve", "", 0)
        row["brand"] = {"4": "visa", "5": "mastercard"}.get(self.card[0], "other")
        row["last4"] = self.card[-4:]
        row["card_token"] = hmac.new(self.books.secret, self.card.encode(), hashlib.sha256).hexdigest()[:32]
        if kind == "decline" or row["asked_minor"] > self.limit_minor:
            row |= {"state": "declined", "code": code or "61"}
            return
        held = amount if kind == "partial" else row["asked_minor"]
        row |= {"state": "approved", "held_minor": held, "auth": secrets.token_hex(3).upper()}

    # --- questions ---

    def _begin(self, key: str, asked: Row) -> Row:
        row = self.books.reservations.get(key)
        if row is None:
            if any(one["state"] == "waiting" for one in self.books.reservations.values()):
                raise Refused("busy")
            row = _reservation("waiting", int(asked["amount_minor"]), str(asked["currency"]))
            self.books.reservations[key] = row
            if self.card:
                self._read(row)
        elif row["asked_minor"] and (row["asked_minor"], row["currency"]) != (asked["amount_minor"], asked["currency"]):
            raise Refused("key_reused")
        return row

    def _find(self, key: str, asked: Row) -> Row:
        if key not in self.books.reservations:
            raise Refused("unknown")
        return self.books.reservations[key]

    def _abort(self, key: str, asked: Row) -> Row:
        row = self.books.reservations.setdefault(key, _reservation("aborted", 0, ""))
        if row["state"] == "waiting":
            row["state"] = "aborted"
        return row

    def _held(self, asked: Row) -> Row:
        row = self.books.reservations.get(str(asked["reservation"]))
        if row is None:
            raise Refused("unknown")
        return row

    def _once(self, key: str, op: str, asked: Row) -> Row | None:
        """What the same act did before; Refused if it was another act."""
        act = {"op": op, "reservation": asked["reservation"], "asked_minor": int(asked["amount_minor"])}
        if before := self.books.done.get(key):
            if {name: before[name] for name in act} != act:
                raise Refused("key_reused")
            return before
        return None

    def _did(self, key: str, op: str, asked: Row, amount_minor: int) -> None:
        about = {"op": op, "reservation": asked["reservation"], "asked_minor": int(asked["amount_minor"])}
        self.books.done[key] = {**about, "amount_minor": amount_minor}

    def _increment(self, key: str, asked: Row) -> Row:
        row = self._held(asked)
        if before := self._once(key, "increment", asked):
            return {**row, "added_minor": before["amount_minor"]}
        if row["state"] != "approved":
            raise Refused("not_held")
        more = int(asked["amount_minor"])
        if self.next and self.next[0][0] in ("decline", "partial"):
            kind, code, amount = self.next.pop(0)
            if kind == "decline":
                raise Refused(code)
            more = amount
        if more <= 0 or row["held_minor"] + more > self.limit_minor:
            raise Refused("61")
        row["held_minor"] += more
        self._did(key, "increment", asked, more)
        return {**row, "added_minor": more}

    def _capture(self, key: str, asked: Row) -> Row:
        row, amount = self._held(asked), int(asked["amount_minor"])
        if self._once(key, "capture", asked):
            return row
        if row["state"] != "approved":
            raise Refused("captured" if row["state"] == "captured" else "not_held")
        if not 0 < amount <= row["held_minor"]:
            raise Refused("above_held")
        row |= {"state": "captured", "captured_minor": amount}
        self._did(key, "capture", asked, amount)
        return row

    def _void(self, key: str, asked: Row) -> Row:
        row = self.books.reservations.setdefault(str(asked["reservation"]), _reservation("voided", 0, ""))
        if row["state"] == "captured":
            raise Refused("captured")
        if row["state"] != "declined":
            row["state"] = "voided"
        return row

    def _refund(self, key: str, asked: Row) -> Row:
        row, amount = self._held(asked), int(asked["amount_minor"])
        if self._once(key, "refund", asked):
            return row
        if row["state"] != "captured":
            raise Refused("not_held")
        if not 0 < amount <= row["captured_minor"] - row["refunded_minor"]:
            raise Refused("above_captured")
        row["refunded_minor"] += amount
        self._did(key, "refund", asked, amount)
        return row


def _reservation(state: str, asked_minor: int, currency: str) -> Row:
    row: Row = {"state": state, "code": "", "asked_minor": asked_minor, "currency": currency}
    row |= dict.fromkeys(("held_minor", "captured_minor", "refunded_minor"), 0)
    return row | dict.fromkeys(("brand", "last4", "card_token", "auth"), "")


class Device:
    """The terminal on the network, and the hands that hold cards to it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._terminal = Terminal(Books(options.books), options.limit_minor)
        self._unreadable = 0

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                if not 2 <= length <= QUESTION_LIMIT:
                    break
                try:
                    answer = self._terminal.answer(json.loads(await reader.readexactly(length)))
                except (ValueError, KeyError, TypeError, AttributeError):
                    self._unreadable += 1
                    break
                if self._terminal.next and self._terminal.next[0][0] == "undecided":
                    self._terminal.next.pop(0)
                    answer = {"op": answer["op"], "id": answer["id"], "result": "undecided"}
                data = json.dumps(answer).encode()
                writer.write(len(data).to_bytes(2, "big") + data)
        writer.close()

    # --- commands ---

    def present(self, command: Command) -> None:
        pan = command.text("pan", "5413330089020011")
        if not (pan.isdigit() and 12 <= len(pan) <= 19):
            raise SimulationError("pan: 12 to 19 digits are needed")
        if not command.flag("too_short", False):  # else it is taken away before it was read: the terminal asks again
            self._terminal.present(pan)

    def remove(self, command: Command) -> None:
        self._terminal.card = ""

    def next(self, command: Command) -> None:
        answer = command.text("answer")
        if answer not in ANSWERS:
            raise SimulationError(f"answer: {answer!r} is unknown; there is {', '.join(ANSWERS)}")
        self._terminal.next.append((answer, command.text("code", "05"), command.integer("amount_minor", 0)))

    def clear(self, command: Command) -> None:
        self._terminal.next.clear()

    def get(self, command: Command) -> Reply:
        waiting = any(row["state"] == "waiting" for row in self._terminal.books.reservations.values())
        return {"books": str(self._options.books), "waiting": waiting, "unreadable": self._unreadable}

    async def serve(self) -> None:
        tls: ssl.SSLContext | None = None
        if self._options.tls_cert is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                tls.load_cert_chain(self._options.tls_cert, self._options.tls_key)
            except (OSError, ssl.SSLError) as error:
                raise SimulationError(f"--tls-cert {self._options.tls_cert}: {error}") from None
        host, port = self._options.listen
        try:
            server = await asyncio.start_server(self.client, host, port, ssl=tls)
        except OSError as error:
            raise SimulationError(f"--listen {host}:{port}: cannot listen: {error.strerror}") from None
        commands = ("present", "remove", "next", "clear", "get")
        await serve_control(self._options.control, {name: getattr(self, name) for name in commands})
        host, port = server.sockets[0].getsockname()[:2]
        ready("certified_terminal", port=f"{host}:{port}", books=str(self._options.books), control=str(self._options.control))
        await forever()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 0), help="host:port (default 127.0.0.1:0)")
    parser.add_argument("--books", type=Path, required=True, help="JSON file")
    parser.add_argument("--limit-minor", type=int, default=50_000, help="above it: declined with 61 (default 50000)")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain (PEM): speak TLS")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")


async def serve(options: argparse.Namespace) -> None:
    await Device(options).serve()
