"""A tariff from the office: verified, judged as at the start, and listed in the tariff book. Any thread; moves no money.

What comes from outside is believed only by its signature: that of the operator ([tariffs] public_key) or, without that key, of
the office. Neither the carrier (sync) nor an endpoint of somebody else is trusted with prices.
"""

from typing import Any

from terminal_app.billing.tariff_file import open_tariff_file
from terminal_app.engine.arguments import Arguments, remark
from terminal_app.engine.engine import Engine
from terminal_app.session import book, lawful
from terminal_app.session.facts import ServiceAct, TariffTaken
from terminal_app.values import Stamp

MAX_CONNECTORS = 8


def tariff_set(engine: Engine, arguments: Arguments, actor: str) -> dict[str, Any]:
    """Let `connectors` be sold by the signed tariff `jws`, within its validity; all of them or none. ValueError and ChargeError
    (TariffRefused, SignatureInvalid) say why not. A price on the glass, or of a driver who has tapped, stays."""
    numbers, jws = _connectors(arguments["connectors"]), arguments["jws"]
    if not isinstance(jws, str):
        raise ValueError("jws must be the text of a signed tariff file")
    standing = engine.standing
    if not standing.tariff_spki:
        raise ValueError("this terminal knows no key for tariffs from outside")
    file = open_tariff_file(jws.encode(), standing.tariff_spki)
    listing = book.listing_of(file, jws.encode())

    def order() -> dict[str, Any]:
        now, new = engine.terms().now, list[TariffTaken]()
        for number in numbers:
            fact = listing.taken(number, book.OFFICE, actor)
            if book.is_last(engine.state.book, fact):
                continue
            if why := _refusal(engine, fact, listing, now):
                raise ValueError(f"connector {number}: {file.tariff.id}: {why}; nothing was taken")
            new.append(fact)
        told = {"tariff": file.tariff.id, "version": file.version, "fingerprint": file.tariff.fingerprint}
        if new:
            name = f"connector {', '.join(str(one.connector) for one in new)}"
            act = ServiceAct(actor, "tariff.set", name, remark(arguments) or f"{file.tariff.id} version {file.version}")
            engine.commit_outside_a_turn(act, *new)
            engine.present()  # at once another screen: from here on nobody buys at the old one without having tapped
        # Sold by another one still: where this begins later, or where only a synchronised clock can tell that it has.
        sold = engine.terms().tariffs
        selling = [number for number in numbers if number in sold and sold[number].fingerprint == file.tariff.fingerprint]
        return told | {"connectors": list(numbers), "applied": [one.connector for one in new], "sold_by": selling}

    return engine.ask(order)


def _connectors(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or not 0 < len(given) <= MAX_CONNECTORS:
        raise ValueError(f"connectors must be a list of 1 to {MAX_CONNECTORS} numbers")
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in given) or len(set(given)) != len(given):
        raise ValueError("connectors must be numbers, each once")
    return tuple(given)


def _refusal(engine: Engine, fact: TariffTaken, listing: book.Listing, now: Stamp) -> str:
    """In the order in which somebody would want to hear it; "" if there is nothing against it."""
    number, tariff, settings = fact.connector, listing.tariff, engine.standing.config
    if number not in engine.state.live:
        return f"there is no such connector; this terminal has {', '.join(map(str, engine.state.live))}"
    if fact.valid_until_utc_ms is not None and fact.valid_until_utc_ms <= max(now.utc_ms, fact.valid_from_utc_ms):
        return "it is over before it begins" if fact.valid_from_utc_ms > now.utc_ms else "its validity is over"
    if why := lawful.refusal(settings, number, tariff):
        return why
    first = Stamp(max(now.utc_ms, fact.valid_from_utc_ms), now.mono_ms, now.boot_id, now.clock)  # the law of its first day
    signed, step_wh = number in engine.standing.signing, engine.state.live[number].resolution_wh
    if found := lawful.against(settings, number, tariff, signed, step_wh, first):
        return f"not lawful here: {lawful.said(found)}"
    return book.refusal(engine.state.book, fact)
