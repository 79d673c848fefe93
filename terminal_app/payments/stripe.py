"""Stripe as a payment gateway: the driver pays on a hosted Checkout page (QR), the charge is captured later.

docs.stripe.com/api, form-encoded. The hold is the page's PaymentIntent with manual capture; the only sign of success is its
status `requires_capture` (a paid page of this kind keeps `payment_status=unpaid`). The terminal asks, nothing calls it.
A page is only paid if its address was shown, and it is shown only after its reference was committed.
"""

import time
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

import msgspec

from terminal_app.config import StripeSection
from terminal_app.http_client import HttpAnswer
from terminal_app.payments import rest, stripe_codes
from terminal_app.payments import stripe_states as states
from terminal_app.payments.tcp_exchange import NoAnswer, NotSent
from terminal_app.ports import GatewayCapabilities
from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown, PaymentCard

API_VERSION = "2024-06-20"
KEY_TRUSTED_MS = 23 * rest.HOUR_MS
"""Stripe forgets idempotency keys after 24 h; an hour is left for clocks and for the call itself."""
PAGE_LIFE_S = 35 * 60
"""Stripe accepts 30 minutes to 24 hours; our own window is shorter and ends the page by `expire_checkout`."""


class Refused(Exception):
    """A genuine 4xx: the request had no effect."""

    def __init__(self, status: int, fault: states.Fault) -> None:
        self.status, self.fault = status, fault
        self.code = rest.code_of(fault.decline_code or fault.code or fault.type) or f"http_{status}"
        super().__init__(f"refused with {status} ({self.code})")


class StripeGateway:
    """ports.PaymentGateway, CheckoutGateway, LookUp. Never raises for the network. Thread-safe.

    Money is held by the payer on the page, moved by capture, void and refund. `Hold.trace["checkout"]` is the page's
    reference; an approval adds payment_intent, charge, held_minor, brand and last4.
    """

    capabilities = GatewayCapabilities(refund=True, look_up=True)
    other_units = stripe_codes.OTHER_UNITS

    def __init__(
        self, name: str, section: StripeSection, demo: bool, *, now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """Connects to nothing. Raises ValueError for an unusable address, CA file or key file."""
        self.name = name
        self._section, self._demo, self._now_ms = section, demo, now_ms
        self._key = rest.Secret(section.secret_key_file, "secret_key_file")
        self._rest = rest.Rest(section.url, demo=demo, ca_file=section.ca_file)

    # --- the page ------------------------------------------------------------------------------------------------

    def open_checkout(self, hold: Hold, station: str, deadline_s: float) -> Checkout | Declined | OutcomeUnknown:
        if hold.currency in stripe_codes.OTHER_UNITS or hold.amount_minor <= 0:
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount or currency not offered")
        if not self._key_protects(hold.utc_ms):
            return OutcomeUnknown("the intent is too old to be sent again: it can only be released")
        try:
            page = self._open(hold, station, time.monotonic() + deadline_s)
        except NotSent:
            return Declined(DeclineReason.UNREACHABLE)
        except NoAnswer as error:
            return OutcomeUnknown(str(error))
        except Refused as refusal:
            if refusal.code == "idempotency_error":  # a page was opened under this key, but from another request
                return OutcomeUnknown(str(refusal))
            return Declined(stripe_codes.REQUEST.get(refusal.code, DeclineReason.GATEWAY_REFUSED), refusal.code)
        if page.status != "open" or not page.url or not rest.page_address(page.url, demo=self._demo):
            return OutcomeUnknown(f"a page that cannot be shown (status {rest.code_of(page.status)!r})")
        expires_s = page.expires_at or hold.utc_ms // 1000 + PAGE_LIFE_S
        return Checkout(page.url, page.id, expires_s * 1000)

    def poll_checkout(self, hold: Hold, deadline_s: float) -> Outcome | None:
        return self._answered(deadline_s, lambda end: self._state_of(hold, end))

    def expire_checkout(self, hold: Hold, deadline_s: float) -> Outcome:
        outcome = self._answered(deadline_s, lambda end: self._expire(hold, end))
        if isinstance(outcome, Declined):  # ended unpaid, whatever the last card was told
            return Declined(DeclineReason.TOO_LATE, outcome.code)
        return outcome or OutcomeUnknown("the page is still open")

    def look_up(self, hold: Hold, deadline_s: float) -> Outcome:
        """What became of the hold: by the page's reference, else by our own key (searchable within a minute)."""
        return self.poll_checkout(hold, deadline_s) or OutcomeUnknown("the page is still open")

    # --- the port ------------------------------------------------------------------------------------------------

    def authorize(self, hold: Hold, source: PaymentCard, deadline_s: float) -> Outcome:
        """Not offered: this gateway takes no card data. Nothing is sent."""
        return Declined(DeclineReason.GATEWAY_REFUSED, "pays by QR only")

    def capture(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Never sends an amount of 0 or above the hold: Stripe would take 0 for everything."""
        if not 0 < step.amount_minor <= int(hold.trace.get("held_minor", hold.amount_minor)):
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount outside the hold")
        question = {"amount_to_capture": str(step.amount_minor)}
        if step.statement:  # behind the merchant's own prefix on the card's statement
            question["statement_descriptor_suffix"] = step.statement
        return self._settled(deadline_s, lambda end: self._step("capture", hold, step, question, states.captured, end))

    def void(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        return self._settled(deadline_s, lambda end: self._void(hold, step, end))

    def refund(self, hold: Hold, step: MoneyStep, deadline_s: float) -> Outcome:
        """Approved also while Stripe still has it on its way to the bank (`trace["refund_status"]` = pending)."""
        if step.amount_minor <= 0:
            return Declined(DeclineReason.GATEWAY_REFUSED, "amount outside the hold")
        return self._settled(deadline_s, lambda end: self._refund(hold, step, end))

    def check(self, deadline_s: float) -> str:
        try:
            balance = rest.read(self._ask("GET", "/v1/balance", time.monotonic() + deadline_s), states.Balance)
        except (NotSent, NoAnswer) as error:
            return str(error)
        except Refused as refusal:
            return f"the secret key was {refusal}"
        if not balance.livemode and not self._demo:
            return "the secret key belongs to test mode: no money would move"
        return ""

    def close(self) -> None:
        self._rest.close()

    # --- pages ---------------------------------------------------------------------------------------------------

    def _open(self, hold: Hold, station: str, end: float) -> states.Page:
        """The same page for the same hold, however often (idempotency key = hold key).

        Our clock may be too wrong for Stripe to accept `expires_at`. Such a refusal proves that nothing was opened under
        the key; then the page lives a day, under a second key.
        """
        form = {
            "mode": "payment",
            "client_reference_id": hold.hold_id,
            "success_url": self._section.return_url,
            "cancel_url": self._section.return_url,
            "payment_method_types[0]": "card",
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": hold.currency.lower(),
            "line_items[0][price_data][unit_amount]": str(hold.amount_minor),
            "line_items[0][price_data][product_data][name]": station,
            "metadata[hold_key]": hold.key,
            "payment_intent_data[capture_method]": "manual",
            "payment_intent_data[description]": station,
            "payment_intent_data[metadata][hold_key]": hold.key,
            "payment_intent_data[metadata][hold_id]": hold.hold_id,
        }
        dated = {**form, "expires_at": str(hold.utc_ms // 1000 + PAGE_LIFE_S)}
        try:
            answer = self._ask("POST", "/v1/checkout/sessions", end, dated, key=hold.key)
        except Refused as refusal:
            if refusal.fault.param != "expires_at":
                raise
            answer = self._ask("POST", "/v1/checkout/sessions", end, form, key=f"{hold.key}-undated")
        return states.ours(hold, rest.read(answer, states.Page))

    def _page(self, hold: Hold, end: float) -> states.Page:
        reference = hold.trace["checkout"]
        page = rest.read(self._ask("GET", f"/v1/checkout/sessions/{rest.segment(reference)}", end), states.Page)
        return states.ours(hold, page, reference)

    def _state_of(self, hold: Hold, end: float) -> Outcome | None:
        """None = the page is open. A declined card leaves it open: the driver may try another one."""
        if "payment_intent" in hold.trace or "checkout" not in hold.trace:
            intent = self._intent_of(hold, end)
            return states.held(hold, intent) if intent else Declined(DeclineReason.TOO_LATE, "nothing_paid")
        page = self._page(hold, end)
        if page.status == "open":
            return None
        if page.payment_intent:
            return states.held(hold, self._intent(page.payment_intent, end))
        if page.status == "expired":
            return Declined(DeclineReason.TOO_LATE, "expired")
        return OutcomeUnknown(f"the page is {rest.code_of(page.status)!r} without a payment")

    def _expire(self, hold: Hold, end: float) -> Outcome | None:
        """Needs no idempotency key: only an open page can be expired; a refusal says to look what happened instead."""
        reference = hold.trace.get("checkout") or self._lost_page(hold, end)
        if reference:
            try:
                path = f"/v1/checkout/sessions/{rest.segment(reference)}/expire"
                page = states.ours(hold, rest.read(self._ask("POST", path, end), states.Page), reference)
            except Refused as refusal:
                if refusal.status != 400:
                    raise
            else:
                if page.status == "expired" and not page.payment_intent:
                    return Declined(DeclineReason.TOO_LATE, "expired")
        return self._state_of(hold, end)

    def _lost_page(self, hold: Hold, end: float) -> str:
        """The page of a payment that was begun, where only our own key is known; empty if there is none to end."""
        intent = self._intent_of(hold, end)
        if intent is None or intent.status in ("requires_capture", "succeeded", "canceled"):
            return ""
        query = urlencode({"payment_intent": intent.id, "limit": "1"})
        pages = rest.read(self._ask("GET", f"/v1/checkout/sessions?{query}", end), states.Pages).data
        return pages[0].id if pages else ""

    # --- payments ------------------------------------------------------------------------------------------------

    def _intent(self, reference: str, end: float) -> states.Intent:
        path = f"/v1/payment_intents/{rest.segment(reference)}?{urlencode({'expand[]': 'latest_charge'})}"
        intent = rest.read(self._ask("GET", path, end), states.Intent)
        if intent.id != reference:
            raise NoAnswer("an answer to somebody else's question")
        return intent

    def _intent_of(self, hold: Hold, end: float) -> states.Intent | None:
        """The payment of a hold, also one whose references were lost; None = nobody paid."""
        if reference := hold.trace.get("payment_intent"):
            return self._intent(reference, end)
        if "checkout" in hold.trace:
            page = self._page(hold, end)
            return self._intent(page.payment_intent, end) if page.payment_intent else None
        quoted = hold.key.replace("\\", "\\\\").replace("'", "\\'")
        query = urlencode({"query": f"metadata['hold_key']:'{quoted}'", "limit": "10"})
        found = rest.read(self._ask("GET", f"/v1/payment_intents/search?{query}", end), states.Intents).data
        ours = [intent for intent in found if intent.metadata.get("hold_key") == hold.key]
        if len(ours) > 1:
            raise NoAnswer(f"{len(ours)} payments carry the key of one hold")
        return self._intent(ours[0].id, end) if ours else None

    def _void(self, hold: Hold, step: MoneyStep, end: float) -> Outcome:
        if "payment_intent" not in hold.trace:
            match self._expire(hold, end):
                case Approved(trace=trace):  # paid in that very moment
                    hold = msgspec.structs.replace(hold, trace=trace)
                case Declined(code=code):
                    return Approved(step.amount_minor, {"ended_as": code})
                case other:
                    return other or OutcomeUnknown("the page is still open")
        return self._step("cancel", hold, step, {"cancellation_reason": "abandoned"}, states.released, end)

    def _step(
        self,
        verb: str,
        hold: Hold,
        step: MoneyStep,
        question: Mapping[str, str],
        judge: Callable[[states.Intent, MoneyStep], Outcome | None],
        end: float,
    ) -> Outcome:
        """One state-changing step on the payment. What its state is afterwards decides, not the words of a refusal.

        A day after the intent the key no longer protects: then the state is read before anything is repeated.
        """
        reference = hold.trace.get("payment_intent", "")
        if not reference or not self._key_protects(step.utc_ms):
            intent = self._intent_of(hold, end)
            if intent is None:
                return Declined(DeclineReason.TOO_LATE, "nothing_paid")
            if done := judge(intent, step):
                return done
            reference = intent.id
        path = f"/v1/payment_intents/{rest.segment(reference)}/{verb}"
        try:
            intent = rest.read(self._ask("POST", path, end, question, key=step.key), states.Intent)
            if intent.id != reference:
                raise NoAnswer("an answer to somebody else's question")
        except Refused as refusal:
            if refusal.status not in (400, 402):
                raise
            intent = self._intent(reference, end)
            if done := judge(intent, step):
                return done
            table = stripe_codes.DECLINE if refusal.status == 402 else stripe_codes.REQUEST
            return Declined(table.get(refusal.code, DeclineReason.GATEWAY_REFUSED), refusal.code)
        return judge(intent, step) or OutcomeUnknown(f"{verb} was answered, but the payment is {rest.code_of(intent.status)!r}")

    def _refund(self, hold: Hold, step: MoneyStep, end: float) -> Outcome:
        reference = hold.trace.get("payment_intent", "")
        if not reference:
            return Declined(DeclineReason.GATEWAY_REFUSED, "no payment to refund")
        if not self._key_protects(step.utc_ms):
            query = urlencode({"payment_intent": reference, "limit": "100"})
            made = rest.read(self._ask("GET", f"/v1/refunds?{query}", end), states.Refunds).data
            for refund in made:
                if refund.metadata.get("step_key") == step.key:
                    return states.refunded(refund, reference, step)
        form = {"payment_intent": reference, "amount": str(step.amount_minor), "metadata[step_key]": step.key}
        try:
            refund = rest.read(self._ask("POST", "/v1/refunds", end, form, key=step.key), states.Refund)
            return states.refunded(refund, reference, step)
        except Refused as refusal:
            if refusal.status not in (400, 402):
                raise
            return Declined(stripe_codes.REQUEST.get(refusal.code, DeclineReason.GATEWAY_REFUSED), refusal.code)

    def _key_protects(self, intended_utc_ms: int) -> bool:
        return rest.key_protects(intended_utc_ms, self._now_ms(), KEY_TRUSTED_MS)

    # --- questions -----------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, end: float, form: Mapping[str, str] | None = None, key: str = "") -> HttpAnswer:
        """A 2xx answer. Raises NotSent, NoAnswer, Refused."""
        try:
            headers = {"Authorization": f"Bearer {self._key.text()}", "Stripe-Version": API_VERSION}
        except ValueError as error:
            raise NotSent(str(error)) from None
        if key:
            headers["Idempotency-Key"] = key
        body = b""
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form or {}).encode("ascii")
        answer = self._rest.call(method, path, end, headers=headers, body=body)
        if 200 <= answer.status < 300:
            return answer
        raise Refused(answer.status, rest.read(answer, states.FaultBody).error)

    def _answered(self, deadline_s: float, ask: Callable[[float], Outcome | None]) -> Outcome | None:
        """Everything but an answer becomes OutcomeUnknown; so do refused credentials, which say nothing about the money."""
        try:
            return ask(time.monotonic() + deadline_s)
        except (NotSent, NoAnswer, Refused) as error:
            return OutcomeUnknown(str(error))

    def _settled(self, deadline_s: float, ask: Callable[[float], Outcome]) -> Outcome:
        return self._answered(deadline_s, ask) or OutcomeUnknown("no answer")
