"""Our OCMF before a reader in JavaScript that shares nothing with us (npm @road-labs/ocmf)."""

import pytest

from tests.peers import road_labs
from tests.unit.billing_samples import Key, ocmf_text

pytestmark = pytest.mark.full
KEY = Key()


def test_it_reads_and_verifies_what_the_terminal_signs() -> None:
    said = road_labs.verified(ocmf_text(KEY), KEY.spki)
    assert said["verified"] is True
    assert [one["TX"] for one in said["value"]["payloadData"]["RD"]] == ["B", "L"]


def test_it_refuses_one_digit_more() -> None:
    changed = ocmf_text(KEY).replace("1246.905", "1246.906")
    assert changed != ocmf_text(KEY)
    assert road_labs.verified(changed, KEY.spki)["verified"] is False


def test_it_refuses_another_key() -> None:
    assert road_labs.verified(ocmf_text(KEY), Key().spki)["verified"] is False
