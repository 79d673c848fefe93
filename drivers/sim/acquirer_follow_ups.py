"""What the acquirer decides about money it holds already: capture, increment, refund, reversal. Answers: see `acquirer`."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.sim.acquirer_books import Books, Row, now

APPROVED, PARTIAL, REFUSED, INVALID, BAD_AMOUNT, NO_CARD = "00", "10", "05", "12", "13", "14"
NOT_FOUND, FORMAT, OVER_LIMIT, EXPIRED, NOT_PERMITTED, DUPLICATE = "25", "30", "51", "54", "57", "94"
REFUND = "200000"


@dataclass(frozen=True)
class Wish:
    """What a test asked for: refuse with a code, or approve less."""

    decline: str = ""
    partial_minor: int = 0


class Refused(Exception):
    """The answer is this response code."""

    def __init__(self, response: str) -> None:
        super().__init__(response)
        self.response = response


class FollowUps:
    """One thread."""

    def __init__(self, books: Books, limit_minor: int) -> None:
        self._books = books
        self.limit_minor = limit_minor
        self._remembers_from = ""

    def forget(self) -> None:
        """What came before is no longer known by its STAN."""
        self._remembers_from = now()

    def _original(self, fields: dict[int, str]) -> Row | None:
        """The authorization that DE90 + DE37 + DE41 mean. Raises Refused if DE90 is none of an authorization."""
        original = fields[90]
        if original[:4] != "0100":
            raise Refused(FORMAT)
        query = "SELECT * FROM authorizations WHERE terminal = ? AND rrn = ? AND stan = ? AND transmitted_at = ?"
        found = self._books.rows(query, fields[41].strip(), fields[37], original[4:10], original[10:20])
        if found and fields.get(38, found[0]["auth_code"]) != found[0]["auth_code"]:
            raise Refused(NOT_FOUND)
        return found[0] if found else None

    def _before(self, table: str, fields: dict[int, str]) -> Row | None:
        """What the same message did the first time. Raises Refused if that was about another amount."""
        query = f"SELECT * FROM {table} WHERE terminal = ? AND rrn = ? AND stan = ? AND at >= ?"
        for before in self._books.rows(query, fields[41].strip(), fields[37], fields[11], self._remembers_from):
            if table != "increments" and before["amount_minor"] != int(fields[4]):
                raise Refused(DUPLICATE)
            return before
        return None

    def _known(self, fields: dict[int, str], wish: Wish) -> Row:
        """The original of a follow-up that needs one. Raises Refused."""
        held = self._original(fields)
        if held is None:
            raise Refused(NOT_FOUND)
        if held["currency"] != fields[49]:
            raise Refused(FORMAT)
        if wish.decline:
            raise Refused(wish.decline)
        return held

    def _book(self, table: str, held: Row, fields: dict[int, str], amount_minor: int, response: str) -> None:
        names = {"terminal": fields[41].strip(), "stan": fields[11], "rrn": fields[37]}
        number, at = held["id"], now()
        if self._books.rows(f"SELECT id FROM {table} WHERE terminal = ? AND stan = ? AND rrn = ?", *names.values()):
            raise Refused(DUPLICATE)  # forgotten, not undone
        self._books.insert(table, authorization_id=number, **names, amount_minor=amount_minor, response=response, at=at)

    def _capture(self, fields: dict[int, str], wish: Wish) -> dict[int, str]:
        if before := self._before("captures", fields):
            return {39: before["response"], 38: fields[38]}
        held, amount = self._known(fields, wish), int(fields[4])
        if held["state"] == "captured":
            raise Refused(DUPLICATE if held["captured_minor"] == amount else INVALID)
        if held["state"] != "authorized":
            raise Refused(INVALID)
        if not 0 < amount <= held["amount_minor"]:
            raise Refused(BAD_AMOUNT)
        self._book("captures", held, fields, amount, APPROVED)
        self._books.set_state(held["id"], "captured", amount)
        return {39: APPROVED, 38: held["auth_code"]}

    def _increment(self, fields: dict[int, str], wish: Wish) -> dict[int, str]:
        added, response = int(fields[4]), APPROVED
        if before := self._before("increments", fields):
            added, response = before["amount_minor"], before["response"]
        else:
            held = self._known(fields, wish)
            if held["state"] != "authorized":
                raise Refused(INVALID)
            if added == 0:
                raise Refused(BAD_AMOUNT)
            if 0 < wish.partial_minor < added:
                added, response = wish.partial_minor, PARTIAL
            if held["amount_minor"] + added > self.limit_minor:
                raise Refused(OVER_LIMIT)
            self._book("increments", held, fields, added, response)
            self._books.add_to_hold(held["id"], added)
        return {39: response, 38: fields[38], **({4: f"{added:012d}"} if response == PARTIAL else {})}

    def _refund(self, fields: dict[int, str], wish: Wish) -> dict[int, str]:
        if before := self._before("refunds", fields):
            return {39: before["response"], 38: fields[38]}
        held, amount = self._known(fields, wish), int(fields[4])
        if held["state"] != "captured":
            raise Refused(INVALID)
        given = self._books.rows("SELECT sum(amount_minor) AS sum FROM refunds WHERE authorization_id = ?", held["id"])[0]["sum"]
        if not 0 < amount <= held["captured_minor"] - (given or 0):
            raise Refused(BAD_AMOUNT)
        self._book("refunds", held, fields, amount, APPROVED)
        return {39: APPROVED, 38: held["auth_code"]}

    def _reverse(self, fields: dict[int, str], wish: Wish) -> dict[int, str]:
        held = self._original(fields)
        if held is not None:
            if held["state"] == "captured":
                raise Refused(INVALID)
            if int(fields[4]) not in self._once_held(held):
                raise Refused(BAD_AMOUNT)
        if wish.decline:
            raise Refused(wish.decline)
        if held is not None and held["state"] != "authorized":
            return {39: APPROVED}
        original = {
            "terminal": fields[41].strip(),
            "original_stan": fields[90][4:10],
            "original_rrn": fields[37],
            "original_transmitted_at": fields[90][10:20],
        }
        known = " AND ".join(f"{column} = ?" for column in original)
        if not self._books.rows(f"SELECT id FROM reversals WHERE {known}", *original.values()):
            number = held["id"] if held is not None else None
            self._books.insert("reversals", authorization_id=number, **original, response=APPROVED, at=now())
        if held is not None:
            self._books.set_state(held["id"], "reversed", 0)
        return {39: APPROVED}

    def _once_held(self, held: Row) -> set[int]:
        """Amounts that a terminal may take for what is held: asked for, or held before one of the increments."""
        sums = {held["requested_minor"], held["amount_minor"]}
        now_held = held["amount_minor"]
        query = "SELECT amount_minor FROM increments WHERE authorization_id = ? ORDER BY id DESC"
        for added in self._books.rows(query, held["id"]):
            now_held -= added["amount_minor"]
            sums.add(now_held)
        return sums
