"""An honest, stateful stand-in for CyberSource's REST service, on loopback. It shares no code with the gateway.

Its behaviour is ours, written from the vendor's client and documentation: single capture per authorization, reversal by payment
or by transactionId, refunds up to the capture, a search service that may be late, signatures and clock checked strictly.
"""

import base64
import hashlib
import hmac
import json
import re
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MERCHANT, KEY_ID = "testmerchant", "08c94330-f618-42a3-b09d-e1e43be5efda"
SECRET = base64.b64encode(b"a shared secret of 32 bytes here").decode()
SKEW_S = 300
FORBIDDEN = {"56", "57", "5A", "5F20", "5F24", "99", "9F0B", "9F1F", "9F20"}


@dataclass
class Payment:
    id: str
    code: str
    transaction: str
    held: str
    pan: str
    state: str = "authorized"
    capture: dict[str, Any] | None = None
    refunds: list[dict[str, Any]] = field(default_factory=list)
    increments: list[dict[str, Any]] = field(default_factory=list)
    reversal: str = ""


class CyberSource:
    """`payments` are its books. `next(...)` are the answers to authorizations to come; `search_late` hides follow-ups."""

    def __init__(self) -> None:
        self.payments: dict[str, Payment] = {}
        self.script: list[dict[str, Any]] = []
        self.search_late = False
        self.multi_capture = False
        self.clock_off_s = 0
        self.seen: list[dict[str, Any]] = []
        self._serial = 1_000_000
        self._guard = threading.Lock()
        double = self

        class Exchange(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, said = double.answer(self.command, self.path, headers, body)
                raw = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/hal+json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PATCH = do_any

            def log_message(self, format: str, *args: Any) -> None:
                """Tests are quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Exchange)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- the service ---------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        if wrong := self._signature_wrong(method, path, headers, body):
            return 401, {"response": {"rmsg": "Authentication Failed", "detail": wrong}}
        asked = json.loads(body) if body else {}
        with self._guard:
            self.seen.append({"method": method, "path": path, "headers": headers, "body": body})
            for pattern, act in (
                (r"POST /pts/v2/payments", self._authorize),
                (r"PATCH /pts/v2/payments/(\w+)", self._increment),
                (r"POST /pts/v2/payments/(\w+)/captures", self._capture),
                (r"POST /pts/v2/payments/(\w+)/reversals", self._reverse),
                (r"POST /pts/v2/reversals", self._timeout_reversal),
                (r"POST /pts/v2/captures/(\w+)/refunds", self._refund),
                (r"GET /tss/v2/transactions/(\w+)", self._search),
            ):
                if found := re.fullmatch(pattern, f"{method} {path}"):
                    return act(asked, *found.groups())
        return 404, {"status": "NOT_FOUND"}

    def _signature_wrong(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        signature = dict(re.findall(r'(\w+)="([^"]*)"', headers.get("signature", "")))
        names = ["host", "date", "request-target", *(["digest"] if method != "GET" else []), "v-c-merchant-id"]
        if signature.get("headers") != " ".join(names) or signature.get("keyid") != KEY_ID:
            return "headers or keyid"
        if signature.get("algorithm") != "HmacSHA256" or headers.get("v-c-merchant-id") != MERCHANT:
            return "algorithm or merchant"
        if method != "GET" and headers["digest"] != "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode():
            return "digest"
        if abs(parsedate_to_datetime(headers["date"]).timestamp() - time.time() - self.clock_off_s) > SKEW_S:
            return "date"
        values = {**headers, "request-target": f"{method.lower()} {path}"}
        text = "\n".join(f"{name}: {values[name]}" for name in names)
        made = base64.b64encode(hmac.new(base64.b64decode(SECRET), text.encode(), hashlib.sha256).digest()).decode()
        return "" if hmac.compare_digest(made, signature.get("signature", "")) else "signature"

    def _authorize(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        reference, point = asked["clientReferenceInformation"], asked["pointOfSaleInformation"]
        track = re.fullmatch(r";(\d{12,19})=(\d{4})\d*\?", point["trackData"])
        if track is None or point["entryMode"] not in ("contact", "contactless") or point["terminalCapability"] not in (4, 5):
            return _invalid("INVALID_DATA")
        if FORBIDDEN & set(tags_of(bytes.fromhex(point["emv"]["tags"]))):
            return _invalid("INVALID_DATA")
        if any(one.transaction == reference["transactionId"] for one in self.payments.values()):
            return _invalid("DUPLICATE_REQUEST")
        amounts = asked["orderInformation"]["amountDetails"]
        plan = self.script.pop(0) if self.script else {}
        said: dict[str, Any] = {
            "id": self._number(),
            "status": plan.get("status", "AUTHORIZED"),
            "submitTimeUtc": "2026-11-23T00:00:00Z",
            "clientReferenceInformation": {"code": reference["code"]},
        }
        if "http" in plan:
            return plan["http"], {"status": "SERVER_ERROR", "reason": plan.get("reason", "SYSTEM_ERROR")}
        if said["status"] == "DECLINED":
            said["errorInformation"] = {"reason": plan["reason"], "message": "Decline"}
            said["processorInformation"] = {"responseCode": plan.get("code", "05")}
            return 201, said
        held = plan.get("held", amounts["totalAmount"])
        said["orderInformation"] = {"amountDetails": {"authorizedAmount": held, "currency": amounts["currency"]}}
        said["processorInformation"] = {"approvalCode": "831000", "responseCode": "00", "retrievalReferenceNumber": "632703000041"}
        self.payments[said["id"]] = Payment(said["id"], reference["code"], reference["transactionId"], held, track[1])
        return 201, said

    def _increment(self, asked: dict[str, Any], payment: str) -> tuple[int, dict[str, Any]]:
        one = self.payments.get(payment)
        if one is None:
            return _invalid("INVALID_PAYMENT_ID")
        if one.state != "authorized":
            return _invalid("TRANSACTION_ALREADY_REVERSED_OR_SETTLED")
        plan = self.script.pop(0) if self.script else {}
        code, amounts = asked["clientReferenceInformation"]["code"], asked["orderInformation"]["amountDetails"]
        said = {"id": self._number(), "status": "AUTHORIZED", "clientReferenceInformation": {"code": code}}
        if plan.get("status") == "DECLINED":
            said |= {"status": "DECLINED", "errorInformation": {"reason": plan["reason"], "message": "Decline"}}
            return 201, said | {"processorInformation": {"responseCode": plan.get("code", "05")}}
        one.held = f"{(round(float(one.held) * 100) + round(float(amounts['additionalAmount']) * 100)) / 100:.2f}"
        one.increments.append({"id": said["id"], "code": code, "amount": amounts["additionalAmount"]})
        told = {"authorizedAmount": amounts["additionalAmount"], "currency": amounts["currency"]}
        return 201, said | {"orderInformation": {"amountDetails": told}}

    def _capture(self, asked: dict[str, Any], payment: str) -> tuple[int, dict[str, Any]]:
        one = self.payments.get(payment)
        if one is None:
            return _invalid("INVALID_PAYMENT_ID")
        if one.state == "reversed":
            return _invalid("AUTH_ALREADY_REVERSED")
        if one.capture and not self.multi_capture:
            return _invalid("MISSING_AUTH")
        amounts = asked["orderInformation"]["amountDetails"]
        if float(amounts["totalAmount"]) > float(one.held):
            return _invalid("EXCEEDS_AUTH_AMOUNT")
        one.state = "captured"
        code = asked["clientReferenceInformation"]["code"]
        one.capture = {"id": self._number(), "code": code, "amount": amounts["totalAmount"], "currency": amounts["currency"]}
        return 201, {
            "id": one.capture["id"],
            "status": "PENDING",
            "clientReferenceInformation": {"code": code},
            "orderInformation": {"amountDetails": amounts},
        }

    def _reverse(self, asked: dict[str, Any], payment: str) -> tuple[int, dict[str, Any]]:
        one = self.payments.get(payment)
        return _invalid("INVALID_PAYMENT_ID") if one is None else self._reversed(asked, one, one.held)

    def _timeout_reversal(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        named = asked["clientReferenceInformation"]["transactionId"]
        one = next((one for one in self.payments.values() if one.transaction == named), None)
        return _invalid("MISSING_AUTH") if one is None else self._reversed(asked, one, None)

    def _reversed(self, asked: dict[str, Any], one: Payment, amount: str | None) -> tuple[int, dict[str, Any]]:
        if one.state == "captured":
            return _invalid("TRANSACTION_ALREADY_REVERSED_OR_SETTLED")
        if one.state == "reversed":
            return _invalid("AUTH_ALREADY_REVERSED")
        if amount is not None and asked["reversalInformation"]["amountDetails"]["totalAmount"] != amount:
            return _invalid("INVALID_AMOUNT")
        one.state, one.reversal = "reversed", self._number()
        code = asked["clientReferenceInformation"]["code"]
        return 201, {"id": one.reversal, "status": "REVERSED", "clientReferenceInformation": {"code": code}}

    def _refund(self, asked: dict[str, Any], capture: str) -> tuple[int, dict[str, Any]]:
        one = next((one for one in self.payments.values() if one.capture and one.capture["id"] == capture), None)
        if one is None or one.capture is None:
            return 404, {"status": "NOT_FOUND"}
        amount = asked["orderInformation"]["amountDetails"]["totalAmount"]
        given = sum(round(float(refund["amount"]) * 100) for refund in one.refunds)
        if given + round(float(amount) * 100) > round(float(one.capture["amount"]) * 100):
            return _invalid("INVALID_AMOUNT")
        code = asked["clientReferenceInformation"]["code"]
        one.refunds.append({"id": self._number(), "code": code, "amount": amount})
        return 201, {"id": one.refunds[-1]["id"], "status": "PENDING", "clientReferenceInformation": {"code": code}}

    def _search(self, asked: dict[str, Any], reference: str) -> tuple[int, dict[str, Any]]:
        for one in self.payments.values():
            raised = [increment["id"] for increment in one.increments]
            follow_ups = [] if self.search_late else [one.capture["id"] if one.capture else "", one.reversal, *raised]
            for increment in one.increments:
                if increment["id"] == reference:
                    return 200, _detail(reference, increment["code"], "ics_auth", [])
            if reference == one.id:
                return 200, _detail(one.id, one.code, "ics_auth", [found for found in follow_ups if found])
            if one.capture and reference == one.capture["id"]:
                shown = [] if self.search_late else [refund["id"] for refund in one.refunds]
                said = _detail(reference, one.capture["code"], "ics_bill", shown)
                amounts = {"totalAmount": one.capture["amount"], "currency": one.capture["currency"]}
                return 200, said | {"orderInformation": {"amountDetails": amounts}}
            if reference and reference == one.reversal:
                return 200, _detail(reference, one.code, "ics_auth_reversal", [])
            for refund in one.refunds:
                if refund["id"] == reference:
                    return 200, _detail(reference, refund["code"], "ics_credit", [])
        return 404, {"message": "The requested resource does not exist"}

    def _number(self) -> str:
        self._serial += 1
        return f"7{self._serial:020d}0"


def tags_of(emv: bytes) -> list[str]:
    """Names of the top-level tags."""
    found, at = [], 0
    while at < len(emv):
        size = 2 if emv[at] & 0x1F == 0x1F else 1
        found.append(emv[at : at + size].hex().upper())
        at += size + 1 + emv[at + size]
    return found


def _invalid(reason: str) -> tuple[int, dict[str, Any]]:
    return 400, {"submitTimeUtc": "2026-11-23T00:00:00Z", "status": "INVALID_REQUEST", "reason": reason, "message": "refused"}


def _detail(reference: str, code: str, application: str, related: list[str]) -> dict[str, Any]:
    links = [{"href": f"https://api.example/tss/v2/transactions/{one}", "method": "GET"} for one in related]
    return {
        "id": reference,
        "clientReferenceInformation": {"code": code},
        "applicationInformation": {"applications": [{"name": application, "reasonCode": "100", "status": "PENDING"}]},
        "_links": {"self": {"href": "x", "method": "GET"}, "relatedTransactions": links},
    }
