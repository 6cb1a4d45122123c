"""The read path: load → authorize → journal → open. No other module opens a value,
but for column_path.py.

Loading put a ``Sealed`` into the row and left it closed. ``reading`` makes the ``__get__`` of a
personal attribute, the hot path; ``open_columns`` is the same line for many rows at once.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from sqlalchemy.orm import object_session

from vaultlayer.access.context import CURRENT, PINNED, acting, no_access
from vaultlayer.access.grants import NO_REF
from vaultlayer.crypto.codecs import TEXT
from vaultlayer.crypto.envelope import FLAG_PADDED, EitherPlace
from vaultlayer.crypto.padding import unpad
from vaultlayer.orm import loading, plaintext
from vaultlayer.orm.attribute import encoded
from vaultlayer.orm.entity import SUBJECT_KEY
from vaultlayer.orm.fetching import fetch_missing
from vaultlayer.sealed import Masked, Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

Row = dict[str, Any]  # a mapped instance's dict, or the columns of its place

_NOWHERE: Any = (None, None, None, NO_REF, b"", 0.0)  # of a row nothing was located for yet


def reading(  # noqa: C901 counts what it holds
    entity: Entity, field: Field, load: Callable[[Any, Any, Any], Any]
) -> Callable[[Any, Any, Any], Any]:
    """The ``__get__`` of one personal attribute; ``load`` is SQLAlchemy's own."""
    name = field.key

    def read(attribute: Any, instance: Any, owner: Any) -> Any:  # noqa: C901 the hot path
        if instance is None:
            return attribute
        row = instance.__dict__
        try:
            sealed = row[name]
        except KeyError:  # deferred or expired
            sealed = load(attribute, instance, owner)
        if sealed is None:
            return None

        access = acting(object_session(instance)) if PINNED else CURRENT.get()
        if access is None:
            raise no_access(f"{field.label} was read")
        grant = access.grants.get(field) or access.grant(field, "read")

        # A row's values mostly share subject, key and place, so the last ones are tried first.
        owner_id, header, decrypt, ref, place, until = access.last
        is_text = grant.text
        if (
            row.get(SUBJECT_KEY) is not owner_id or sealed[:19] != header
            or monotonic() >= until or grant.denied
        ):  # fmt: skip
            if grant.denied or monotonic() >= access.deadline:
                grant = access.confirm(grant, loading.known_refs(access, [sealed]))
            if type(sealed) is not Sealed:
                return _unstored(access, grant, sealed)
            access.last = spot = loading.locate(access, entity, field, row, sealed)
            _, _, decrypt, ref, place, until = spot
            if access.deadline < until:
                access.look_again()  # a change was heard of meanwhile: no other value is out
            is_text = grant.text and not sealed[2]

        try:
            access.journal.put(ref + grant.prefix)  # in the kernel on return
        except ValueError:
            access.journal.append(grant.prefix, ref)  # or it raises
        try:
            data = decrypt(sealed[19:31], sealed[31:], grant.head + place)
            if is_text and data[0] == TEXT:
                return data[1:].decode()
        except UnicodeDecodeError:
            pass  # a lone surrogate, which only the codec knows to read
        except (InvalidTag, ValueError):
            raise loading.unopened(access, field, [(row, sealed, ref)]) from None
        return _value(grant, sealed[2], data)

    either = field.twin is not None or field.former is not None
    return _reading_either(entity, field, load, read) if either else read


def _reading_either(
    entity: Entity,
    field: Field,
    load: Callable[[Any, Any, Any], Any],
    read: Callable[[Any, Any, Any], Any],
) -> Callable[[Any, Any, Any], Any]:
    """The same of a field that is being migrated, or that had another name: by ``open_columns``."""

    def read_either(attribute: Any, instance: Any, owner: Any) -> Any:
        if instance is None:
            return attribute
        row = instance.__dict__
        sealed = row[field.key] if field.key in row else load(attribute, instance, owner)
        if sealed is not None and type(sealed) is not Sealed:
            return read(attribute, instance, owner)  # not flushed yet
        session = object_session(instance)
        access = acting(session)
        if access is None:
            raise no_access(f"{field.label} was read")
        return open_columns(access, session, entity, [field], [row], [[sealed]])[0][0]

    return read_either


def open_columns(
    access: Access,
    session: Session | None,
    entity: Entity,
    fields: Sequence[Field],
    rows: Sequence[Row],
    columns: Sequence[Sequence[Any]],
    action: str = "read",
) -> list[list[Any]]:
    """Open some fields of many rows: a column of closed values a field, and so returned."""
    grants = []
    for field, closed in zip(fields, columns, strict=True):
        grant = access.grant(field, action)
        if grant.denied or monotonic() >= access.deadline:
            grant = access.confirm(grant, loading.known_refs(access, closed))
        grants.append(grant)
    columns, plain = plaintext.take(access, entity, grants, rows, columns, session)

    located = []  # of each column: the spot of each value, and whether any has flags
    spots: list[loading.Spot] = [_NOWHERE] * len(rows)  # a row's values mostly share theirs
    for field, closed in zip(fields, columns, strict=True):
        others = [
            number
            for number, (sealed, spot) in enumerate(zip(closed, spots, strict=True))
            if sealed is not None and sealed[:19] != spot[1]
        ]
        with loading.failures_told(access, fields, action):
            fetch_missing(access, session, [closed[number] for number in others])
        spots, flagged = spots.copy() if others else spots, False
        for number in others:
            sealed = closed[number]
            spots[number] = loading.locate(access, entity, field, rows[number], sealed, session)
            flagged = flagged or sealed[2] != 0
        located.append((spots, flagged))
    for grant, (spots, _), closed in zip(grants, located, columns, strict=True):
        filled = zip(spots, closed, strict=True)
        refs = [ref for (_, _, _, ref, _, _), sealed in filled if sealed is not None]
        access.journal.append_many(grant.prefix, refs)
    opened = [
        _open_column(access, grant, rows, spots, flagged, closed)
        for grant, (spots, flagged), closed in zip(grants, located, columns, strict=True)
    ]
    return plaintext.put_back(opened, plain)


def _open_column(
    access: Access,
    grant: Grant,
    rows: Sequence[Row],
    spots: Sequence[loading.Spot],
    flagged: bool,
    closed: Sequence[Any],
) -> list[Any]:
    head, decode = grant.head, grant.decode
    if grant.former:
        spots = [
            (owner, header, EitherPlace(decrypt, head, grant.former).decrypt, *rest)
            for owner, header, decrypt, *rest in spots
        ]
    try:
        opened = [
            None if sealed is None else decrypt(sealed[19:31], sealed[31:], head + place)
            for (_, _, decrypt, _, place, _), sealed in zip(spots, closed, strict=True)
        ]
    except (InvalidTag, ValueError):
        found = _unopened(head, rows, spots, closed)
        raise loading.unopened(access, grant.field, found) from None
    if flagged or grant.masked:
        return [
            None if data is None else _value(grant, sealed[2], data)
            for data, sealed in zip(opened, closed, strict=True)
        ]
    if grant.text:
        with suppress(UnicodeDecodeError):  # a lone surrogate, which only the codec can read
            return [
                None if data is None else data[1:].decode() if data[0] == TEXT else decode(data)
                for data in opened
            ]
    return [None if data is None else decode(data) for data in opened]


def _unopened(
    head: bytes, rows: Sequence[Row], spots: Sequence[loading.Spot], closed: Sequence[Any]
) -> list[tuple[Row, bytes, bytes]]:
    """Those among the values that don't open, with their rows and log refs."""
    found = []
    for row, (_, _, decrypt, ref, place, _), sealed in zip(rows, spots, closed, strict=True):
        try:
            decrypt(sealed[19:31], sealed[31:], head + place) if sealed is not None else None
        except (InvalidTag, ValueError):
            found.append((row, sealed, ref))
    return found


def _value(grant: Grant, flags: int, data: bytes) -> Any:
    """The value in an opened envelope, or its mask."""
    value = grant.decode(unpad(data) if flags & FLAG_PADDED else data)
    return Masked(grant.show(value)) if grant.show else value


def _unstored(access: Access, grant: Grant, pending: Any) -> Any:
    """A value assigned and not flushed yet: decided and journaled like any other."""
    access.journal.append(grant.prefix, NO_REF)
    return _value(grant, 0, encoded(grant.field, pending))
