"""An acquirer host with an issuer behind it: ISO 8583-1:1987 over TCP, with durable books of its own.

THE WIRE (what a gateway must speak)
------------------------------------
A message is a 2-byte length (of what follows, the length itself not counted; big-endian, or four BCD digits with
`--length bcd`), then: MTI as 4 ASCII characters, primary bitmap as 8 binary bytes, secondary bitmap as 8 binary bytes when
bit 1 of the primary is set, then the fields in rising order. Numbers and texts are ASCII, variable fields carry their length
as ASCII digits (LL, LLL).
DE55 alone is binary: LLL in ASCII digits, then that many raw BER-TLV bytes. In terms of pyiso8583:
`default_ascii` with `h.max_len = 0`, `p.data_enc = 1.data_enc = 'b'` (max_len 8) and
`55 = {data_enc 'b', len_enc 'ascii', len_type 3, max_len 255}`. No header, no trailer. Several messages may follow one
another on one connection; answers may come in another order when a fault delays one (match by DE11 + DE37 + DE41).

| DE | format     | 0100 authorize            | 0220 capture               | 0400/0401 reverse          |
|----|------------|---------------------------|----------------------------|----------------------------|
| 3  | n6         | 000000                    | 000000                     | 000000                     |
| 4  | n12        | hold, minor units         | final amount, minor units  | amount held (or asked for) |
| 7  | n10        | MMDDhhmmss UTC, of this message (a repeat keeps it)                                 |
| 11 | n6         | STAN                      | new STAN (repeat keeps it) | new STAN (repeat keeps it) |
| 12 | n6         | hhmmss local              | hhmmss local               | optional                   |
| 13 | n4         | MMDD local                | MMDD local                 | optional                   |
| 18 | n4         | 5552                      | -                          | -                          |
| 22 | n3         | 071 (contactless chip), 051 (contact chip)             | -                          |
| 23 | n3         | PAN sequence (5F34), when the card has one             | -                          |
| 25 | n2         | 00                        | 06                         | 00, optional               |
| 35 | z..37 LL   | track 2 equivalent (57), `=` or `D` as separator, no F | -                          |
| 37 | an12       | RRN, chosen by terminal   | RRN of the original        | RRN of the original        |
| 38 | an6        | -                         | auth code of the original  | auth code, if known        |
| 41 | ans8       | terminal id               | terminal id                | terminal id                |
| 42 | ans15      | merchant id               | merchant id                | merchant id                |
| 49 | n3         | currency, ISO 4217 number | currency                   | currency                   |
| 55 | b..255 LLL | EMV data (below)          | -                          | -                          |
| 90 | n42        | -                         | original data elements     | original data elements     |

DE90 is: MTI of the original (`0100`) + its STAN (6) + its DE7 (10) + 22 zeros. Follow-ups carry no card number:
DE2 and DE35 in a 0220 or 0400 are a format error. MTIs taken: 0100 and repeat 0101, 0220 and repeat 0221, 0400, 0420 and
repeats 0401, 0421, 0800 (DE7, DE11, DE70 = 001 sign on, 301 echo). The answers are 0110, 0230, 0410, 0430, 0810.

DE55 of 0100 must hold: 9F26 9F27 9F10 9F37 9F36 95 9A 9C 9F02 5F2A 82 9F1A 84; 9F03 counts as zero when absent. PAN and
track data (57, 5A) must not be in it. 9F02 must equal DE4 and 5F2A must equal DE49, or the answer is 30.

An answer echoes 3, 4, 7, 11, 12, 13, 37, 41, 42, 49 as far as they were sent, and adds DE39, on approval of a 0100 also
DE38 (six letters or digits) and, as chip cards get it back, DE55 = 91 0A ARPC(8) ARC(2) (EMV book 2, ARPC method 1). A
0100 without DE37 gets one. DE39 of a 0100:
00 approved; 10 approved for less: DE4 of the ANSWER is what is held; 05 not approved, also a wrong cryptogram or an ATC
used before; 12 the reversal was here first; 14 no such card; 30 format error, also a field that is missing;
51 above the limit; 54 expired card; 57 cryptogram is not an ARQC; 94 STAN + RRN used already by another request.
A 0100 that comes twice (same DE41, 37, 11, 7) is answered as the first time and held once.

0220: 00 captured; the same message again (DE41, 37, 11): 00 and nothing more is captured; 12 held no longer (reversed
or declined), or captured already by another message with another amount; 94 captured already by another message with
the same amount; 13 more than is held, or zero; 25 no such authorization (DE41, DE37 and DE90 are compared; DE38 too).
Increment: a 0100 (repeat 0101) that has DE90 and no DE35: DE4 more is held on the original; fields as a 0220. 00, or 10 with
DE4 = what was added; the same message again (DE41, 37, 11): the same answer, added once; 12 held no longer; 25 no such
authorization; 51 the sum is above the limit; 94 STAN used with another amount.
Refund: a 0220 (repeat 0221) with DE3 = 200000: 00 given back; the same message again: 00 and nothing more is given; 13 more than
was captured and not yet given back, or zero; 12 not captured; 25 no such authorization; 94 STAN used with another amount.
0400: DE4 is what is held, was asked for, or was held before an increment (its answer may be lost); all that is held is released.
00 reversed, reversed before, declined before (nothing is held), or not known: then it is remembered, and the
original that comes later gets 12 and holds nothing; 12 captured already, the reversal comes too late.

THE BOOKS (`--books FILE`, SQLite, WAL, synchronous FULL; committed before the answer leaves)
------------------------------------------------------------------------------------------
`authorizations`: id, terminal, merchant, stan, rrn, transmitted_at (DE7), auth_code, amount_minor (held),
requested_minor, currency (ISO 4217 number as text), pan_last4, aid, atc, arqc_ok (1, 0), response (DE39 sent), state
('authorized' | 'captured' | 'reversed' | 'declined'), captured_minor, created_at, changed_at (UTC, ISO 8601).
An original that comes after its reversal is booked as 'reversed' with amount_minor 0.
`captures`: id, authorization_id, terminal, stan, rrn, amount_minor, response, at.
`increments`, `refunds`: as `captures`.
`reversals`: id, authorization_id or NULL while the original is not known, terminal, original_stan, original_rrn,
original_transmitted_at, response, at.
`messages`: id, at, direction ('in' | 'out'), mti, stan, rrn, terminal, amount_minor, response. Never a PAN.
`cards`: card_key (SHA-256 of a secret of these books and PAN + sequence), last_atc.
A table that is empty has seen nothing: there is no in-memory truth beside these.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from drivers.sim.acquirer_books import Books
from drivers.sim.acquirer_follow_ups import Wish
from drivers.sim.acquirer_rules import ANSWER_MTI, Host
from drivers.sim.control import Command, Reply, SimulationError, forever, ready, serve_control
from drivers.sim.cryptogram import TEST_ISSUER_KEY
from drivers.sim.flags import address, triple_des_key
from drivers.sim.iso8583_codec import FormatError, Message, pack, unpack

MESSAGE_LIMIT = 4096
TASKS_LIMIT = 64  # messages in work on one connection
LISTED = 100
FAULTS = ("silent", "lost", "late", "hold", "decline", "partial", "close", "close_before", "garbage", "stranger", "twice")
NOT_BOOKED = ("lost", "close_before")


@dataclass(frozen=True)
class Next:
    """What happens to the next message (of one MTI, or of any)."""

    answer: str
    mti: str = ""
    delay_s: float = 0.0
    decline: str = ""
    partial_minor: int = 0


class Acquirer:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._bcd: bool = options.length == "bcd"
        self._books = Books(options.books)
        self._host = Host(self._books, options.imk, options.limit_minor)
        self._nexts: list[Next] = []
        self._unreadable = 0
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.StreamWriter] = set()
        self._address: tuple[str, int] = options.listen

    def _take_next(self, mti: str) -> Next:
        for index, candidate in enumerate(self._nexts):
            if candidate.mti in ("", mti):
                return self._nexts.pop(index)
        return Next("")

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks: set[asyncio.Task[None]] = set()
        self._clients.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                header = await reader.readexactly(2)
                if self._bcd and not header.hex().isdigit():
                    break
                length = int(header.hex()) if self._bcd else int.from_bytes(header, "big")
                if not 12 <= length <= MESSAGE_LIMIT or len(tasks) >= TASKS_LIMIT:
                    break
                try:
                    message = unpack(await reader.readexactly(length))
                    if message.mti not in ANSWER_MTI:
                        raise FormatError(f"MTI {message.mti} is not for this host")
                except FormatError as error:
                    self._unreadable += 1
                    print(f"drivers.sim acquirer: message refused: {error}", file=sys.stderr, flush=True)
                    break
                task = asyncio.create_task(self._serve(message, writer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        self._clients.discard(writer)
        writer.close()

    async def _serve(self, message: Message, writer: asyncio.StreamWriter) -> None:
        ordered = self._take_next(message.mti)
        if ordered.answer == "hold":  # the request is long on its way
            await asyncio.sleep(ordered.delay_s)
        if ordered.answer in NOT_BOOKED:
            if ordered.answer == "close_before":
                writer.close()
            return
        reply = self._host.answer(message, Wish(ordered.decline, ordered.partial_minor))
        if ordered.answer == "late":  # the answer is long on its way
            await asyncio.sleep(ordered.delay_s)
        if ordered.answer == "close":
            writer.close()
        elif ordered.answer == "garbage":
            self._send(writer, b"\xff" * 40)
        elif ordered.answer != "silent":
            if ordered.answer == "stranger":  # somebody else's answer comes first
                other = {**reply.fields, 11: "999999", 37: "999999999999", 39: "00"}
                self._send(writer, pack(Message(reply.mti, other)))
            with self._books.atomic():
                self._books.log("out", reply.mti, reply.fields)
            for _ in range(2 if ordered.answer == "twice" else 1):
                self._send(writer, pack(reply))

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.is_closing():
            header = bytes.fromhex(f"{len(data):04d}") if self._bcd else len(data).to_bytes(2, "big")
            writer.write(header + data)

    # --- commands ---

    def next(self, command: Command) -> Reply:
        """Order a fault for the next `times` messages."""
        answer = command.text("answer")
        if answer not in FAULTS:
            raise SimulationError(f"answer: {answer!r} is unknown; there is {', '.join(FAULTS)}")
        mti = command.text("mti", "")
        if mti and mti not in ANSWER_MTI:
            raise SimulationError(f"mti: {mti!r} is not taken here; there is {', '.join(ANSWER_MTI)}")
        delay_s = command.integer("ms", high=3_600_000) / 1000 if answer in ("late", "hold") else 0.0
        decline = command.text("code", "05") if answer == "decline" else ""
        if decline and len(decline) != 2:
            raise SimulationError(f"code: two characters are needed, got {decline!r}")
        partial = command.integer("amount_minor", low=1) if answer == "partial" else 0
        times = command.integer("times", 1, low=1, high=10_000)
        self._nexts.extend([Next(answer, mti, delay_s, decline, partial)] * times)
        return {"ordered": len(self._nexts)}

    def clear(self, command: Command) -> None:
        self._nexts.clear()

    def forget(self, command: Command) -> None:
        """A day has passed: repeats of what was done before are no longer known by their STAN, only by the original's state."""
        self._host.forget()

    def limit(self, command: Command) -> None:
        self._host.limit_minor = command.integer("amount_minor")

    async def network(self, command: Command) -> None:
        """Be unreachable (connections end, new ones are refused), or be there again under the same address."""
        if not command.flag("on"):
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._clients):
                writer.close()
        elif self._server is None:
            await self._listen()

    def get(self, command: Command) -> Reply:
        columns = "stan, rrn, auth_code, terminal, amount_minor, currency, arqc_ok, response, state, captured_minor"
        rows = self._books.rows(f"SELECT {columns} FROM authorizations ORDER BY id DESC LIMIT {LISTED}")
        return {"books": str(self._options.books), "authorizations": rows[::-1], "unreadable": self._unreadable}

    def sums(self, command: Command) -> Reply:
        return {"currencies": self._books.sums()}

    async def _listen(self) -> None:
        tls: ssl.SSLContext | None = None
        if self._options.tls_cert is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                tls.load_cert_chain(self._options.tls_cert, self._options.tls_key)
            except (OSError, ssl.SSLError) as error:
                raise SimulationError(f"--tls-cert {self._options.tls_cert}: {error}") from None
        host, port = self._address
        try:
            self._server = await asyncio.start_server(self.client, host, port, ssl=tls)
        except OSError as error:
            raise SimulationError(f"--listen {host}:{port}: cannot listen: {error.strerror}") from None
        self._address = self._server.sockets[0].getsockname()[:2]

    async def serve(self) -> None:
        await self._listen()
        actions = {
            "next": self.next,
            "clear": self.clear,
            "limit": self.limit,
            "forget": self.forget,
            "network": self.network,
            "get": self.get,
            "sums": self.sums,
        }
        await serve_control(self._options.control, actions)
        host, port = self._address
        books = str(self._options.books)
        ready("acquirer", port=f"{host}:{port}", books=books, control=str(self._options.control))
        try:
            await forever()
        finally:
            self._books.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--listen", type=address, default=("127.0.0.1", 0), help="host:port (default 127.0.0.1:0)")
    parser.add_argument("--books", type=Path, required=True, help="SQLite file")
    parser.add_argument("--imk", type=triple_des_key, default=TEST_ISSUER_KEY, help="issuer master key, 32 hex digits")
    parser.add_argument("--limit-minor", type=int, default=50_000, help="above it: 51 (default 50000)")
    parser.add_argument("--length", choices=("binary", "bcd"), default="binary", help="form of the length before a message")
    parser.add_argument("--tls-cert", type=Path, help="certificate chain (PEM): speak TLS")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")


async def serve(options: argparse.Namespace) -> None:
    await Acquirer(options).serve()
