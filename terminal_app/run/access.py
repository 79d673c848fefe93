"""Which Unix users may open which socket of the core. Root and the core's own user always may."""

import contextlib
import grp
import os
import pwd

CONTROL_GROUP = "charge-service"  # technicians
UI_USER = "charge-ui"
SYNC_USER = "charge-sync"


def users(*names: str) -> frozenset[int]:
    """Uids of the named users, of those that exist on this machine."""
    return _always() | {uid for name in names if (uid := _uid(name)) is not None}


def members(group: str) -> frozenset[int]:
    """Uids of a group's members."""
    try:
        names = grp.getgrnam(group).gr_mem
    except KeyError:
        return _always()
    return users(*names)


def _always() -> frozenset[int]:
    return frozenset({0, os.getuid()})


def _uid(name: str) -> int | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name).pw_uid
    return None
