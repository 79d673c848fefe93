"""Who may do what: terminals by bearer token or certificate, operators by token (bearer or basic), receipts by their unguessable
code.

Only SHA-256 hashes of tokens are stored; tokens carry 256 random bits, so a plain hash cannot be reversed by guessing.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

import sqlalchemy as sa
from starlette.requests import Request

from terminal_app.errors import ConfigError
from terminal_app.office import store

MIN_TOKEN = 24


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def token_file(path: Path) -> str:
    """The token in the file; a new one is written (mode 0600) if there is no such file. ConfigError."""
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read or written: {error}") from error
    if len(token) < MIN_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(str(path), "", f"must hold one token of at least {MIN_TOKEN} characters without spaces")
    return token


class Access:
    """Answers yes or no in constant time. Any thread."""

    def __init__(self, database: store.Store, operator_token: str, demo: bool, notify_token: str = "") -> None:
        """`operator_token` empty: nobody is an operator, except in demo mode, where everybody is; `notify_token` likewise for
        gateways that send notifications."""
        self._database, self._demo = database, demo
        self._operator_hash = hash_of(operator_token) if operator_token else ""
        self._notify_hash = hash_of(notify_token) if notify_token else ""

    def is_gateway(self, request: Request) -> bool:
        """A gateway that sends notifications: by basic password or bearer. It only keeps strangers from filling tables; whether
        a notification is genuine is judged at the terminal by the gateway's own signature."""
        if self._demo:
            return True
        given = hash_of(_bearer(request) or _basic_password(request))
        return bool(self._notify_hash) and hmac.compare_digest(given, self._notify_hash)

    def is_terminal(self, request: Request, terminal: str) -> bool:
        """True if certificate or bearer token belong to this very terminal; who shows a certificate is who it names, whatever
        token comes with it. Reads the database (blocking)."""
        with self._database.read() as db:
            table = store.terminals
            known = db.execute(sa.select(table.c.token_sha256).where(table.c.terminal == terminal)).scalar()
        if certified := _certified(request):
            return bool(known) and certified == terminal  # "" = blocked
        given = hash_of(_bearer(request))
        return hmac.compare_digest(given, known or hash_of(secrets.token_hex())) and bool(known)

    def terminal_of(self, request: Request) -> str:
        """The terminal whose certificate or bearer token this is; "" if there is none. Reads the database (blocking)."""
        if certified := _certified(request):
            return certified if self.is_terminal(request, certified) else ""
        token = _bearer(request)
        if not token:
            return ""
        with self._database.read() as db:
            table = store.terminals
            found = db.execute(sa.select(table.c.terminal).where(table.c.token_sha256 == hash_of(token))).scalars().all()
        return str(found[0]) if len(found) == 1 else ""  # two terminals with one token: neither is believed

    def is_operator(self, request: Request) -> bool:
        if self._demo:
            return True
        given = hash_of(_bearer(request) or _basic_password(request))
        return bool(self._operator_hash) and hmac.compare_digest(given, self._operator_hash)


def _certified(request: Request) -> str:
    """The common name of the certificate that our own TLS verified (`--client-ca`); "" = none was shown."""
    return str(request.scope.get("state", {}).get("certified", ""))


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _basic_password(request: Request) -> str:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(text, validate=True).decode("utf-8").partition(":")[2]
    except (ValueError, UnicodeDecodeError):
        return ""
