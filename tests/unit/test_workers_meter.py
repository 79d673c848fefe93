"""The meter worker: what it asks a meter that signs, in which order, and what it says when that fails."""

from dataclasses import dataclass, field

import pytest

from terminal_app.errors import DeviceMisread, DeviceUnavailable
from terminal_app.session import actions, events
from terminal_app.values import MeterIdentity, MeterValue, Stamp
from terminal_app.workers import meter as worker_module
from terminal_app.workers.meter import MeterWorker

SERIAL, KEY = "21130042", b"\x30\x01"
VALUE = MeterValue(1_000, 0, SERIAL, Stamp(1, 1, "boot"))


class Plain:
    """An `EnergyMeter`; what is in `broken` fails."""

    def __init__(self) -> None:
        self.broken: dict[str, Exception] = {}
        self.asked: list[str] = []

    def _do(self, name: str) -> None:
        self.asked.append(name)
        if name in self.broken:
            raise self.broken[name]

    def identity(self) -> MeterIdentity:
        self._do("identity")
        return MeterIdentity("V", "M", SERIAL)

    def read(self) -> MeterValue:
        self._do("read")
        return VALUE

    def close(self) -> None: ...


class Signing(Plain):
    """A `SignedMeter` beside it."""

    def begin(self, session_id: str, tariff_text: str) -> None:
        self._do(f"begin {session_id} {tariff_text}")

    def left_over(self) -> bytes | None:
        self._do("left_over")
        return b"OCMF|{}|{}"

    def resume(self, session_id: str, tariff_text: str) -> None:
        self._do(f"resume {session_id} {tariff_text}")

    def end(self) -> bytes:
        self._do("end")
        return b"OCMF|{1}|{}"

    def public_key_spki(self) -> bytes:
        self._do("key")
        return KEY


@dataclass
class Inbox:
    posted: list[events.Event] = field(default_factory=list)

    def post(self, event: events.Event, droppable: bool = False) -> bool:
        self.posted.append(event)
        return True

    def post_latest(self, source: object, event: events.Event) -> None: ...


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Inbox:
    for name in ("PERIOD_S", "BETWEEN_READINGS_S", "PATIENCE_S"):
        monkeypatch.setattr(worker_module, name, 0.0)
    return Inbox()


BEGIN, END = actions.BeginSigned(1, "S", "H", "T 1"), actions.EndSigned(1, "S", "H", "T 1")


def test_the_key_is_told_once_and_again_after_every_loss(inbox: Inbox) -> None:
    meter = Signing()
    worker = MeterWorker(1, meter, inbox)
    worker.step()
    worker.step()
    assert inbox.posted == [events.MeterKeyRead(1, SERIAL, KEY.hex())]
    meter.broken["read"] = DeviceUnavailable("meter", "timeout", "no answer")
    worker.step()
    del meter.broken["read"]
    worker.step()
    assert inbox.posted.count(events.MeterKeyRead(1, SERIAL, KEY.hex())) == 2, "it may be another meter now"


def test_a_key_that_cannot_be_read_is_a_fault(inbox: Inbox) -> None:
    meter = Signing()
    meter.broken["key"] = DeviceMisread("meter", "mismatch", "no signature key is configured")
    MeterWorker(1, meter, inbox).step()
    (said,) = inbox.posted
    assert isinstance(said, events.FaultSeen) and said.raised and "no signature key" in said.fault.detail


def test_before_a_charge_the_key_is_read_again_and_comes_first(inbox: Inbox) -> None:
    worker = MeterWorker(1, Signing(), inbox)
    worker.step()
    inbox.posted.clear()
    worker.read_register("S", "start")
    worker.read_register("S", "stop")
    worker.step()
    assert [type(one) for one in inbox.posted] == [events.MeterKeyRead, events.RegisterRead, events.RegisterRead]


def test_begin_and_end_give_what_the_meter_gave(inbox: Inbox) -> None:
    meter = Signing()
    worker = MeterWorker(1, meter, inbox)
    worker.begin_signed(BEGIN)
    worker.end_signed(END)
    worker.step()
    assert meter.asked[2:] == ["begin H T 1", "left_over", "resume H T 1", "end"]
    assert inbox.posted[1:] == [events.SignedBegun(1, "S", "OCMF|{}|{}"), events.SignedEnded(1, "S", "OCMF|{1}|{}")]


@pytest.mark.parametrize(("kind", "refused"), [("refused", True), ("timeout", False)])
def test_what_the_meter_refuses_is_told_apart_from_what_it_never_heard(inbox: Inbox, kind: str, refused: bool) -> None:
    meter = Signing()
    meter.broken |= dict.fromkeys(("begin H T 1", "end"), DeviceUnavailable("meter", kind, "why"))
    worker = MeterWorker(1, meter, inbox)
    worker.begin_signed(BEGIN)
    worker.end_signed(END)
    worker.step()
    said = [one for one in inbox.posted if isinstance(one, events.SignedRefused)]
    assert [(one.purpose, one.refused) for one in said] == [("begin", refused), ("end", refused)]
    assert any(isinstance(one, events.FaultSeen) for one in inbox.posted) is not refused


def test_a_meter_that_does_not_sign_is_asked_for_nothing_more(inbox: Inbox) -> None:
    meter = Plain()
    worker = MeterWorker(1, meter, inbox)
    worker.read_register("S", "start")
    worker.end_signed(END)
    worker.step()
    assert worker.signed is None and set(meter.asked) == {"identity", "read"}
    assert [type(one) for one in inbox.posted] == [events.RegisterRead, events.SignedRefused]
