"""Gateways with hosted pages from a configuration file, as `config check` and the core build them."""

from pathlib import Path

import msgspec
import pytest

from terminal_app import config
from terminal_app.errors import ConfigError
from terminal_app.payments.adyen import AdyenGateway
from terminal_app.payments.stripe import StripeGateway
from terminal_app.run.gateways import address, build
from tests.conformance.test_sync_office import CONFIG

SECTIONS = """
[gateway.stripe]
kind = "stripe"
secret_key_file = "stripe.key"
return_url = "https://office.example/thanks"
[gateway.adyen]
kind = "adyen"
api_key_file = "adyen.key"
hmac_key_file = "adyen.hmac"
merchant_account = "ExampleChargingECOM"
url = "https://checkout-test.example/v71"
return_url = "https://office.example/thanks"
"""


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    (tmp_path / "stripe.key").write_text("sk_test_0123456789\n")
    (tmp_path / "adyen.key").write_text("AQE0123456789\n")
    (tmp_path / "adyen.hmac").write_text("44" * 32 + "\n")
    file = tmp_path / "terminal.toml"
    file.write_text(CONFIG.format(place=tmp_path, port=1, url="https://office.example") + SECTIONS)
    return config.load(file)


def test_both_are_built_from_their_sections_without_a_connection(settings: config.Config, tmp_path: Path) -> None:
    made = {name: build(name, section, settings, tmp_path / "terminal.toml") for name, section in settings.gateway.items()}
    assert isinstance(made["stripe"], StripeGateway)
    assert isinstance(made["adyen"], AdyenGateway)
    assert made["stripe"].name == "stripe"
    assert address(settings.gateway["stripe"]) == "https://api.stripe.com"
    for gateway in made.values():
        gateway.close()


@pytest.mark.parametrize(
    ("name", "file"), [("stripe", "stripe.key"), ("adyen", "adyen.key"), ("adyen", "adyen.hmac")], ids=lambda one: one
)
def test_a_missing_key_file_is_named_with_its_section(settings: config.Config, tmp_path: Path, name: str, file: str) -> None:
    (tmp_path / file).unlink()
    with pytest.raises(ConfigError, match=rf"terminal.toml: \[gateway.{name}\]: .*{file} cannot be read"):
        build(name, settings.gateway[name], settings, tmp_path / "terminal.toml")


@pytest.mark.parametrize(("name", "currency"), [("stripe", "ISK"), ("stripe", "KWD"), ("adyen", "ISK"), ("adyen", "IDR")])
def test_a_currency_the_service_counts_otherwise_stops_the_start(
    settings: config.Config, tmp_path: Path, name: str, currency: str
) -> None:
    settings = msgspec.structs.replace(settings, terminal=msgspec.structs.replace(settings.terminal, currency=currency))
    with pytest.raises(ConfigError, match=currency):
        build(name, settings.gateway[name], settings, tmp_path / "terminal.toml")
