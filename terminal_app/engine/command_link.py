"""Commands of the office, as sync delivers them: verified, committed as taken, executed, answered. Each works once at most.

A command is committed before it is acted upon. One that a crash leaves without an answer is answered at the next start and
never tried again (`Engine.start`). May move money, by what the acts do; every call is bounded by the engine's answer.
"""

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from terminal_app.billing.command import Command, open_command
from terminal_app.engine import evse_orders, money_orders, operations, tariff_orders
from terminal_app.engine.arguments import Arguments
from terminal_app.engine.control_link import Operation
from terminal_app.engine.engine import Engine
from terminal_app.errors import ChargeError, LedgerBroken
from terminal_app.session.facts import CommandAnswered, CommandTaken
from terminal_app.values import ClockState, Stamp
from terminal_app.wire import CommandsAfter, CommandsThrough, Deliver, Taken

log = logging.getLogger("charge.command_link")

ACTS: dict[str, Callable[[Engine, Arguments, str], Any]] = {
    "session.stop": operations.session_stop,
    "cards.deny": operations.cards_deny,
    "tariff.set": tariff_orders.tariff_set,
    "evse.limit": evse_orders.evse_limit,
    "session.start": money_orders.session_start,
    "payment.refund": money_orders.payment_refund,
    "payment.release": money_orders.payment_release,
    "payment.retry": money_orders.payment_retry,
}
"""What the office may order; the arguments are the command's with its `reason`. ValueError says why it was not done."""

WITHOUT_CLOCK = frozenset({"session.stop", "evse.limit", "cards.deny", "relay.notification"})
"""Acts that neither move money nor start energy: done also while nobody knows whether the command has expired."""

LONGEST_SKEW_MS = 5 * 60_000  # a command issued further ahead of our clock: it is ours that is wrong
MAX_TAKEN = 8
MAX_ANSWER = 1000


def acts_of(engine: Engine) -> dict[str, Operation]:
    """ACTS for this engine."""
    return {name: partial(function, engine) for name, function in ACTS.items()}


class CommandLink:
    """Any thread; one command at a time. `acts` as `acts_of` gives them; what is not there is answered as not known."""

    def __init__(self, engine: Engine, office_spki: bytes, acts: Mapping[str, Operation]) -> None:
        self._engine, self._office_spki, self._acts = engine, office_spki, acts
        self._one_at_a_time = threading.Lock()
        self._taken: deque[Command] = deque()  # committed, not executed; longer than one only if the engine was slow
        self._answers: deque[CommandAnswered] = deque()

    def after(self, message: CommandsAfter) -> CommandsThrough:
        """The number that the next command must exceed. Also finishes what a slow engine left over."""
        with self._one_at_a_time:
            self._finish()
        terminal = self._engine.standing.config.terminal.id
        return CommandsThrough(terminal, self._engine.state.chain.commands_through)

    def deliver(self, message: Deliver) -> Taken:
        """`error` empty = taken, whatever becomes of it; the outcome is a fact that travels to the office."""
        with self._one_at_a_time:
            try:
                command = open_command(message.jws, self._office_spki, self._engine.standing.config.terminal.id)
                refusal = self._engine.ask(lambda: self._take(command))
            except (ChargeError, TimeoutError) as error:
                return Taken(f"command refused: {error}")
            if refusal:
                return Taken(f"command refused: {refusal}")
            self._finish()
        return Taken()

    def _take(self, command: Command) -> str:
        """On the engine's thread, so that nothing comes between the number's check and its commit."""
        through = self._engine.state.chain.commands_through
        if command.number <= through:
            return f"number {command.number} is not new, {through} was taken"
        if len(self._taken) >= MAX_TAKEN:
            return f"{MAX_TAKEN} commands wait for the engine already"
        fact = CommandTaken(
            number=command.number,
            command_id=command.command_id,
            act=command.act,
            args=kept_args(command.act, command.args),
            actor=command.actor,
            reason=command.reason,
            expires_utc_ms=command.expires_utc_ms,
        )
        self._engine.commit_outside_a_turn(fact)
        self._taken.append(command)
        return ""

    def _finish(self) -> None:
        """Execute what is taken and commit the answers. What the engine gives no time for is left for the next call."""
        while self._taken:
            self._answers.append(self._execute(self._taken.popleft()))
        while self._answers:
            answer = self._answers[0]
            try:
                self._engine.ask(partial(self._answer, answer))
            except (LedgerBroken, TimeoutError) as error:
                log.warning("command %s is not answered yet: %s", answer.command_id, error)
                return
            self._answers.popleft()

    def _answer(self, answer: CommandAnswered) -> None:
        if answer.command_id in self._engine.state.chain.commands_open:  # else a slow earlier attempt came through
            self._engine.commit_outside_a_turn(answer)

    def _execute(self, command: Command) -> CommandAnswered:
        act = self._acts.get(command.act)
        if act is None:
            return _not_done(command, f"{command.act} is not known here")
        if refusal := untimely(command, self._engine.terms().now):
            return _not_done(command, refusal)
        try:
            answer = act({**command.args, "reason": command.reason}, f"office: {command.actor}")
        except KeyError as error:
            return _not_done(command, f"there is no {error}")
        except TimeoutError as error:
            return _not_done(command, f"{error}; look at the terminal whether it was done")
        except (ChargeError, ValueError, TypeError) as error:
            return _not_done(command, str(error))
        text = msgspec.json.encode(answer).decode()
        log.info("command %d %s: done", command.number, command.act)
        return CommandAnswered(command.command_id, True, text if len(text) <= MAX_ANSWER else "{}")


def untimely(command: Command, now: Stamp) -> str:
    """Why a command is too late, or cannot be told to be in time; "" if neither."""
    if now.clock is ClockState.UNKNOWN or command.issued_utc_ms > now.utc_ms + LONGEST_SKEW_MS:
        unsure = "this terminal's clock cannot be trusted, so nobody knows whether the command has expired"
        return "" if command.act in WITHOUT_CLOCK else unsure
    return "expired before it came" if now.utc_ms >= command.expires_utc_ms else ""


def kept_args(act: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What the ledger keeps: a gateway's notification may tell more of a person than anybody here needs."""
    if act != "relay.notification":
        return dict(args)
    body = str(args.get("body", "")).encode()
    return {"gateway": args.get("gateway"), "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


def told_args(act: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """What travels back to the office: cards' tokens link a person's visits and stay here; a signed tariff it has itself."""
    if act == "tariff.set":
        digest = hashlib.sha256(str(args.get("jws", "")).strip().encode()).hexdigest()
        return {"connectors": args.get("connectors"), "jws_sha256": digest}
    if act != "cards.deny":
        return dict(args)
    tokens = args.get("tokens")
    return {"count": len(tokens) if isinstance(tokens, list) else 0, "version": args.get("version")}


def _not_done(command: Command, why: str) -> CommandAnswered:
    log.warning("command %d %s: %s", command.number, command.act, why)
    return CommandAnswered(command.command_id, False, why[:MAX_ANSWER])
