"""A contactless EMV card for the virtual reader of vpcd: a TCP client, which is in the field while it is connected.
See `drivers.sim` for the flags.

vpcd's frames: two bytes length, body. A one-byte body is control (0 power off, 1 on, 2 reset, 4 asks for the ATR, every
400 ms), anything longer is a C-APDU. A card lying on the reader comes back by itself when the reader's service does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
from pathlib import Path

from drivers.sim.card_keys import LIES, DemoScheme
from drivers.sim.control import Command, Reply, SimulationError, forever, ready, serve_control
from drivers.sim.cryptogram import TEST_ISSUER_KEY
from drivers.sim.durable import write_durably
from drivers.sim.emv_card import DEFAULT_PANS, EmvCard, Personalisation
from drivers.sim.flags import address, triple_des_key

ATR = bytes.fromhex("3B80800101")  # ISO 14443-4 without historical bytes, as PC/SC part 3 has it
RETRY_S = 0.1
INSERTED_WITHIN_S = 2.0
POWER_OFF, POWER_ON, RESET, ASK_ATR = 0, 1, 2, 4
PROFILES = ("mastercard", "visa", "both")


class Card:
    def __init__(self, options: argparse.Namespace) -> None:
        self._host, self._port = options.vpcd
        self._state: Path | None = options.state
        self._counters: dict[str, int] = {}
        if self._state is not None and self._state.exists():
            try:
                self._counters = {key: int(value) for key, value in json.loads(self._state.read_text()).items()}
            except (ValueError, AttributeError, TypeError) as error:
                raise SimulationError(f"{self._state}: not the state of a card ({error}); remove it") from None
        self._profile: str = options.profile
        self._pan: str | None = options.pan
        self._expiry: str = options.expiry
        self._cdcvm = False
        self._scheme = DemoScheme(options.certificates) if options.certificates is not None else None
        self._lie = ""
        self._emv = EmvCard([], options.imk, options.uid, self._next_atc)
        self._personalise()
        self._inserted = asyncio.Event()
        self._link: asyncio.StreamWriter | None = None
        self._slow_s = options.slow_ms / 1000
        self._awake = asyncio.Event()
        self._awake.set()
        self._apdus = 0
        self._pulled_after: int | None = None

    def _personalise(self) -> None:
        profiles = ["mastercard", "visa"] if self._profile == "both" else [self._profile]
        pans = [DEFAULT_PANS[profile] if len(profiles) > 1 or not self._pan else self._pan for profile in profiles]
        self._emv.applications = [
            Personalisation(profile, pan, self._expiry, cdcvm=self._cdcvm, scheme=self._scheme, lie=self._lie)
            for profile, pan in zip(profiles, pans, strict=True)
        ]
        self._emv.reset()

    def _next_atc(self, pan: str) -> int:
        """The counter is on the disk before the card shows a cryptogram with it. The file keeps four digits only."""
        key = pan[-4:]
        self._counters[key] = self._counters.get(key, 0) + 1
        if self._state is not None:
            write_durably(self._state, json.dumps(self._counters))
        return self._counters[key]

    async def _lie_on_reader(self) -> None:
        while True:
            await self._inserted.wait()
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                await asyncio.sleep(RETRY_S)
                continue
            self._link = writer
            self._emv.reset()
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._talk(reader, writer)
            self._link = None
            writer.close()
            await asyncio.sleep(RETRY_S)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock: socket.socket = writer.get_extra_info("socket")
        while self._inserted.is_set():
            # vpcd sends length and body apart; a delayed acknowledgement between them would cost 40 ms
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            length = int.from_bytes(await reader.readexactly(2), "big")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            body = await reader.readexactly(length)
            if length == 1:
                if body[0] == ASK_ATR:
                    writer.write(len(ATR).to_bytes(2, "big") + ATR)
                elif body[0] in (POWER_OFF, POWER_ON, RESET):
                    self._emv.reset()
                continue
            if self._pulled_after is not None:
                if self._pulled_after == 0:
                    self._pulled_after = None
                    self._inserted.clear()
                    return
                self._pulled_after -= 1
            self._apdus += 1
            await asyncio.sleep(self._slow_s)
            await self._awake.wait()
            answer = self._emv.answer(body)
            writer.write(len(answer).to_bytes(2, "big") + answer)

    async def insert(self, command: Command) -> Reply:
        self._inserted.set()
        for _ in range(int(INSERTED_WITHIN_S / 0.01)):
            if self._link is not None:
                break
            await asyncio.sleep(0.01)
        return {"connected": self._link is not None}

    def remove(self, command: Command) -> None:
        self._inserted.clear()
        self._pulled_after = None
        if self._link is not None:
            self._link.close()

    def remove_after_apdus(self, command: Command) -> None:
        """The card leaves the field instead of answering the APDU after the next `n`."""
        self._pulled_after = command.integer("n", high=10_000)

    def hang(self, command: Command) -> None:
        """Answer no APDU until told otherwise (or pulled)."""
        if command.flag("on", True):
            self._awake.clear()
        else:
            self._awake.set()

    def slow(self, command: Command) -> None:
        self._slow_s = command.integer("ms", high=600_000) / 1000

    def set(self, command: Command) -> Reply:
        """Become another card: `profile`, `pan` (of one profile), `expiry` YYMM, `cdcvm` (an unlocked phone), `lie`."""
        profile = command.text("profile", self._profile)
        if profile not in PROFILES:
            raise SimulationError(f"profile: {profile!r} is unknown; there is {', '.join(PROFILES)}")
        if profile != self._profile:
            self._pan = None
        if command.present("pan"):
            pan = command.text("pan")
            if not (pan.isdigit() and 12 <= len(pan) <= 19):
                raise SimulationError("pan: 12 to 19 digits are needed")
            self._pan = pan
        lie = command.text("lie", self._lie)
        if lie not in LIES:
            raise SimulationError(f"lie: {lie!r} is unknown; there is {', '.join(filter(None, LIES))}")
        if lie and self._scheme is None:
            raise SimulationError("lie: a card without certificates (--certificates) proves nothing")
        self._profile, self._lie = profile, lie
        self._expiry = command.text("expiry", self._expiry)
        self._cdcvm = command.flag("cdcvm", self._cdcvm)
        self._personalise()
        return self.get(command)

    def get(self, command: Command) -> Reply:
        return {
            "inserted": self._inserted.is_set(),
            "connected": self._link is not None,
            "profile": self._profile,
            "pan_last4": self._emv.applications[0].pan[-4:],
            "apdus": self._apdus,
            "atc": dict(self._counters),
        }

    async def serve(self, options: argparse.Namespace) -> None:
        actions = {
            "insert": self.insert,
            "remove": self.remove,
            "remove_after_apdus": self.remove_after_apdus,
            "hang": self.hang,
            "slow": self.slow,
            "set": self.set,
            "get": self.get,
        }
        await serve_control(options.control, actions)
        task = asyncio.create_task(self._lie_on_reader())
        ready("card", control=str(options.control))
        try:
            await forever()
        finally:
            task.cancel()


def _uid(text: str) -> bytes:
    try:
        uid = bytes.fromhex(text)
    except ValueError:
        uid = b""
    if len(uid) not in (4, 7, 10):
        raise argparse.ArgumentTypeError("4, 7 or 10 bytes in hex are needed")
    return uid


def add_card_arguments(parser: argparse.ArgumentParser) -> None:
    """What makes the card, without where it lies."""
    parser.add_argument("--profile", choices=PROFILES, default="mastercard")
    parser.add_argument("--pan", help="a published test card number (default: one of the profile)")
    parser.add_argument("--expiry", default="4912", help="YYMM (default 4912)")
    parser.add_argument("--imk", type=triple_des_key, default=TEST_ISSUER_KEY, help="issuer master key, 32 hex digits")
    parser.add_argument("--uid", type=_uid, default=bytes.fromhex("04A1B2C3D4E580"), help="answer to FF CA 00 00 00")
    parser.add_argument("--slow-ms", type=int, default=0, help="delay of each APDU")
    parser.add_argument("--state", type=Path, help="file that keeps the transaction counter")
    parser.add_argument("--certificates", type=Path, help="folder of a demo scheme's keys: the card can prove itself")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vpcd", type=address, default=("127.0.0.1", 35_963), help="host:port of the virtual reader")
    add_card_arguments(parser)


async def serve(options: argparse.Namespace) -> None:
    await Card(options).serve(options)
