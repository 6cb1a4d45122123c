"""``vaultlayer scan``: find the personal data of a database that isn't protected yet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.access.bundle import Bundle, read_bundle
from vaultlayer.cli.bundles import PoliciesOption  # noqa: TC001 typer reads it
from vaultlayer.cli.common import (
    ConfigOption,
    HtmlOption,
    JsonOption,
    database_error,
    print_json,
    write_page,
)
from vaultlayer.cli.init import starter_policies
from vaultlayer.cli.models import tables_in
from vaultlayer.cli.scan_indexes import show_indexes
from vaultlayer.cli.scan_show import page_of, show
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.index_plan import plan_plain, plan_sealed
from vaultlayer.lifecycle.scan import reading
from vaultlayer.lifecycle.scan.scanning import Scan
from vaultlayer.lifecycle.scan.scanning import scan as scan_database
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Table


def scan(
    target: Annotated[
        str, typer.Argument(metavar="URL|MODULE", help="A database's URL, or a module of models.")
    ],
    sample: Annotated[
        int, typer.Option(min=0, max=100_000, help="Rows of each table to look at; 0: names only.")
    ] = reading.SAMPLE,
    indexes: Annotated[
        bool, typer.Option("--indexes", help="Count values, and say which blind index fits.")
    ] = False,
    policies: PoliciesOption = None,
    html: HtmlOption = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Find likely personal columns, their plain-text copies, and what to declare for them.

    Reads the schema and a sample of each table, writes nothing, and shows no value. Categories
    are those of the policies in the settings, else of the starter. A module's tables are sampled
    in the database of [vault] database, where there are settings.
    """
    bundle, database = _policies(config, policies)
    if indexes:
        scan_indexes(target, sample, bundle, database, json_)
        return
    answer = _scanned(target, sample, bundle, database).as_json()
    if html is not None:
        write_page(html, page_of(answer))
    if json_:
        print_json(answer)
    elif html is None:
        show(answer)


def _scanned(target: str, sample: int, bundle: Bundle | None, database: str | None) -> Scan:
    tables: list[Table] | None = None
    if "://" not in target:
        target, tables = database or "", tables_in(target)
    known = bundle or read_bundle(starter_policies())
    try:
        engine = reading.engine_for(target) if target else None
        with _progress() as told:
            return scan_database(
                engine,
                tables,
                categories=known.categories,
                bundle=bundle,
                sample=sample,
                told=told,
            )
    except (SQLAlchemyError, ImportError) as error:
        raise database_error(error) from None


def scan_indexes(
    target: str, sample: int, bundle: Bundle | None, database: str | None, json_: bool
) -> None:
    """Which index fits each likely personal column, and what those of a module's models tell."""
    found = _scanned(target, sample, bundle, database)
    try:
        engine = reading.engine_for(target if "://" in target else database or "")
        plain = [each.column for each in found.findings if not each.from_json]
        sealed = [] if "://" in target else tables_in(target)
        planned = [*plan_sealed(engine, sealed), *plan_plain(engine, plain)]
    except (SQLAlchemyError, ImportError) as error:
        raise database_error(error) from None
    if json_:
        print_json({"indexes": [each.as_json() for each in planned]})
    else:
        show_indexes(planned)


def _policies(config: Path | None, policies: Path | None) -> tuple[Bundle | None, str | None]:
    """The bundle in use and the vault's database; neither where nothing is set up yet."""
    try:
        settings = Settings.load(config)
    except ConfigurationError:
        if config is not None:
            raise
        return (read_bundle(policies) if policies else None), None
    return read_bundle(policies or settings.policies), settings.database


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task: Any = progress.add_task("Looking at tables", total=None, visible=False)

        def told(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield told
