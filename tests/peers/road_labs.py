"""@road-labs/ocmf (npm, MIT): OCMF read and verified in JavaScript, by people who never saw our code."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.peers.npm import modules

PACKAGES = ("@road-labs/ocmf@0.0.9", "@road-labs/ocmf-crypto-noble@0.0.9")
_PROGRAM = """
const { Verifier } = require("@road-labs/ocmf");
const { Crypto } = require("@road-labs/ocmf-crypto-noble");
(async () => {
  const [record, key] = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const crypto = new Crypto();
  const spki = await crypto.decodeEcPublicKey(new Uint8Array(Buffer.from(key, "hex")), "spki-der");
  console.log(JSON.stringify(await new Verifier(crypto).parseAndVerify(record, spki)));
})().catch((problem) => { console.log(JSON.stringify({ verified: false, problem: String(problem) })); });
"""


def verified(record: str, spki: bytes) -> dict[str, Any]:
    """What it says: {"verified": bool, "value": {"payloadData": ...}}. May skip."""
    home: Path = modules(*PACKAGES).parent
    asked = json.dumps([record, spki.hex()])
    done = subprocess.run(["node", "-e", _PROGRAM], cwd=home, input=asked, capture_output=True, text=True, timeout=60, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
