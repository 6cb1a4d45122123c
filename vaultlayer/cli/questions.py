"""``vaultlayer audit who-read | what-did | scope | denials | unusual``: questions to the log."""

from __future__ import annotations

import re
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.audit.query import questions
from vaultlayer.audit.query.index import Index
from vaultlayer.audit.query.scope import scope as scope_of
from vaultlayer.audit.query.unusual import unusual as unusual_in
from vaultlayer.cli import question_pages as pages
from vaultlayer.cli import question_show as show
from vaultlayer.cli.audit_options import DirectoryOption, audit_directory
from vaultlayer.cli.common import (
    FINDINGS,
    ConfigOption,
    HtmlOption,
    JsonOption,
    database_error,
    print_json,
    write_page,
)
from vaultlayer.cli.shadow import shadow_note, tell_shadow
from vaultlayer.crypto.digest import digest
from vaultlayer.errors import ConfigurationError
from vaultlayer.settings import Settings
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Since = Annotated[
    str, typer.Option(help="From when on: 2026-01-31, 2026-01-31T09:00Z, or 90m, 24h, 30d ago.")
]
_Limit = Annotated[int, typer.Option(min=0, help="At most so many records, the newest.")]
_Principal = Annotated[str, typer.Option(help="The principal's sub.")]

_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*")
_UNITS = {"m": 60, "h": 3600, "d": 86_400}


def who_read(
    subject: Annotated[str, typer.Option(help="The person's subject_id.")],
    since: _Since = "",
    limit: _Limit = 1000,
    html: HtmlOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Say who read one person's fields, when, for what; and who was refused.

    The vault unwraps the person's pseudonym for it. That is recorded: who asked about whom.
    """
    with open_vault(config) as vault:
        answer = vault.audit.who_read(subject, since=moment(since), limit=limit)
    _answer(_noted(answer, config), json_, html, show.who_read, pages.who_read)


def what_did(
    principal: _Principal,
    since: _Since = "",
    limit: _Limit = 1000,
    html: HtmlOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Say what one principal did: sums, by hour, and the newest records."""
    with _index(config, directory) as index:
        answer = questions.what_did(index, principal, since=moment(since), limit=limit)
    _answer(_noted(answer, config, directory), json_, html, show.what_did, pages.what_did)


def scope(
    principal: _Principal = "",
    token: Annotated[
        str,
        typer.Option(help="A file with the token, - for the input, or its digest as in the log."),
    ] = "",
    since: _Since = "",
    html: HtmlOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Say whose which fields a principal, or whoever had a token, opened: what a breach reached.

    With the settings the people are named by their subject_id, and that is recorded; with
    --directory alone by their pseudonym in the log.
    """
    if bool(principal) == bool(token):
        raise ConfigurationError(
            "scope needs a principal or a token", hint="give --principal SUB or --token FILE"
        )
    bearer = _token_digest(token) if token else ""
    if directory is not None:
        with _index(config, directory) as index:
            answer = scope_of(index, sub=principal, token=bearer, since=moment(since))
    else:
        with open_vault(config) as vault:
            answer = vault.audit.scope(principal=principal, token=bearer, since=moment(since))
    _answer(_noted(answer, config, directory), json_, html, show.scope, pages.scope)


def denials(
    since: _Since = "",
    limit: _Limit = 1000,
    html: HtmlOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Say what was refused, to whom, and why."""
    with _index(config, directory) as index:
        answer = questions.denials(index, since=moment(since), limit=limit)
    _answer(_noted(answer, config, directory), json_, html, show.denials, pages.denials)


def unusual(
    since: _Since = "",
    html: HtmlOption = None,
    config: ConfigOption = None,
    directory: DirectoryOption = None,
    json_: JsonOption = False,
) -> None:
    """Find bulk reads, unwonted hours and spikes of refusals; exits with 1 where there are any."""
    with _index(config, directory) as index:
        answer = unusual_in(index, since=moment(since))
    _answer(_noted(answer, config, directory), json_, html, show.unusual, pages.unusual)
    if answer["findings"]:
        raise typer.Exit(FINDINGS)


def _noted(
    answer: dict[str, Any], config: Path | None, directory: Path | None = None
) -> dict[str, Any]:
    return {**answer, "shadow": shadow_note(config, directory)}


def _answer(
    answer: dict[str, Any],
    json_: bool,
    html: Path | None,
    terminal: Callable[[dict[str, Any]], None],
    page: Callable[[dict[str, Any]], str],
) -> None:
    if html is not None:
        write_page(html, page(answer))
    if json_:
        print_json(answer)
    elif html is None:
        terminal(answer)
        tell_shadow(answer["shadow"])


@contextmanager
def open_vault(config: Path | None) -> Iterator[Vault]:
    """The vault of the settings, with its keys at hand."""
    settings = Settings.load(config)
    if settings.database is None:
        raise ConfigurationError(
            "the settings don't say where the key tables are",
            hint='set [vault] database, e.g. database = "sqlite:///app.db"',
        )
    try:
        engine = create_engine(settings.database, hide_parameters=True)
        with Vault.open(config) as vault, _progress() as told:
            vault.attach(engine)
            vault.audit.progress = told
            yield vault
        engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise database_error(error) from None


@contextmanager
def _index(config: Path | None, directory: Path | None) -> Iterator[Index]:
    folder = audit_directory(config, directory)
    with _progress() as told, Index(folder, progress=told) as index:
        yield index


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Reading the log", total=None, visible=False)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield told


def moment(since: str) -> int:
    """Microseconds since 1970 (UTC); a time without a zone is UTC."""
    if ago := re.fullmatch(r"(\d{1,6})([mhd])", since):
        return int((time.time() - int(ago[1]) * _UNITS[ago[2]]) * 10**6)
    try:
        at = datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)
    except ValueError:
        raise ConfigurationError(
            "--since is no time", hint="write 2026-01-31, 2026-01-31T09:00Z, or 24h for a day ago"
        ) from None
    return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 10**6)


def _token_digest(given: str) -> str:
    """From a file, the input, the digest itself, or (others may see it) the token as such."""
    if given.startswith("sha256:"):
        return given
    try:
        is_token = _JWT.fullmatch(given) is not None and not Path(given).exists()
        token = given if is_token else _read(given)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the token can't be read ({type(error).__name__})",
            hint="put it into a file, or give - and write it to the input",
        ) from None
    return digest(token.strip().removeprefix("Bearer ").strip())


def _read(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text("ascii")
