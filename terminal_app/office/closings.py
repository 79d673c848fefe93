"""Daily closings of terminals: numbered without a gap, frozen when made, signed by the office, each linked to the one before.

A record is counted by exactly one closing. A record that arrives after its day was closed stands as late in the next closing.
A record's day is when its session ended (its hold, for a settlement), and no later than the office had it: a wrong clock hides
nothing. Moves no money.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.billing.record import GENESIS, sha256_of
from terminal_app.billing.signature import PublicKey, jws_open, jws_seal, jws_signing_input
from terminal_app.errors import SignatureInvalid
from terminal_app.office import numbering, store
from terminal_app.office.accounts import Refused
from terminal_app.office.closing_content import Counted, figures
from terminal_app.office.closing_told import energy_told
from terminal_app.office.derived import OPEN_HOLDS
from terminal_app.office.document_tables import closed_records, closings
from terminal_app.office.local_time import day_ms, day_of, zone
from terminal_app.office.sealed import Opener, newest_session
from terminal_app.office.signing import OfficeKey

TYP = "closing+jws"
THRESHOLD_WH = 100
MAX_RECORDS = 50_000
MAX_NAMED = 100
TRIES = 5
FINDING = "closing"
"""The kind of the alarm for what a closing found."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Closings:
    """Makes them. Thread-safe; a closing is one commit. Refused says why there is none."""

    database: store.Store
    key: OfficeKey
    time_zone: str = "UTC"
    threshold_wh: int = THRESHOLD_WH

    def make(self, terminal: str, day: date) -> Row:
        """The closing of a local day that is over; the one that was made, if there is one."""
        for _ in range(TRIES):
            if made := self._make(terminal, day):
                return made
        raise Refused(409, "again", f"{terminal}: other closings were made at the same moment; ask again")

    def _make(self, terminal: str, day: date) -> Row | None:
        """None: another closing came between."""
        now, (begin_ms, end_ms) = store.now_ms(), day_ms(day, zone(self.time_zone))
        if end_ms > now:
            raise Refused(409, "not_over", f"{day} is not over in {self.time_zone}")
        with self.database.snapshot() as db:
            last = _last(db, terminal)
            if known := _of_day(db, terminal, day):
                return known
            if last is not None and last["day"] > day.isoformat():
                raise Refused(
                    409, "passed", f"{terminal}: {last['day']} is closed already; what came late stands in the next closing"
                )
            counted = self._counted(db, terminal, end_ms, day)
            content = self._content(db, terminal, counted, last)
            content["energy_told"] = energy_told(db, terminal, begin_ms, end_ms)
        content |= {"day": day.isoformat(), "time_zone": self.time_zone, "begin_utc_ms": begin_ms, "end_utc_ms": end_ms}
        return self._written(terminal, content | {"made_utc_ms": now}, counted)

    def _counted(self, db: Connection, terminal: str, end_ms: int, day: date) -> list[Counted]:
        r, s, m, c = store.records, store.sessions, store.settlements, closed_records
        source = r
        for other in (s, m, c):
            same = (other.c.terminal == r.c.terminal) & (other.c.chain_id == r.c.chain_id) & (other.c.seq == r.c.seq)
            source = source.outerjoin(other, same)  # type: ignore[assignment]
        ended = sa.func.coalesce(s.c.end_utc_ms, m.c.ended_utc_ms, 0)
        where = (r.c.terminal == terminal) & (r.c.quarantine == "") & (r.c.type != "") & c.c.number.is_(None)
        where &= (r.c.stored_utc_ms < end_ms) | (ended < end_ms)
        question = sa.select(r).select_from(source).where(where).order_by(r.c.chain_id, r.c.seq).limit(MAX_RECORDS + 1)
        rows = db.execute(question).mappings().all()
        if len(rows) > MAX_RECORDS:
            raise Refused(
                409, "too_many", f"{terminal}: more than {MAX_RECORDS} records are not closed; close an earlier day first"
            )
        opener, found = Opener(db), []
        for row in rows:
            sealed = opener.opened(dict(row))
            if sealed is None:
                continue
            moment = min(_moment(sealed.payload), int(row["stored_utc_ms"]))
            if moment < end_ms:
                own = day_of(moment, zone(self.time_zone))
                found.append(Counted(sealed, own.isoformat(), own < day))
        return found

    def _content(self, db: Connection, terminal: str, counted: list[Counted], last: Row | None) -> Row:
        carried, doubt = self._carried(last)
        found = figures(counted, carried, self.threshold_wh)
        found["findings"] += doubt
        newest = newest_session(db, terminal)
        seller = newest.payload["seller"] if newest else {"name": "", "address": "", "vat_id": ""}
        return {
            "v": 1,
            "terminal": terminal,
            "number": (last["number"] if last else 0) + 1,
            "prev": sha256_of(last["jws"]) if last else GENESIS,
            "seller": seller,
            "station": newest.payload["site"]["station"] if newest else "",
            "demo": any(one.payload["demo"] for one in counted),
            "threshold_wh": self.threshold_wh,
            "open_holds": _open_holds(db, terminal),
            "unsynced": _unsynced(db, terminal),
            "quarantined": _quarantined(db, terminal),
        } | found

    def _carried(self, last: Row | None) -> tuple[list[Row], list[str]]:
        """The registers that the closing before left, and a doubt about it, if there is one."""
        if last is None:
            return [], []
        try:
            return list(open_closing(last["jws"], self.key.public_pem)["energy"]), []
        except SignatureInvalid as error:
            return [], [f"closing {last['number']} does not verify with this office's key ({error}): meters start anew here"]

    def _written(self, terminal: str, content: Row, counted: list[Counted]) -> Row | None:
        with self.database.write() as db:
            number = int(content["number"])
            if numbering.locked(db, f"closing:{terminal}") + 1 != number:  # made meanwhile, maybe this very one
                return None
            numbering.take(db, f"closing:{terminal}")
            signing = jws_signing_input(TYP, content, self.key.key_id)
            row = {"terminal": terminal, "number": number, "day": content["day"], "made_utc_ms": content["made_utc_ms"]}
            row["jws"] = jws_seal(signing, self.key.sign(signing))
            db.execute(closings.insert().values(**row))
            if counted:
                places = [{"terminal": terminal, "chain_id": one.sealed.chain_id, "seq": one.sealed.seq} for one in counted]
                db.execute(closed_records.insert(), [place | {"number": number} for place in places])
            for finding in content["findings"]:
                store.alarm(db, terminal, "", FINDING, f"closing {number} of {content['day']}: {finding}")
        return row


def open_closing(jws: str, key: PublicKey) -> Row:
    """Verify with the office's public key. SignatureInvalid."""
    return jws_open(jws, key, TYP)


def listed(db: Connection, terminal: str = "", limit: int = 100) -> list[Row]:
    """The newest first."""
    question = sa.select(closings).order_by(closings.c.day.desc(), closings.c.terminal, closings.c.number.desc()).limit(limit)
    rows = db.execute(question.where(closings.c.terminal == terminal) if terminal else question)
    return [dict(row) for row in rows.mappings()]


def by_number(db: Connection, terminal: str, number: int) -> Row | None:
    where = (closings.c.terminal == terminal) & (closings.c.number == number)
    found = db.execute(sa.select(closings).where(where)).mappings().first()
    return dict(found) if found else None


def terminals(db: Connection) -> list[str]:
    return list(db.execute(sa.select(store.terminals.c.terminal).order_by(store.terminals.c.terminal)).scalars())


def _last(db: Connection, terminal: str) -> Row | None:
    if db.execute(sa.select(store.terminals.c.terminal).where(store.terminals.c.terminal == terminal)).first() is None:
        raise Refused(404, "unknown", f"there is no terminal {terminal}")
    c = closings.c
    found = db.execute(sa.select(closings).where(c.terminal == terminal).order_by(c.number.desc()).limit(1)).mappings().first()
    return dict(found) if found else None


def _of_day(db: Connection, terminal: str, day: date) -> Row | None:
    where = (closings.c.terminal == terminal) & (closings.c.day == day.isoformat())
    found = db.execute(sa.select(closings).where(where)).mappings().first()
    return dict(found) if found else None


def _moment(payload: Row) -> int:
    named = {"session": "end", "settlement": "ended"}.get(payload["type"], "created")
    return int(payload[named]["utc_ms"])


def _open_holds(db: Connection, terminal: str) -> list[Row]:
    """Per currency, as the office knows them when the closing is made."""
    h = store.holds.c
    question = sa.select(h.currency, sa.func.count(), sa.func.sum(h.amount_minor)).where(
        (h.terminal == terminal) & h.state.in_(OPEN_HOLDS)
    )
    rows = db.execute(question.group_by(h.currency).order_by(h.currency))
    return [{"currency": currency, "holds": int(count), "amount_minor": int(total)} for currency, count, total in rows]


def _unsynced(db: Connection, terminal: str) -> int:
    """Records that the terminal said it has, and the office has not."""
    c = store.chains.c
    waiting = sa.case((c.claimed_seq > c.through_seq, c.claimed_seq - c.through_seq), else_=0)
    return int(db.execute(sa.select(sa.func.coalesce(sa.func.sum(waiting), 0)).where(c.terminal == terminal)).scalar_one())


def _quarantined(db: Connection, terminal: str) -> Row:
    r = store.records.c
    where = (r.terminal == terminal) & (r.quarantine != "")
    count = int(db.execute(sa.select(sa.func.count()).select_from(store.records).where(where)).scalar_one())
    seqs = db.execute(sa.select(r.seq).where(where).order_by(r.chain_id, r.seq).limit(MAX_NAMED)).scalars()
    return {"records": count, "seqs": [int(seq) for seq in seqs]}
