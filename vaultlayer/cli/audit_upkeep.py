"""``vaultlayer audit``: the log's public key, proofs, and what is done to a log over the years."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaultlayer.audit import prove as proofs
from vaultlayer.audit import upkeep
from vaultlayer.audit.fsck import fsck as check_files
from vaultlayer.audit.heads import heads_at
from vaultlayer.audit.registry import Signing
from vaultlayer.audit.witness import Witness
from vaultlayer.cli.audit_options import (
    DirectoryOption,
    DryRunOption,
    KeyOption,
    audit_directory,
    trusted,
)
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.question_show import table
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys.provider import open_providers
from vaultlayer.settings import Settings, secret

if TYPE_CHECKING:
    from vaultlayer.audit.heads import Head

DAY = 24 * 3600

prove = typer.Typer(no_args_is_help=True, help="Prove what the log holds, from its hashes alone.")

_Record = Annotated[Path, typer.Argument(help="A file with the record's line.")]
_Proof = Annotated[Path, typer.Argument(help="The tlog-proof.")]
_Folder = Annotated[Path, typer.Option(help="A new folder.")]
_Shard = Annotated[str, typer.Argument(help="A shard's name, or `registry`.")]


def key(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Print the log's public keys: pin them where auditors verify, away from this machine."""
    known, _ = trusted(config, None, [], offline=False)
    if json_:
        print_json({"keys": [str(one) for one in known]})
    for one in () if json_ else known:
        typer.echo(str(one))


@prove.command()
def inclusion(
    shard: _Shard,
    record: Annotated[int, typer.Argument(help="The record's `seq`.")],
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Prove that a record is in the log, as a C2SP tlog-proof."""
    proof = proofs.prove_inclusion(audit_directory(config, directory), shard, record)
    if json_:
        print_json({"shard": shard, "record": record, "proof": proof})
    else:
        typer.echo(proof, nl=False)


@prove.command()
def consistency(
    shard: _Shard,
    records: Annotated[int, typer.Argument(help="How many records the log had then.")],
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Prove that the log has only grown since it had so many records."""
    told = proofs.prove_consistency(audit_directory(config, directory), shard, records)
    if json_:
        print_json(dataclasses.asdict(told))
    else:
        typer.echo(f"{told.origin}\n{told.old} {told.old_root}\n{told.size} {told.root}")
        typer.echo("\n".join(told.proof))


@prove.command()
def check(
    record: _Record,
    proof: _Proof,
    keys: KeyOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Check a proof of inclusion. Needs the record, the proof and the log's public key."""
    known, _ = trusted(config, None, keys or [], offline=False)
    try:
        line, text = record.read_bytes().rstrip(b"\n"), proof.read_text("utf-8")
        head = proofs.check_proof(line, text, known)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} can't be read ({error.strerror})") from None
    except ValueError as error:
        why = str(error)
        print_json({"ok": False, "why": why}) if json_ else typer.echo(f"Not proved: {why}.")
        raise typer.Exit(FINDINGS) from None
    if json_:
        print_json({"ok": True, "origin": head.origin, "size": head.size})
    else:
        typer.echo(f"The record is one of the first {head.size} of {head.origin}.")


def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild tiles from records.")] = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Look at every file beside the log's lines: tiles, leftovers of crashes, journals.

    Exits with 1 if something is wrong that isn't repaired.
    """
    folder = audit_directory(config, directory)
    problems = check_files(folder, repair=repair and not dry_run)
    if json_:
        print_json({"problems": [dataclasses.asdict(one) for one in problems]})
    elif problems:
        rows = ((one.path, one.what, "yes" if one.repaired else "") for one in problems)
        table(("File", "What is wrong", "Repaired"), rows)
    else:
        typer.echo("All files are as they should be.")
    if not all(one.repaired for one in problems):
        raise typer.Exit(FINDINGS)


def prune(
    keep_days: Annotated[int, typer.Option(min=1, help="Keep records at least this many days.")],
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Remove old records and keep their hashes: every proof and signature stays valid.

    A shard goes as a whole, once its last record is old enough.
    """
    folder, before = audit_directory(config, None), time.time() - keep_days * DAY
    gone = upkeep.prunable(folder, before)
    if gone and not dry_run:
        gone = upkeep.prune(folder, before, _signing(config))
    if json_:
        shards = [dataclasses.asdict(one) for one in gone]
        print_json({"dry_run": dry_run, "pruned": shards})
    elif gone:
        table(("Shard", "Records", "Ended"), map(dataclasses.astuple, gone))
        typer.echo(
            "Nothing was removed: --dry-run." if dry_run else "Removed; the hashes are kept."
        )
    else:
        typer.echo("No shard is that old.")


def export(
    shard: _Shard,
    out: _Folder,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Write a shard as a C2SP tlog-tiles log, entries included, to be served or handed over."""
    folder = audit_directory(config, directory)
    _, head = proofs.signed_head(proofs.log_folder(folder, shard))
    size = head.size if dry_run else upkeep.export(folder, shard, out)
    if json_:
        print_json({"dry_run": dry_run, "folder": str(out), "entries": size})
    else:
        typer.echo(f"{'Would write' if dry_run else 'Wrote'} {size:,} entries to {out}")


def accept_loss(
    reason: Annotated[str, typer.Option(help="What happened, for the record.")],
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Go on after the log was taken back or removed, and record for ever that it was.

    First look for the newest copy of the audit directory and put it back: then nothing is lost.
    """
    settings = Settings.load(config)
    folder = settings.audit_directory
    lost: list[Head] = upkeep.losses(folder, heads_at(settings.database))
    if lost and not dry_run:
        lost = upkeep.accept_loss(folder, reason, _signing(config))
    if json_:
        told = [{"origin": head.origin, "records": head.size} for head in lost]
        print_json({"dry_run": dry_run, "lost": told})
    elif lost:
        table(("Log", "Records it had"), ((head.origin, head.size) for head in lost))
        typer.echo("Nothing was changed: --dry-run." if dry_run else "Recorded in the registry.")
    else:
        typer.echo("Nothing is lost: the log is what its heads say.")


def adopt(
    shard: Annotated[str, typer.Argument(help="Its name, as `verify` says it.")],
    reason: Annotated[str, typer.Option(help="Where it comes from, for the record.")],
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Take a shard in that no process registered, once you know that it is yours.

    Such a one is never signed by itself: who can write the directory could have put it there.
    """
    if not dry_run:
        upkeep.adopt(audit_directory(config, None), shard, reason, _signing(config))
    if json_:
        print_json({"dry_run": dry_run, "adopted": shard})
    else:
        typer.echo("Nothing was changed: --dry-run." if dry_run else "Recorded in the registry.")


def _signing(config: Path | None) -> Signing:
    settings = Settings.load(config)
    heads = heads_at(settings.database)
    providers = open_providers(settings, secret("VAULTLAYER_PASSPHRASE"))
    signer = heads.signer(providers.of_region(settings.region))
    return Signing(signer, heads, [Witness.parse(text) for text in settings.witnesses])
