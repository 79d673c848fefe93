"""Prices and law in a living core: files at the start, tariffs of the office, overrides, and all of it after a restart."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from drivers.signers import keyfile
from terminal_app.billing import tariff_file
from terminal_app.billing.model import Tariff
from terminal_app.engine import operations
from terminal_app.engine.command_link import CommandLink, acts_of
from terminal_app.engine.sync_link import told
from terminal_app.errors import ConfigError
from terminal_app.run.service.config_check import examine
from terminal_app.run.tariffs import read_files
from terminal_app.session import events
from terminal_app.session.facts import LawOverridden, SessionOpened, TariffTaken
from terminal_app.values import ClockState
from tests.sessions import T0, TARIFF, Paper, runtime_dir, site_files, terminal
from tests.unit.billing_samples import component, element, tariff
from tests.unit.test_engine_commands import Core

NEW = tariff(element(component("ENERGY", "0.79")), id="T-2")
LIMITED = tariff(element(component("ENERGY", "0.79"), max_power=11), id="T-2")
POUNDS = tariff(element(component("ENERGY", "0.79")), id="T-2", currency="GBP")
TIMED = tariff(element(component("ENERGY", "0.29"), start_time="22:00"), element(component("ENERGY", "0.59")), id="T-2")
DAY_MS = 86_400_000


def signed(key: keyfile.KeyFileSigner, sold: Tariff = NEW, version: int = 2, begin: int = T0, end: int | None = None) -> str:
    signing = tariff_file.make_tariff_file(tariff_file.TariffFile(sold, version, begin, end), key.key_id)
    return tariff_file.seal_tariff_file(signing, key.sign(signing))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Paper]:
    with terminal(tmp_path) as paper:
        yield paper


@pytest.fixture
def core(site: Paper) -> Core:
    core = Core(site)
    core.link = CommandLink(site.engine, core.office.public_key_spki(), acts_of(site.engine))
    return core


@contextlib.contextmanager
def restarted(site: Paper) -> Iterator[Paper]:
    """The next start on the same ledger."""
    site.close()
    with contextlib.closing(Paper(site.path)) as again:
        yield again


def order(core: Core, jws: str, number: int = 1, connectors: tuple[int, ...] = (1,)) -> tuple[bool, str]:
    """The office orders; what the terminal answers."""
    args = {"connectors": list(connectors), "jws": jws}
    core.site.engine._stopping = False  # its thread ended with the order before
    with core.turning():
        assert core.deliver(act="tariff.set", args=args, number=number, command_id=f"C-{number}") == ""
    answers: list[tuple[bool, str]] = core.answers()
    return answers[-1]


def sold_by(site: Paper) -> str:
    return site.engine.terms().tariffs[1].id


# --- from the office -----------------------------------------------------------------------------------------------------


def test_a_tariff_of_the_office_is_sold_by_and_survives_a_restart(core: Core, site: Paper) -> None:
    done, answer = order(core, signed(core.office))
    assert done and json.loads(answer)["applied"] == json.loads(answer)["sold_by"] == [1]
    assert sold_by(site) == "T-2"
    site.paid_session()
    (opened,) = core.facts(SessionOpened)
    assert opened.tariff_fingerprint == NEW.fingerprint
    taken = core.facts(TariffTaken)
    assert [(one.source, one.version, one.actor) for one in taken] == [("file", 0, ""), ("office", 2, "office: Office")]
    with restarted(site) as again:
        assert sold_by(again) == "T-2", "the unchanged file is no newer price"
        assert len([one for one in again.ledger.entries() if isinstance(one.fact, TariffTaken)]) == 2


def test_it_begins_when_it_says_and_a_running_charge_keeps_its_price(core: Core, site: Paper) -> None:
    done, answer = order(core, signed(core.office, begin=T0 + 3_600_000))
    assert done and (json.loads(answer)["applied"], json.loads(answer)["sold_by"]) == ([1], []), "taken, and not sold by yet"
    site.tap()
    site.charge(5_000, seconds=7_200)
    assert sold_by(site) == "T-2"
    assert json.loads(site.engine.state.sessions[1].tariff)["id"] == "T-1"


def test_an_older_version_and_a_stranger_are_refused_and_nothing_changes(core: Core, site: Paper) -> None:
    assert order(core, signed(core.office, version=7))[0]
    done, why = order(core, signed(core.office, version=6), number=2)
    assert not done and "version 6 is older than version 7" in why
    stranger = keyfile.create(site.path.with_name("stranger.pem"))
    done, why = order(core, signed(stranger, version=8), number=3)
    assert not done and "JWS header is not ours" in why
    done, answer = order(core, signed(core.office, version=7), number=4)
    assert done and json.loads(answer)["applied"] == [], "the same once more changes nothing"
    with restarted(site) as again:
        late = Core(again)
        late.link = CommandLink(again.engine, late.office.public_key_spki(), acts_of(again.engine))
        assert "older than version 7" in order(late, signed(late.office, version=6), number=5)[1]


@pytest.mark.parametrize(
    ("sold", "why"),
    [
        (LIMITED, "elements[0].restrictions: a price by power or current"),
        (POUNDS, "it is in GBP, the terminal sells in EUR"),
        (tariff(element(component("ENERGY", "9999")), id="T-2"), "hold more"),
    ],
)
def test_what_this_terminal_cannot_sell_by_is_refused_as_a_whole(core: Core, site: Paper, sold: Tariff, why: str) -> None:
    done, said = order(core, signed(core.office, sold))
    assert not done and why in said and "nothing was taken" in said
    assert sold_by(site) == "T-1"


def test_all_connectors_or_none(core: Core, site: Paper) -> None:
    done, why = order(core, signed(core.office), connectors=(1, 2))
    assert not done and "connector 2" in why and sold_by(site) == "T-1"


def test_an_unlawful_tariff_is_refused_with_the_name_of_the_rule(tmp_path: Path) -> None:
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        path.write_text(path.read_text().replace('rule = "de-clock"', 'rule = "de-quarter-hours"'))
        (tmp_path / "tariff.json").write_text(json.dumps(TARIFF | {"elements": [plain_element()]}))
        with contextlib.closing(Paper(path)) as site:
            core = Core(site)
            core.link = CommandLink(site.engine, core.office.public_key_spki(), acts_of(site.engine))
            done, why = order(core, signed(core.office, TIMED))
            assert not done and "de-clock: MessEG" in why and sold_by(site) == "T-1"


def test_with_the_operators_key_the_offices_signature_is_not_enough(tmp_path: Path) -> None:
    with runtime_dir() as runtime:
        path, operator = with_operator(tmp_path, runtime)
        with contextlib.closing(Paper(path)) as site:
            core = Core(site)
            core.link = CommandLink(site.engine, core.office.public_key_spki(), acts_of(site.engine))
            assert not order(core, signed(core.office, version=9))[0]
            assert order(core, signed(operator, version=9), number=2)[0] and sold_by(site) == "T-2"


def test_a_signed_tariff_does_not_travel_back_but_stands_in_the_ledger(core: Core, site: Paper) -> None:
    jws = signed(core.office)
    assert order(core, jws)[0]
    travelled = "".join(told(one) for one in site.ledger.public_entries(0, 1000))
    assert jws not in travelled and NEW.fingerprint in travelled and '"type":"tariff_taken"' in travelled
    assert jws in "".join(one.body for one in site.ledger.entries())


def test_a_new_price_on_the_glass_has_another_screen_number(core: Core, site: Paper) -> None:
    screen = site.engine.screen
    assert screen is not None
    assert order(core, signed(core.office))[0]
    assert site.engine.screen is not None and site.engine.screen.screen_no > screen.screen_no


# --- files ---------------------------------------------------------------------------------------------------------------


def plain_element() -> dict[str, Any]:
    return {"price_components": [{"type": "ENERGY", "price": 0.59, "vat": 19, "step_size": 1}]}


def with_operator(folder: Path, runtime: Path) -> tuple[Path, keyfile.KeyFileSigner]:
    """A site that sells only by what the operator signed."""
    path, operator = site_files(folder, runtime), keyfile.create(folder / "operator-private.pem")
    spki = load_der_public_key(operator.public_key_spki())
    (folder / "operator.pem").write_bytes(spki.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    path.write_text(path.read_text() + '\n[tariffs]\npublic_key = "operator.pem"\n')
    (folder / "tariff.json").write_text(signed(operator, tariff(plain_element(), id="T-1"), version=3))
    return path, operator


def test_a_changed_file_is_the_newer_price_after_the_office(core: Core, site: Paper) -> None:
    assert order(core, signed(core.office))[0]
    site.path.with_name("tariff.json").write_text(json.dumps(TARIFF | {"id": "T-3"}))
    with restarted(site) as again:
        assert sold_by(again) == "T-3"


def test_a_signed_file_is_verified_and_its_version_never_goes_back(tmp_path: Path) -> None:
    with runtime_dir() as runtime:
        path, operator = with_operator(tmp_path, runtime)
        with contextlib.closing(Paper(path)) as site:
            assert sold_by(site) == "T-1"
            (taken,) = [one.fact for one in site.ledger.entries() if isinstance(one.fact, TariffTaken)]
            assert (taken.version, taken.source, len(taken.jws_sha256)) == (3, "file", 64)
        (tmp_path / "tariff.json").write_text(signed(operator, tariff(plain_element(), id="T-1"), version=2))
        with pytest.raises(ConfigError, match=r"number 1 tariff: version 2 is older than version 3"):
            Paper(path)


@pytest.mark.parametrize("wrong", ["unsigned", "stranger", "no key", "unknown field", "by power"])
def test_a_file_that_cannot_be_sold_by_stops_the_start_with_one_sentence(tmp_path: Path, wrong: str) -> None:
    with runtime_dir() as runtime:
        path, operator = with_operator(tmp_path, runtime)
        file, says = tmp_path / "tariff.json", "is not signed"
        if wrong == "unsigned":
            file.write_text(json.dumps(TARIFF))
        elif wrong == "stranger":
            file.write_text(signed(keyfile.create(tmp_path / "stranger.pem")))
            says = "JWS header is not ours: kid"
        elif wrong == "no key":
            path.write_text(path.read_text().replace('public_key = "operator.pem"', ""))
            says = r"is signed, but no \[tariffs\] public_key"
        elif wrong == "unknown field":
            path.write_text(path.read_text().replace('public_key = "operator.pem"', ""))
            file.write_text(json.dumps(TARIFF | {"surprise": 1}))
            says = "surprise"
        else:
            file.write_text(signed(operator, LIMITED))
            says = "price by power or current"
        with pytest.raises(ConfigError, match=rf"\[\[connector\]\] tariff: .*{says}"):
            read_files(load(path), path)


def load(path: Path) -> Any:
    from terminal_app import config

    return config.load(path)


def test_a_second_tariff_sells_while_the_clock_is_not_synchronised(tmp_path: Path) -> None:
    night = plain_element() | {"restrictions": {"start_time": "22:00", "end_time": "06:00"}}
    with runtime_dir() as runtime:
        path = site_files(tmp_path, runtime)
        (tmp_path / "tariff.json").write_text(json.dumps(TARIFF | {"elements": [night, plain_element()]}))
        (tmp_path / "plain.json").write_text(json.dumps(TARIFF | {"id": "PLAIN", "elements": [plain_element()]}))
        without = path.read_text()
        path.write_text(without.replace('tariff = "tariff.json"', 'tariff = "tariff.json"\ntariff_without_clock = "plain.json"'))
        with contextlib.closing(Paper(path)) as site:
            assert sold_by(site) == "T-1"
            site.clock.state = ClockState.INFORMATIVE
            assert sold_by(site) == "PLAIN"
            site.turn(events.Ticked())
            site.paid_session()
            (opened,) = [one.fact for one in site.ledger.entries() if isinstance(one.fact, SessionOpened)]
            assert (json.loads(opened.tariff)["id"], opened.clock) == ("PLAIN", "I")
        path.write_text(without)
        with contextlib.closing(Paper(path, wh=site.wh)) as site:
            site.clock.state = ClockState.INFORMATIVE
            (one,) = operations.status(site.engine, {}, "")["connectors"]
            assert one["not_for_sale"] == "clock"
        for element_, says in ((night, "time decides"), (plain_element() | {"restrictions": {"min_duration": 60}}, "time decides")):
            (tmp_path / "plain.json").write_text(json.dumps(TARIFF | {"elements": [element_]}))
            path.write_text(without.replace('tariff = "tariff.json"', 'tariff_without_clock = "plain.json"'))
            with pytest.raises(ConfigError, match=rf"tariff_without_clock: .*{says}"):
                read_files(load(path), path)


# --- overrides -----------------------------------------------------------------------------------------------------------


def test_an_override_is_a_fact_once_travels_and_is_shown(site: Paper) -> None:
    def overridden(one: Paper) -> list[LawOverridden]:
        return [entry.fact for entry in one.ledger.public_entries(0, 1000) if isinstance(entry.fact, LawOverridden)]

    assert [(one.rule, one.ended) for one in overridden(site)] == [("de-signed-meter", False), ("de-clock", False)]
    shown = operations.status(site.engine, {}, "")
    assert [one["rule"] for one in shown["overrides"]] == ["de-signed-meter", "de-clock"]
    assert any("de-clock is overridden: Tests" in one.says for one in examine(site.path))
    with restarted(site) as again:
        assert len(overridden(again)) == 2, "told once"
    text = site.path.read_text()
    site.path.write_text(text[: text.index('[[law.override]]\nrule = "de-clock"')] + text[text.index("[keys]") :])
    with contextlib.closing(Paper(site.path)) as third:
        assert overridden(third)[2:] == [LawOverridden("de-clock", "Tests", "a clock on paper is as good as its test", ended=True)]
        (one,) = operations.status(third.engine, {}, "")["connectors"]
        assert one["not_for_sale"] == "unlawful_tariff" and [breach["rule"] for breach in one["breaches"]] == ["de-clock"]
    remarks = list(examine(site.path))
    assert any(one.state == "warning" and "not for sale in DE" in one.says and "de-clock" in one.says for one in remarks)


def test_nobody_answers_for_a_rule_that_does_not_exist(site: Paper) -> None:
    site.path.write_text(site.path.read_text().replace('"de-clock"', '"de-clocks"'))
    with pytest.raises(ConfigError, match=r"\[\[law.override\]\] rule: 'de-clocks' is no rule of the law pack"):
        read_files(load(site.path), site.path)
