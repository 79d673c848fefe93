"""The commands as one tree, global options, and how errors become one sentence and an exit code."""

import sys
from pathlib import Path
from types import TracebackType

import click

from terminal_app import __version__
from terminal_app.errors import ChargeError
from terminal_app.run.service import (
    bundle,
    carry,
    cdrs,
    check,
    config_check,
    devices,
    energy,
    evse,
    evse_test,
    keys,
    meter_dump,
    meter_profiles,
    meter_scan,
    meter_watch,
    payments,
    record_show,
    records,
    sessions,
    show,
    status,
    tariff,
)
from terminal_app.run.service.site import DEFAULT_CONFIG, Site


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="CHARGE_TERMINAL_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The terminal's configuration: it says where core and ledger are.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of tables.")
@click.version_option(__version__, prog_name="charge-service")
@click.pass_context
def cli(context: click.Context, config_path: Path, as_json: bool) -> None:
    """The technician's tool of a charging payment terminal.

    Exit codes: 0 ok, 1 warning, 2 fault, 3 wrong usage.
    """
    site = Site(config_path, as_json)
    context.obj = site
    context.call_on_close(site.close)


for _command in (
    status.status,
    check.check,
    sessions.session,
    records.records,
    payments.payments,
    devices.meter,
    evse.evse,
    devices.reader,
    keys.keys,
    config_check.config_group,
    bundle.bundle,
    tariff.tariff,
    carry.export,
):
    cli.add_command(_command)
for _command in (
    *meter_profiles.COMMANDS,
    *meter_scan.COMMANDS,
    *meter_watch.COMMANDS,
    *meter_dump.COMMANDS,
):
    devices.meter.add_command(_command)

for _command in evse_test.COMMANDS:
    evse.evse.add_command(_command)
records.records.add_command(record_show.show_)
for _command in (cdrs.cdrs, cdrs.cdr_again):
    records.records.add_command(_command)
devices.meter.add_command(energy.meter_accept)
devices.meter.add_command(energy.meter_trust)
devices.meter.add_command(energy.balance)
evse.evse.add_command(energy.evse_accept)


def main(argv: list[str] | None = None) -> int:
    """Entry point `charge-service`."""
    if argv is None:
        sys.excepthook = no_traces
    arguments = sys.argv[1:] if argv is None else argv
    try:
        result = cli.main(arguments, prog_name="charge-service", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return show.USAGE
    except click.ClickException as error:
        show.error(error.format_message(), "--json" in arguments)
        return show.FAULT
    except (click.exceptions.Abort, KeyboardInterrupt):
        return show.OK
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has seen enough; nothing to say about it at exit either
        return show.OK
    except (ChargeError, OSError) as error:
        show.error(_sentence(error), "--json" in arguments)
        return show.FAULT
    return result if isinstance(result, int) else show.OK


def _sentence(error: ChargeError | OSError) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def no_traces(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What gets here is a defect of ours: one sentence, not a stack trace, and the exit code of a fault."""
    place = ""
    while trace is not None:
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    sys.stderr.write(
        f"charge-service {__version__}: a defect in this tool ({kind.__name__} at {place}): {error}. "
        "Please report it with this line.\n"
    )
    sys.exit(show.FAULT)
