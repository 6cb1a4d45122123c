"""One step of a migration: by whom, of which fields, with its lease, its record and its proof."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vaultlayer.access.context import CURRENT, no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import ConfigurationError
from vaultlayer.lifecycle.job import MOST_PASSES, Job, Proof, Report
from vaultlayer.lifecycle.migrating.filling import Compared
from vaultlayer.lifecycle.models import declared, fields_by_table
from vaultlayer.orm.attribute import personal_field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vaultlayer.lifecycle.migrating.filling import Bounds, Filling
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

Part = tuple["Entity", Any, "list[Field]"]
_PAUSE = 0.25  # seconds between passes over rows that others hold


class Move(Job):
    """A step of some fields; ``parts`` are they by table."""

    def __init__(
        self,
        vault: Vault,
        wanted: Sequence[Any],
        what: str,
        *,
        dry_run: bool = False,
        wait: float | None = None,
        progress: Callable[[str, int], None] | None = None,
        rate: float | None = None,
        expanded: bool = True,
    ) -> None:
        access = CURRENT.get()
        if access is None:
            raise no_access("a field was to be migrated")
        known = declared(vault.known_models())
        self.parts = list(_parts(known, wanted))
        self.fields = [field for _, _, fields in self.parts for field in fields]
        self.rate, self._expanded, self._named = rate, expanded, bool(wanted)
        super().__init__(vault, access, Report(what, dry_run), wait=wait, progress=progress)

    def _known(self) -> list[Entity]:
        """Before the sealed columns are there, what is declared."""
        return super()._known() if self._expanded else declared(self.vault.known_models())

    def record(self, step: str, told: str, **fields: object) -> None:
        if told:
            self.report.steps.append(told)
        labels = [field.label for field in self.fields]
        self.access.record("field_migrated", fields=labels, step=step, **fields)

    def stage(self, *allowed: str) -> None:
        """Refuse fields that haven't come so far, or have come further; if all were meant, leave
        them out."""
        stages = self.vault.migrations
        stages.forget()
        others = [field for field in self.fields if stages.of(field) not in allowed]
        if others and (self._named or len(others) == len(self.fields)):
            raise ConfigurationError(
                f"{others[0].label} is {stages.of(others[0])}, from where this step can't be done",
                hint=f"it follows {' or '.join(allowed)}: see `vaultlayer migrate status`",
            )
        self._narrow(lambda field: field not in others)

    @contextmanager
    def only(self, *found: str) -> Iterator[list[Field]]:
        """With those fields alone that are at such a stage."""
        parts, fields = self.parts, self.fields
        self._narrow(lambda field: self.vault.migrations.of(field) in found)
        try:
            yield self.fields
        finally:
            self.parts, self.fields = parts, fields

    def _narrow(self, wanted: Callable[[Field], bool]) -> None:
        narrowed = [(one, table, [*filter(wanted, some)]) for one, table, some in self.parts]
        self.parts = [part for part in narrowed if part[2]]
        self.fields = [field for _, _, fields in self.parts for field in fields]

    def set(self, stage: str, told: str) -> None:
        with self.keys() as connection:
            self.vault.migrations.set(connection, self.fields, stage)
        self.record(stage, told)

    def compare(
        self,
        made: type[Filling],
        told: str,
        *,
        write: bool,
        parts: Sequence[Part] | None = None,
        bounds: Bounds = (None, None),
    ) -> Compared:
        """Pass over all rows, when writing until a pass finds nothing more; what it found."""
        found = Compared()
        for part in self.parts if parts is None else parts:
            for number in range(MOST_PASSES if write else 1):
                if number > 1:
                    time.sleep(_PAUSE)
                filling = made(self.access, *part, bounds, write)
                self._pass(filling, f"{told} {part[1].name}", write)
                if not filling.compared.differ:
                    break
            found.values += filling.compared.values
            found.differ += filling.compared.differ
            found.nobodys += filling.compared.nobodys
        return found

    def prove(self, made: type[Filling], what: str) -> bool:
        """Every row looked at once more, under an access of its own; whether nothing is left."""
        former = self.access
        reason = f"proof of {self.report.what}"
        with self.vault.access(former.principal, purpose=former.purpose, reason=reason) as access:
            self.access = access
            try:
                self._authorize()
                found = self.compare(made, "checking", write=False)
            finally:
                self.access = former
        self.report.proofs.append(Proof(what, found.left, found.values))
        if found.nobodys:
            self.report.steps.append(
                f"{found.nobodys} value(s) are in rows that lead to no person, and can't be sealed"
            )
        self.record("proved", "", left=found.left, count=found.values)
        return found.left == 0

    def _pass(self, filling: Filling, told: str, write: bool) -> None:
        began, rows = time.monotonic(), 0
        for number, chunk in enumerate(filling.rewriting(self.engine).run(write=write)):
            rows += chunk.rows
            if write and number.bit_count() == 1:  # chunks 1, 2, 4, 8 …
                self.analyze()
            self.tell(told, chunk.rows)
            if self.rate and write:
                time.sleep(max(0.0, began + rows / self.rate - time.monotonic()))
        if write:
            filling.empty(self.engine)

    def _authorize(self) -> None:
        for field in self.fields:
            grant = self.access.confirm(self.access.grant(field, "administer"))
            self.access.journal.append(grant.prefix, NO_REF)


def _parts(known: Sequence[Entity], wanted: Sequence[Any]) -> Iterator[Part]:
    """The fields that are asked for, else all that are declared to be migrated, by table."""
    labels = {each if isinstance(each, str) else _label(each) for each in wanted}
    found: set[str] = set()
    for entity, table, fields in fields_by_table(known):
        some = [f for f in fields if f.twin is not None and (not labels or f.label in labels)]
        found.update(field.label for field in some)
        for field in some:
            if field.compounds:
                raise ConfigurationError(
                    f"{field.label} has a Compound index, which can't be filled field by field",
                    hint="declare it once its fields are migrated, then `vaultlayer reseal`",
                )
        if some:
            yield entity, table, some
    if labels - found or not found:
        lacking = ", ".join(sorted(labels - found)) or "no field"
        raise ConfigurationError(
            f"{lacking} is declared to be migrated",
            hint='personal(…, migrating_from="the_plaintext_column", until="2027-03-01")',
        )


def _label(attribute: Any) -> str:
    known = personal_field(attribute)
    return known[1].label if known is not None else str(attribute)
