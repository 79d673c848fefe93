"""`scripts/demo.sh`: see there. Exit code 0 only if every account of the charge agrees."""

import argparse
import shutil
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

from drivers.sim.control import SimulationError
from scripts.demo import interactive
from scripts.demo.display import Display
from scripts.demo.site import METERS, Site, Wanted, raised_signals
from scripts.demo.story import Story, ending, visit, write_summary

DEFAULT_OUT = Path("demo-out")


def energy_wh(text: str) -> int:
    """kWh with at most three decimals, 0.001 to 500."""
    try:
        wh = Decimal(text) * 1000
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of kWh, for example 12.3") from None
    if wh != wh.to_integral_value() or not 1 <= wh <= 500_000:
        raise argparse.ArgumentTypeError(f"{text}: 0.001 to 500 kWh with at most three decimals")
    return int(wh)


def price(text: str) -> str:
    """A decimal price in EUR, 0 to 100, at most four decimals; kept as text."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not a price in EUR, for example 0.59") from None
    if not amount.is_finite() or not 0 <= amount <= 100 or amount != round(amount, 4):
        raise argparse.ArgumentTypeError(f"{text}: 0 to 100 EUR with at most four decimals")
    return format(amount, "f")


def main() -> int:
    if len(sys.argv) > 1 and sys.argv[1] in interactive.COMMANDS:
        return interactive.send(sys.argv[1:])
    parser = argparse.ArgumentParser(
        prog="scripts/demo.sh",
        description="A paid charge from tap to countersigned record, on simulated hardware.",
        epilog=f"while --interactive runs: scripts/demo.sh {' | '.join(interactive.COMMANDS)} [--out DIR]",
    )
    parser.add_argument("--headless", action="store_true", help="no window even if there is a display; screenshots stay")
    parser.add_argument("--interactive", action="store_true", help="leave all running and play the driver yourself")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where everything is written (default: demo-out)")
    parser.add_argument("--energy-kwh", type=energy_wh, default=12_300, dest="energy_wh", help="default 12.3")
    parser.add_argument("--price-kwh", type=price, default="0.59", help="EUR incl. VAT, default 0.59; 0 = free charging")
    parser.add_argument("--by-phone", action="store_true", help="the driver scans the code and pays on the office's page")
    parser.add_argument("--meter", choices=list(METERS), default="sdm630", help="all but the first sign their own readings")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    if not clear(out):
        print(f"scripts/demo.sh: {out} is not empty and was not made by this demo: choose another --out", file=sys.stderr)
        return 2
    wanted = Wanted(price=options.price_kwh, energy_wh=options.energy_wh, by_phone=options.by_phone, meter=options.meter)
    try:
        with raised_signals(), Display(options.headless) as display:
            if options.interactive:
                return interactive.play(Site(out, wanted, display))
            return automatic(Site(out, wanted, display))
    except KeyboardInterrupt:
        return 130
    except (TimeoutError, RuntimeError, SimulationError) as error:
        print(f"scripts/demo.sh: {error}\n  what each process said: {out / 'logs'}", file=sys.stderr)
        return 1


def automatic(site: Site) -> int:
    """The whole story; 0 if everything agrees."""
    free = Decimal(site.wanted.price or 0) == 0
    with site:
        story = Story(site)
        visit(site, story)
        found, good = ending(site, story, free)
        path = write_summary(site.folder, found, story)
    print(f"\n  {'Everything agrees.' if good else 'SOMETHING DIFFERS.'} Figures: {path}")
    return 0 if good else 1


def clear(out: Path) -> bool:
    """An earlier demo's folder may go; anything else is not ours to delete."""
    if not out.exists() or not any(out.iterdir()):
        return True
    if not (out / ".charge-demo").exists():
        return False
    shutil.rmtree(out)
    return True


if __name__ == "__main__":
    sys.exit(main())
