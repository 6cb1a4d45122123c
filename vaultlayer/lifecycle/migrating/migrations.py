"""``vault.migrations``: the steps from a plaintext column to a sealed one, and back.

Each is done online and by one process at a time, can be run again when it was killed, and needs an
access whose role may ``administer`` the fields; what goes back to plaintext, one that may
``export`` them. Fields are named as ``Customer.email`` or ``"customer.email"``; without any, all
that are declared with ``migrating_from=``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultlayer.lifecycle.job import Proof
from vaultlayer.lifecycle.lease import alone
from vaultlayer.lifecycle.migrating import contracting, expanding
from vaultlayer.lifecycle.migrating.filling import Filling
from vaultlayer.lifecycle.migrating.move import Move
from vaultlayer.lifecycle.migrating.restoring import restore
from vaultlayer.lifecycle.migrating.stages import (
    BACKFILLED,
    CONTRACTED,
    CONTRACTING,
    EXPANDED,
    SWITCHED,
    VERIFIED,
    Stages,
    Status,
)
from vaultlayer.lifecycle.migrating.working import spread
from vaultlayer.lifecycle.models import declared
from vaultlayer.lifecycle.storage import refuse_unfit

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.lifecycle.job import Report

    Progress = Callable[[str, int], None]

_DIFFER = "values whose sealed form isn't the plaintext"


class Migrations(Stages):
    """``vault.migrations``."""

    def models(self) -> list[Any]:
        """The mapped classes, or their bases, whose fields are migrated."""
        return self._vault.known_models()

    def status(self) -> list[Status]:
        """Every field that is declared to be migrated."""
        self.forget()
        found = {}
        for entity in declared(self.models()):
            for field in entity.fields.values():
                if field.twin is not None:
                    told = field.twin.column, self.of(field), field.twin.until
                    found[field.label] = Status(field.label, *told)
        return [found[label] for label in sorted(found)]

    def expand(
        self, *fields: Any, dry_run: bool = False, progress: Progress | None = None
    ) -> Report:
        """Add the sealed columns with their indexes, and a subject to every row."""
        move = Move(
            self._vault, fields, "expand", dry_run=dry_run, progress=progress, expanded=False
        )
        with alone(move.key_engine, self._vault.settings.audit_directory):
            for entity, table, some in move.parts:
                with move.engine.connect() as connection:
                    lacking = expanding.statements(
                        connection.dialect, connection, entity, table, some
                    )
                move.report.steps += lacking
                if dry_run:
                    continue
                for statement in lacking:
                    expanding.run(move.engine, statement)
                with move.engine.begin() as connection:
                    expanding.create_terms(connection, [entity])
                owner = expanding.subject_column(entity)
                if owner is not None:
                    told = f"subjects of {owner.table.name}"
                    expanding.give_subjects(move.engine, owner, lambda n, t=told: move.tell(t, n))  # type: ignore[misc]
            fresh = [field for field in move.fields if self.of(field) == EXPANDED]
            if not dry_run:
                with move.keys() as connection:
                    self.set(connection, fresh, EXPANDED)
                move.record(EXPANDED, "")
        return move.report

    def backfill(
        self, *fields: Any, rate: float | None = None, workers: int = 1, dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Report:  # fmt: skip
        """Seal every row whose sealed value isn't its plaintext, and prove that none is left.

        :param rate: at most so many rows a second.
        :param workers: so many processes, for tables with a numeric primary key.
        """
        move = Move(
            self._vault, fields, "backfill", dry_run=dry_run, progress=progress, rate=rate
        )
        with move.lease():
            move.stage(EXPANDED, BACKFILLED, VERIFIED)
            with move.engine.connect() as connection:
                refuse_unfit(connection, move.parts)
            if dry_run:
                found = move.compare(Filling, "looking at", write=False)
                move.report.steps.append(f"would seal {found.differ} of {found.values} value(s)")
                return move.report
            if workers > 1:
                spread(move, workers, "sealing")
            else:
                move.compare(Filling, "sealing", write=True)
            if move.prove(Filling, _DIFFER):
                move.set(BACKFILLED, "")
        return move.report

    def verify(self, *fields: Any, progress: Progress | None = None) -> Report:
        """Open every sealed value and compare it with its plaintext."""
        move = Move(self._vault, fields, "verify", progress=progress)
        with move.lease():
            move.stage(BACKFILLED, VERIFIED)
            if move.prove(Filling, _DIFFER):
                move.set(VERIFIED, "")
        return move.report

    def switch(
        self, *fields: Any, wait: float | None = None, progress: Progress | None = None
    ) -> Report:
        """Read the sealed columns from now on; both are written until ``contract``.

        :param wait: seconds for every process to learn of it; by default ``[keys] ttl``.
        """
        move = Move(self._vault, fields, "switch", wait=wait, progress=progress)
        with move.lease():
            move.stage(VERIFIED, SWITCHED)
            if not move.prove(Filling, _DIFFER):
                return move.report
            move.set(SWITCHED, "sealed values are read now")
            move.settle()
            if not move.prove(Filling, _DIFFER):
                move.set(BACKFILLED, "switched back: something still writes the plaintext alone")
        return move.report

    def contract(
        self, *fields: Any, wait: float | None = None, dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Report:  # fmt: skip
        """Drop the plaintext columns and scrub them; from here there is no way but ``export``."""
        move = Move(
            self._vault, fields, "contract", dry_run=dry_run, wait=wait, progress=progress
        )
        days = self._vault.settings.backup_days
        with move.lease():
            move.stage(SWITCHED, CONTRACTING, CONTRACTED)
            for _, table, some in move.parts:
                with move.engine.connect() as connection:
                    contracting.refuse_kept(connection, table, _columns(some))
            if dry_run:
                told = [f"{t.name}.{name}" for _, t, some in move.parts for name in _columns(some)]
                move.report.steps.append(f"would drop {', '.join(sorted(told))}")
                return move.report
            with move.only(SWITCHED) as fresh:
                if fresh and not move.prove(Filling, _DIFFER):
                    return move.report
                for _, table, some in move.parts:
                    contracting.relax(move.engine, table, _columns(some))
                if fresh:
                    move.set(CONTRACTING, "the plaintext is not read any more")
                    move.settle()
            for _, table, some in move.parts:
                self._drop(move, table, some)
            move.report.steps.append(contracting.elsewhere(move.engine, days))
        return move.report

    def _drop(self, move: Move, table: Any, fields: list[Any]) -> None:
        with move.engine.connect() as connection:
            left = contracting.there(connection, table, _columns(fields))
        with (
            contracting.dropped(move.engine, table, left) as connection,
            self._vault.key_connection(connection) as keys_on,
        ):
            self.set(keys_on, fields, CONTRACTED)
        self.forget()
        files = contracting.scrub(move.engine, table)
        move.record(CONTRACTED, f"{table.name}: {', '.join(_columns(fields))} dropped")
        if not files:
            move.report.steps.append(
                f"{table.name}: others use the file, so it isn't scrubbed: run contract again"
            )
        move.report.proofs.append(Proof("tables not scrubbed", 0 if files else 1, 1))

    def undo(
        self, *fields: Any, wait: float | None = None, progress: Progress | None = None
    ) -> Report:
        """One step back, as long as there is a plaintext column.

        After the switch the plaintext is first made what is sealed, which is an ``export``.
        """
        move = Move(self._vault, fields, "undo", wait=wait, progress=progress)
        with move.lease():
            move.stage(BACKFILLED, VERIFIED, SWITCHED)
            with move.only(BACKFILLED, VERIFIED) as before:
                if before:
                    move.set(EXPANDED, "the sealed values are no more taken for whole")
            with move.only(SWITCHED) as after:
                if after:
                    restore(move)
        return move.report

    def export(
        self, *fields: Any, wait: float | None = None, dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Report:  # fmt: skip
        """The way out: every sealed value opened and put into its plaintext column.

        A column that was dropped is made anew. Afterwards plaintext is what is read.
        """
        move = Move(self._vault, fields, "export", dry_run=dry_run, wait=wait, progress=progress)
        with move.lease():
            move.stage(SWITCHED, CONTRACTED)
            for _, table, some in move.parts:
                with move.engine.connect() as connection:
                    plain = [table.c[field.twin_key] for field in some]
                    found = expanding.Lacking(connection.dialect, connection)
                    lacking = list(found.columns(table, plain))
                move.report.steps += lacking
                for statement in [] if dry_run else lacking:
                    expanding.run(move.engine, statement)
            if not dry_run:
                move.set(SWITCHED, "")
                move.settle()
                restore(move)
        return move.report


def _columns(fields: list[Any]) -> list[str]:
    return [field.twin.column for field in fields]


