"""Every gateway passes every scenario: a new one, or a new kind in the configuration, fails here until its tests have them all."""

import ast
import importlib
from pathlib import Path
from typing import get_args

import pytest

from terminal_app import config
from tests.conformance import checkout_kit, fault_kit, gateway_kit, http_rules_kit, tls_kit
from tests.conformance.scenarios import required, shown_by

KITS = (checkout_kit, fault_kit, gateway_kit, http_rules_kit, tls_kit)
HERE = Path(__file__).parent
OWN_READER = "own_reader"
PAGES = {"stripe", "adyen", "account-page"}
NOT_HTTP = {"iso8583", OWN_READER}


def kinds() -> list[str]:
    """What `kind` of a [gateway.NAME] may be, and the one that only the conformance kit has."""
    return [str(section.__struct_config__.tag) for section in get_args(config.GatewaySection)] + [OWN_READER]


def classes(kind: str) -> list[type]:
    """Test classes that say `gateway = kind`."""
    found = []
    for file in sorted(HERE.glob("test_gateway_*.py")):
        module = importlib.import_module(f"tests.conformance.{file.stem}")
        mine = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
        found += [one for one in mine if vars(one).get("gateway") == kind]
    return found


def way_of(kind: str) -> str:
    return "page" if kind in PAGES else "reader" if kind == OWN_READER else "card"


@pytest.mark.parametrize("kind", kinds())
def test_a_gateway_shows_every_scenario_at_every_step(kind: str) -> None:
    shown = {one for each in classes(kind) for one in shown_by(each)}
    missing = required(way_of(kind), kind not in NOT_HTTP) - shown
    assert sorted(missing) == []


@pytest.mark.parametrize("kind", kinds())
def test_no_gateway_replaces_a_kits_test(kind: str) -> None:
    for one in classes(kind):
        inherited = {name for base in one.__mro__[1:] for name in vars(base) if name.startswith("test_")}
        assert not inherited & set(vars(one)), one
        assert not {"UNKNOWN", "REFUSED", "pytest_generate_tests"} & set(vars(one)), one


def test_the_kits_skip_for_a_missing_ability_only() -> None:
    for kit in KITS:
        tree = ast.parse(Path(kit.__file__).read_text())
        skips = [
            node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in ("skip", "skipif", "xfail")
        ]
        assert skips == [], kit.__name__


def test_the_matrix_would_notice_a_kit_that_is_left_out() -> None:
    """The known-bad variant: a gateway whose module forgot the fault kit."""
    shown = shown_by(gateway_kit.GatewayKit) | shown_by(tls_kit.TlsKit) | shown_by(http_rules_kit.HttpRulesKit)
    missing = required("card", http=True) - shown
    assert {("lost reply", "capture"), ("key lapse", "refund"), ("clock skew", "authorize"), ("4xx", "void")} <= missing


def test_the_matrix_can_be_read() -> None:
    """`pytest -s -k matrix_can_be_read`: scenarios by gateways; the steps in each cell."""
    table: dict[str, dict[str, list[str]]] = {}
    for kind in kinds():
        for what, step in {one for each in classes(kind) for one in shown_by(each)} & required(way_of(kind), kind not in NOT_HTTP):
            table.setdefault(what, {}).setdefault(kind, []).append(step)
    for what, row in sorted(table.items()):
        print(f"\n{what}")
        for kind in kinds():
            print(f"  {kind:<12} {', '.join(sorted(row.get(kind, ['- (not of this wire or way to pay)'])))}")
    assert table
