"""The pages on which drivers pay, watch and stop, in words: English and German."""

from types import MappingProxyType

from terminal_app.office.words import WORDS

_ENGLISH = {
    "pay_title": "Pay for charging",
    "connector_is": "Connector {0}",
    "check_word": "Check word",
    "check_word_why": "The charger's screen shows the same word. If it shows another one, do not pay here.",
    "held_now": "will be held on your account",
    "hold_what": "This is no payment yet. After the charge only its price is taken and the rest is free again at once; if nothing"
    " is charged, all of it.",
    "page_left": "This page can be paid for {0} more min.",
    "account": "Account",
    "secret": "Secret",
    "pay": "Hold {0}",
    "demo_pay": "Pay with demo wallet",
    "paid_title": "Held. Go on at the charger.",
    "paid": "{0} are held; nothing is taken yet. This page cannot be paid again.",
    "paid_watch": "To watch or stop this charge here, say once more whose account it is.",
    "watch": "Watch the charge",
    "expired_title": "This payment page has ended",
    "expired": "Nothing was held here. If you are still at the charger, start again on its screen: it shows a new code.",
    "unknown_title": "There is no such page",
    "unknown": "The address is not complete, or its time is over. Please scan the code on the charger's screen again.",
    "later_title": "Not possible just now",
    "later": "Please try again in a moment. Trying again never holds twice.",
    "refused_unknown_account": "Account or secret is wrong. Nothing was held.",
    "refused_insufficient_funds": "The account's balance is too low for this hold. Nothing was held.",
    "refused_limit_exceeded": "This is above the account's limit. Nothing was held.",
    "refused_blocked": "The account is blocked. Nothing was held. Please ask whoever gave you the account.",
    "refused_currency": "The account is in another currency. Nothing was held.",
    "refused_too_many_tries": "Too many wrong tries. Please wait a minute, or pay another way.",
    "refused_paid_by_another": "Another account has paid here already. Nothing was held on yours.",
    "refused_nothing_said": "Please fill in account and secret.",
    "refused_other": "This did not work. Nothing was held. Please pay another way.",
    "other_way": "You can also pay another way at the charger.",
}
_GERMAN = {
    "pay_title": "Laden bezahlen",
    "connector_is": "Ladepunkt {0}",
    "check_word": "Prüfwort",
    "check_word_why": "Auf dem Bildschirm der Ladestation steht dasselbe Wort. Steht dort ein anderes, bezahlen Sie hier nicht.",
    "held_now": "werden auf Ihrem Konto reserviert",
    "hold_what": "Das ist noch keine Zahlung. Nach dem Laden wird nur der Preis abgebucht, der Rest ist sofort wieder frei; wird"
    " nicht geladen, der ganze Betrag.",
    "page_left": "Diese Seite kann noch {0} min lang bezahlt werden.",
    "account": "Konto",
    "secret": "Geheimnis",
    "pay": "{0} reservieren",
    "demo_pay": "Mit Demo-Guthaben bezahlen",
    "paid_title": "Reserviert. Weiter geht es an der Ladestation.",
    "paid": "{0} sind reserviert; abgebucht ist noch nichts. Diese Seite kann nicht noch einmal bezahlt werden.",
    "paid_watch": "Um diesen Ladevorgang hier zu sehen oder zu beenden, sagen Sie noch einmal, wessen Konto es ist.",
    "watch": "Ladevorgang ansehen",
    "expired_title": "Diese Zahlungsseite ist beendet",
    "expired": "Hier wurde nichts reserviert. Wenn Sie noch an der Ladestation sind, beginnen Sie dort neu: sie zeigt einen"
    " neuen Code.",
    "unknown_title": "Diese Seite gibt es nicht",
    "unknown": "Die Adresse ist nicht vollständig, oder ihre Zeit ist vorbei. Bitte scannen Sie den Code auf dem Bildschirm der"
    " Ladestation noch einmal.",
    "later_title": "Gerade nicht möglich",
    "later": "Bitte versuchen Sie es gleich noch einmal. Dabei wird nie doppelt reserviert.",
    "refused_unknown_account": "Konto oder Geheimnis ist falsch. Es wurde nichts reserviert.",
    "refused_insufficient_funds": "Das Guthaben reicht dafür nicht aus. Es wurde nichts reserviert.",
    "refused_limit_exceeded": "Das liegt über dem Limit des Kontos. Es wurde nichts reserviert.",
    "refused_blocked": "Das Konto ist gesperrt. Es wurde nichts reserviert. Bitte fragen Sie, wer Ihnen das Konto gegeben hat.",
    "refused_currency": "Das Konto hat eine andere Währung. Es wurde nichts reserviert.",
    "refused_too_many_tries": "Zu viele falsche Versuche. Bitte warten Sie eine Minute, oder bezahlen Sie anders.",
    "refused_paid_by_another": "Hier hat schon ein anderes Konto bezahlt. Auf Ihrem wurde nichts reserviert.",
    "refused_nothing_said": "Bitte Konto und Geheimnis ausfüllen.",
    "refused_other": "Das hat nicht geklappt. Es wurde nichts reserviert. Bitte bezahlen Sie anders.",
    "other_way": "Sie können an der Ladestation auch anders bezahlen.",
}
PHONE_WORDS = MappingProxyType({"en": WORDS["en"] | _ENGLISH, "de": WORDS["de"] | _GERMAN})
