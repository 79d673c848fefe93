"""Acquirer profiles: the packaged one says what is used, and whatever is wrong in a file is named with file, key and reason."""

from pathlib import Path

import pytest

from terminal_app import config
from terminal_app.errors import ConfigError
from terminal_app.payments import acquirer_profile
from terminal_app.payments.acquirer_profile import AcquirerProfile
from terminal_app.payments.response_codes import Meaning
from terminal_app.run import gateways
from tests.bench import charge

PACKAGED = Path(acquirer_profile.__file__).parent / "profiles" / "iso8583-1987.toml"


def test_the_packaged_profile_says_every_default() -> None:
    assert acquirer_profile.load(PACKAGED) == AcquirerProfile()
    text = PACKAGED.read_text()
    for part in AcquirerProfile.__struct_fields__:
        names = getattr(getattr(AcquirerProfile(), part), "__struct_fields__", ())
        section = text[text.index(f"[{part}]") :].split("\n[", 1)[0] if part not in ("length_header", "codes") else ""
        assert [name for name in names if part != "codes" and f"\n{name} = " not in section] == [], part


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("captures = 1", "unknown field `captures`"),
        ("[capture]\nmti = 220", "[capture] mti"),
        ('[capture]\nmti = "0230"', "[capture] mti"),  # an answer
        ('[capture]\nrepeat_mti = "0401"', "0401 is no repeat of 0220"),
        ('[refund]\noffered = true\nprocessing_code = "000000"', "could not tell them apart"),
        ('[authorize]\nfields = { "35" = "1" }', "DE35 would carry card data"),
        ('[authorize]\nfields = { "4" = "1" }', "'4' is not a data element"),
        ('[authorize]\nfields = { "24" = "12345" }', "[authorize]"),  # does not fit its field
        ('[codes.authorize]\nN7 = "unreachable"', "[codes] authorize"),  # a host that answered was reached
        ('[codes.capture]\n25 = "nothing_held"', "is no answer to this operation"),
        ("[codes.capture", "is not TOML"),
    ],
)
def test_a_wrong_profile_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "acquirer.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        acquirer_profile.load(file)
    assert str(caught.value).startswith(("acquirer.toml: ", str(file)))
    assert named in str(caught.value)


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read"):
        acquirer_profile.load(tmp_path / "absent.toml")


def test_an_acquirers_own_meanings_go_before_the_usual_ones(tmp_path: Path) -> None:
    file = tmp_path / "acquirer.toml"
    file.write_text('[codes.authorize]\nN7 = "authentication_wanted"\n51 = "limit_exceeded"\n')
    meanings = acquirer_profile.load(file).meanings("authorize")
    assert (meanings["N7"], meanings["51"], meanings["00"]) == (
        Meaning.AUTHENTICATION_WANTED,
        Meaning.LIMIT_EXCEEDED,
        Meaning.APPROVED,
    )
    assert Meaning.AUTHENTICATION_WANTED is not AcquirerProfile().meanings("authorize").get("N7")


def test_a_gateway_of_the_configuration_reads_its_profile_beside_it(tmp_path: Path) -> None:
    (tmp_path / "acquirer.toml").write_text("[refund]\noffered = true\n")
    usual = {"kind": "iso8583", "host": "h", "port": 1, "tls": False, "terminal_id": "T0000001", "merchant_id": "M" * 15}
    file = tmp_path / "terminal.toml"
    section = config.decode({**usual, "profile": "acquirer.toml"}, config.Iso8583Section, file)
    settings = charge.settings(tmp_path)
    assert gateways.build("bank", section, settings, file).capabilities.refund
    plain = config.decode(usual, config.Iso8583Section, file)
    assert not gateways.build("bank", plain, settings, file).capabilities.refund
    (tmp_path / "acquirer.toml").write_text("[refund]\noffers = true\n")
    with pytest.raises(ConfigError, match=r"acquirer\.toml: .*offers"):
        gateways.build("bank", section, settings, file)
