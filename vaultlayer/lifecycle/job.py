"""What every exchange of keys shares: its lease, its transactions, its record, its proof."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import fields as fields_of
from functools import partial
from typing import TYPE_CHECKING

from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys.tables import subject_key
from vaultlayer.lifecycle.lease import alone, quiet
from vaultlayer.lifecycle.models import entities, fields_by_table, shared_tables
from vaultlayer.lifecycle.reindex import purge
from vaultlayer.lifecycle.reseal import Resealing, Tally
from vaultlayer.search.declarations import record_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

    from vaultlayer.acting import Access
    from vaultlayer.lifecycle.rewrite import Rewriting
    from vaultlayer.orm.entity import Entity
    from vaultlayer.vault import Vault

MOST_PASSES = 40
_PAUSE = 0.25  # seconds between passes over rows that others hold


@dataclass(frozen=True, slots=True)
class Proof:
    """How much is ``left`` of what had to go, ``of`` how many looked at; values opened of some."""

    what: str
    left: int
    of: int
    sampled: int = 0
    opened: int = 0

    @property
    def ok(self) -> bool:
        return self.left == 0 and self.opened == self.sampled

    def __str__(self) -> str:
        told = f"{self.left} of {self.of} {self.what}"
        return f"{told}, sampled {self.sampled}, opened {self.opened}" if self.sampled else told


@dataclass(slots=True)
class Report:
    """What an exchange of keys did, and its proof. ``damaged`` values open under no key."""

    what: str
    dry_run: bool = False
    steps: list[str] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    damaged: int = 0

    @property
    def ok(self) -> bool:
        return self.dry_run or (not self.damaged and all(proof.ok for proof in self.proofs))


class Job:
    """One exchange of keys by one access."""

    def __init__(
        self,
        vault: Vault,
        access: Access,
        report: Report,
        *,
        wait: float | None,
        progress: Callable[[str, int], None] | None,
    ) -> None:
        engine = vault.databases.engine
        if engine is None:
            raise ConfigurationError(
                "the vault isn't attached to an engine that works without asyncio",
                hint="vault.attach(engine), with an engine of a synchronous driver",
            )
        self.vault, self.access, self.report = vault, access, report
        self.engine: Engine = engine
        self.key_engine: Engine = vault.databases.apart(engine) or engine
        self.dry_run = report.dry_run
        self._wait = vault.settings.key_ttl if wait is None else wait
        self._progress = progress
        self.entities: list[Entity] = self._known()
        self._authorize()

    @contextmanager
    def lease(self) -> Iterator[None]:
        with alone(self.key_engine, self.vault.settings.audit_directory):
            yield

    @contextmanager
    def keys(self) -> Iterator[Connection]:
        """A transaction on the key tables, after the check for a restored backup."""
        with self.vault.databases.keys(None) as connection:
            yield connection

    def tell(self, step: str, count: int = 0) -> None:
        if self._progress is not None:
            self._progress(step, count)

    def record(self, step: str, told: str, **fields: object) -> None:
        """Note a step in the report and in the log."""
        if told:  # a proof stands among the proofs
            self.report.steps.append(told)
        given = {name: value for name, value in fields.items() if value not in ("", None)}
        self.access.record("keys_changed", what=self.report.what, step=step, **given)

    def settle(self) -> None:
        """Wait until no process acts on what was there before.

        What an older transaction sees, it may put into its process's caches as long as it lasts;
        those run out; and a transaction that began with them may still be open then.
        """
        self.tell("waiting until every process knows")
        self._quiet()
        self.vault.keys.roots.forget()
        time.sleep(self._wait)
        self._quiet()

    def _quiet(self) -> None:
        for engine in dict.fromkeys((self.engine, self.key_engine)):
            quiet(engine)

    def analyze(self) -> None:
        """Let PostgreSQL know how many keys there are by now: it plans by what it last looked at,
        and would go through all of them for each chunk."""
        if self.key_engine.dialect.name == "postgresql":
            with self.key_engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql(f"ANALYZE {subject_key.name}")

    def until_clean(self, told: str, rewriting: Callable[[], Rewriting]) -> int:
        """Pass over a table until a pass finds nothing to change; returns what is left."""
        left = 0
        for number in range(MOST_PASSES):
            if number > 1:
                time.sleep(_PAUSE)
            left = 0
            for chunk in rewriting().run():
                left += chunk.changes
                self.tell(told, chunk.rows)
            if not left:
                break
        return left

    def reseal(self, *, keys: bool, terms: bool) -> None:
        """Seal or index all stored values anew, and prove it by another look at each."""
        found = Tally()
        self.analyze()
        for part in fields_by_table(self.entities):
            name = part[1].name
            make = partial(Resealing, self.vault, *part, keys=keys, terms=terms)
            if not self.dry_run:
                self.until_clean(f"resealing {name}", lambda m=make: m().rewriting(self.engine))  # type: ignore[misc]
            last = make(sample=True)
            for chunk in last.rewriting(self.engine).run(write=False):
                self.tell(f"checking {name}", chunk.rows)
            for each in fields_of(Tally):
                more = getattr(last.tally, each.name)
                setattr(found, each.name, getattr(found, each.name) + more)
        proofs = []
        if keys:
            of = found.values
            proofs.append(Proof("envelopes under a former key", found.stale_values, of))
        if terms:
            proofs.append(Proof("index terms under a former root", found.stale_terms, found.terms))
        if found.former or (keys and terms):
            proofs.append(Proof("values in a former form", found.former, found.values))
        sampled = {"sampled": found.sampled, "opened": found.opened}
        self.report.proofs += [
            Proof(proof.what, proof.left, proof.of, **sampled) for proof in proofs
        ]
        self.report.damaged += found.damaged
        if found.damaged:
            self.report.steps += self._formerly()
        if terms and not (self.dry_run or found.stale_terms or found.damaged):
            self._indexed()

    def _formerly(self) -> Iterator[str]:
        """What may be the reason why values don't open."""
        for _, _, fields in fields_by_table(self.entities):
            for each in fields:
                if each.former or each.renew:
                    told = ".".join(each.former) if each.former else "another type"
                    yield f"{each.label} is declared to have been {told}: is formerly= right?"

    def _indexed(self) -> None:
        """All terms are made as is declared now, which is recorded; what is left over goes."""
        fields = {field for entity in self.entities for field in entity.fields.values()}
        indexes = [index for field in fields for index in field.indexes]
        with self.engine.connect() as connection:
            tables = shared_tables(self.entities, connection)
        purge(self.engine, indexes, tables)
        with self.keys() as connection:
            record_again(connection, indexes)
        self.vault.indexes.forget()

    def begun(self, what: str) -> int:
        """When this exchange began, in Unix seconds; a killed one's time, to go on with it."""
        path = self.vault.settings.audit_directory / "rotation.json"
        try:
            told = json.loads(path.read_text())
            if told["what"] == what:
                return int(told["began"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        began = int(time.time())
        path.write_text(json.dumps({"what": what, "began": began}))
        time.sleep(began + 1 - time.time())  # so that what is made from now on is told by its time
        return began

    def ended(self) -> None:
        (self.vault.settings.audit_directory / "rotation.json").unlink(missing_ok=True)

    def _known(self) -> list[Entity]:
        with self.engine.connect() as connection:
            return entities(self.vault.known_models(), connection)

    def _authorize(self) -> None:
        for _, _, fields in fields_by_table(self.entities):
            for each in fields:
                grant = self.access.grant(each, "administer")
                if grant.denied or time.monotonic() >= self.access.deadline:
                    grant = self.access.confirm(grant)
                self.access.journal.append(grant.prefix, NO_REF)
