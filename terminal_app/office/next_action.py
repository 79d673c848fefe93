"""What a person does about a finding: one sentence, and the exact command where there is one. PURE."""

import shlex
from dataclasses import dataclass

from terminal_app.office.payment_values import Payment, money_text


@dataclass(frozen=True, slots=True)
class Step:
    """`command` is for the office's shell, `at_terminal` for a technician's at the terminal; "" where there is none."""

    sentence: str
    command: str = ""
    at_terminal: str = ""


def by_hold(act: str, payment: Payment, what: str, amount_minor: int = 0) -> Step:
    """`act`: retry, release, refund (the office can send them) or show (at the terminal only). `amount_minor` 0: none to say."""
    hold = shlex.quote(payment.hold_id)
    amount = f" --amount {money_text(amount_minor, payment.currency).split()[0]}" if amount_minor else ""
    here = f"charge-service payments {act} {hold}{amount}"
    if act == "show":
        return Step(what, at_terminal=here)
    command = f"charge-office command payment.{act} {shlex.quote(payment.terminal)} --hold {hold}{amount}"
    return Step(what, f"{command} --db URL --key FILE --by NAME --why REASON", f"{here} --reason REASON")


def at_gateway(gateway: str, what: str) -> Step:
    """Only the gateway's own tools can do it."""
    return Step(f"At gateway {gateway}: {what}")


def look_at_terminal(terminal: str) -> Step:
    return Step(f"Bring terminal {terminal} back to the network and look at it there", at_terminal="charge-service status")
