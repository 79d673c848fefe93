"""Credits, key changes and checkpoints of a running terminal: sealed, verified by three readers, taken by the office, exported."""

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy
import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from drivers.signers import keyfile
from terminal_app.billing.record import GENESIS, open_record, sha256_of, verify_chain
from terminal_app.engine.receipt_orders import receipt_print
from terminal_app.errors import ConfigError
from terminal_app.ledger.reading import StoredRecord
from terminal_app.office import queries, store
from terminal_app.office.chain_checks import newest_checkpoint
from terminal_app.office.ingest import Collector, SentBatch, SentRecord
from terminal_app.office.signing import create as office_key
from terminal_app.run.service.verification import claims
from terminal_app.session import events
from terminal_app.values import MeterValue
from tests.service_tool import Tool
from tests.sessions import SERIAL, Paper, runtime_dir, site_files

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_records.py"
DAY_S = 86_400
NOTHING_DUE_S = 2


@pytest.fixture(scope="module")
def verifier() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_records_of_a_chain", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Lived:
    """What a terminal leaves that charged, gave back twice, changed its keys, charged again and slept a day."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with runtime_dir() as runtime:
            self.path = site_files(folder, runtime)
            with contextlib.closing(Paper(self.path)) as site:
                site.paid_session()
                give_back(site, "2.50", "charger stopped twice")
                give_back(site, None, "the cable was bad")
            self.old = {name: keyfile.KeyFileSigner(folder / f"{name}.pem") for name in ("record", "ocmf")}
            use_keys(self.path, record=keyfile.create(folder / "second.pem"), why="yearly change")
            with contextlib.closing(Paper(self.path, wh=1_246_905, ms=3_600_000)) as site:
                settle(site)
                site.paid_session(5_000)
                site.acknowledge()
                site.pass_time(DAY_S)
                settle(site)
                self.records = list(site.ledger.records())
                self.chain_id, self.terminal = site.ledger.chain_id, site.config.terminal.id

    @property
    def types(self) -> list[str]:
        return [one.type for one in self.records]

    def said(self, seq: int) -> dict[str, Any]:
        return claims(self.records[seq - 1].jws)


def give_back(site: Paper, amount: str | None, reason: str) -> None:
    hold = next(one.fact.hold.hold_id for one in site.ledger.entries(kinds=("authorization_intended",)))  # type: ignore[union-attr]
    from terminal_app.engine.money_orders import payment_refund

    site.engine.ask = lambda question, timeout_s=5.0: question()  # type: ignore[method-assign]
    minor = {} if amount is None else {"amount_minor": int(amount.replace(".", ""))}
    payment_refund(site.engine, {"hold_id": hold, "reason": reason, **minor}, "technician")
    settle(site)


def settle(site: Paper) -> None:
    for _ in range(6):
        site.pass_time(NOTHING_DUE_S)
        site.turn(events.Ticked())


def use_keys(path: Path, record: keyfile.KeyFileSigner, why: str) -> None:
    """What `keys rotate` says to put into terminal.toml."""
    assert record.key_id
    lines = f'record = "second.pem"\nprevious_record = "record.pem"\nchange_reason = "{why}"'
    path.write_text(path.read_text().replace('record = "record.pem"', lines))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    yield Lived(tmp_path_factory.mktemp("lived"))


CHAIN = ["session", "settlement", "settlement", "credit", "settlement", "credit"]
AFTER = ["key-change", "checkpoint", "session", "settlement", "checkpoint"]


def test_every_refund_is_followed_by_a_credit_and_a_new_key_by_a_checkpoint(lived: Lived) -> None:
    assert lived.types == CHAIN + AFTER
    bill, first, second = lived.said(1), lived.said(4), lived.said(6)
    total = bill["totals"]["total_minor"]
    assert (first["totals"]["total_minor"], second["totals"]["total_minor"]) == (-250, 250 - total)
    assert {one["credits"]["sha256"] for one in (first, second)} == {lived.records[0].sha256}
    assert [one["number"] for one in (first, second)] == [1, 2]
    assert (first["reason"], first["actor"]) == ("charger stopped twice", "technician")
    for name in ("net_minor", "vat_minor", "total_minor"):
        assert first["totals"][name] + second["totals"][name] == -bill["totals"][name], "both together take the bill back"
    numbers = [lived.said(seq)["receipt"]["number"] for seq in (1, 4, 6, 9)]
    assert [int(one.rpartition("-")[2]) for one in numbers] == [1, 2, 3, 4], "one gapless series"


def test_a_checkpoint_says_where_everything_stood(lived: Lived) -> None:
    after_the_key, daily = lived.said(8), lived.said(11)
    assert daily["ledger"]["entries"] > after_the_key["ledger"]["entries"] > 0
    assert (after_the_key["acknowledged_through"], daily["acknowledged_through"]) == (0, 10)
    assert list(daily["meter_registers_wh"].values()) == [1_251_905] and daily["open_holds"] == 0
    assert {"software", "configuration", "tariff of connector 1"} <= set(daily["digests"])


def test_the_chain_is_followed_from_the_first_key_alone(lived: Lived) -> None:
    """Also what the key-change record says of itself: signed by the old key, the new one in it."""
    old = lived.old["record"]
    head = verify_chain([(one.seq, one.jws) for one in lived.records], {old.key_id: old.public_key_spki()}.get)
    assert head.seq == 11 and head.key_id == lived.said(7)["new_key_id"] != old.key_id
    assert open_record(lived.records[6].jws, old.public_key_spki())["reason"] == "yearly change"


# --- the technician ------------------------------------------------------------------------------------------------------


def test_verify_follows_the_keys_that_the_ledger_tells_of(lived: Lived, capsys: pytest.CaptureFixture[str]) -> None:
    tool = Tool(lived.path, capsys)
    code, found = tool.json("records", "verify")
    assert code == 0, found
    (lived.folder / "second.pem").rename(lived.folder / "away.pem")
    keyfile.create(lived.folder / "second.pem")  # nobody but the ledger vouches for the key that signed last
    try:
        code, found = tool.json("records", "verify")
        assert code == 2 and "not known here" in next(one["trouble"] for one in found["chains"] if one["chain"] == "records")
    finally:
        (lived.folder / "away.pem").rename(lived.folder / "second.pem")


def test_records_and_receipts_are_told_in_words(lived: Lived, capsys: pytest.CaptureFixture[str]) -> None:
    tool = Tool(lived.path, capsys)
    _, text = tool("records", "list")
    assert "of record 1: charger stopped twice" in text and "yearly change" in text and "office at record 10" in text
    _, text = tool("records", "show", 1, "--receipt")
    assert f"Credited 2.50 EUR under receipt {lived.said(4)['receipt']['number']}" in text
    assert tool("records", "show", 4)[0] == 0


def test_ocpi_takes_a_cdr_back_and_says_what_is_left(lived: Lived, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, found = Tool(lived.path, capsys).json("records", "export", "--format", "ocpi-2.2.1", "--out", tmp_path)
    assert (code, found["troubles"]) == (0, [])
    cdrs = {one["id"]: one for one in (json.loads(file.read_text()) for file in tmp_path.glob("*.cdr*.json"))}
    first = lived.said(1)["session_id"]
    total = cdrs[first]["total_cost"]["incl_vat"]
    assert cdrs[f"{first[:34]}-C1"]["total_cost"]["incl_vat"] == -total and cdrs[f"{first[:34]}-C1"]["credit_reference_id"] == first
    left = cdrs[f"{first[:34]}-R1"]["total_cost"]
    assert round(left["incl_vat"] + 2.5, 2) == total and "credit" not in cdrs[f"{first[:34]}-R1"]
    assert cdrs[f"{first[:34]}-C2"]["credit_reference_id"] == f"{first[:34]}-R1" and f"{first[:34]}-R2" not in cdrs
    assert cdrs[f"{first[:34]}-C2"]["total_cost"] == {name: -value for name, value in left.items()}


# --- the third party -----------------------------------------------------------------------------------------------------


def checked(verifier: ModuleType, folder: Path, lived: Lived, texts: list[str]) -> tuple[int, dict[str, Any]]:
    """With the first keys only, as they stand on the label."""
    for name in ("record", "ocmf"):
        (folder / f"{name}.pub").write_text(lived.old[name].public_key_spki().hex())
    (folder / "all.jws").write_text("\n".join(texts) + "\n", encoding="utf-8", errors="surrogateescape")
    keys = ["--key", str(folder / "record.pub"), "--ocmf-key", str(folder / "ocmf.pub")]
    code = verifier.main([str(folder / "all.jws"), *keys, "--report", str(folder / "report.json")])
    return code, json.loads((folder / "report.json").read_text())


def test_a_third_party_sees_every_number_of_the_receipts(
    verifier: ModuleType, lived: Lived, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(verifier, tmp_path, lived, [one.jws for one in lived.records])[0] == 0
    told = capsys.readouterr().out
    assert all(f"receipt {lived.said(seq)['receipt']['number']}\n" in told for seq in (1, 4, 6, 9)), told


def test_a_third_party_verifies_all_of_it_and_names_what_was_flipped(verifier: ModuleType, lived: Lived, tmp_path: Path) -> None:
    texts = [one.jws for one in lived.records]
    code, report = checked(verifier, tmp_path, lived, texts)
    assert code == 0, report
    for place, jws in enumerate(texts):
        for at in (3, jws.index(".") + 9, len(jws) // 2, len(jws) - 20):
            harmed = jws[:at] + ("A" if jws[at] != "A" else "B") + jws[at + 1 :]
            code, report = checked(verifier, tmp_path, lived, [*texts[:place], harmed, *texts[place + 1 :]])
            bad = {one["name"] for one in report["records"] if not one["ok"]}
            assert code == 1 and any(name.endswith(f"/{place + 1}") or not name.startswith(lived.terminal) for name in bad), place


def test_a_credit_that_its_signer_made_too_large_is_found(verifier: ModuleType, lived: Lived, tmp_path: Path) -> None:
    """The second credit again, as a third one: signed by the right key, and more than the bill."""
    from terminal_app.billing.record import seal, signing_input

    texts = [one.jws for one in lived.records[:6]]
    again = lived.said(6) | {"seq": 7, "prev": sha256_of(texts[-1]), "number": 3}
    signed = signing_input(again | {"receipt": {"number": "R-99"}}, lived.old["record"].key_id)
    code, report = checked(verifier, tmp_path, lived, [*texts, seal(signed, lived.old["record"].sign(signed))])
    assert code == 1 and "are credited of a bill of" in str(report["records"][-1]["problems"])


# --- the office ----------------------------------------------------------------------------------------------------------


class Desk:
    """An office that knows only the first keys."""

    def __init__(self, folder: Path, lived: Lived) -> None:
        self.lived = lived
        self.database = store.Store(f"sqlite:///{folder}/office.db", create=True)
        self.collector = Collector(self.database, office_key(folder / "office-key.pem"), demo=True)
        with self.database.write() as db:
            row = {"terminal": lived.terminal, "token_sha256": "", "added_utc_ms": 1}
            db.execute(store.terminals.insert().values(**row))
            for purpose, key in lived.old.items():
                pem = load_der_public_key(key.public_key_spki()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
                row = {"terminal": lived.terminal, "purpose": purpose, "key_id": key.key_id, "spki_pem": pem.decode()}
                db.execute(store.keys.insert().values(**row, added_utc_ms=1))

    def take(self, records: list[StoredRecord]) -> None:
        head = records[-1]
        batch = SentBatch(
            v=1,
            terminal=self.lived.terminal,
            chain_id=self.lived.chain_id,
            head_seq=head.seq,
            head_sha256=head.sha256,
            records_after=records[0].seq - 1,
            facts_after=0,
            facts_through=0,
            records=tuple(SentRecord(one.seq, one.jws) for one in records),
            facts=(),
        )
        self.collector.take(batch)

    def rows(self, table: sa.Table) -> list[dict[str, Any]]:
        with self.database.read() as db:
            return [dict(row) for row in db.execute(sa.select(table)).mappings()]

    def quarantined(self) -> dict[int, str]:
        return {row["seq"]: row["quarantine"] for row in self.rows(store.records) if row["quarantine"]}


@pytest.fixture
def desk(tmp_path: Path, lived: Lived, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(store, "now_ms", lambda: lived.said(7)["created"]["utc_ms"] + 1)  # it gets everything at once
    one = Desk(tmp_path, lived)
    yield one
    one.database.close()


def test_the_office_learns_the_new_key_and_shows_the_credits_with_their_session(desk: Desk, lived: Lived) -> None:
    desk.take(lived.records)
    assert desk.quarantined() == {}
    assert {row["kind"] for row in desk.rows(store.alarms)} == {"key-change"}
    with desk.database.read() as db:
        newer, older = queries.sessions(db, 5)
        credits = queries.credits_of(db, lived.terminal, lived.chain_id, 1)
        point = newest_checkpoint(db, lived.terminal)
    total = lived.said(1)["totals"]["total_minor"]
    assert (older["credited_minor"], older["refunded_minor"], newer["credited_minor"]) == (total, total, 0)
    assert [(one["number"], one["total_minor"]) for one in credits] == [(1, -250), (2, 250 - total)]
    assert point is not None and (point["seq"], point["acknowledged_through"]) == (11, 10)
    assert list(point["registers"].values()) == [1_251_905]


def sealed_by(key: keyfile.KeyFileSigner, payload: dict[str, Any], after: StoredRecord, **changes: Any) -> StoredRecord:
    from terminal_app.billing.record import seal, signing_input

    said = payload | {"seq": after.seq + 1, "prev": after.sha256} | changes
    signed = signing_input(said, key.key_id)
    jws = seal(signed, key.sign(signed))
    return StoredRecord(after.seq + 1, str(said["type"]), "", jws, sha256_of(jws))


def test_after_the_change_the_old_key_counts_no_more(desk: Desk, lived: Lived) -> None:
    desk.take(lived.records[:8])
    desk.take([sealed_by(lived.old["record"], lived.said(2), lived.records[7])])
    assert "a key change came before" in desk.quarantined()[9]


def test_a_key_registered_by_hand_after_the_change_may_sign(
    desk: Desk, lived: Lived, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emergency: the announced key is lost too, and the operator vouches for another."""
    desk.take(lived.records[:8])
    third = keyfile.create(tmp_path / "third.pem")
    pem = load_der_public_key(third.public_key_spki()).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "third.pub.pem").write_bytes(pem)
    from click.testing import CliRunner

    from terminal_app.run.office import office

    monkeypatch.setattr(store, "now_ms", lambda: lived.said(8)["created"]["utc_ms"] + 60_000)
    arguments = ["--record-key", str(tmp_path / "third.pub.pem"), "--why", "board burnt"]
    command = ["terminal", "key", "--db", str(desk.database.engine.url), lived.terminal, *arguments]
    done = CliRunner().invoke(office, command)
    assert done.exit_code == 0, done.output
    desk.take([sealed_by(third, lived.said(2), lived.records[7])])
    assert desk.quarantined() == {}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"number": 4}, "calls itself credit 4"),
        ({"credits": {"seq": 2, "sha256": "00" * 32, "receipt": "x"}}, "no bill that is stored here"),
        ({"credits": {"seq": 1, "sha256": "00" * 32, "receipt": "x"}}, "another record 1"),
        ({"number": 3}, "are credited, billed were"),
    ],
)
def test_a_credit_that_does_not_fit_its_bill_is_kept_apart(desk: Desk, lived: Lived, changes: dict[str, Any], why: str) -> None:
    desk.take(lived.records[:6])
    desk.take([sealed_by(lived.old["record"], lived.said(6), lived.records[5], **changes)])
    assert why in desk.quarantined()[7]
    with desk.database.read() as db:
        assert len(queries.credits_of(db, lived.terminal, lived.chain_id, 1)) == 2, "and counts for nothing"


def test_an_office_that_lost_data_and_a_card_that_was_rolled_back_are_noticed(desk: Desk, lived: Lived, tmp_path: Path) -> None:
    new = keyfile.KeyFileSigner(lived.folder / "second.pem")
    desk.take(lived.records)
    with desk.database.write() as db:  # as if the office had got it only now, long after it had countersigned it
        late = lived.said(11)["at"]["utc_ms"] + 7_200_000
        db.execute(store.records.update().where(store.records.c.seq == 10).values(stored_utc_ms=late))
    desk.take([sealed_by(new, lived.said(11), lived.records[10], ledger={"entries": 5, "sha256": GENESIS})])
    kinds = {row["kind"] for row in desk.rows(store.alarms)}
    assert {"office-lost-data", "rollback"} <= kinds and desk.quarantined() == {}


# --- keys ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Path]:
    """A terminal with one charge, stopped; the path of its configuration."""
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        with contextlib.closing(Paper(path)) as site:
            site.paid_session()
        yield path


def changed(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_a_key_that_the_chain_does_not_know_stops_the_start_and_says_what_to_do(begun: Path) -> None:
    keyfile.create(begun.with_name("second.pem"))
    changed(begun, 'record = "record.pem"', 'record = "second.pem"')
    with pytest.raises(ConfigError, match=r"\[keys\] record.*previous_record"):
        Paper(begun)


def test_a_seal_that_was_asked_of_the_old_key_is_still_signed_by_it(tmp_path: Path) -> None:
    """Power fails between the intent and the signature of the bill; then the configuration names a new key."""
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        with contextlib.closing(Paper(path)) as site:
            site.tap()
            site.charge(1000)
            site.keys.records.sign = lambda data: (_ for _ in ()).throw(RuntimeError("power"))  # type: ignore[method-assign]
            with pytest.raises(RuntimeError):
                site.stop()
        use_keys(path, keyfile.create(tmp_path / "second.pem"), "stolen laptop")
        with contextlib.closing(Paper(path, wh=1_235_560, ms=3_700_000)) as site:
            site.turn(events.Ticked())
            settle(site)
            old = keyfile.KeyFileSigner(tmp_path / "record.pem")
            records = [(one.seq, one.jws) for one in site.ledger.records()]
            assert [one.type for one in site.ledger.records()][:2] == ["session", "key-change"]
            assert verify_chain(records, {old.key_id: old.public_key_spki()}.get).key_id == site.keys.records.key_id


def test_a_new_key_of_the_readings_is_announced_by_the_record_key(begun: Path) -> None:
    keyfile.create(begun.with_name("ocmf2.pem"))
    changed(begun, 'ocmf = "ocmf.pem"', 'ocmf = "ocmf2.pem"')
    with pytest.raises(ConfigError, match="change_reason"):
        Paper(begun)
    changed(begun, 'ocmf = "ocmf2.pem"', 'ocmf = "ocmf2.pem"\nchange_reason = "new seal"')
    with contextlib.closing(Paper(begun, wh=1_246_905, ms=3_600_000)) as site:
        settle(site)
        newest = list(site.ledger.records())[2]
        said = claims(newest.jws)
        assert (newest.type, said["new_ocmf_key_id"]) == ("key-change", site.keys.ocmf.key_id)
        assert said["new_key_id"] == site.keys.records.key_id, "the record key stays"
    with contextlib.closing(Paper(begun, wh=1_246_905, ms=3_700_000)) as site:
        settle(site)
        assert [one.type for one in site.ledger.records()].count("key-change") == 1, "announced once"


def test_rotate_makes_a_private_key_and_its_lines_work(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = Tool(begun, capsys)
    code, found = tool.json("keys", "rotate", "--reason", "yearly change")
    assert code == 0 and Path(found["file"]).stat().st_mode & 0o777 == 0o600
    changed(begun, 'record = "record.pem"', "\n".join(found["lines"]))
    with contextlib.closing(Paper(begun, wh=1_246_905, ms=3_600_000)) as site:
        settle(site)
        assert [one.type for one in site.ledger.records()] == ["session", "settlement", "key-change", "checkpoint"]
    _, shown = tool.json("keys", "show")
    assert [one["id"] for one in shown if one["key"] == "record"] == [found["id"]]
    assert tool("config", "check")[0] in (0, 1)


def test_a_label_carries_the_key_that_verifies_the_readings(begun: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool, folder = Tool(begun, capsys), begun.parent
    spki = keyfile.KeyFileSigner(folder / "ocmf.pem").public_key_spki()
    assert tool("keys", "label", "--out", folder / "label.png")[0] == 0
    picture = cv2.imdecode(numpy.fromfile(folder / "label.png", numpy.uint8), cv2.IMREAD_GRAYSCALE)
    text, *_ = cv2.QRCodeDetectorAruco().detectAndDecode(picture)
    assert bytes.fromhex(text) == spki
    assert tool("keys", "label", "--out", folder / "label.svg")[0] == 0
    words = " ".join(one.text or "" for one in ElementTree.parse(folder / "label.svg").iter("{http://www.w3.org/2000/svg}text"))
    assert "DE*EXA*E0001" in words and "meter" in words and keyfile.KeyFileSigner(folder / "ocmf.pem").key_id in words


def test_a_receipt_is_printed_again_after_its_key_was_changed(begun: Path) -> None:
    use_keys(begun, record=keyfile.create(begun.with_name("second.pem")), why="yearly change")
    begun.write_text(begun.read_text() + '\n[printer]\ndriver = "text"\ndevice = "paper.txt"\n')
    for _ in range(2):  # the second time without the old key at hand
        with contextlib.closing(Paper(begun, wh=1_246_905, ms=3_600_000)) as site:
            settle(site)
            site.engine.ask = lambda question, timeout_s=5.0: question()  # type: ignore[method-assign]
            session_id = site.ledger.records(limit=1)[0].subject
            assert receipt_print(site.engine, {"session_id": session_id}, "somebody")["receipt"].endswith("000001")
        begun.write_text(begun.read_text().replace('previous_record = "record.pem"\n', ""))


# --- pace ----------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_once_a_day_and_only_if_something_was_sealed(tmp_path: Path) -> None:
    with runtime_dir() as runtime, contextlib.closing(Paper(site_files(tmp_path, runtime))) as site:
        types = lambda: [one.type for one in site.ledger.records()]  # noqa: E731
        site.pass_time(3 * DAY_S)
        settle(site)
        assert types() == [], "nothing was ever sealed"
        site.paid_session()
        settle(site)
        assert sorted(types()) == ["checkpoint", "session", "settlement"], "the last one is more than a day ago"
        site.paid_session()
        settle(site)
        assert types().count("checkpoint") == 1
        site.pass_time(DAY_S)
        settle(site)
        site.pass_time(DAY_S)
        settle(site)
        assert types().count("checkpoint") == 2


def test_a_checkpoint_signs_no_register_that_nobody_believes(tmp_path: Path) -> None:
    """A glitch of one reading, in the very second of the day's checkpoint."""
    with runtime_dir() as runtime, contextlib.closing(Paper(site_files(tmp_path, runtime))) as site:
        site.paid_session()
        site.turn(events.MeterReported(1, site.reading()))
        site.pass_time(2 * DAY_S)
        site.turn(events.MeterReported(1, MeterValue(0, 0, SERIAL, site.clock.now())))
        site.turn(events.Ticked())
        jws = next(one.jws for one in site.ledger.records() if one.type == "checkpoint")
        found = open_record(jws, site.keys.records.public_key_spki())
        assert found["meter_registers_wh"] == {SERIAL: site.wh}


def test_no_checkpoint_delays_a_bill(tmp_path: Path) -> None:
    with runtime_dir() as runtime, contextlib.closing(Paper(site_files(tmp_path, runtime))) as site:
        site.paid_session()
        site.tap()
        site.charge(1000)
        site.pass_time(2 * DAY_S)
        site.stop()
        settle(site)
        assert [one.type for one in site.ledger.records()][2:] == ["session", "checkpoint", "settlement"]
