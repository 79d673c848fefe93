"""Adyen's peers: a double of ours with books and notifications (no independent one has any), the PyPI `Adyen` library as HMAC
oracle in a venv of its own, and Prism with Adyen's own description of the Checkout API (`full`, see `npm`)."""

import base64
import hashlib
import hmac
import itertools
import json
import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.conformance.fault_proxy import FaultProxy, Front, Reply, Request
from tests.peers.venvs import python_of

API_KEY = "AQE_test_api_key_0123456789"
HMAC_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
"""The key of Adyen's public test vector."""
ACCOUNT = "ExampleChargingECOM"


def library_python() -> str:
    return str(python_of("adyen", (("Adyen==16.0.0",),)))


def ask_library(code: str, **given: Any) -> Any:
    """Run `code` with the PyPI library; it leaves its answer in `answer`."""
    program = f"import json, sys, Adyen.util as util\ngiven = json.load(sys.stdin)\n{code}\nprint(json.dumps(answer))"
    done = subprocess.run(
        [library_python(), "-c", program], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@dataclass
class Payment:
    psp: str
    reference: str
    held: int
    currency: str
    captured: int | None = None
    canceled: bool = False
    refunds: list[int] = field(default_factory=list)


class AdyenDouble(Front):
    """Links, payments and notifications as docs.adyen.com describes them. Modifications take effect at once, told later."""

    def __init__(self) -> None:
        self.links: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, Payment] = {}
        self.notifications: list[dict[str, Any]] = []
        self.memory: dict[str, Reply] = {}
        self._numbers = itertools.count(1)

    # --- books ---------------------------------------------------------------------------------------------------

    def held_minor(self) -> int:
        return sum(one.held if one.captured is None else one.captured for one in self.payments.values() if not one.canceled)

    def captures(self) -> list[int]:
        return [one.captured for one in self.payments.values() if one.captured is not None]

    def refunds(self) -> list[int]:
        return [amount for one in self.payments.values() for amount in one.refunds]

    def open_pages(self) -> int:
        return sum(link["status"] == "active" for link in self.links.values())

    # --- the phone -----------------------------------------------------------------------------------------------

    def pay(self, url: str) -> None:
        link = self.links[url.rsplit("/", 1)[1]]
        assert link["status"] == "active"
        link["status"] = "completed"
        psp = self._psp()
        payment = Payment(psp, link["reference"], link["amount"]["value"], link["amount"]["currency"])
        self.payments[psp] = payment
        self.notify(payment, "AUTHORISATION", payment.reference, payment.held, original="")

    def decline(self, url: str) -> None:
        link = self.links[url.rsplit("/", 1)[1]]
        payment = Payment(self._psp(), link["reference"], link["amount"]["value"], link["amount"]["currency"])
        self.notify(payment, "AUTHORISATION", payment.reference, payment.held, original="", why="Refused")

    # --- notifications -------------------------------------------------------------------------------------------

    def notify(
        self, payment: Payment, event: str, reference: str, value: int, *, original: str | None = None, why: str = ""
    ) -> dict[str, Any]:
        """`why` not empty = success false."""
        item: dict[str, Any] = {
            "pspReference": payment.psp if original == "" else self._psp(),
            "originalReference": payment.psp if original is None else original,
            "merchantAccountCode": ACCOUNT,
            "merchantReference": reference,
            "amount": {"value": value, "currency": payment.currency},
            "eventCode": event,
            "eventDate": "2026-01-01T00:00:00+01:00",
            "success": "false" if why else "true",
            "reason": why,
        }
        item["additionalData"] = {"hmacSignature": signature(item)}
        envelope = {"live": "false", "notificationItems": [{"NotificationRequestItem": item}]}
        self.notifications.append(envelope)
        return envelope

    def told(self, reference: str) -> bytes | None:
        """The last notification about a reference of ours, as the office relays it."""
        for envelope in reversed(self.notifications):
            if envelope["notificationItems"][0]["NotificationRequestItem"]["merchantReference"] == reference:
                return json.dumps(envelope).encode()
        return None

    # --- the API -------------------------------------------------------------------------------------------------

    def answer(self, request: Request, proxy: FaultProxy) -> Reply:
        if request.headers.get("x-api-key") != API_KEY:
            return refusal(401, "000", "security")
        if request.key and request.key in self.memory:
            return self.memory[request.key]
        body = json.loads(request.body) if request.body else {}
        reply = self._route(request.method, request.path, body)
        if request.key and reply.status < 300:
            self.memory[request.key] = reply
        return reply

    def _route(self, method: str, path: str, body: dict[str, Any]) -> Reply:
        if method != "GET" and path != f"/paymentLinks/{path.rsplit('/', 1)[1]}" and body.get("merchantAccount") != ACCOUNT:
            return refusal(403, "901", "security")
        if (method, path) == ("POST", "/paymentMethods"):
            return Reply.of(200, {"paymentMethods": [{"name": "Cards", "type": "scheme"}]})
        if (method, path) == ("POST", "/paymentLinks"):
            return self._new_link(body)
        if found := re.fullmatch(r"/paymentLinks/(\w+)", path):
            link = self.links[found[1]]
            if method == "PATCH":
                if link["status"] not in ("active", "expired"):
                    return refusal(422, "29_001", "validation")
                link["status"] = body["status"]
            return Reply.of(200, link)
        if (method, path) == ("POST", "/cancels"):
            paid = [one for one in self.payments.values() if one.reference == body["paymentReference"]]
            for one in paid:
                self._modify("cancels", one, body, "TECHNICAL_CANCEL")
            named = {"paymentReference": body["paymentReference"], "reference": body["reference"]}
            return Reply.of(201, {"merchantAccount": ACCOUNT, "pspReference": self._psp(), "status": "received", **named})
        found = re.fullmatch(r"/payments/(\w+)/(captures|cancels|refunds)", path)
        assert found, path
        payment = self.payments[found[1]]
        self._modify(found[2], payment, body, {"captures": "CAPTURE", "cancels": "CANCELLATION", "refunds": "REFUND"}[found[2]])
        echo = {key: body[key] for key in ("amount", "reference") if key in body}
        named = {"pspReference": self._psp(), "paymentPspReference": payment.psp}
        return Reply.of(201, {"merchantAccount": ACCOUNT, "status": "received", **named, **echo})

    def _new_link(self, body: dict[str, Any]) -> Reply:
        if "expiresAt" in body:
            ahead_s = (datetime.fromisoformat(body["expiresAt"]) - datetime.now(UTC)).total_seconds()
            if not 0 < ahead_s <= 70 * 86_400:
                return refusal(422, "29_300", "validation")
        assert body["manualCapture"] is True
        reference = f"PL{next(self._numbers):08d}"
        link = {"expiresAt": "2099-01-01T00:00:00+00:00", **body, "id": reference, "status": "active"}
        self.links[reference] = {**link, "url": f"https://pay.example/{reference}"}
        return Reply.of(201, self.links[reference])

    def _modify(self, what: str, payment: Payment, body: dict[str, Any], event: str) -> None:
        value = body.get("amount", {}).get("value", payment.held)
        why = ""
        if what == "captures":
            if payment.canceled or payment.captured is not None or value > payment.held:
                why = "Insufficient balance on payment"
            else:
                payment.captured = value
        elif what == "cancels":
            if payment.captured is not None:
                why = "Transaction already captured"
            else:
                payment.canceled = True
        elif payment.captured is None or value + sum(payment.refunds) > payment.captured:
            why = "Insufficient balance on payment"
        else:
            payment.refunds.append(value)
        self.notify(payment, event, body["reference"], value, why=why)

    def _psp(self) -> str:
        return f"PSP{next(self._numbers):013d}"


def signature(item: dict[str, Any]) -> str:
    """Written from the documentation, not from the adapter."""
    names = ("pspReference", "originalReference", "merchantAccountCode", "merchantReference")
    signed = [item[name] for name in names] + [str(item["amount"]["value"]), item["amount"]["currency"]]
    signed += [item["eventCode"], item["success"]]
    return base64.b64encode(hmac.new(bytes.fromhex(HMAC_KEY), ":".join(signed).encode(), hashlib.sha256).digest()).decode()


def refusal(status: int, code: str, kind: str) -> Reply:
    return Reply.of(status, {"status": status, "errorCode": code, "errorType": kind, "message": f"not with {API_KEY[:3]}"})
