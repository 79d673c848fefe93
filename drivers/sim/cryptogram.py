"""Application cryptograms, as the test cards make them and the test issuer checks them (pyemv; EMV book 2, annex A1).

Cryptogram version 10 for the Visa card (issuer application data 06 DKI 0A CVR..) and 16 for the Mastercard one
(DKI 10 CVR..), both from one issuer master key, diversified by PAN and PAN sequence number (option A).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # pyemv uses TripleDES from where cryptography has moved it
    from pyemv.cvn import MasterCardCVN16, VisaCVN10

TEST_ISSUER_KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")  # the key of public EMV examples
MASTERCARD_RID = "A000000004"
VISA_RID = "A000000003"
SIGNED_TAGS = ("9F02", "9F03", "9F1A", "95", "5F2A", "9A", "9C", "9F37", "82", "9F36")


class NoSuchCryptogram(ValueError):
    """The scheme or cryptogram version is not one this issuer makes."""


def _version(issuer_key: bytes, aid: str, pan: str, sequence: str) -> MasterCardCVN16 | VisaCVN10:
    if aid.startswith(MASTERCARD_RID):
        return MasterCardCVN16(issuer_key, issuer_key, issuer_key, pan, sequence)
    if aid.startswith(VISA_RID):
        return VisaCVN10(issuer_key, issuer_key, issuer_key, pan, sequence)
    raise NoSuchCryptogram("no cards of this scheme are issued here")


def _card_results(aid: str, application_data: bytes) -> bytes:
    """The CVR inside the issuer application data (9F10)."""
    if aid.startswith(MASTERCARD_RID) and len(application_data) >= 8 and application_data[1] == 0x10:
        return application_data[2:8]
    if aid.startswith(VISA_RID) and len(application_data) >= 7 and application_data[2] == 0x0A:
        return application_data[3:7]
    raise NoSuchCryptogram("9F10 is not of a cryptogram version that this issuer checks")


def cryptogram(issuer_key: bytes, aid: str, pan: str, sequence: str, tags: Mapping[str, bytes]) -> bytes:
    """Eight bytes over the transaction's data. Raises NoSuchCryptogram; KeyError names a tag that is missing."""
    version = _version(issuer_key, aid, pan, sequence)
    results = _card_results(aid, tags["9F10"])
    signed = [tags[tag] for tag in SIGNED_TAGS]
    return version.generate_ac(*signed, results)  # type: ignore[call-arg]  # a list of exactly ten


def issuer_answer(issuer_key: bytes, aid: str, pan: str, sequence: str, request_cryptogram: bytes, response: str) -> bytes:
    """Issuer authentication data (tag 91), method 1: cryptogram of the answer, then the response code."""
    code = response.encode("ascii")
    return _version(issuer_key, aid, pan, sequence).generate_arpc(request_cryptogram, code) + code
