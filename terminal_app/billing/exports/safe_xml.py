"""S.A.F.E. transparency XML: signed readings with their public key, as the Transparenzsoftware opens them. PURE.

Source: Transparenzsoftware 1.4 (values/value/signedData, publicKey). One record holds begin and end, so no `context` is given;
where the meter signed them apart, each stands for itself under the same transaction number and says which it is.
"""

from xml.sax.saxutils import escape

__all__ = ["safe_xml"]


def safe_xml(readings: list[tuple[int, str, bytes]]) -> str:
    """(transaction number, OCMF verbatim, DER SPKI of its key) -> the XML file. The OCMF is escaped, never changed."""
    values = "".join(_value(number, one, spki, context) for number, ocmf, spki in readings for one, context in _apart(ocmf))
    return f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<values>\n{values}</values>\n'


def _apart(ocmf: str) -> list[tuple[str, str]]:
    records = ocmf.split("\n")
    return [(ocmf, "")] if len(records) == 1 else list(zip(records, ("Transaction.Begin", "Transaction.End"), strict=True))


def _value(number: int, ocmf: str, spki: bytes, context: str) -> str:
    said = f' context="{context}"' if context else ""
    return (
        f'  <value transactionId="{number}"{said}>\n'
        f'    <signedData format="OCMF" encoding="plain">{escape(ocmf)}</signedData>\n'
        f'    <publicKey encoding="hex">{spki.hex()}</publicKey>\n'
        "  </value>\n"
    )
