"""How long to wait after a failure: full jitter, doubling up to a cap, never shorter than what the peer asked for."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_CAP_S = 3600.0


class Backoff:
    """One per peer, one thread. Delays are seconds; `chance` and the times come in as arguments."""

    def __init__(self, chance: random.Random, base_s: float = 2.0, cap_s: float = 300.0) -> None:
        self._chance, self._base_s, self._cap_s = chance, base_s, cap_s
        self._failures = 0

    def failed(self, retry_after_s: float = 0.0) -> float:
        """Seconds to wait now: uniform in 0..min(cap, base * 2^n), so that a fleet does not come back in one moment.

        `retry_after_s` is the floor; the jitter comes on top of it.
        """
        span_s = min(self._cap_s, self._base_s * 2.0 ** min(self._failures, 20))
        self._failures += 1
        return min(max(retry_after_s, 0.0), RETRY_AFTER_CAP_S) + self._chance.uniform(0.0, span_s)

    def succeeded(self) -> None:
        self._failures = 0


def retry_after(text: str, now: datetime) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 section 10.2.3: seconds or a date); 0 if it asks nothing sane."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_CAP_S)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return min(max((when - now).total_seconds(), 0.0), RETRY_AFTER_CAP_S)
