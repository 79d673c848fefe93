"""The application file locator (tag 94): which records to read, which the issuer has signed. EMV Book 3 10.2, 10.3. PURE."""

from collections.abc import Iterator

from terminal_app.errors import CardMisread, CardMisreadReason

MAX_RECORDS = 24


def records(locator: memoryview) -> Iterator[tuple[int, int, bool]]:
    """(file, record, signed) in the order to read. CardMisread ERROR at an entry that is invalid or beyond the limit."""
    if len(locator) % 4:
        raise CardMisread(CardMisreadReason.ERROR, "file locator (94) is no list of entries")
    count = 0
    for i in range(0, len(locator), 4):
        sfi, first, last, signed = locator[i] >> 3, locator[i + 1], locator[i + 2], locator[i + 3]
        count += max(0, last - first + 1)
        if locator[i] & 7 or not 1 <= sfi <= 30 or not 1 <= first <= last or signed > last - first + 1 or count > MAX_RECORDS:
            raise CardMisread(CardMisreadReason.ERROR, f"file locator (94), entry {i // 4 + 1}, is invalid")
        for number in range(first, last + 1):
            yield sfi, number, number < first + signed
