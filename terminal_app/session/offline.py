"""Charging while no gateway can be reached, on the operator's risk: whether this card may, and for how much. PURE.

Off unless [offline] is configured. Nothing is held: what is charged is owed, and taken from the account as soon as its gateway
answers. Bank cards never may: to ask their bank later, data would have to be kept that must not be kept (PCI DSS 3.3.1).
"""

from terminal_app.config import AccountSection
from terminal_app.session import facts as f
from terminal_app.session.state import Settlement, State, Terms
from terminal_app.session.turn import Turn
from terminal_app.values import CardFacts, ClockState


def gateway_for(terms: Terms, card: CardFacts) -> str:
    """The account gateway that will be owed for this card, "" = none."""
    names = terms.config.card_gateways(card.brand)
    return next((name for name in names if isinstance(terms.config.gateway[name], AccountSection)), "")


def most_minor(state: State, terms: Terms, card: CardFacts) -> tuple[int, str]:
    """The most this card may be owed for now, and if that is 0, why."""
    policy = terms.config.offline
    if policy is None or not gateway_for(terms, card):
        return 0, "this card cannot charge without its bank"
    if not card.authenticated or not card.token:
        return 0, "the chip did not prove itself"
    if card.token in state.deny.tokens:
        return 0, "the card is on the deny list"
    if terms.now.clock is ClockState.UNKNOWN:
        return 0, "the clock is not known: nobody could tell how often the card was used"
    since_ms = terms.now.utc_ms - policy.within_s * 1000
    used = sum(grant.token == card.token and grant.utc_ms > since_ms for grant in state.grants)
    if used >= policy.card_sessions:
        return 0, f"the card charged {used} times without its bank already"
    known = {debt.hold_id for debt in state.debts}
    open_ = [one for one in state.settlements.values() if one.offline and one.hold.hold_id not in known]
    owed = [(one.card.token, _owed_minor(one)) for one in open_] + [(debt.token, debt.amount_minor) for debt in state.debts]
    by_card = sum(amount for token, amount in owed if token == card.token)
    left = min(policy.card_minor - by_card, policy.terminal_minor - sum(amount for _, amount in owed))
    return max(0, left), "" if left > 0 else "too much is owed already"


def _owed_minor(one: Settlement) -> int:
    """The bill if there is one, else the most it can become."""
    return one.step.amount_minor if one.step is not None else one.approved_minor


def grant(turn: Turn, hold_id: str, least_minor: int) -> str:
    """Commit that the card of this unanswered hold may charge; "" = granted, else why not. Nothing was sent anywhere."""
    one = turn.state.settlements[hold_id]
    most, why = most_minor(turn.state, turn.terms, one.card)
    amount = min(most, one.hold.amount_minor)
    if why or amount < least_minor:
        return why or f"only {amount} could be owed"
    deadline_ms = turn.terms.now.mono_ms + turn.terms.config.policy.plug_window_s * 1000
    turn.commit(f.OfflineGranted(hold_id, gateway_for(turn.terms, one.card), amount, deadline_ms))
    return ""
