"""``vaultlayer subject request``: file a request, and say what becomes of it."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from vaultlayer.access.principal import Principal
from vaultlayer.cli.common import FINDINGS, ConfigOption, JsonOption, print_json
from vaultlayer.cli.key_frame import (  # typer reads them
    AsOption,  # noqa: TC001
    DryOption,  # noqa: TC001
    PurposeOption,  # noqa: TC001
    ReasonOption,  # noqa: TC001
    RoleOption,  # noqa: TC001
)
from vaultlayer.cli.question_show import table
from vaultlayer.cli.questions import open_vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vaultlayer.privacy.request import Request
    from vaultlayer.vault import Vault

app = typer.Typer(no_args_is_help=True, help="Requests of people about their data.")

_Id = Annotated[UUID, typer.Argument(help="The request's id.")]
_Text = Annotated[str, typer.Option(help="What the person is told.")]
_Proof = Annotated[str, typer.Option(help="Where that can be seen.")]
_Channel = Annotated[str, typer.Option(help="How, e.g. web or letter.")]


@app.command("open")
def open_(
    subject: Annotated[UUID, typer.Argument(help="The person's subject_id.")],
    kind: Annotated[str, typer.Argument(help="access, erasure, rectification, …")],
    channel: _Channel = "",
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """File a request; about somebody nobody knows it is filed like any other.

    Kinds: access, rectification, erasure, restriction, objection, portability.
    """

    def act(vault: Vault) -> Request:
        return vault.requests.open(subject, kind, channel=channel)

    _do(act, (config, by, role, purpose, reason), dry_run, json_)


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="Those that are closed too.")] = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """List the open requests, the next due first; exits with 1 if some are overdue."""
    with open_vault(config) as vault:
        found = vault.requests.all(open_only=not all_)
    late = sum(each.is_overdue() for each in found)
    if json_:
        print_json({"requests": [_told(each) for each in found], "overdue": late})
    else:
        _show(found)
        typer.echo(f"{len(found)} request(s), {late} overdue.")
    if late:
        raise typer.Exit(FINDINGS)


@app.command()
def identify(
    request: _Id,
    proof: _Proof,
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Note that whoever asked is who they say."""

    def act(vault: Vault) -> Request:
        return vault.requests.identify(request, proof=proof)

    _do(act, (config, by, role, purpose, reason), dry_run, json_)


@app.command()
def extend(
    request: _Id,
    text: _Text,
    months: Annotated[int, typer.Option(help="1 or 2.")] = 2,
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Put the deadline off, and say why."""

    def act(vault: Vault) -> Request:
        return vault.requests.extend(request, text=text, months=months)

    _do(act, (config, by, role, purpose, reason), dry_run, json_)


@app.command()
def refuse(
    request: _Id,
    code: Annotated[str, typer.Option(help="The reason's code, e.g. others_rights.")],
    text: _Text,
    item: Annotated[
        list[str] | None, typer.Option(help="This field or category only; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Refuse a request, or items of it, for a reason that the person is told.

    Codes: identity_unproven, law_forbids, law_requires, legal_claims, others_rights,
    trade_secret, unfounded, excessive, not_held.
    """

    def act(vault: Vault) -> Request:
        return vault.requests.refuse(request, code=code, text=text, items=item or ())

    _do(act, (config, by, role, purpose, reason), dry_run, json_)


@app.command()
def complete(
    request: _Id,
    proof: _Proof = "",
    channel: _Channel = "",
    config: ConfigOption = None,
    by: AsOption = "",
    role: RoleOption = "privacy_officer",
    purpose: PurposeOption = "legal_obligation",
    reason: ReasonOption = "",
    dry_run: DryOption = False,
    json_: JsonOption = False,
) -> None:
    """Note that it was carried out."""

    def act(vault: Vault) -> Request:
        return vault.requests.complete(request, proof=proof, channel=channel)

    _do(act, (config, by, role, purpose, reason), dry_run, json_)


@contextmanager
def as_officer(
    config: Path | None, by: str, role: str, purpose: str, reason: str
) -> Iterator[Vault]:
    """The vault of the settings within an access."""
    principal = Principal(by or getpass.getuser(), [role])
    with open_vault(config) as vault, vault.access(principal, purpose=purpose, reason=reason):
        yield vault


def _do(
    act: Callable[[Vault], Request],
    who: tuple[Path | None, str, str, str, str],
    dry_run: bool,
    json_: bool,
) -> None:
    if dry_run:
        typer.echo("Would file one step of a request.")
        return
    with as_officer(*who) as vault:
        found = act(vault)
    if json_:
        print_json(_told(found))
    else:
        _show([found])


def _show(found: list[Request]) -> None:
    rows = [
        (
            f"{each.request_id}\nof {each.subject_id}",
            each.kind,
            f"{each.state}\n{each.code}".strip(),
            f"{each.due:%Y-%m-%d}" + ("\noverdue" if each.is_overdue() else ""),
        )
        for each in found
    ]
    if rows:
        table(("Request", "Kind", "State", "Due"), rows)


def _told(each: Request) -> dict[str, Any]:
    return {
        "request": str(each.request_id),
        "subject": str(each.subject_id),
        "kind": each.kind,
        "state": each.state,
        "received": each.received.isoformat(),
        "due": each.due.isoformat(),
        "overdue": each.is_overdue(),
        "code": each.code,
        "text": each.text,
        "withheld": {item: {"code": c, "text": t} for item, (c, t) in each.withheld.items()},
        "policy_version": each.policy_version,
    }
