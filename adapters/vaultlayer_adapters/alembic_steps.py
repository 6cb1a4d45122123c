"""Alembic operations for moving fields out of plaintext columns (docs/adopt.md).

::

    import vaultlayer_adapters.alembic_steps  # op.vaultlayer_expand() and the others

    def upgrade():
        with vault.access(Principal("deploy", roles=["privacy_officer"]), purpose=…, reason=…):
            op.vaultlayer_expand("customer.email")

Each is the step of ``vault.migrations`` of the same name, over connections of the vault's own, with
Alembic's transaction ended before it (``transaction_per_migration=True`` in ``env.py``): a revision
with a step changes those tables in no other way. ``alembic upgrade --sql`` writes what ``expand``
adds; the others need the values, and are refused there.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alembic.operations import MigrateOperation, Operations
from sqlalchemy.orm import configure_mappers

from vaultlayer.access.context import CURRENT, no_access
from vaultlayer.errors import ConfigurationError, PlaintextFound
from vaultlayer.lifecycle.migrating.expanding import statements
from vaultlayer.lifecycle.models import declared, fields_by_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.runtime.migration import MigrationContext

    from vaultlayer.lifecycle.migrating.migrations import Migrations

__all__ = ["STEPS", "Step"]

STEPS = ("expand", "backfill", "verify", "switch", "contract", "undo", "export")


class Step(MigrateOperation):
    """One step of some fields, named as ``table.attribute``; without any, of all declared."""

    def __init__(self, name: str, fields: tuple[str, ...], options: dict[str, Any]) -> None:
        self.name, self.fields, self.options = name, fields, options

    def reverse(self) -> Step:
        return Step("undo", self.fields, {})


def _register(name: str) -> None:
    def step(cls: Any, operations: Any, *fields: str, **options: Any) -> Any:
        return operations.invoke(cls(name, fields, options))

    step.__name__ = name  # Alembic calls it by that
    step.__doc__ = f"``vault.migrations.{name}`` of some fields, or of all that are declared."
    made: Any = step
    setattr(Step, name, classmethod(made))
    Operations.register_operation(f"vaultlayer_{name}", name)(Step)


for _name in STEPS:
    _register(_name)


@Operations.implementation_for(Step)
def _run(operations: Operations, step: Step) -> None:
    access = CURRENT.get()
    if access is None:
        raise no_access(f"{step.name} of a migration was to be run")
    if operations.get_context().as_sql:
        for statement in _written(operations, access.vault.migrations, step):
            operations.execute(statement)
        return
    with _no_transaction(operations.get_context()):
        report = getattr(access.vault.migrations, step.name)(*step.fields, **step.options)
    if not report.ok:
        raise PlaintextFound(
            f"{step.name} left {'; '.join(map(str, report.proofs))}",
            hint="see `vaultlayer migrate status`, then run the revision again",
        )


@contextmanager
def _no_transaction(context: MigrationContext) -> Iterator[None]:
    """Alembic's own transaction ended for a while: a step waits until all older ones are over."""
    if context.impl.transactional_ddl:
        with context.autocommit_block():
            yield
        return
    if context.connection is not None:
        context.connection.commit()  # the one that looking for the version began
    yield


def _written(operations: Operations, migrations: Migrations, step: Step) -> Iterator[str]:
    """What ``expand`` adds where nothing of it is there."""
    if step.name != "expand":
        raise ConfigurationError(
            f"{step.name} opens and compares values, which no SQL can",
            hint=f"run it online: vaultlayer migrate {step.name}",
        )
    configure_mappers()
    dialect, written = operations.get_context().dialect, set()
    for entity, table, fields in fields_by_table(declared(migrations.models())):
        some = [f for f in fields if f.twin and (not step.fields or f.label in step.fields)]
        for statement in statements(dialect, None, entity, table, some) if some else ():
            if statement not in written:  # tables share the subject's
                written.add(statement)
                yield statement
