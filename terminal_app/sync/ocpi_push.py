"""Posts CDRs to an OCPI receiver, one after the other in the order of the records. Keeps nothing: the core commits each fate.

A CDR goes out with the same id and the same bytes until its fate is known. What was perhaps stored is read back before it is
posted again; one that the receiver refuses is told to the core and does not hold up the next.
"""

import base64
import logging
import random
import uuid
from typing import Any, NamedTuple

from terminal_app.billing import canonical
from terminal_app.config import OcpiSection
from terminal_app.errors import WireError
from terminal_app.http_client import HttpClient, HttpTrouble, Trouble
from terminal_app.sync.backoff import Backoff
from terminal_app.sync.cdr_body import CdrBodies, NotSayable
from terminal_app.sync.core_link import CoreLink
from terminal_app.sync.receiver import Fate, Verdict, same_origin, shown_is_ours, verdict
from terminal_app.wire import CdrPage, CdrRow

log = logging.getLogger(__name__)
MAX_ANSWER = 256 * 1024
CORE_RETRY_CAP_S = 10.0
UNCLEAR_MOST = 5


class Cdr(NamedTuple):
    """Which one: its record, and which of the CDRs of that record."""

    seq: int
    part: int


ANY = Cdr(0, 0)
NOT_SENT = (Trouble.URL, Trouble.UNREACHABLE, Trouble.TLS)


class OcpiPush:
    """The loop body. One thread; `turn` blocks at most about three times the deadline plus two answers of the core."""

    def __init__(
        self, core: CoreLink, client: HttpClient, ocpi: OcpiSection, token: str, *, every_s: float, chance: random.Random
    ) -> None:
        self._core, self._client, self._ocpi, self._every_s = core, client, ocpi, every_s
        self._bodies, self._url = CdrBodies(ocpi), ocpi.url.rstrip("/")
        self._authorization = f"Token {base64.b64encode(token.encode()).decode()}"
        self._backoff, self._core_backoff = Backoff(chance), Backoff(chance, base_s=0.5, cap_s=CORE_RETRY_CAP_S)
        self._doubtful: Cdr | None = ANY  # it may be stored; ANY: whichever comes first, for we may have died amid it
        self._unclear = (ANY, 0)  # and how often its fate could not be read back
        self._told: str | None = None

    def turn(self) -> float:
        """At most one CDR. Returns the seconds to wait now."""
        try:
            page = self._core.next_cdr()
            wait_s = self._carry(page.rows[0], self._cdr(page)) if page.rows else self._idle()
            self._core_backoff.succeeded()
            return wait_s
        except WireError as error:
            self._told = None  # a new core does not know of any trouble
            self._doubtful = ANY  # and it may not have stored what we told it last
            wait_s = self._core_backoff.failed()
            log.warning("CDRs: core: %s; again in %.1f s", error, wait_s)
            return wait_s

    def _cdr(self, page: CdrPage) -> dict[str, Any] | NotSayable:
        try:
            return self._bodies.cdr(page.rows[0], self._ocpi.version, page.ocmf_keys)
        except NotSayable as error:
            return error

    def _idle(self) -> float:
        self._doubtful = None
        return self._every_s

    def _carry(self, row: CdrRow, cdr: dict[str, Any] | NotSayable) -> float:
        which = Cdr(row.seq, row.part)
        if isinstance(cdr, NotSayable):
            return self._ended(which, Verdict(Fate.REFUSED, 0, why=str(cdr)))
        found = self._read_back(f"{self._url}/{cdr['id']}", cdr) if self._doubtful in (ANY, which) else None
        self._doubtful = None
        if found is None:
            found = self._posted(cdr)
        if found.fate is Fate.THERE:
            found = self._settled(which, cdr, found)
        if found.doubtful:
            self._doubtful = which
        if found.fate is Fate.LATER:
            return self._failed(f"the OCPI receiver {found.why}", found.wait_s)
        return self._ended(which, found)

    def _posted(self, cdr: dict[str, Any]) -> Verdict:
        body = canonical.canonical(cdr)
        try:
            answer = self._client.call("POST", self._url, deadline_s=self._ocpi.deadline_s, headers=self._headers(cdr), body=body)
        except HttpTrouble as trouble:
            return Verdict(Fate.LATER, 0, why=f"gave no answer: {trouble}", doubtful=trouble.kind not in NOT_SENT)
        return verdict(answer, self._url)

    def _settled(self, which: Cdr, cdr: dict[str, Any], said: Verdict) -> Verdict:
        """It has it already, or will not say where. Believed once it shows it; given up if it never does."""
        for place in dict.fromkeys((said.location, f"{self._url}/{cdr['id']}")):
            if place and (found := self._read_back(place, cdr)):
                return found
        times = self._unclear[1] + 1 if self._unclear[0] == which else 1
        self._unclear = (which, times)
        if times >= UNCLEAR_MOST:
            return Verdict(Fate.REFUSED, said.status, why=f"{said.why}, and does not show it ({times} times)")
        return Verdict(Fate.LATER, said.status, why=said.why, doubtful=True)

    def _read_back(self, place: str, cdr: dict[str, Any]) -> Verdict | None:
        """What the receiver shows at an address. None: nothing that says anything about this CDR. Our token goes nowhere else."""
        if not same_origin(place, self._url):
            return None
        try:
            answer = self._client.call("GET", place, deadline_s=self._ocpi.deadline_s, headers=self._headers(cdr))
        except HttpTrouble:
            return None
        ours = shown_is_ours(answer, cdr)
        if ours is None:
            return None
        if ours:
            return Verdict(Fate.STORED, answer.status, place)
        return Verdict(Fate.REFUSED, answer.status, why=f"has another CDR with the id {cdr['id']}")

    def _headers(self, cdr: dict[str, Any]) -> dict[str, str]:
        """A new request id on every try; the correlation id is that of the CDR."""
        return {
            "Authorization": self._authorization,
            "Content-Type": "application/json",
            "X-Request-ID": str(uuid.uuid4()),
            "X-Correlation-ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cdr['country_code']}/{cdr['party_id']}/{cdr['id']}")),
            "OCPI-from-country-code": cdr["country_code"],
            "OCPI-from-party-id": cdr["party_id"],
        }

    def _ended(self, which: Cdr, found: Verdict) -> float:
        rejected = found.why or "refused" if found.fate is Fate.REFUSED else ""
        if refusal := self._core.cdr_ended(which.seq, found.status, found.location, rejected, which.part):
            return self._failed(f"the core did not take the fate of CDR {which.seq}: {refusal}")
        if rejected:
            log.warning("the CDR of record %d was refused: %s", which.seq, rejected)
        self._backoff.succeeded()
        self._tell("")
        return 0.0

    def _failed(self, trouble: str, floor_s: float = 0.0) -> float:
        wait_s = self._backoff.failed(floor_s)
        log.warning("CDRs: %s; again in %.1f s", trouble, wait_s)
        self._tell(trouble)
        return wait_s

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._core.tell_cdr_trouble(trouble)
            self._told = trouble
