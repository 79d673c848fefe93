"""Who pulls: by a bearer token (or OCPI's `Token`, base64), by the certificate that TLS verified, or by both."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping

from starlette.requests import Request

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class PullAccess:
    """`tokens`: name -> token; `by_certificate`: the common name of a client's certificate is its name. Any thread."""

    def __init__(self, tokens: Mapping[str, str], by_certificate: bool) -> None:
        self._hashes = {name: _hash(token) for name, token in tokens.items()}
        self._by_certificate = by_certificate

    def client(self, request: Request) -> str:
        """The client's name; "" = nobody. Every token is compared, in constant time. With certificates and tokens both must be of
        the same client."""
        certified = str(request.state.certified)
        if self._by_certificate and not NAME.fullmatch(certified):
            return ""
        if not self._hashes:
            return certified if self._by_certificate else ""
        given, found = [_hash(token) for token in _tokens(request)], ""
        for name, known in self._hashes.items():
            if any([hmac.compare_digest(one, known) for one in given]):  # a list: no look-up ends early
                found = name
        return found if not self._by_certificate or found == certified else ""


def _tokens(request: Request) -> list[str]:
    """What the header may mean: OCPI since 2.2.1 sends tokens in base64, older senders as they are."""
    scheme, _, said = request.headers.get("authorization", "").partition(" ")
    said = said.strip()
    if scheme.lower() == "bearer":
        return [said]
    if scheme.lower() != "token":
        return []
    try:
        return [said, base64.b64decode(said, validate=True).decode()]
    except ValueError:
        return [said]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
