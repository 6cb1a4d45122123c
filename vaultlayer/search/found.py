"""Who is found: people who may not be touched for the purpose are in no list, and in no count.

Where a statement hands out rows or personal columns, the session leaves those people's out
(orm/finding.py). Where it doesn't (a count, EXISTS, a subquery, an UPDATE), nothing can be left
out: so it is looked beforehand whether it would find one of them, and refused then.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.crypto.envelope import is_envelope, key_id_of
from vaultlayer.errors import UnsupportedQuery
from vaultlayer.search.terms import table_of
from vaultlayer.standing import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.sealed import SearchTerms

MOST_LOOKED_AT = 1000  # people of one count

# Of a statement that hands out rows, while it is sent: tells whether its excepted people are left
# out afterwards.
LEFT_OUT: ContextVar[Callable[[], bool] | None] = ContextVar("vaultlayer_left_out", default=None)


def somebody_is_excepted(access: Access, using: Session | Connection) -> bool:
    """Whether there may be people who may not be touched for the access's purpose."""
    known = list(access.people.known.items())  # other threads add to it
    unknown = [Person(subject, "") for subject, reason in known if reason is None]
    if access.people.otherwise is None or unknown:
        with access.vault.key_connection(using) as keys_on:
            access.meet(keys_on, () if access.people.otherwise is None else unknown)
    return access.people.otherwise != "" or any(list(access.people.known.values()))


def ask_about_found(
    access: Access, connection: Connection, searched: SearchTerms, terms: Sequence[bytes]
) -> None:
    """AccessDenied when a statement without rows to leave out would find an excepted person."""
    if not somebody_is_excepted(access, connection):
        return
    left_out = LEFT_OUT.get()
    if left_out is not None and left_out():
        return
    field = searched.index.field
    vault = access.vault
    with vault.key_connection(connection) as keys_on:
        rows = connection.execute(_found(searched, terms)).all()
        if len(rows) > MOST_LOOKED_AT:
            raise UnsupportedQuery(
                f"a statement without rows would find more than {MOST_LOOKED_AT:,} people, some "
                "of whom may not be touched for this purpose",
                hint="select the mapped class, and count or use the rows that come back",
            )
        key_ids = {key_id_of(bytes(value)) for (value,) in rows if is_envelope(bytes(value))}
        keys = list(vault.keys.fetch(keys_on, key_ids).values())
        access.meet(keys_on, keys)
        for key in keys:
            reason = access.people.reason(key.subject)
            if reason != "":
                raise access.refused(field, "search", reason or "person_unknown", [key.log_ref])


def _found(searched: SearchTerms, terms: Sequence[bytes]) -> Any:
    """The sealed values of the rows with these terms."""
    index = searched.index
    column, table = index.field.column, index.field.column.table
    sealed = sa.column(column.name, sa.LargeBinary())
    hidden: Any = sa.column(table.c[index.key].name, sa.LargeBinary())
    bare = sa.table(table.name, sealed, hidden, schema=table.schema)
    among: Any = list(terms)
    if index.kind.many:
        shared = table_of(index)
        among = sa.select(shared.c.value_number).where(shared.c.term.in_(among))
    condition = hidden.not_in(among) if searched.negated else hidden.in_(among)
    found = sa.select(sealed).select_from(bare).where(condition, sealed.is_not(None))
    return found.limit(MOST_LOOKED_AT + 1)
