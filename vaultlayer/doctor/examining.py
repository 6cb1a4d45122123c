"""All checks, in the order in which their findings are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from vaultlayer.doctor import application, declarations, indexes, parts, standing, storage
from vaultlayer.doctor.finding import Case, Finding
from vaultlayer.errors import AuditUnavailable, ConfigurationError, KeyUnavailable, VaultLayerError
from vaultlayer.vault import Vault

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

SAMPLE = 200  # rows of each table

CHECKS: tuple[Callable[[Case], Iterable[Finding]], ...] = (
    parts.log,
    parts.sinks,
    parts.providers,
    declarations.models,
    declarations.categories,
    declarations.rows,
    storage.tables,
    storage.columns,
    storage.values,
    indexes.database_indexes,
    indexes.declarations,
    application.parameters,
    application.structlog_locals,
    application.sentry_locals,
    standing.shadow,
    standing.agreements,
    standing.emergencies,
    standing.requests,
    standing.withheld,
    standing.migrations,
)


def examine(vault: Vault, *, sample: int = SAMPLE) -> list[Finding]:
    """Every check on an open vault that is attached to its engine; [] when all is well.

    :param sample: how many rows of each table are looked at, half of them the oldest, half the
        newest. Nothing is opened, and nothing is written.
    """
    case, found = Case(vault, sample), {}
    for check in CHECKS:
        try:
            found.update(dict.fromkeys(check(case)))
        except SQLAlchemyError as error:
            found[_database(type(error).__name__)] = None
        except VaultLayerError as error:
            found[_unexamined(error)] = None
    return list(found)


def examine_settings(
    path: str | os.PathLike[str] | None = None, *, sample: int = SAMPLE
) -> list[Finding]:
    """The same for the vault that settings describe; that it can't be opened is a finding too."""
    try:
        vault = Vault.open(path)
    except KeyUnavailable as error:
        return [Finding("provider_unreachable", error.message, "[keys] provider", error.hint)]
    except AuditUnavailable as error:
        return [Finding("log_unreachable", error.message, "[audit] directory", error.hint)]
    with vault:
        if vault.settings.database is None:
            raise ConfigurationError(
                "the settings don't say where the data and the key tables are",
                hint='set [vault] database, e.g. database = "sqlite:///app.db"',
            )
        engine = create_engine(vault.settings.database, hide_parameters=True)
        try:
            vault.attach(engine, check_indexes=False)  # it is a finding
            return examine(vault, sample=sample)
        finally:
            engine.dispose()


def _database(kind: str) -> Finding:
    return Finding(
        "database_unreachable",
        f"the database can't be used now ({kind})",
        "[vault] database",
        "check that it runs, and the URL in the settings",
    )


def _unexamined(error: VaultLayerError) -> Finding:
    return Finding(f"{error.code}_error", error.message, "this vault", error.hint)
