"""Signer worker: signs OCMF payloads, records and the lines of receipts with its two keys."""

import queue
import time

from terminal_app.errors import DeviceUnavailable
from terminal_app.ports import RecordSigner
from terminal_app.session.actions import SignOcmf, SignReceipt, SignRecord
from terminal_app.session.events import OcmfSigned, ReceiptSigned, RecordSigned
from terminal_app.values import Device
from terminal_app.workers.base import Health, Post, Worker

IDLE_S = 1.0
AGAIN_S = 1.0


class SignerWorker(Worker):
    """A signature that cannot be had raises the signer's fault; the rules ask again."""

    def __init__(self, records: RecordSigner, ocmf: RecordSigner, inbox: Post, previous: RecordSigner | None = None) -> None:
        """`previous`: the record key before this one; it signs what it alone may sign."""
        super().__init__("signer", inbox)
        self._records, self._ocmf, self._previous = records, ocmf, previous
        self._health = Health(inbox, Device.SIGNER, 0, 0.0)

    def step(self) -> None:
        try:
            self.jobs.get(timeout=IDLE_S)()
        except queue.Empty:
            return

    def order(self, action: SignOcmf | SignRecord | SignReceipt) -> None:
        """Any thread."""
        self.submit(lambda: self._sign(action))

    def _sign(self, action: SignOcmf | SignRecord | SignReceipt) -> None:
        try:
            if isinstance(action, SignOcmf):
                self.inbox.post(OcmfSigned(action.session_id, self._ocmf.sign(action.payload)))
            elif isinstance(action, SignReceipt):
                self.inbox.post(ReceiptSigned(action.record_seq, self._records.sign(action.signing_input)))
            else:
                old = self._previous is not None and action.key_id == self._previous.key_id
                signer = self._previous if old and self._previous is not None else self._records
                self.inbox.post(RecordSigned(action.record_seq, signer.sign(action.signing_input)))
        except DeviceUnavailable as error:
            self._health.bad(error)
            time.sleep(AGAIN_S)
        else:
            self._health.good()
