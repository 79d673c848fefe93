"""What CyberSource's REST calls are made of: HTTP signature, chip data without forbidden tags, track data that is no `str`. PURE.

Sources: the vendor's Python client 0.0.80 (authenticationsdk/http, models), payments.md section 2.3.
"""

import base64
import hashlib
import hmac
from typing import Any

import msgspec

FORBIDDEN_TAGS = frozenset({"56", "57", "5A", "5F20", "5F24", "99", "9F0B", "9F1F", "9F20", "9F6B"})
"""Sensitive tags that must not be in `emv.tags`; the track has a field of its own. 9F6B is ours to leave out: a track too."""
MAX_EMV_CHARACTERS = 999
_MARK = "@"


def sign(
    key_id: str, secret: bytes, *, merchant: str, host: str, date: str, method: str, target: str, body: bytes | bytearray
) -> dict[str, str]:
    """The headers that authenticate one request. `target` is path and query, `date` RFC 7231. A body is signed by its digest.

    The signed line is `request-target:`, without the parentheses of the generic draft.
    """
    lines = [f"host: {host}", f"date: {date}", f"request-target: {method.lower()} {target}"]
    headers = {"Host": host, "Date": date, "v-c-merchant-id": merchant}
    signed = "host date request-target v-c-merchant-id"
    if method != "GET":
        headers["Digest"] = "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode()
        lines.append(f"digest: {headers['Digest']}")
        signed = "host date request-target digest v-c-merchant-id"
    lines.append(f"v-c-merchant-id: {merchant}")
    made = base64.b64encode(hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()
    headers["Signature"] = f'keyid="{key_id}", algorithm="HmacSHA256", headers="{signed}", signature="{made}"'
    return headers


def emv_tags(emv: bytearray) -> str:
    """The chip data as hex without the forbidden tags. ValueError (which quotes nothing) if it is no BER-TLV or too long."""
    kept, at = [], 0
    while at < len(emv):
        tag_end = at + 1
        if emv[at] & 0x1F == 0x1F:
            while tag_end < len(emv) and emv[tag_end] & 0x80:
                tag_end += 1
            tag_end += 1
        if tag_end >= len(emv) or tag_end - at > 3:
            raise ValueError("the chip data is no BER-TLV")
        length, value_at = emv[tag_end], tag_end + 1
        if length & 0x80:
            size = length & 0x7F
            if not 1 <= size <= 2 or value_at + size > len(emv):
                raise ValueError("the chip data is no BER-TLV")
            length, value_at = int.from_bytes(emv[value_at : value_at + size]), value_at + size
        if value_at + length > len(emv):
            raise ValueError("the chip data is no BER-TLV")
        is_template = bool(emv[at] & 0x20)  # whatever may be inside
        if not is_template and emv[at:tag_end].hex().upper() not in FORBIDDEN_TAGS:
            kept.append(emv[at : value_at + length].hex().upper())
        at = value_at + length
    found = "".join(kept)
    if not found or len(found) > MAX_EMV_CHARACTERS:
        raise ValueError(f"the chip data has {len(found)} characters; 1 to {MAX_EMV_CHARACTERS} are possible")
    return found


def body_with_track(question: dict[str, Any], track2: bytearray) -> bytearray:
    """The JSON with `pointOfSaleInformation.trackData` written into the finished buffer, which the caller wipes.

    So the track never becomes a `str`, which could not be overwritten. ValueError (which quotes nothing) for no track.
    """
    track = _track_data(track2)
    try:
        place = _MARK * len(track)
        point = {**question["pointOfSaleInformation"], "trackData": place}
        body = bytearray(msgspec.json.encode({**question, "pointOfSaleInformation": point}))
        marked = b'"trackData":"' + place.encode()
        at = body.index(marked) + len(marked) - len(track)
        body[at : at + len(track)] = track
        return body
    finally:
        wipe(track)


def wipe(secret: bytearray) -> None:
    """Overwrite in place (best effort: the copies of the HTTP and TLS libraries are out of reach)."""
    secret[:] = bytes(len(secret))


def _track_data(track2: bytearray) -> bytearray:
    """Tag 57 as `;PAN=...?`: separator D becomes =, filler F goes."""
    text = bytearray(b";")
    for byte in track2:
        for nibble in (byte >> 4, byte & 0x0F):
            if nibble <= 9:
                text.append(0x30 + nibble)
            elif nibble == 0x0D:
                text.append(ord("="))
            elif nibble != 0x0F:
                wipe(text)
                raise ValueError("track 2 holds a nibble that is neither digit, separator nor filler")
    text.append(ord("?"))
    if not 14 <= len(text) <= 39 or text.count(b"=") != 1:
        wipe(text)
        raise ValueError("track 2 is too short, too long or has no separator")
    return text
