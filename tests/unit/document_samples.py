"""An office with sealed sessions of any meter, time, currency and price, and accounts beside, for the tests of its documents."""

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pypdf

from terminal_app.billing import record
from terminal_app.billing.chain_records import CreditBill, credit_lines, credit_of, credit_payload
from terminal_app.billing.cost import ChargingPeriod, cost_of
from terminal_app.billing.record import RecordLine, record_lines
from terminal_app.office.ingest import SentRecord
from terminal_app.values import MeterIdentity
from tests.unit.billing_samples import BERLIN, HOUR_MS, component, element, head, ocmf_text, tariff
from tests.unit.office_samples import Desk, Terminal

KWH = element(component("ENERGY", "0.59"))


class Charger:
    """A terminal whose meters really count: each session begins where the register stands, unless said otherwise."""

    def __init__(self, desk: Desk, terminal: Terminal) -> None:
        self.desk, self.terminal, self.registers = desk, terminal, {"M-1": 1_000_000}

    def session(
        self,
        begin_ms: int,
        energy_wh: int = 10_000,
        *,
        serial: str = "M-1",
        connector: int = 1,
        gap_wh: int = 0,
        currency: str = "EUR",
        price: dict[str, Any] = KWH,
        send: bool = True,
        captured_minor: int | None = None,
        hold: str = "",
        **changes: Any,
    ) -> tuple[SentRecord, ...]:
        """A session and (with a price) the capture of its hold; what was sealed. `gap_wh` flowed before it, outside sessions."""
        start = self.registers.get(serial, 0) + gap_wh
        self.registers[serial] = start + energy_wh
        end_ms = begin_ms + HOUR_MS
        sold, periods = tariff(price, currency=currency), (ChargingPeriod(begin_ms, energy_wh, HOUR_MS),)
        cost, seq = cost_of(sold, periods, BERLIN), len(self.terminal.records) + 1
        hold = hold or f"H-{seq}"
        begin, end = record.Moment(begin_ms, "S"), record.Moment(end_ms, "S")
        said: dict[str, Any] = {
            "connector": connector,
            "begin": begin,
            "end": end,
            "meter": MeterIdentity("Eastron", "SDM630-Modbus V2", serial, "1.15"),
            "start_wh": start,
            "stop_wh": start + energy_wh,
            "energy_wh": energy_wh,
            "tariff_id": sold.id,
            "tariff": sold.raw,
            "tariff_fingerprint": sold.fingerprint,
            "periods": periods,
            "lines": record_lines(cost),
            "currency": currency,
            "net_minor": cost.net_minor,
            "vat_minor": cost.vat_minor,
            "total_minor": cost.total_minor,
            "payment": record.Payment(
                gateway="main",
                hold_id=hold,
                authorized_minor=max(5000, cost.total_minor),
                capture_minor=cost.total_minor,
                card=None,
                trace={"rrn": f"{seq:012d}", "hold": hold},
            ),
            "ocmf": ocmf_text(
                self.terminal.ocmf_key,
                start,
                start + energy_wh,
                begin_ms=begin_ms,
                end_ms=end_ms,
                meter_serial=serial,
                pagination=self.terminal.measured + 1,
            ),
        }
        made = [self.terminal.session(**(said | changes))]
        if cost.total_minor:
            amount = cost.total_minor if captured_minor is None else captured_minor
            made.append(
                self.terminal.settlement(
                    amount, session=seq, hold_id=hold, currency=currency, ended=end, authorized_minor=max(5000, cost.total_minor)
                )
            )
        if send:
            self.send(*made)
        return tuple(made)

    def credit(self, session: SentRecord, amount_minor: int = 0) -> SentRecord:
        """Take a session back, wholly or by an amount, as the terminal seals it."""
        bill = record.open_record(session.jws, self.terminal.record_key.spki)
        lines = tuple(RecordLine(**line) for line in bill["lines"])
        seq = len(self.terminal.records) + 1
        taken = credit_lines(lines, (), amount_minor, bill["totals"]["currency"]) if amount_minor else credit_of(bill)
        note = CreditBill(
            session_id=bill["session_id"],
            authorization_reference=bill["authorization_reference"],
            credited_seq=session.seq,
            credited_sha256=record.sha256_of(session.jws),
            number=1,
            reason="meter misread",
            actor="service",
            lines=taken,
            currency=bill["totals"]["currency"],
            receipt_number=f"C-{seq}",
            credited_receipt=bill["receipt"]["number"],
        )
        created = record.Moment(bill["end"]["utc_ms"], "S")
        payload = credit_payload(head(seq, self.terminal.head_sha256, created=created), note)
        return self.terminal._sealed(payload)

    def send(self, *sealed: SentRecord) -> None:
        self.desk.take(self.terminal.batch(*sealed))


def local_ms(text: str, zone: str = BERLIN) -> int:
    """A moment like 2026-03-29T12:00 of a place's clock."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1000


def text_of(pdf: bytes) -> str:
    """What stands on a PDF, one blank between words."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split())


def rows_of(text: str) -> list[dict[str, str]]:
    assert text.count("\r\n") == text.count("\n")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def code_of(sent: SentRecord, terminal: Terminal) -> str:
    return str(record.open_record(sent.jws, terminal.record_key.spki)["receipt"]["code"])


def charger_at(folder: Path) -> Charger:
    terminal = Terminal()
    return Charger(Desk(f"sqlite:///{folder}/office.db", terminal), terminal)
