"""What may leave a terminal in a support archive. By construction: every document is built from named fields that cannot hold
card data or keys; free text (log lines, reasons, details) goes through `scrubbed`, which knows no exceptions. PURE.
"""

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from terminal_app.config import Config

_DIGITS = re.compile(r"\d(?:[ .,:\-]{0,2}\d){11,}")  # 12 and more digits, however they are spaced: card numbers have 12 to 19
_HEX = re.compile(r"(?:0x)?[0-9A-Fa-f]{2}(?:[ :,]{0,2}(?:0x)?[0-9A-Fa-f]{2}){5,}")
_LONG = re.compile(r"[A-Za-z0-9+/_\-]{8,}={0,2}")  # base64 and the like: keys, tokens, JWS parts, a card number in 8 bytes
_URL = re.compile(r"[a-z][a-z0-9+]*://[^\s\[\]]+")
_KEPT = frozenset({"CRITICAL"})
_PEM = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
_WORD = r"(?:[a-z]{1,14}|(?:[A-Z][a-z]{2,13})+)"
_WORDS = re.compile(rf"^/?{_WORD}(?:[\-_./]{_WORD})*$")  # paths and names of words: a random text is not made of words
_ESCAPED = re.compile(r"\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|[0-7]{3})")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:[+-]\d\d:?\d\d|Z)? ")
MASK = "[masked]"


def scrubbed(text: str) -> str:
    """Free text without anything that could be a card number, a key or a token. Loses harmless numbers, too."""
    stamp = _STAMP.match(text)
    kept = stamp[0] if stamp else ""
    rest = _PEM.sub(MASK, text[len(kept) :])
    if _ESCAPED.search(rest) or not all(char.isprintable() and char != "\ufffd" for char in rest.replace("\t", " ")):
        return f"{kept}[masked: not plain text]"
    rest = _URL.sub(lambda found: plain_address(found[0]), rest)
    rest = _DIGITS.sub(MASK, rest)
    rest = _HEX.sub(lambda found: MASK if any(char.isdigit() for char in found[0]) else found[0], rest)
    rest = _LONG.sub(lambda found: found[0] if _WORDS.match(found[0]) or found[0] in _KEPT else MASK, rest)
    return kept + rest


def config_without_secrets(settings: Config) -> dict[str, Any]:
    """The configuration as understood: secrets are file paths in it, and none of the files is opened. URLs lose user and query."""
    found: dict[str, Any] = _plain_addresses(msgspec.to_builtins(settings, enc_hook=str))
    return found


def _plain_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain_addresses(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_addresses(one) for one in value]
    return plain_address(value) if isinstance(value, str) and "://" in value else value


def plain_address(url: str) -> str:
    """A URL as it may be shown: without user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
