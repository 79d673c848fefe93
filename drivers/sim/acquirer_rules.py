"""What the acquirer and the issuer behind it decide about a card. Field usage and answers: see `acquirer`."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from drivers.sim import ber_tlv
from drivers.sim.acquirer_books import Books, Row, now
from drivers.sim.acquirer_follow_ups import (
    APPROVED,
    BAD_AMOUNT,
    DUPLICATE,
    EXPIRED,
    FORMAT,
    INVALID,
    NO_CARD,
    NOT_PERMITTED,
    OVER_LIMIT,
    PARTIAL,
    REFUND,
    REFUSED,
    FollowUps,
    Refused,
    Wish,
)
from drivers.sim.cryptogram import NoSuchCryptogram, cryptogram, issuer_answer
from drivers.sim.iso8583_codec import Message

ARQC = 0x80
ANSWER_MTI = {
    "0100": "0110",
    "0101": "0110",
    "0220": "0230",
    "0221": "0230",
    "0400": "0410",
    "0401": "0410",
    "0420": "0430",
    "0421": "0430",
    "0800": "0810",
}
ECHOED = (3, 4, 7, 11, 12, 13, 37, 41, 42, 49, 70)
NEEDED = {
    "0100": (3, 4, 7, 11, 12, 13, 18, 22, 25, 35, 37, 41, 42, 49, 55),
    "0101": (3, 4, 7, 11, 12, 13, 25, 37, 38, 41, 42, 49, 90),
    "0220": (3, 4, 7, 11, 12, 13, 25, 37, 38, 41, 42, 49, 90),
    "0400": (3, 4, 7, 11, 37, 41, 42, 49, 90),
    "0800": (7, 11, 70),
}
NEEDED_TAGS = ("9F26", "9F27", "9F10", "9F37", "9F36", "95", "9A", "9C", "9F02", "5F2A", "82", "9F1A", "84")
CODE_ALPHABET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def luhn(pan: str) -> bool:
    digits = [int(digit) for digit in reversed(pan)]
    return (sum(digits[0::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


@dataclass(frozen=True)
class Card:
    """What the request says about the card. Lives only while the request is answered."""

    pan: str
    expiry: str
    sequence: str
    tags: dict[str, bytes]

    def __repr__(self) -> str:
        return f"Card(**** {self.pan[-4:]})"

    @property
    def aid(self) -> str:
        return self.tags["84"].hex().upper()

    @property
    def atc(self) -> int:
        return int.from_bytes(self.tags["9F36"], "big")


def read_card(fields: dict[int, str]) -> Card:
    """Raises Refused."""
    pan, separator, rest = fields[35].replace("D", "=").partition("=")
    if not separator or len(rest) < 7 or not pan.isdigit() or not 12 <= len(pan) <= 19:
        raise Refused(FORMAT)
    try:
        tags = ber_tlv.parse(bytes.fromhex(fields[55]))
    except ValueError:
        raise Refused(FORMAT) from None
    if any(tag not in tags for tag in NEEDED_TAGS) or "57" in tags or "5A" in tags:
        raise Refused(FORMAT)
    tags.setdefault("9F03", bytes(6))
    amount_differs = tags["9F02"].hex() != fields[4]
    currency_differs = tags["5F2A"].hex()[-3:] != fields[49]
    if amount_differs or currency_differs:
        raise Refused(FORMAT)
    return Card(pan, rest[:4], fields.get(23, "000")[-2:], tags)


class Host(FollowUps):
    """One thread; each answer is committed before it is returned."""

    def __init__(self, books: Books, issuer_key: bytes, limit_minor: int) -> None:
        super().__init__(books, limit_minor)
        self._issuer_key = issuer_key

    def answer(self, message: Message, wish: Wish) -> Message:
        """The answer to one message. Raises KeyError for an MTI that has none."""
        reply = Message(ANSWER_MTI[message.mti])
        fields = message.fields
        reply.fields = {number: fields[number] for number in ECHOED if number in fields}
        with self._books.atomic():
            self._books.log("in", message.mti, fields)
            kind = _kind(message)
            if kind == "0100" and 37 not in fields:
                fields[37] = reply.fields[37] = f"{secrets.randbelow(10**12):012d}"
            try:
                if any(number not in fields for number in NEEDED[kind]) or (kind != "0100" and {2, 35} & fields.keys()):
                    raise Refused(FORMAT)
                steps = {"0100": self._authorize, "0101": self._increment, "0220": self._capture, "0400": self._reverse}
                step = self._refund if kind == "0220" and fields[3] == REFUND else steps.get(kind)
                reply.fields.update(step(fields, wish) if step else {39: APPROVED})
            except Refused as refusal:
                reply.fields[39] = refusal.response
        return reply

    # --- authorization ---

    def _authorize(self, fields: dict[int, str], wish: Wish) -> dict[int, str]:
        books, terminal = self._books, fields[41].strip()
        query = "SELECT * FROM authorizations WHERE terminal = ? AND rrn = ? AND stan = ?"
        for row in books.rows(query, terminal, fields[37], fields[11]):
            if row["transmitted_at"] != fields[7]:
                raise Refused(DUPLICATE)
            return self._authorization_answer(row)
        card = read_card(fields)
        requested = int(fields[4])
        arqc_ok = self._cryptogram_ok(card)
        response, held, state = self._judge(card, requested, arqc_ok, wish), requested, "authorized"
        query = """SELECT id FROM reversals WHERE authorization_id IS NULL AND terminal = ? AND original_stan = ?
                   AND original_rrn = ? AND original_transmitted_at = ?"""
        reversals = books.rows(query, terminal, fields[11], fields[37], fields[7])
        if reversals:
            response, state = INVALID, "reversed"
        elif response == PARTIAL:
            held = wish.partial_minor
        elif response != APPROVED:
            state = "declined"
        if arqc_ok and card.atc > books.last_atc(card.pan, card.sequence):
            books.see_atc(card.pan, card.sequence, card.atc)
        arpc = b""
        if arqc_ok:
            request_cryptogram = card.tags["9F26"]
            arpc = issuer_answer(self._issuer_key, card.aid, card.pan, card.sequence, request_cryptogram, response)
        number = books.insert(
            "authorizations",
            terminal=terminal,
            merchant=fields[42].strip(),
            stan=fields[11],
            rrn=fields[37],
            transmitted_at=fields[7],
            auth_code="".join(secrets.choice(CODE_ALPHABET) for _ in range(6)) if state == "authorized" else "",
            amount_minor=held if state == "authorized" else 0,
            requested_minor=requested,
            currency=fields[49],
            pan_last4=card.pan[-4:],
            aid=card.aid,
            atc=card.atc,
            arqc_ok=int(arqc_ok),
            response=response,
            state=state,
            issuer_answer=arpc.hex().upper(),
            created_at=now(),
            changed_at=now(),
        )
        for reversal in reversals:
            books.link_reversal(reversal["id"], number)
        return self._authorization_answer(books.rows("SELECT * FROM authorizations WHERE id = ?", number)[0])

    def _authorization_answer(self, row: Row) -> dict[int, str]:
        answer = {39: str(row["response"])}
        if row["auth_code"]:
            answer[38] = row["auth_code"]
        if row["response"] == PARTIAL:
            answer[4] = f"{row['amount_minor']:012d}"
        if row["issuer_answer"]:
            answer[55] = ber_tlv.tlv("91", str(row["issuer_answer"])).hex().upper()
        return answer

    def _cryptogram_ok(self, card: Card) -> bool:
        try:
            expected = cryptogram(self._issuer_key, card.aid, card.pan, card.sequence, card.tags)
        except NoSuchCryptogram:
            return False
        return hmac.compare_digest(expected, card.tags["9F26"])

    def _judge(self, card: Card, requested_minor: int, arqc_ok: bool, wish: Wish) -> str:
        if not luhn(card.pan):
            return NO_CARD
        if card.tags["9F27"][:1] != bytes([ARQC]):
            return NOT_PERMITTED
        if not arqc_ok or card.atc <= self._books.last_atc(card.pan, card.sequence):
            return REFUSED
        if wish.decline:
            return wish.decline
        if card.expiry < datetime.now(UTC).strftime("%y%m"):
            return EXPIRED
        if requested_minor > self.limit_minor:
            return OVER_LIMIT
        if requested_minor == 0:
            return BAD_AMOUNT
        return PARTIAL if 0 < wish.partial_minor < requested_minor else APPROVED


def _kind(message: Message) -> str:
    """The message without its repeat digit; an increment, which names an original, is "0101"."""
    if message.mti in ("0100", "0101"):
        return "0101" if 90 in message.fields else "0100"
    return message.mti[:2] + ("20" if message.mti < "0300" else "00")
