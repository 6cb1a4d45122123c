"""Who may be addressed for a purpose: a query's people, as they stand at that moment."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import inspect, select, tuple_
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_state

from vaultlayer.access.context import acting, no_access
from vaultlayer.errors import ConfigurationError, UnsupportedQuery
from vaultlayer.keys import tables
from vaultlayer.keys.states import ERASED
from vaultlayer.orm import session as listeners
from vaultlayer.orm.entity import entity_of
from vaultlayer.orm.fetching import first_key_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from sqlalchemy import Select

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity

T = TypeVar("T")

PAGE = 1000
FRESH = 1.0  # seconds for which what was asked of a page's people may serve


def recipients(
    statement: Select[tuple[T]], *, purpose: str, session: Session | None = None
) -> Iterator[T]:
    """The rows of a query whose people may be addressed for a purpose, by primary key.

    A person's consent, objection, restriction and region are looked at when their row is handed
    out, so who withdraws while the list is walked through is left out of the rest of it. Reading a
    row's fields is decided and recorded as always. A thousand rows are held at a time.

    :param statement: ``select(Customer)`` with any ``where``; without order, limit or columns.
    :param purpose: that of the access at hand, such as ``direct_marketing``.
    :param session: read in this Session's transaction; else in short ones of its own.
    :raises NoAccess: there is no access; ConfigurationError: it is for another purpose.
    """
    session = getattr(session, "sync_session", session)
    access = acting(session)
    if access is None or access.closed:
        raise no_access("recipients were looked for")
    if access.purpose != purpose or purpose not in access.snapshot.bundle.purposes:
        raise ConfigurationError(
            "the access at hand is not for the purpose that people are to be addressed for",
            hint="open it with the same purpose, one of purposes.toml",
        )
    entity = _entity_of(statement)
    return _walk(access, entity, statement, session)


def _walk(
    access: Access, entity: Entity, statement: Select[tuple[T]], session: Session | None
) -> Iterator[T]:
    vault = access.vault
    own = None
    if session is None:
        engine = vault.databases.engine
        if engine is None:
            raise ConfigurationError(
                "the vault isn't attached to an engine that works without asyncio",
                hint="vault.attach(engine), or pass session=",
            )
        session = own = Session(engine, expire_on_commit=False)
        listeners.attach(own)
    with own or nullcontext():
        key: Any = entity.mapper.primary_key
        names = [entity.mapper.get_property_by_column(column).key for column in key]
        last: tuple[Any, ...] | None = None
        while True:
            page = statement.order_by(*key).limit(PAGE)
            if last is not None:
                page = page.where(key[0] > last[0] if len(key) == 1 else tuple_(*key) > last)
            rows: list[Any] = list(session.scalars(page))
            yield from _addressable(access, session, entity, rows)
            if len(rows) < PAGE:
                return
            last = tuple(getattr(rows[-1], name) for name in names)
            if own is not None:
                own.expunge_all()
                own.rollback()


def _addressable(
    access: Access, session: Session, entity: Entity, rows: Sequence[T]
) -> Iterator[T]:
    """Those who may be addressed; asked for together, and again once something may have changed."""
    standing = access.vault.standing
    changes, until, may = -1, 0.0, set[Any]()
    for row in rows:
        if access.closed:
            raise no_access("recipients were looked for")
        if changes != standing.changes or time.monotonic() >= until:
            changes, until = standing.changes, time.monotonic() + FRESH
            may = _may_be_addressed(access, session, entity, rows)
        mine = entity.tenant_key is None or entity.tenant_of(row.__dict__) == access.tenant
        if mine and getattr(row, entity.subject_key or "") in may:
            yield row


def _may_be_addressed(
    access: Access, session: Session, entity: Entity, rows: Sequence[Any]
) -> set[UUID]:
    vault, purpose = access.vault, access.vault.snapshot.bundle.purposes.get(access.purpose)
    if purpose is None:  # the rules changed meanwhile
        return set()
    people = {subject for row in rows if (subject := getattr(row, entity.subject_key or ""))}
    ids = [subject.bytes for subject in people]
    key = tables.subject_key.c
    gone = select(key.subject).where(key.state == ERASED, key.subject.in_(ids))
    with vault.key_connection(session) as connection:
        known = vault.standing.ask(connection, purpose, ids)
        erased = {bytes(subject) for subject in connection.scalars(gone)}
        if access._is_local:  # regions count: they are known by the keys
            key_ids = {first_key_id(instance_state(row)) for row in rows}
            keys = vault.keys.fetch(connection, [each for each in key_ids if each]).values()
            known = access.by_region(known, purpose, keys)
    return {
        subject
        for subject in people
        if known.reason(subject.bytes) == "" and subject.bytes not in erased
    }


def _entity_of(statement: Any) -> Entity:
    described = statement.column_descriptions
    cls = described[0]["entity"] if len(described) == 1 else None
    entity = entity_of(inspect(cls)) if cls is not None and described[0]["expr"] is cls else None
    ordered = statement._order_by_clauses or statement._limit_clause is not None
    if entity is None or entity.subject_key is None or ordered:
        raise UnsupportedQuery(
            "recipients() takes a query of one class whose rows are people's",
            hint="e.g. select(Customer).where(Customer.active), without order, limit or columns",
        )
    return entity
