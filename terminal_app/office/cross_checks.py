"""What no single record can show: does a settlement fit its session, and does every measurement follow the one before it?"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from terminal_app.office import store
from terminal_app.office.derived import put
from terminal_app.office.verify import Page


def settled_as_billed(db: Connection, terminal: str, chain_id: str, payload: dict[str, Any]) -> None:
    """Whichever of session and settlement comes second is compared with the first. What contradicts goes to quarantine.

    Taken must be what the session said would be taken; released only if it said nothing would be; given back never more
    than was taken. `manual` says that a person decides, and is never a contradiction.
    """
    s, m = store.sessions.c, store.settlements.c
    mine = (s.terminal == terminal) & (s.chain_id == chain_id) & (s.session_id == payload["session_id"])
    mine &= s.hold_id == payload["authorization_reference"]
    session = db.execute(sa.select(store.sessions).where(mine)).mappings().first()
    if session is None or not session["hold_id"]:
        return
    billed, currency = int(session["capture_minor"]), session["currency"]
    where = (m.terminal == terminal) & (m.chain_id == chain_id) & (m.hold_id == session["hold_id"])
    where &= m.session_id == session["session_id"]
    given_back = 0
    for row in db.execute(sa.select(store.settlements).where(where).order_by(m.seq)).mappings().all():
        how, amount = row["how"], int(row["amount_minor"])
        given_back += amount if how == "refunded" else 0
        kind, wrong = "amount-mismatch", ""
        if row["currency"] != currency:
            wrong = f"settled in {row['currency']}, billed in {currency}"
        elif how == "captured" and amount != billed:
            wrong = f"captured {amount} {currency}, the session's record says {billed}"
        elif how == "voided" and billed:
            kind, wrong = "missing-capture", f"released, but the session's record says that {billed} {currency} are captured"
        elif how == "refunded" and given_back > billed:
            wrong = f"refunded {given_back} {currency} in all, captured were {billed}"
        if wrong:
            _contradicts(db, terminal, chain_id, int(row["seq"]), int(session["seq"]), kind, wrong)


def _contradicts(db: Connection, terminal: str, chain_id: str, seq: int, session_seq: int, kind: str, wrong: str) -> None:
    r = store.records.c
    where = (r.terminal == terminal) & (r.chain_id == chain_id) & (r.seq == seq) & (r.quarantine == "")
    db.execute(store.records.update().where(where).values(quarantine=f"{kind}: {wrong}"))
    store.alarm(db, terminal, chain_id, kind, f"record {seq} about the session of record {session_seq}: {wrong}")


def measured_in_turn(db: Connection, terminal: str, chain_id: str, seq: int, page: Page) -> None:
    """OCMF pagination per key: a number is used once and rises; the terminal's own numbers leave none out.

    A missing number is a measurement that was signed and never came; a second use is two signed truths.
    """
    p = store.ocmf_pages.c
    same_key = (p.terminal == terminal) & (p.key_id == page.key_id)
    here = (p.chain_id == chain_id) & (p.seq == seq)
    others = sa.select(store.ocmf_pages).where(same_key & ~here)
    twice = db.execute(others.where(p.page == page.number)).mappings().first()
    before = db.execute(others.where((p.chain_id == chain_id) & (p.seq < seq)).order_by(p.seq.desc())).mappings().first()
    wrong = ""
    if twice:
        wrong = f"OCMF number T{page.number} was used by record {twice['seq']} of chain {twice['chain_id']} already"
    elif before and page.number < before["page"]:
        wrong = f"OCMF number T{page.number} follows T{before['page']} of record {before['seq']}"
    elif before and page.gapless and page.number > before["page"] + 1:
        wrong = f"OCMF numbers T{before['page'] + 1} to T{page.number - 1} are missing after record {before['seq']}"
    if wrong:
        store.alarm(db, terminal, chain_id, "pagination", f"record {seq}: {wrong}")
    key = {"terminal": terminal, "chain_id": chain_id, "seq": seq}
    put(db, store.ocmf_pages, key, {"key_id": page.key_id, "page": page.number})
