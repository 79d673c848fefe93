"""The signed line of a receipt: small, self-contained, verified by tools that are not ours; one changed letter is found."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from terminal_app.billing import compact_receipt, record
from terminal_app.billing.compact_receipt import compact_of, open_compact, seal, signing_input
from terminal_app.billing.receipt import receipt_of
from terminal_app.errors import SignatureInvalid
from tests.unit.billing_samples import Key, sealed

VECTOR = json.loads((Path(__file__).parent.parent / "vectors" / "compact-receipt-v1.json").read_text())
SCRIPT = Path(compact_receipt.__file__).parent.parent / "office" / "static" / "verify.js"
KEY = Key()


def line_of(key: Key = KEY, **changes: object) -> str:
    text = sealed(key, **changes)
    signing = signing_input(compact_of(receipt_of(record.open_record(text, key.spki)), record.sha256_of(text), 948), key.spki)
    return seal(signing, key.sign(signing))


def test_a_line_of_version_1_stays_readable() -> None:
    said, key_id = open_compact(VECTOR["line"])
    assert (said, key_id) == (VECTOR["receipt"], VECTOR["key_id"])


def test_a_line_says_what_the_record_says_and_fits_a_code_for_phones() -> None:
    line = line_of(receipt_number="DE-0001-a1b2-000042")
    said, key_id = open_compact(line)
    assert key_id == KEY.key_id and len(line) < 740
    assert said["l"] == ["e 12.345 0.59 19 728", "t 60 0.02 19 120", "f 1 1.00 19 100"] and said["v"] == ["19 151"]
    assert (said["a"], said["c"], said["h"], said["r"]) == (948, "EUR", [5000, 948], [1_234_560, 1_246_905])


def test_every_changed_letter_is_found() -> None:
    line = line_of()
    for place in range(0, len(line), 7):
        other = "A" if line[place] != "A" else "B"
        with pytest.raises(SignatureInvalid):
            open_compact(line[:place] + other + line[place + 1 :])


@pytest.mark.parametrize("line", ["", "a.b", "a.b.c", "é.b.c", "e30.e30.e30", "A" * 2000])
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(SignatureInvalid):
        open_compact(line)


def test_a_line_too_long_for_a_code_is_not_made() -> None:
    with pytest.raises(ValueError, match="fits no code"):
        line_of(operator="x" * 900)


def test_a_jose_library_verifies_it_with_the_key_in_its_header() -> None:
    line = line_of()
    key = ECKey.import_key(jws.extract_compact(line.encode()).headers()["jwk"])
    assert json.loads(jws.deserialize_compact(line, key).payload)["a"] == 948


def test_the_jose_tool_verifies_it(tmp_path: Path) -> None:
    if shutil.which("jose") is None:
        pytest.skip("Debian's jose is not installed")
    line = line_of()
    head = jws.extract_compact(line.encode()).headers()
    (tmp_path / "key.jwk").write_text(json.dumps(head["jwk"]))
    verify = ["jose", "jws", "ver", "-i", "-", "-k", str(tmp_path / "key.jwk"), "-O", "-"]
    good = subprocess.run(verify, input=line, capture_output=True, text=True, timeout=30)
    assert good.returncode == 0 and json.loads(good.stdout)["n"] == "T-0001-7"
    head_text, body, signature = line.split(".")
    changed = f"{head_text}.{body[:-8]}AAAAAAAA.{signature}"
    bad = subprocess.run(verify, input=changed, capture_output=True, text=True, timeout=30)
    assert bad.returncode != 0


def test_the_page_s_script_verifies_it_and_finds_a_change() -> None:
    """The script of /verify in another JavaScript engine: what a phone does, without the phone."""
    if shutil.which("node") is None:
        pytest.skip("no JavaScript engine at hand; tests/e2e has a browser")
    good, strange = line_of(), line_of(Key())
    changed = good[:400] + ("A" if good[400] != "A" else "B") + good[401:]
    program = f"""
        require({json.dumps(str(SCRIPT))});
        const told = async (line) => {{
          try {{ const one = await compactReceipt.open(line); return [one.good, one.keyId, one.receipt.n]; }}
          catch (error) {{ return ["broken", error.message]; }}
        }};
        Promise.all({json.dumps([good, strange, VECTOR["line"], changed, "a.b", "e30.e30.e30"])}.map(told))
          .then((all) => console.log(JSON.stringify(all)));
    """
    run = subprocess.run(["node", "-e", program], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    first, second, frozen, bad, *nonsense = json.loads(run.stdout)
    assert first == [True, KEY.key_id, "T-0001-7"] and second[0] is True and second[1] != KEY.key_id
    assert frozen[:2] == [True, VECTOR["key_id"]]
    assert bad[0] in (False, "broken")
    assert all(one[0] == "broken" for one in nonsense)
