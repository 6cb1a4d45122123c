"""Reading a field that is being migrated: from its plaintext column, until the switch and, for
rows that nobody has sealed, after it.

It is decided, asked of the person and journaled like any reading, with the reason ``plaintext``;
after the last day that was declared (``until``) it is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Load
from sqlalchemy.sql import Select
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import iterate

from vaultlayer.access.context import no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.errors import PlaintextFound, UnsupportedQuery
from vaultlayer.orm import fetching, loading
from vaultlayer.orm.entity import entity_of
from vaultlayer.orm.field import MIGRATING
from vaultlayer.orm.twin import TwinType
from vaultlayer.orm.uses import criteria
from vaultlayer.sealed import Masked, Plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

PLAINTEXT = "plaintext"  # the reason code in the records
Row = dict[str, Any]


def take(
    access: Access,
    entity: Entity,
    grants: Sequence[Grant],
    rows: Sequence[Row],
    columns: Sequence[Sequence[Any]],
    session: Session | None,
) -> tuple[Sequence[Sequence[Any]], dict[int, dict[int, Any]]]:
    """The columns without what their plaintext answers, and that: column → row → value."""
    if all(grant.field.twin is None for grant in grants):
        return columns, {}
    closed, found = list(columns), {}
    for place, grant in enumerate(grants):
        stages = access.vault.migrations
        if grant.field.twin is None or not stages.is_read(grant.field):
            continue
        first = stages.is_first(grant.field)
        plain = {
            number: _stored(row, grant.field)
            for number, (row, sealed) in enumerate(zip(rows, columns[place], strict=True))
            if first or sealed is None
        }
        told = {number: value for number, value in plain.items() if value is not None}
        if told:
            _release(access, entity, grant, rows, columns[place], told, session)
        closed[place] = [
            None if number in plain else sealed for number, sealed in enumerate(columns[place])
        ]
        found[place] = {number: _shown(grant, value.value) for number, value in told.items()}
    return closed, found


def put_back(opened: list[list[Any]], found: dict[int, dict[int, Any]]) -> list[list[Any]]:
    """What ``take`` took out, among what was opened."""
    for place, values in found.items():
        for number, value in values.items():
            opened[place][number] = value
    return opened


def _stored(row: Row, field: Field) -> Plain | None:
    value = row.get(field.twin_key)
    if value is None and field.twin_key not in row:
        value = loading.load_missing(row, field.twin_key)
    return value if type(value) is Plain else None


def _release(
    access: Access,
    entity: Entity,
    grant: Grant,
    rows: Sequence[Row],
    closed: Sequence[Any],
    told: dict[int, Any],
    session: Session | None,
) -> None:
    """Refuse, or journal, that these rows' plaintext is read."""
    field = grant.field
    if field.twin is not None and datetime.now(UTC).date() > field.twin.until:
        access.failed(field, grant.action, PlaintextFound.code)
        raise PlaintextFound(
            f"{field.label} was to be migrated by {field.twin.until}, and is still plaintext",
            hint="finish it: vaultlayer migrate status; or declare a later until=",
        )
    some = [rows[number] for number in told]
    if session is None:
        state = some[0].get(fetching.STATE)
        session = state.session if state is not None else None
    sealed = [closed[number] for number in told]
    fetching.fetch_missing(access, session, sealed)
    refs = loading.known_refs(access, [each or b"" for each in sealed])
    for row in some if entity.tenant_key is not None else ():
        loading.check_tenant(access, entity, field, row, NO_REF)
    if entity.subject_key is not None:
        people = [_person(access, entity, field, row) for row in some]
        fetching.meet(access, session, people)
        for (subject, _), ref in zip(people, refs, strict=True):
            reason = access.people.reason(subject)
            if reason != "":
                raise access.refused(field, grant.action, reason or "person_unknown", [ref])
    effect = "mask" if grant.masked else "allow"
    prefix = access.spec(field.entity, (field.name,), grant.action, effect, PLAINTEXT)
    access.journal.append_many(prefix, refs)


def _person(access: Access, entity: Entity, field: Field, row: Row) -> tuple[bytes, str]:
    """Whose row it is, and the region where their key is or will be."""
    key = entity.subject_key or ""
    subject = row.get(key) or loading.load_missing(row, key)
    if subject is None:
        raise access.refused(field, "read", "person_unknown")
    return subject.bytes, entity.region_of(row) or access.vault.keys.keks.region


def _shown(grant: Grant, value: Any) -> Any:
    if grant.show is not None:
        return Masked(grant.show(value))
    return grant.decode(grant.field.codec.encode(value))  # or it isn't of the declared type


def with_plain(access: Access | None, statement: Any) -> Any:
    """The SELECT of mapped classes that also brings the plaintext their fields are read from."""
    if not MIGRATING or not isinstance(statement, Select):
        return statement
    _note_searches(access, statement)
    if access is None:
        return statement
    for column in statement._raw_columns:
        owner = column._annotations.get("parententity") if isinstance(column, FromClause) else None
        entity = entity_of(owner.mapper) if owner is not None else None
        for key in beside(access, entity) if entity is not None else ():
            attribute = getattr(owner.entity, key)  # type: ignore[union-attr]
            statement = statement.options(Load(owner.entity).undefer(attribute))  # type: ignore[union-attr]
    return statement


def beside(access: Access | None, entity: Entity) -> list[str]:
    """The attributes of the plaintext that some of an entity's fields are read from."""
    if not MIGRATING or access is None:
        return []
    fields, stages = entity.fields.values(), access.vault.migrations
    return [each.twin_key for each in fields if each.twin is not None and stages.is_read(each)]


def refuse_unsealed(access: Access, fields: Iterable[Field]) -> None:
    """An index of sealed values would miss the rows that aren't sealed yet."""
    for field in fields:
        if field.twin is not None and access.vault.migrations.is_first(field):
            raise UnsupportedQuery(
                f"{field.label} is searched before its migration has been switched, so rows that "
                "are not sealed yet would be missed",
                hint=f"until then search its plaintext: .where(….{field.twin_key} == value)",
            )


def _note_searches(access: Access | None, statement: Any) -> None:
    """Decide and journal that plaintext columns are searched by."""
    twins = {
        column
        for each in criteria(statement)
        for part in iterate(each)
        if isinstance(getattr(part, "type", None), TwinType)
        for column in getattr(part, "base_columns", ())
    }
    for field in MIGRATING.values() if twins else ():
        if field.column.table.c[field.twin_key] in twins:
            if access is None:
                raise no_access(f"{field.label} was searched")
            grant = access.confirm(access.grant(field, "search"))
            access.journal.append(grant.prefix, NO_REF)
