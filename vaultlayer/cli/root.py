"""The root of the command line: puts the groups together and turns errors into exit codes."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from vaultlayer.cli import (
    audit,
    audit_upkeep,
    demo,
    disclosure,
    doctor,
    init,
    key_exchange,
    keys,
    migrate,
    policy,
    privacy,
    privacy_reports,
    processor,
    questions,
    report,
    scan,
    subject,
    tail,
)
from vaultlayer.cli.common import exit_code, show_error
from vaultlayer.errors import VaultLayerError
from vaultlayer.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks would show the values of local variables
)
app.command("init")(init.init)
app.command("demo")(demo.demo)
app.command("scan")(scan.scan)
app.command("doctor")(doctor.doctor)
app.command("backfill")(migrate.backfill)
app.command("reseal")(key_exchange.reseal)
app.command("export")(migrate.export)
app.add_typer(migrate.app, name="migrate")
app.add_typer(keys.app, name="keys")
app.add_typer(policy.app, name="policy")
app.add_typer(audit.app, name="audit")
app.add_typer(privacy.app, name="privacy")
app.add_typer(processor.app, name="processor")
app.add_typer(disclosure.app, name="disclosure")
app.add_typer(report.app, name="report")
report.app.command()(privacy_reports.register)
report.app.command()(privacy_reports.promises)
app.add_typer(subject.app, name="subject")
audit.app.command("who-read")(questions.who_read)
audit.app.command("what-did")(questions.what_did)
for _question in (questions.scope, questions.denials, questions.unusual, tail.tail):
    audit.app.command()(_question)
for _command in (audit_upkeep.key, audit_upkeep.fsck, audit_upkeep.prune, audit_upkeep.export):
    audit.app.command()(_command)
audit.app.command("accept-loss")(audit_upkeep.accept_loss)
audit.app.command("adopt")(audit_upkeep.adopt)
audit.app.add_typer(audit_upkeep.prove, name="prove")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vaultlayer {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Field encryption for SQLAlchemy that decides and records every read.

    Exit codes: 0 good, 1 findings, 2 usage or configuration, 3 key store or network.
    """
    del version  # its callback has seen to it
    if "" not in sys.path:
        sys.path.insert(0, "")  # models are found as `python -m` finds them


def run() -> None:
    """Run the command of ``sys.argv``; always leaves by SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows "?" instead
    try:
        app(prog_name="vaultlayer")
    except VaultLayerError as error:
        show_error(error)
        sys.exit(exit_code(error))
