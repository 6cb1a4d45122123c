"""``vaultlayer keys``: which keys there are, as the key tables tell."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection, create_engine, func, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.cli import key_backup, key_exchange
from vaultlayer.cli.common import ConfigOption, JsonOption, database_error, print_json
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import states, tables
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATES = (states.ACTIVE, states.DECRYPT_ONLY, states.ERASED)

app = typer.Typer(no_args_is_help=True, help="See, exchange, back up and destroy keys.")

key_exchange.add_to(app)
key_backup.add_to(app)


@app.command()
def status(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """List the KEKs, and how many subject keys each protects, by state.

    Reads the key tables only: no key is unwrapped, and no passphrase is needed.
    """
    with _connection(Settings.load(config)) as connection:
        keks = _keks(connection)
    if json_:
        print_json({"keks": keks, "subject_keys": _totals(keks)})
    else:
        _show(keks)


@contextmanager
def _connection(settings: Settings) -> Iterator[Connection]:
    """A connection to the key tables, or an error in our words. Creates nothing."""
    if settings.database is None:
        raise ConfigurationError(
            "the settings don't say where the key tables are",
            hint='set [vault] database, e.g. database = "sqlite:///app.db"',
        )
    try:
        url = make_url(settings.database)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
            raise _no_tables()  # connecting would make an empty file
        engine = create_engine(url, hide_parameters=True)
        with engine.connect() as connection:
            if not inspect(connection).has_table(tables.kek.name):
                raise _no_tables()
            yield connection
    except (SQLAlchemyError, ImportError) as error:
        raise database_error(error) from None


def _no_tables() -> ConfigurationError:
    return ConfigurationError(
        "there are no key tables in the database that [vault] database names",
        hint="make them with vault.create_tables(engine); a SQLite path counts from where you are",
    )


def _keks(connection: Connection) -> list[dict[str, Any]]:
    kek, subject = tables.kek.c, tables.subject_key.c
    counts: dict[bytes, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_STATES, 0))
    grouped = select(subject.kek_id, subject.state, func.count()).group_by(
        subject.kek_id, subject.state
    )
    for kek_id, state, number in connection.execute(grouped):
        counts[kek_id][state] = number
    rows = connection.execute(tables.kek.select().order_by(kek.tenant, kek.region, kek.epoch))
    return [
        {
            "kek_id": row.kek_id.hex(),
            "tenant": row.tenant,
            "region": row.region,
            "epoch": row.epoch,
            "provider": row.provider,
            "created": datetime.fromtimestamp(row.created, UTC).isoformat(),
            "subject_keys": counts[row.kek_id],
        }
        for row in rows
    ]


def _totals(keks: list[dict[str, Any]]) -> dict[str, int]:
    return {state: sum(kek["subject_keys"][state] for kek in keks) for state in _STATES}


def _show(keks: list[dict[str, Any]]) -> None:
    """A table; the tenant and region columns are there only where somebody uses them."""
    used = [name for name in ("tenant", "region") if any(kek[name] for kek in keks)]
    shown = [*used, "epoch", "provider"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("KEK", *shown, "created"):
        table.add_column(name, overflow="fold")
    for state in _STATES:
        table.add_column(state.replace("_", "\n"), justify="right")
    for kek in keks:
        numbers = [str(kek["subject_keys"][state]) for state in _STATES]
        place = [str(kek[name]) for name in shown]
        cells = [kek["kek_id"][:8], *place, kek["created"][:10], *numbers]
        table.add_row(*(Text(cell) for cell in cells))
    console = Console()
    if keks:
        console.print(table)
    told = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in _totals(keks).items())
    console.print(f"{len(keks)} KEK(s); subject keys: {told}.")
