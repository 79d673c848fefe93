"""What replay has made of the ledger so far, as bytes: a start need not read ten years of entries again. PURE.

Only what facts fold into is kept; what belongs to a process (screen, telemetry, faults) is left out, as every start does.
`FORM` names the shape of it: other software with another shape ignores the bytes and reads the whole ledger.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, get_type_hints

import msgspec

from terminal_app.config import Config
from terminal_app.session import state as s

VOLATILE = ("kiosk", "live", "faults", "finished")
_HINTS = get_type_hints(s.State)
_NAMES = tuple(name for name in _HINTS if name not in VOLATILE)
_Folded = msgspec.defstruct("_Folded", [(name, _HINTS[name]) for name in _NAMES], frozen=True, forbid_unknown_fields=True)
FORM = hashlib.sha256(repr(msgspec.inspect.type_info(_Folded)).encode()).hexdigest()[:16]


def pack(state: s.State) -> bytes:
    """A folded state, not one that lives: what is volatile in a session (its open questions) must not be in it."""
    return msgspec.json.encode(_Folded(*(getattr(state, name) for name in _NAMES)), enc_hook=_plain)


def unpack(raw: bytes, config: Config) -> s.State:
    """The state again, with fresh telemetry for the configured connectors. msgspec.ValidationError if it is not of this form."""
    found = msgspec.json.decode(raw, type=_Folded)
    return msgspec.structs.replace(s.initial(config), **{name: getattr(found, name) for name in _NAMES})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(type(value))
