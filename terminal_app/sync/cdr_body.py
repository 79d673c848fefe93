"""The CDR of a record as it is told to others: a function of the sealed record, its publication and `[ocpi]`, nothing else.

So every try sends the same bytes, and a page shows what was pushed. Made here and not in the core: whoever asks for pages keeps
sync busy, not the terminal. Nothing is verified: the core hands out its own records.
"""

import base64
from collections.abc import Mapping
from typing import Any

from terminal_app.billing.exports.ocpi import Place, Version, credit_cdrs, session_cdr
from terminal_app.billing.record import claims_of
from terminal_app.config import OcpiSection
from terminal_app.errors import ChargeError
from terminal_app.wire import CdrRow


class NotSayable(ChargeError):
    """OCPI has no words for this record; the text says why."""


class CdrBodies:
    """Any thread."""

    def __init__(self, ocpi: OcpiSection) -> None:
        self._ocpi = ocpi
        self._place = Place(
            address=ocpi.address,
            city=ocpi.city,
            postal_code=ocpi.postal_code,
            latitude=ocpi.latitude,
            longitude=ocpi.longitude,
            connector_standard=ocpi.connector_standard,
            connector_format=ocpi.connector_format,
            connector_power_type=ocpi.connector_power_type,
        )

    def cdr(self, row: CdrRow, version: Version, ocmf_keys: Mapping[str, str]) -> dict[str, Any]:
        """Of a session, or of a credit with the session it credits. NotSayable."""
        try:
            said = claims(row.jws)
            credit = said["type"] == "credit"
            session = claims(row.bill_jws) if credit else said
            key = ocmf_keys.get(session["ocmf"]["key"])
            spki = base64.b64decode(key) if key is not None else None
            cdr = self._named(session_cdr(session, version, self._place, spki, 0 if credit else row.published_utc_ms))
            if credit:
                before = [claims(jws) for jws in row.before]
                cdr = credit_cdrs(cdr, session, before, said, version, row.published_utc_ms)[row.part]
        except (ChargeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotSayable(f"record {row.seq} does not fit OCPI {version}: {type(error).__name__} {error}") from error
        return cdr

    def _named(self, cdr: dict[str, Any]) -> dict[str, Any]:
        if not self._ocpi.party_id:
            return cdr
        codes = {"country_code": self._ocpi.country_code, "party_id": self._ocpi.party_id}
        return cdr | codes | {"cdr_token": cdr["cdr_token"] | codes}


def claims(jws: str) -> dict[str, Any]:
    return claims_of(jws.encode())
