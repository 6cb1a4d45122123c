"""What a SELECT that searches hands out: only what was asked for, and only people it may.

An index may find too much (``Candidates``): those rows are opened, each decided and recorded, and
dropped where they don't fit. People who may not be touched for the purpose are dropped unopened.
How many are left is journaled for each field that was searched.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BindParameter, BooleanClauseList, Grouping
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import iterate

from vaultlayer.errors import UnsupportedQuery
from vaultlayer.orm import batch, fetching
from vaultlayer.orm.comparator import compound_condition
from vaultlayer.orm.conditions import Candidates, Pending, refuse_unchecked
from vaultlayer.orm.entity import entity_of
from vaultlayer.orm.uses import criteria
from vaultlayer.sealed import SearchTerms
from vaultlayer.search.blind_index import note, searches, together
from vaultlayer.search.found import somebody_is_excepted
from vaultlayer.search.kinds import Question

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.orm.columns import Selected
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field


class Finding:
    """One SELECT that searches. ``statement`` is what to send in its place."""

    def __init__(self, statement: Any, asking: Sequence[Any]) -> None:
        self.statement = statement
        self._candidates: list[Candidates] = []
        if any(isinstance(part, Candidates | Pending) for part in asking):
            self._rewrite()
            asking = _asking(self.statement)
        terms: list[Any] = [part for part in asking if isinstance(part, BindParameter)]
        self.fields = {part.value.index.field for part in terms}
        self.fields |= {each.field for each in self._candidates}
        self._checks = [(self._position(each), each) for each in self._candidates]

    @cached_property
    def _entities(self) -> list[tuple[int, Any]]:
        """Where the rows have mapped instances, and of which class."""
        return [
            (position, column._annotations.get("parententity"))
            for position, column in enumerate(getattr(self.statement, "_raw_columns", ()))
            if isinstance(column, FromClause)
        ]

    def _rewrite(self) -> None:
        kept: list[Any] = []
        conditions = list(_conjuncts(self.statement._where_criteria))
        pending = [each for each in conditions if isinstance(each, Pending)]
        others = [each for each in conditions if not isinstance(each, Pending)]
        for each in (*others, *_together(pending)):
            if isinstance(each, Candidates):
                self._candidates.append(each)
                kept.append(each.found)
            else:
                kept.append(each)
        self.statement = self.statement._generate()
        self.statement._where_criteria = tuple(kept)

    def _position(self, each: Candidates) -> int:
        """Where the rows have the instance whose value is to be checked."""
        statement, wanted = self.statement, each.column._annotations.get("parententity")
        cut = (
            statement._limit_clause, statement._offset_clause, statement._fetch_clause,
            statement._distinct or None, statement._group_by_clauses or None,
        )  # fmt: skip
        for position, owner in self._entities:
            same = owner is wanted or (
                owner is not None and owner.is_mapper and wanted is not None and wanted.is_mapper
                and owner.isa(wanted)
            )  # fmt: skip
            if same and all(clause is None for clause in cut):
                return position
        raise refuse_unchecked(each.field)

    def leaves_out(self, selected: Sequence[Selected]) -> bool:
        """Whether of all that is searched the rows tell whose it is."""
        owners = [entity for entity, *_ in self._owners(selected)]
        return all(any(_leads(entity, field) for entity in owners) for field in self.fields)

    def keep(
        self, access: Access, session: Session, selected: Sequence[Selected], rows: list[Any]
    ) -> list[Any]:
        """The rows of a chunk that may be handed out."""
        if somebody_is_excepted(access, session):
            rows = self._permitted(access, session, selected, rows)
        for position, each in self._checks:
            rows = _checked(access, position, each, rows)
        for field in self.fields:
            found = access.spec(field.entity, (field.name,), "search", "allow", "found")
            note(access, found, len(rows))
        return rows

    def _permitted(
        self, access: Access, session: Session, selected: Sequence[Selected], rows: list[Any]
    ) -> list[Any]:
        for entity, position, is_placed, values in self._owners(selected):
            if entity.subject_key is None or not any(_leads(entity, f) for f in self.fields):
                continue
            if is_placed:
                places = [row[position][1] for row in rows]
                closed = [row[position][0] for row in rows]
                closed += [row[place] for place in values for row in rows]
                fetching.fetch_missing(access, session, closed)
                subjects = [place[entity.subject_key] for place in places]
            else:
                found = [_cell(row, position) for row in rows]
                there = [each for each in found if each is not None]
                if there:
                    fetching.prefetch(access, there)
                subjects = [getattr(each, entity.subject_key, None) for each in found]
            rows = [
                row
                for row, subject in zip(rows, subjects, strict=True)
                if subject is None or access.people.reason(subject.bytes) == ""
            ]
        return rows

    def _owners(
        self, selected: Sequence[Selected]
    ) -> Iterable[tuple[Entity, int, bool, list[int]]]:
        """Whose the rows are: an entity, where it stands, and whether as a column's place."""
        for position, owner in self._entities:
            entity = entity_of(owner.mapper) if owner is not None else None
            if entity is not None:
                yield entity, position, False, []
        for each in selected:
            yield each.entity, each.positions[0], True, each.positions[1:]


def finding(statement: Any) -> Finding | None:
    """What is to be seen to of a SELECT; None where nothing is searched."""
    asking = _asking(statement)
    return Finding(statement, asking) if asking else None


def _asking(statement: Any) -> list[Any]:
    """The parts of a statement's conditions that search: terms, and what stands for some."""
    return [
        part
        for criterion in criteria(statement)
        for part in iterate(criterion)
        if (isinstance(part, BindParameter) and type(part.value) is SearchTerms)
        or isinstance(part, Candidates | Pending)
    ]


def _conjuncts(conditions: Iterable[Any]) -> Iterable[Any]:
    """The conditions that all have to hold, one by one."""
    for each in conditions:
        inner = each.element if isinstance(each, Grouping) else each
        if isinstance(inner, BooleanClauseList) and inner.operator is operators.and_:
            yield from _conjuncts(inner.clauses)
        else:
            yield each


def _together(pending: Sequence[Pending]) -> Iterable[Any]:
    """Comparisons that make up a compound index as one condition; the others as they are."""
    left = list(pending)
    for each in pending:
        for index in each.field.compounds:
            parts = {p.field.key: p for p in left if p.column.table is each.column.table}
            payloads = together(index, {key: (p.field, p.data) for key, p in parts.items()})
            if each.field.key not in parts or payloads is None:
                continue
            (terms,) = searches(index, Question([payloads]), 1, False)
            yield compound_condition(index, parts[index.field.key].column, terms)
            used = {id(parts[field.key]) for field in index.parts}
            left = [p for p in left if id(p) not in used]
    for each in left:
        yield each if each.alone is None else each.alone


def _leads(entity: Entity, field: Field) -> bool:
    """Whether a row of the entity tells whose such a field is."""
    while True:
        if field in entity.fields.values():
            return True
        if entity.link is None:
            return False
        entity = entity.link.parent


def _checked(access: Access, position: int, each: Candidates, rows: list[Any]) -> list[Any]:
    """The rows whose opened value is what was asked for."""
    if access.grant(each.field, "read").masked:
        raise UnsupportedQuery(
            f"{each.field.label} may only be read masked here, so what its index finds too much "
            "can't be told from the rest",
            hint="ask for what the index tells exactly, or with a role that may read the field",
        )
    found = {id(cell): cell for row in rows if (cell := _cell(row, position)) is not None}
    instances = list(found.values())
    owner: Any = each.column._annotations["parententity"]
    attribute = getattr(owner.mapper.class_, each.field.key)
    opened = batch.reveal(access, instances, [attribute]) if instances else []
    good = {
        id(cell)
        for cell, (value,) in zip(instances, opened, strict=True)
        if value is not None and each.check(value)
    }
    return [row for row in rows if id(_cell(row, position)) in good]


def _cell(row: Any, position: int) -> Any:
    return row[position] if isinstance(row, tuple) else row
