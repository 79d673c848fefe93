"""What becomes of a hold that was placed for a start from afar: the terminal takes it, or the office releases it. As a table.

The office releases only what certainly no terminal has taken or will take. A hold once taken is the terminal's: it captures or
releases it, whatever is heard of the command afterwards. Facts come in order, so a session is always heard of before its command
is answered; the office looks at the command first and for the session second.
"""

import enum
from types import MappingProxyType


class Fate(enum.Enum):
    ASKED = "asked"  # held and ordered; nobody knows more
    TAKEN = "taken"  # the terminal's
    RELEASED = "released"  # by the office; for ever


class Heard(enum.Enum):
    """The best there is, in this order."""

    SEEN = "seen"  # a session of the terminal has this hold
    DONE = "done"  # the terminal says that it did it
    REFUSED = "refused"  # the terminal says that it did not, and never will
    LOST = "lost"  # the command expired and certainly was never taken
    NOTHING = "nothing"  # also when it expired on its way: it may have arrived


NEXT = MappingProxyType(
    {
        (Fate.ASKED, Heard.SEEN): Fate.TAKEN,
        (Fate.ASKED, Heard.DONE): Fate.TAKEN,
        (Fate.ASKED, Heard.REFUSED): Fate.RELEASED,
        (Fate.ASKED, Heard.LOST): Fate.RELEASED,
        (Fate.ASKED, Heard.NOTHING): Fate.ASKED,
        **{(Fate.TAKEN, heard): Fate.TAKEN for heard in Heard},
        **{(Fate.RELEASED, heard): Fate.RELEASED for heard in Heard},  # SEEN or DONE then is an alarm: it must not happen
    }
)
