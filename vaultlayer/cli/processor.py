"""``vaultlayer processor``: the third parties that get personal data, and their agreements."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.question_show import table
from vaultlayer.privacy.processors import SOON_DAYS
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    from vaultlayer.access.processors import Processor

app = typer.Typer(no_args_is_help=True, help="Third parties under agreement (processors.toml).")

_Days = Annotated[int, typer.Option(min=0, help="Report what runs out within so many days.")]


@app.command("list")
def list_(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """List the processors, with the last day of each agreement."""
    with Vault.open(config) as vault:
        known, expired = vault.processors.all(), vault.processors.expired()
    if json_:
        print_json({"processors": [_told(each) for each in known]})
        return
    rows = [
        (p.name, p.agreement, p.expires.isoformat(), "expired" if p in expired else "in force",
         ", ".join(p.purposes))
        for p in known
    ]  # fmt: skip
    table(("Processor", "Agreement", "Until", "State", "Purposes"), rows)
    typer.echo(f"{len(known)} processor(s).")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Its name in processors.toml.")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Show one processor: what it may get, for what, where, and under which safeguards."""
    with Vault.open(config) as vault:
        told = _told(vault.processors.get(name))
    if json_:
        print_json(told)
        return
    table(("What", "Says"), [(name, _text(value)) for name, value in told.items() if value])


@app.command()
def check(
    days: _Days = SOON_DAYS, config: ConfigOption = None, json_: JsonOption = False
) -> None:
    """Report agreements that have run out or soon will; exits with 1 if there are some."""
    with Vault.open(config) as vault:
        expired, expiring = vault.processors.expired(), vault.processors.expiring(days)
    if json_:
        told = {"expired": expired, "expiring": expiring}
        print_json({name: [_told(each) for each in some] for name, some in told.items()})
    else:
        states = [(each, "has run out") for each in expired]
        states += [(each, "runs out soon") for each in expiring]
        rows = [(p.name, p.agreement, p.expires.isoformat(), s, p.contact) for p, s in states]
        if rows:
            table(("Processor", "Agreement", "Until", "State", "Contact"), rows)
        typer.echo(f"{len(expired)} agreement(s) have run out, {len(expiring)} soon will.")
    if expired or expiring:
        raise typer.Exit(FINDINGS)


def _told(processor: Processor) -> dict[str, Any]:
    days = {"signed": processor.signed.isoformat(), "expires": processor.expires.isoformat()}
    return {**asdict(processor), **days}


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple | list) else str(value)
