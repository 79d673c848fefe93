"""One view class for every type of `screens.VIEWS`."""

from ui.views.base import ViewBox
from ui.views.charging import ChargingBox
from ui.views.declined import DeclinedBox
from ui.views.offer import OfferBox
from ui.views.overview import OverviewBox
from ui.views.paying import BankWaitBox, PayByPhoneBox, PlugInBox, ReadingCardBox
from ui.views.receipt import ReceiptBox
from ui.views.stopped import NotForSaleBox, OutOfServiceBox

VIEW_CLASSES: dict[type, type[ViewBox]] = {
    box.shows: box
    for box in (
        OverviewBox,
        OfferBox,
        NotForSaleBox,
        ReadingCardBox,
        BankWaitBox,
        PayByPhoneBox,
        DeclinedBox,
        PlugInBox,
        ChargingBox,
        ReceiptBox,
        OutOfServiceBox,
    )
}
