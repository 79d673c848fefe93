"""Runs in the venv of the vendor's client: signs requests again and names fields its models do not know. JSON in, JSON out."""

import json
import sys
from types import SimpleNamespace
from typing import Any

import CyberSource.models as models  # type: ignore[import-not-found]
from authenticationsdk.http.HTTPSignatureToken import HTTPSignatureToken  # type: ignore[import-not-found]

MODEL = {
    "payments": "CreatePaymentRequest",
    "captures": "CapturePaymentRequest",
    "payments/reversals": "AuthReversalRequest",
    "reversals": "MitReversalRequest",
    "refunds": "RefundCaptureRequest",
}


def signature(question: dict[str, Any], request: dict[str, Any]) -> str:
    settings = SimpleNamespace(
        merchant_keyid=question["key_id"],
        merchant_secretkey=question["secret"],
        merchant_id=question["merchant"],
        request_host=request["host"],
        use_metakey=False,
    )
    token = HTTPSignatureToken()
    token.http_signature_token(settings, request["headers"]["date"], request["method"], request["path"], request["body"])
    return str(token.get_token())


def unknown(body: Any, model: str, place: str = "") -> list[str]:
    if model.startswith("list["):
        return [name for one in body for name in unknown(one, model[5:-1], place)]
    if not hasattr(models, model):
        return []
    kind = getattr(models, model)
    names = {json_name: python_name for python_name, json_name in kind.attribute_map.items()}
    found = []
    for key, value in body.items():
        path = f"{place}.{key}".lstrip(".")
        if key not in names:
            found.append(path)
        else:
            found += unknown(value, kind.swagger_types[names[key]], path) if isinstance(value, (dict, list)) else []
    return found


def model_of(method: str, path: str) -> str:
    last = path.rpartition("/")[2]
    if method == "PATCH":
        return "IncrementAuthRequest"
    return MODEL.get(f"payments/{last}" if "/payments/" in path else last, MODEL.get(last, ""))


def main() -> None:
    question = json.load(sys.stdin)
    bodies = [(json.loads(one["body"]), model_of(one["method"], one["path"])) for one in question["requests"] if one["body"]]
    answer = {
        "signatures": [signature(question, one) for one in question["requests"]],
        "unknown_fields": sorted({name for body, model in bodies for name in unknown(body, model)}),
        "models": [model for _, model in bodies],
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
