"""The seal line: one outstanding seal per terminal; what is sealed is never signed again. PURE.

A record is intended with its exact bytes (number, predecessor, content) in the same commit as what it tells; the signer
signs; `Sealed` and the outbox row are the next commit. After a crash the same bytes are signed, for nothing was published.
"""

from typing import Any

from terminal_app.billing import chain_records, record
from terminal_app.billing.no_charge import NoCharge
from terminal_app.billing.signature import ocmf_key_id
from terminal_app.errors import SignatureInvalid
from terminal_app.session import actions, chain_care, events, receipts
from terminal_app.session import facts as f
from terminal_app.session.bill import frozen_tariff, periods_of
from terminal_app.session.state import Phase, Seal, Session, Settlement, SettlementPhase
from terminal_app.session.turn import Turn
from terminal_app.values import Device, Fault

SIGN_AGAIN_MS = 10_000
HANDLED: tuple[type[events.Event], ...] = (events.RecordSigned, events.Ticked, events.Booted)


def decide(turn: Turn, event: events.Event) -> None:
    """A signature came, or none came in time."""
    seal = turn.state.seal
    if seal is None:
        return
    if isinstance(event, events.RecordSigned):
        if event.record_seq == seal.record_seq:
            jws = record.seal(seal.signing_input.encode(), event.signature)
            try:
                sealed = record.open_record(jws, _spki(turn, seal))
            except SignatureInvalid as error:  # never sealed: what is chained can not be mended
                turn.then(events.FaultSeen(Fault(Device.SIGNER, 0, "record", str(error)), True))
                turn.note_seal(asked_mono_ms=turn.terms.now.mono_ms)
                return
            turn.then(events.FaultSeen(Fault(Device.SIGNER, 0, "record"), False))
            turn.sealed_jws = jws
            turn.commit(f.Sealed(seal.record_seq, seal.record_type, seal.subject, record.sha256_of(jws)))
            if seal.record_type == "session":
                receipts.offer(turn, sealed, record.sha256_of(jws))
        return
    now = turn.terms.now.mono_ms
    if not seal.asked or now - seal.asked_mono_ms > SIGN_AGAIN_MS:
        _ask(turn)


def fill(turn: Turn) -> None:
    """If the line is free, intend the next record: a new key first, then bills, ends of holds, credits; a checkpoint last."""
    if turn.state.seal is not None:
        if not turn.state.seal.asked:
            _ask(turn)
        return
    if chain_care.key_change_is_due(turn):
        _intend(turn, "key-change", turn.terms.record_key_id, chain_care.key_change(turn, _head(turn)))
        return
    for session in turn.state.sessions.values():
        if session.phase is Phase.SEALING:
            _intend(turn, "session", session.session_id, _session_payload(turn, session))
            return
    for settlement in turn.state.settlements.values():
        if settlement.phase is SettlementPhase.ENDED and not _still_sealing(turn, settlement):
            _intend(turn, "settlement", settlement.hold.hold_id, _settlement_payload(turn, settlement))
            return
    for credit in turn.state.credits:
        if credit.hold_id not in turn.state.settlements:  # the record of its refund comes before
            _intend(turn, "credit", credit.session_id, _credit_payload(turn, credit))
            return
    if chain_care.checkpoint_is_due(turn):
        _intend(turn, "checkpoint", turn.terms.chain_id, chain_care.checkpoint(turn, _head(turn)))


def _spki(turn: Turn, seal: Seal) -> bytes:
    """The key that must have signed: the one its header names. A start without that key is refused (`chain_care.trouble`)."""
    terms = turn.terms
    return terms.previous_spki if record.signer_of(seal.signing_input) == terms.previous_key_id else terms.record_spki


def _still_sealing(turn: Turn, settlement: Settlement) -> bool:
    """The bill's record comes before the record of its money."""
    return any(one.session_id == settlement.session_id for one in turn.state.sessions.values())


def _intend(turn: Turn, record_type: str, subject: str, payload: dict[str, object]) -> None:
    chain = turn.state.chain
    key_id = chain.key_id if record_type == "key-change" and chain.key_id else turn.terms.record_key_id
    turn.commit(
        f.SealIntended(
            record_seq=chain.next_record_seq,
            prev_sha256=chain.head_sha256 or record.GENESIS,
            record_type=record_type,
            subject=subject,
            signing_input=record.signing_input(payload, key_id).decode("ascii"),
        )
    )
    _ask(turn)


def _ask(turn: Turn) -> None:
    seal = turn.state.seal
    assert seal is not None
    turn.note_seal(asked=True, asked_mono_ms=turn.terms.now.mono_ms)
    turn.do(actions.SignRecord(seal.record_seq, seal.signing_input.encode(), record.signer_of(seal.signing_input)))


def _head(turn: Turn) -> record.RecordHead:
    chain, terms = turn.state.chain, turn.terms
    return record.RecordHead(
        terminal=terms.config.terminal.id,
        chain_id=terms.chain_id,
        seq=chain.next_record_seq,
        prev=chain.head_sha256 or record.GENESIS,
        created=record.moment(terms.now),
        software=terms.software,
        demo=terms.config.demo,
    )


def _session_payload(turn: Turn, session: Session) -> dict[str, object]:
    bill, terminal = session.bill, turn.terms.config.terminal
    assert bill is not None and session.start is not None and session.started is not None
    assert session.identity is not None and session.stop_reason is not None
    tariff = frozen_tariff(session.tariff)
    outlet = turn.terms.config.outlet(session.connector)
    hold = turn.state.settlements.get(session.hold_id)
    payment = None
    if hold is not None:
        payment = record.Payment(
            gateway=hold.hold.gateway,
            hold_id=hold.hold.hold_id,
            authorized_minor=hold.approved_minor,
            capture_minor=bill.capture_minor,
            shortfall_minor=bill.shortfall_minor,
            card=hold.card,
            trace=hold.hold.trace,
        )
    return record.session_payload(
        _head(turn),
        record.SessionBill(
            session_id=session.session_id,
            connector=session.connector,
            evse_id=outlet.evse_id,
            operator=terminal.operator,
            operator_address=terminal.operator_address,
            vat_id=terminal.vat_id,
            station=terminal.station,
            country=terminal.country,
            time_zone=terminal.time_zone,
            begin=record.moment(session.start.stamp),
            end=record.moment(bill.stop.stamp),
            charging_ms=bill.charging_ms,
            parking_ms=bill.parking_ms,
            meter=session.identity,
            start_wh=session.start.energy_wh,
            stop_wh=bill.stop.energy_wh,
            stop_source=bill.stop_source,
            stop_why=bill.stop_why,
            energy_wh=bill.energy_wh,
            tariff_id=tariff.id,
            tariff=session.tariff,
            tariff_fingerprint=session.tariff_fingerprint,
            periods=periods_of(session, bill.stop.energy_wh, bill.charging_ms, bill.parking_ms) if bill.energy_wh else (),
            lines=bill.lines,
            currency=tariff.currency,
            net_minor=bill.net_minor,
            vat_minor=bill.vat_minor,
            total_minor=bill.total_minor,
            payment=payment,
            stop_reason=session.stop_reason.value,
            interrupted=session.interrupted,
            receipt_number=bill.receipt_number,
            receipt_code=bill.receipt_code,
            ocmf=bill.ocmf,
            max_power_w=outlet.max_power_w,
            current=outlet.current,
            interrupted_from=record.moment(session.stop_after) if session.interrupted and session.stop_after else None,
            interrupted_until=record.moment(session.stop_at) if session.interrupted and session.stop_at else None,
            **_measured(turn, bill),
            not_billed=bill.not_billed,
            test=session.test,
            limits=tuple((one.utc_ms, one.limit_a, one.source) for one in session.limits),
            limits_left_out=session.limits_left_out,
        ),
    )


def _measured(turn: Turn, bill: f.BillFrozen) -> dict[str, Any]:
    """Whose key the readings verify with, or why nothing is billed."""
    if bill.signed is not None:
        key = bill.signed.meter_key
        return {"ocmf_key": ocmf_key_id(bytes.fromhex(key)), "meter_key": key, "meter_clock": bill.signed.clock}
    if bill.unbilled is not None:
        return {"ocmf_key": "", "unbilled_why": bill.unbilled.why, "unbilled_wh": bill.unbilled.energy_wh}
    return {"ocmf_key": turn.terms.ocmf_key_id}


def _settlement_payload(turn: Turn, one: Settlement) -> dict[str, object]:
    assert one.how is not None
    return record.settlement_payload(
        _head(turn),
        record.SettlementBill(
            session_id=one.session_id,
            hold_id=one.hold.hold_id,
            gateway=one.hold.gateway,
            how=one.how.value,
            amount_minor=one.amount_minor,
            authorized_minor=one.approved_minor,
            currency=one.hold.currency,
            ended=record.moment(turn.terms.now),
            trace=one.hold.trace,
            detail=one.detail,
            no_charge=_no_charge(turn, one),
        ),
    )


def _no_charge(turn: Turn, one: Settlement) -> NoCharge | None:
    if one.no_charge is None:
        return None
    terminal = turn.terms.config.terminal
    return NoCharge(
        number=one.no_charge.number,
        code=one.no_charge.code,
        operator=terminal.operator,
        operator_address=terminal.operator_address,
        vat_id=terminal.vat_id,
        station=terminal.station,
        country=terminal.country,
        time_zone=terminal.time_zone,
        connector=one.hold.connector,
        evse_id=next((each.evse_id for each in turn.terms.config.connector if each.number == one.hold.connector), ""),
        asked_utc_ms=one.hold.utc_ms,
        released_utc_ms=one.no_charge.at.utc_ms,
        clock=one.no_charge.at.clock.value,
        reason=one.no_charge.reason.value,
        card=one.card,
    )


def _credit_payload(turn: Turn, one: f.CreditIntended) -> dict[str, object]:
    return chain_records.credit_payload(
        _head(turn),
        chain_records.CreditBill(
            session_id=one.session_id,
            authorization_reference=one.hold_id,
            credited_seq=one.bill.record_seq,
            credited_sha256=one.bill.sha256,
            number=one.bill.credits + 1,
            reason=one.reason,
            actor=one.actor,
            lines=one.lines,
            currency=one.currency,
            receipt_number=one.receipt_number,
            credited_receipt=one.bill.receipt_number,
        ),
    )
