"""Doubles of every kind of payment gateway, each with its own books and its real contract as the port shows it (reference
payments.md): what it recognises, what it refuses, when it says that it does not know.

Values only: a call takes one hold's account and gives the account after it and the answer. So the explorer can branch on
them, and the random campaign keeps them in a dictionary. Written from the protocols, not from the adapters.
"""

import msgspec

from terminal_app.values import Approved, Checkout, Declined, DeclineReason, Hold, MoneyStep, Outcome, OutcomeUnknown

GATEWAY_DELAY_MS = 60_000  # how long a request may be on its way
KEY_LAPSE_MS = 24 * 3_600_000
replace = msgspec.structs.replace


class Account(msgspec.Struct, frozen=True):
    """One hold in a gateway's books. Money moved is what stands in `captures` and `refunds`, each with its key."""

    hold_id: str
    taps: tuple[int, ...] = ()  # every request for money that arrived
    approved_minor: int = 0  # 0: nothing is held, or nothing known
    raises: tuple[tuple[str, int], ...] = ()  # part of what is approved
    captures: tuple[tuple[str, int], ...] = ()
    refunds: tuple[tuple[str, int], ...] = ()
    released: bool = False
    lapsed: bool = False  # the hold expired by itself
    barred: bool = False  # reversed before it came: it can never be placed any more
    refused: bool = False  # a step was refused for good
    page: str = ""  # "open", "paid", "ended"
    scanned: bool = False
    received: tuple[str, ...] = ()  # steps accepted but not confirmed
    confirmed: tuple[str, ...] = ()  # steps whose notification has come
    first_key_utc_ms: int = 0

    @property
    def captured_minor(self) -> int:
        return sum(amount for _, amount in self.captures)

    @property
    def refunded_minor(self) -> int:
        return sum(amount for _, amount in self.refunds)

    @property
    def held(self) -> bool:
        """Money of the driver is blocked here."""
        return self.approved_minor > 0 and not (self.captures or self.released or self.lapsed)


Done = tuple[Account, Outcome]


class Gateway:
    """State decides: what was captured cannot be released, what was released cannot be captured, whatever the key."""

    kind = "own_reader"
    by_phone = False
    raises_holds = True

    def authorize(self, account: Account, hold: Hold, tap: int, most_minor: int) -> Done:
        """`most_minor` 0 = the issuer says no. The same hold asked again is the same hold."""
        account = replace(account, taps=(*account.taps, tap))
        if account.barred or most_minor == 0:
            return account, Declined(DeclineReason.REFUSED, "05")
        if not account.approved_minor:
            account = replace(account, approved_minor=min(hold.amount_minor, most_minor))
        return account, Approved(account.approved_minor, {"id": f"{self.kind}-{hold.serial}"})

    def increment(self, account: Account, hold: Hold, step: MoneyStep, most_minor: int) -> Done:
        """Once per key; a hold that has ended is not raised."""
        if step.key not in dict(account.raises):
            added = min(step.amount_minor, most_minor)
            if not account.held or not added:
                return account, Declined(DeclineReason.REFUSED, "05")
            raises = (*account.raises, (step.key, added))
            account = replace(account, raises=raises, approved_minor=account.approved_minor + added)
        return account, Approved(dict(account.raises)[step.key], {})

    def capture(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if not account.captures and account.held and step.amount_minor <= account.approved_minor:
            account = replace(account, captures=((step.key, step.amount_minor),))
        elif dict(account.captures).get(step.key) != step.amount_minor:
            gone = account.released or account.lapsed
            return replace(account, refused=True), Declined(DeclineReason.TOO_LATE if gone else DeclineReason.ALREADY_DONE, "no")
        return account, Approved(step.amount_minor, {})

    def void(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        """By our own reference, so that it works for what was never answered."""
        if account.captures:
            return replace(account, refused=True), Declined(DeclineReason.ALREADY_DONE, "captured")
        return replace(account, released=True, barred=True), Approved(step.amount_minor, {})

    def refund(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if step.key not in dict(account.refunds):
            if account.refunded_minor + step.amount_minor > account.captured_minor:
                return account, Declined(DeclineReason.LIMIT_EXCEEDED, "more than was taken")
            account = replace(account, refunds=(*account.refunds, (step.key, step.amount_minor)))
        return account, Approved(step.amount_minor, {})

    # --- pages -----------------------------------------------------------------------------------------------------------

    def open_page(self, account: Account, hold: Hold) -> tuple[Account, Checkout]:
        """The same page for the same hold."""
        page = Checkout(f"https://pay.example/{hold.hold_id}", f"page-{hold.hold_id}", hold.utc_ms + 1_800_000)
        return replace(account, page=account.page or "open"), page

    def pay(self, account: Account, amount_minor: int) -> Account:
        """The driver's phone; on an ended page there is nothing to pay."""
        return replace(account, page="paid", approved_minor=amount_minor) if account.page == "open" else account

    def poll(self, account: Account, hold: Hold) -> Outcome | None:
        if account.page == "open":
            return None
        if account.page == "paid":
            trace = {**hold.trace, "payment": f"pay-{hold.hold_id}", "brand": "visa", "last4": "4242"}
            return Approved(account.approved_minor, trace)
        return Declined(DeclineReason.TOO_LATE, "expired")

    def expire(self, account: Account, hold: Hold) -> Done:
        """End the page; what was paid on it stays held."""
        if account.page == "open":
            account = replace(account, page="ended")
        return account, self.poll(account, hold) or OutcomeUnknown("open")


class Host(Gateway):
    """ISO 8583: no look-up. It believes what it is told: a repeated step is known by its own data only, nothing else protects
    the terminal from itself; a reversal of what it does not know is answered so and forgotten."""

    kind, raises_holds = "iso8583", False

    def authorize(self, account: Account, hold: Hold, tap: int, most_minor: int) -> Done:
        account, answer = super().authorize(account, hold, tap, most_minor)
        return account, replace(answer, trace={"rrn": f"{hold.serial:012d}"}) if isinstance(answer, Approved) else answer

    def capture(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if not account.approved_minor or account.lapsed:
            return replace(account, refused=True), Declined(DeclineReason.TOO_LATE, "54")
        if step.key not in dict(account.captures):
            account = replace(account, captures=(*account.captures, (step.key, step.amount_minor)))
        return account, Approved(step.amount_minor, {})

    def void(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if account.captures:
            return replace(account, refused=True), Declined(DeclineReason.ALREADY_DONE, "12")
        if not account.approved_minor:
            return account, Approved(step.amount_minor, {"original": "unknown"})
        return replace(account, released=True), Approved(step.amount_minor, {})

    def refund(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        return account, Declined(DeclineReason.GATEWAY_REFUSED, "needs the card again")


class CyberSource(Gateway):
    """Without the payment's id a hold is reversed by our own id, and not before a minute has passed."""

    kind = "cybersource"

    def void(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if "id" not in hold.trace and utc_ms < hold.utc_ms + GATEWAY_DELAY_MS:
            return account, OutcomeUnknown("a minute has not passed")
        if account.captures:
            return replace(account, refused=True), Declined(DeclineReason.ALREADY_DONE, "captured")
        return replace(account, released=bool(account.approved_minor)), Approved(step.amount_minor, {})


class AccountOffice(Gateway):
    """Prepaid and fleet accounts: holds by key; one that was released before it came can never be placed. What was paid from a
    slice while the office was away is told with its capture; the slice is set aside, so it cannot be refused."""

    kind, raises_holds = "account", False

    def capture(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        if "slice" in hold.trace and not account.approved_minor:
            account = replace(account, approved_minor=int(hold.trace["held_minor"]))
        if "offline" in hold.trace and not account.approved_minor:  # owed: booked as a receivable, whoever owes it
            account = replace(account, approved_minor=step.amount_minor)
        return super().capture(account, hold, step, utc_ms)


class Stripe(Gateway):
    """Pages. A key answers for a step for a day; afterwards, and for every other key, the payment's state decides."""

    kind, by_phone, raises_holds = "stripe", True, False

    def capture(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        known = account.first_key_utc_ms and utc_ms - account.first_key_utc_ms < KEY_LAPSE_MS
        if not known and account.captures:  # told anew, refused (400); the adapter reads the state and finds its own amount
            mine = account.captured_minor == step.amount_minor
            return account, Approved(step.amount_minor, {}) if mine else Declined(DeclineReason.ALREADY_DONE, "amount")
        account, answer = super().capture(account, hold, step, utc_ms)
        return replace(account, first_key_utc_ms=account.first_key_utc_ms or utc_ms), answer

    def void(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        """Ends the page and gives back what was paid on it. A page whose name is not known was never shown."""
        if "checkout" not in hold.trace and account.page:
            return replace(account, barred=True), Approved(step.amount_minor, {})
        account, _ = self.expire(account, hold)
        return super().void(account, hold, step, utc_ms)


class Adyen(Stripe):
    """Pages. Captures and cancels are `received` until a notification comes: late, twice or never."""

    kind = "adyen"

    def capture(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        account, answer = Gateway.capture(self, account, hold, step, utc_ms)
        return self._received(account, step, answer)

    def void(self, account: Account, hold: Hold, step: MoneyStep, utc_ms: int) -> Done:
        account, answer = super().void(account, hold, step, utc_ms)
        return (account, answer) if not account.approved_minor else self._received(account, step, answer)

    def _received(self, account: Account, step: MoneyStep, answer: Outcome) -> Done:
        if not isinstance(answer, Approved) or step.key in account.confirmed:
            return account, answer
        if step.key not in account.received:
            account = replace(account, received=(*account.received, step.key))
        return account, OutcomeUnknown("received; not yet confirmed")

    def notify(self, account: Account) -> Account:
        """The notification comes; a second one says nothing new."""
        return replace(account, confirmed=account.received)


TAPPED: tuple[Gateway, ...] = (Host(), CyberSource(), AccountOffice(), Gateway())
PAGES: tuple[Gateway, ...] = (Stripe(), Adyen())
