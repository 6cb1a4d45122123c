"""What people said, asked of the database: a batch of them in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, exists, func, or_, select

from vaultlayer.keys.many import Among, Each
from vaultlayer.ledgers import standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Connection, Select

ASKED, GRANTED, REFUSED, WITHDRAWN = "asked", "granted", "refused", "withdrawn"
OBJECTED = "objected"
RESTRICTED, FREE = "restricted", "free"
ALL = ""  # every purpose

Row = tuple[bytes, str, int, str]  # subject, purpose, number, state

_C = standing.c
_later = standing.alias()
_PURPOSES = _C.purpose.in_([ALL, bindparam("purpose")])
_SAID = select(_C.subject, _C.purpose, _C.number, _C.state).where(_PURPOSES)
_OF = Among(_SAID.order_by(_C.number), _C.subject, width=16)  # the latest counts: it comes last
_LIMITED = _SAID.where(
    _C.state.in_([OBJECTED, RESTRICTED]),
    _C.number
    == select(func.max(_later.c.number))
    .where(_later.c.subject == _C.subject, _later.c.purpose == _C.purpose)
    .scalar_subquery(),
)


def _but_granted(subject: ColumnElement[bytes]) -> Select[Any]:
    purpose: ColumnElement[str] = bindparam("purpose")
    mine = _C.subject == subject, _C.purpose == purpose
    latest = select(_C.state).where(*mine).order_by(_C.number.desc()).limit(1).scalar_subquery()
    limited = exists().where(_C.subject == subject, _C.purpose == ALL)
    anybody = exists().where(_C.purpose == ALL)  # looked for once a statement
    unlike = or_(latest.is_distinct_from(GRANTED), and_(anybody, limited))
    others = select(subject.label("subject")).where(unlike).subquery("others")
    said = others.outerjoin(standing, and_(_C.subject == others.c.subject, _PURPOSES))
    told = func.coalesce(_C.purpose, purpose), func.coalesce(_C.number, 0)
    row = select(others.c.subject, *told, func.coalesce(_C.state, ""))
    return row.select_from(said).order_by(_C.number)


_BUT_GRANTED = Each(_but_granted, width=16)


def limited(connection: Connection, purpose: str, most: int) -> Sequence[Any]:
    """Who objected to a purpose or is restricted now: so many at most."""
    return connection.execute(_LIMITED.limit(most), {"purpose": purpose}).all()


def said_of(connection: Connection, purpose: str, subjects: Sequence[bytes]) -> list[Row]:
    """All that these people said of a purpose and of all of them, the latest last."""
    return _OF.rows(connection, subjects, purpose=purpose)


def said_but_granted(
    connection: Connection, purpose: str, subjects: Sequence[bytes]
) -> tuple[list[Row], bool]:
    """The same, and whether those without a row agreed and were never restricted.

    They are most people where consent is needed: a row for each costs more than the search for
    them. Whoever else said nothing has a row without a state then. Not with MySQL.
    """
    if _BUT_GRANTED.serves(connection):
        return _BUT_GRANTED.rows(connection, subjects, purpose=purpose), True
    return said_of(connection, purpose, subjects), False
