"""S.A.F.E. transparency XML: signed readings with their public key, as the Transparenzsoftware opens them. PURE.

Source: Transparenzsoftware 1.4 (values/value/signedData, publicKey). One record holds begin and end, so no `context` is given.
"""

from xml.sax.saxutils import escape

__all__ = ["safe_xml"]


def safe_xml(readings: list[tuple[int, str, bytes]]) -> str:
    """(transaction number, OCMF verbatim, DER SPKI of its key) -> the XML file. The OCMF is escaped, never changed."""
    values = "".join(
        f'  <value transactionId="{number}">\n'
        f'    <signedData format="OCMF" encoding="plain">{escape(ocmf)}</signedData>\n'
        f'    <publicKey encoding="hex">{spki.hex()}</publicKey>\n'
        "  </value>\n"
        for number, ocmf, spki in readings
    )
    return f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<values>\n{values}</values>\n'
