"""Records and facts carried by hand: a text file that holds what sync would have posted, for when there is no network. PURE.

One JSON object a line: a head, batches exactly as sync posts them, and at the end an HMAC-SHA256 over everything before it. Its
key is the SHA-256 of the terminal's token, which the office stores anyway. Records prove themselves; facts are not signed, so
they are believed only if the HMAC holds, as over the network they are believed only with the token.
"""

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

__all__ = ["MAX_LINE", "ParcelHead", "authentic", "parcel_lines"]

KIND = "charge-terminal-parcel"
VERSION = 1
MAX_LINE = 8 * 1024 * 1024


class _Head(msgspec.Struct, frozen=True):
    kind: str
    v: int
    terminal: str
    chain_id: str


class _End(msgspec.Struct, frozen=True):
    hmac_sha256: str


class ParcelHead(NamedTuple):
    """Whose records these are."""

    terminal: str
    chain_id: str

    @classmethod
    def read(cls, line: bytes) -> "ParcelHead":
        """From a file's first line. ValueError in one sentence if it is none."""
        try:
            said = msgspec.json.decode(line, type=_Head)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError("not a file of `charge-service export write`") from error
        if (said.kind, said.v) != (KIND, VERSION):
            raise ValueError(f"a file of kind {said.kind[:40]!r}, version {said.v}, which is unknown here")
        return cls(said.terminal, said.chain_id)


def parcel_lines(head: ParcelHead, batches: Iterable[bytes], token: str) -> Iterator[bytes]:
    """The lines of a file, each with its end. `batches`: JSON without line breaks. ValueError for one that is too large."""
    mac = _mac(hashlib.sha256(token.encode()).hexdigest())
    line = msgspec.json.encode(_Head(KIND, VERSION, *head)) + b"\n"
    mac.update(line)
    yield line
    for one in batches:
        line = one + b"\n"
        if b"\n" in one or len(line) > MAX_LINE:
            raise ValueError(f"a batch of {len(one)} bytes is no line of a parcel")
        mac.update(line)
        yield line
    yield msgspec.json.encode(_End(mac.hexdigest())) + b"\n"


def authentic(lines: Iterable[bytes], token_sha256: str) -> bool:
    """Whether the last line is the HMAC over all before it. One pass, one line in memory."""
    mac, last = _mac(token_sha256), b""
    for line in lines:
        mac.update(last)
        last = line
    try:
        told = msgspec.json.decode(last, type=_End)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return hmac.compare_digest(told.hmac_sha256.encode(), mac.hexdigest().encode())


def _mac(token_sha256: str) -> hmac.HMAC:
    return hmac.new(token_sha256.encode(), digestmod=hashlib.sha256)
