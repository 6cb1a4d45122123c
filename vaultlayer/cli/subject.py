"""``vaultlayer subject``: one person's report, erasure and its receipt, restriction, requests."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vaultlayer.cli import subject_requests
from vaultlayer.cli.audit_options import KeyOption, trusted
from vaultlayer.cli.common import ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_frame import (
    AsOption,
    DryOption,
    ModelsOption,
    PurposeOption,
    ReasonOption,
    RoleOption,
    acting,
)
from vaultlayer.cli.question_show import table
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.receipt import verify_receipt

if TYPE_CHECKING:
    from vaultlayer.lifecycle.erasure import Receipt
    from vaultlayer.lifecycle.plan import Plan

app = typer.Typer(no_args_is_help=True, help="What can be done for one person.")
app.add_typer(subject_requests.app, name="request")

_Subject = Annotated[UUID, typer.Argument(help="The person's subject_id.")]


@app.command()
def report(
    subject: _Subject,
    out: Annotated[Path, typer.Option(help="A new folder; it will hold plaintext.")],
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    json_: JsonOption = False,
) -> None:
    """Write all that is held of a person, who read it and why, and what is withheld and why.

    JSON, CSV, one page to read, and every picture. Each field is read, decided and recorded.
    """
    with acting(config, models, by, role, purpose, reason) as vault:
        made = vault.subjects.report(subject, out)
    if json_:
        print_json(made)
        return
    typer.echo(f"Wrote {made['folder']}: {made['rows']:,} rows, {made['reads']:,} reads of them.")
    if made["withheld"]:
        rows = [(each["item"], each["code"], each["text"]) for each in made["withheld"]]
        table(("Withheld", "Code", "Why"), rows)
    typer.echo(f"SHA-256 of report.json:\n{made['sha256']}")


@app.command()
def erase(
    subject: _Subject,
    receipt: Annotated[
        Path | None, typer.Option(help="Write the signed receipt to this new file.")
    ] = None,
    config: ConfigOption = None,
    models: ModelsOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Destroy a person's keys, empty their rows, read everything back, and sign the receipt.

    --dry-run shows the plan: what is taken out of which table, and what stays on which ground.
    """
    if receipt is not None and receipt.exists():
        raise ConfigurationError(f"{receipt} is there already", hint="name a new file")
    with acting(config, models, by, role, purpose, reason) as vault:
        if dry_run:
            _show_plan(vault.subjects.plan(subject), json_)
            return
        done = vault.subjects.erase(subject, reason=reason)
    if receipt is not None:
        receipt.write_text(done.document, "utf-8")
    if json_:
        typer.echo(done.document, nl=False)
    else:
        _show_receipt(done, receipt)


@app.command("verify-receipt")
def check_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt.")],
    keys: KeyOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Check a receipt of an erasure. With --key nothing else is read: it works offline.

    Exits with 1 where it was changed, or isn't signed by the log's key.
    """
    try:
        document = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} can't be read ({type(error).__name__})", hint="name the receipt's file"
        ) from None
    known, _ = trusted(None if keys else config, None, keys or [], offline=False)
    told = verify_receipt(document, known)
    if json_:
        print_json({"ok": True, "receipt": told})
        return
    typer.echo(
        f"The receipt holds: {told['subject']} was erased on {told['erased_at'][:10]}. "
        f"{told['keys']} key(s), {told['values']} value(s), {told['terms']} index term(s).\n"
        f"Backups may hold them until {told['horizon']}."
    )


@app.command()
def restrict(
    subject: _Subject,
    lift: Annotated[bool, typer.Option("--lift", help="End the restriction.")] = False,
    channel: Annotated[str, typer.Option(help="How the person asked.")] = "",
    proof: Annotated[str, typer.Option(help="Where that can be seen.")] = "",
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Keep a person's data sealed for all but the purposes that go on; or end that."""
    done = "The restriction is lifted" if lift else "The data is restricted"
    with subject_requests.as_officer(config, by, role, purpose, reason) as vault:
        go_on = [p.name for p in vault.snapshot.bundle.purposes.values() if p.despite_restriction]
        if not dry_run:
            act = vault.subjects.lift_restriction if lift else vault.subjects.restrict
            act(subject, channel=channel, proof=proof)
    if json_:
        print_json({"subject": str(subject), "restricted": not lift, "dry_run": dry_run})
        return
    told = "Would do: " if dry_run else ""
    typer.echo(f"{told}{done}. What goes on in any case: {', '.join(go_on) or 'nothing'}.")


def _show_plan(plan: Plan, json_: bool) -> None:
    if json_:
        told: dict[str, Any] = {**asdict(plan), "subject_id": str(plan.subject_id)}
        print_json({**told, "horizon": plan.horizon.isoformat()})
        return
    typer.echo(f"Would destroy {plan.keys} key(s) of {plan.subject_id}, and take out:")
    held = [
        (each.table, each.rows, each.values, each.terms, ", ".join(each.fields))
        for each in plan.tables
    ]
    table(("Table", "Rows", "Values", "Terms", "Fields"), held)
    typer.echo("What stays, and on which ground:")
    table(("What", "Rows", "Ground"), [(k["what"], k["rows"], k["ground"]) for k in plan.kept])
    if plan.claims:
        typer.echo("The law asks for these; where one still holds, refuse and say so:")
        rows = [(c["purpose"], c["retention"], len(c["fields"])) for c in plan.claims]
        table(("Purpose", "Kept for", "Fields"), rows)
    typer.echo(f"Backups may hold it until {plan.horizon:%Y-%m-%d}.")


def _show_receipt(done: Receipt, file: Path | None) -> None:
    typer.echo(
        f"Erased {done.subject_id}: {done.keys} key(s), {done.values} value(s), "
        f"{done.terms} index term(s). Nothing of it could be read back.\n"
        f"Backups may hold them until {done.horizon:%Y-%m-%d}. Receipt {done.erasure_id}"
        + (f", signed, in {file}." if file else "; --receipt FILE keeps the signed one.")
    )
