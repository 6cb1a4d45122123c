"""Where a loaded value is opened: its key, and its place in its own row."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import MissingGreenlet, StatementError

from vaultlayer.access.grants import NO_REF
from vaultlayer.crypto.binding import row_part, subject_part
from vaultlayer.crypto.envelope import SUITE_ITEM, is_of_nothing, is_row_bound
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import (
    IntegrityError,
    KeyErased,
    KeyUnavailable,
    PlaintextFound,
    VaultLayerError,
)
from vaultlayer.orm.fetching import STATE, fetch_key, lacks_greenlet
from vaultlayer.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

# Why a value that may be read, or written, can't be.
UNOPENED = (IntegrityError, KeyErased, KeyUnavailable, PlaintextFound)

# Where a value is opened. Whose row it is, and how the envelopes begin that open in the same spot
# (None: only the one it was made for); their key's decrypt, the person's log ref, the place from
# the subject on; and until when the spot may be used without a new look.
Spot = tuple[Any, "bytes | None", "Callable[[bytes, bytes, bytes], bytes]", bytes, bytes, float]


def locate(
    access: Access,
    entity: Entity,
    field: Field,
    row: dict[str, Any],
    envelope: bytes,
    session: Session | None = None,
) -> Spot:
    """Where an envelope opens in this row; ``session``: the row's, where it is no instance.

    The subject is the row's own, never the key's: a value moved to another person's row
    meets another subject here and doesn't open.
    """
    key = access.cached_keys.get(envelope[3:19])
    try:  # costs nothing as long as nothing is raised
        if key is None or monotonic() >= key.expires:
            key = fetch_key(access, row, envelope, session)
        number, plain_header, decrypt, place = key.plain
        header: bytes | None = plain_header
        owner = None
        if entity.subject_key is not None:
            owner = row.get(entity.subject_key) or load_missing(row, entity.subject_key)
            if owner is None:
                raise damaged()
        if (owner.int if owner is not None else -1) != number:
            raise damaged()
        subject = key.subject
        if access.people.known.get(subject, access.people.otherwise) != "":
            _ask_about(access, field, row, envelope, subject, session)
        if subject in access.decoys:
            access.alarm(field, key.log_ref)
        until = key.expires if key.expires < access.deadline else access.deadline
        if entity.is_composite or envelope[:19] != plain_header:
            header, place = None, _whole_place(access, entity, field, row, key, envelope)
    except UNOPENED as error:  # every attempt leaves a record
        access.failed(field, "read", error.code, [key.log_ref if key is not None else NO_REF])
        raise
    return owner, header, decrypt, key.log_ref, place, until


def unopened(
    access: Access, field: Field, found: Sequence[tuple[dict[str, Any], bytes, bytes]]
) -> VaultLayerError:
    """Journal of rows' values, with their log refs, that they didn't open; return the error.

    Where an erasure has just emptied them the key is still at hand, and no more than that: then
    its record tells that it was destroyed. Everything else that doesn't open is damaged.
    """
    refs = [ref for _, _, ref in found]
    if all(is_of_nothing(sealed) for _, sealed, _ in found):
        try:
            for row, sealed, _ in found:
                access.vault.keys.forget(sealed[3:19].hex())
                fetch_key(access, row, sealed)
        except KeyErased as erased:
            access.failed(field, "read", erased.code, refs)
            return erased.with_traceback(None)
        except VaultLayerError:
            pass  # the record can't be had here, so nothing shows that it was an erasure
    return access.damaged(field, refs)


@contextmanager
def failures_told(access: Access, fields: Iterable[Field], action: str) -> Iterator[None]:
    """Journal of each field, where it is allowed, that a batch's keys could not be had."""
    try:
        yield
    except UNOPENED as error:
        for field in fields:
            access.confirm(access.grant(field, action))
            access.failed(field, action, error.code)
        raise


def _whole_place(
    access: Access,
    entity: Entity,
    field: Field,
    row: dict[str, Any],
    key: SubjectKey,
    envelope: bytes,
) -> bytes:
    if entity.tenant_key is not None:
        check_tenant(access, entity, field, row, key.log_ref)
    place = subject_part(key.subject)
    if is_row_bound(envelope):
        place += _row_part(entity, row)
    return place + SUITE_ITEM[envelope[:3]]


def _ask_about(
    access: Access,
    field: Field,
    row: dict[str, Any],
    envelope: bytes,
    subject: bytes,
    session: Session | None,
) -> None:
    """Refuse a person who may not be touched for the purpose; who isn't known is asked for."""
    if access.people.reason(subject) is None:
        fetch_key(access, row, envelope, session)
    reason = access.people.reason(subject)
    if reason != "":
        ref = access.cached_keys[envelope[3:19]].log_ref
        raise access.refused(field, "read", reason or "person_unknown", [ref])


def _row_part(entity: Entity, row: dict[str, Any]) -> bytes:
    for name in entity.row_keys:
        if name not in row:
            load_missing(row, name)
    row_id = entity.row_id(row)
    if row_id is None:
        raise damaged()
    return row_part(row_id)


def check_tenant(
    access: Access, entity: Entity, field: Field, row: dict[str, Any], ref: bytes
) -> None:
    if entity.tenant_key not in row:
        load_missing(row, entity.tenant_key)
    if entity.tenant_of(row) != access.tenant:
        raise access.refused(field, "read", "tenant", [ref])


def load_missing(row: dict[str, Any], key: str | None) -> Any:
    """Load what a ``load_only`` or an expiry left out; ORM attribute access, so it may do I/O."""
    state = row.get(STATE)
    if state is None or key is None:
        return None
    try:
        return state.get_impl(key).get(state, row)
    except (MissingGreenlet, StatementError) as error:
        if not lacks_greenlet(error):
            raise
        raise KeyUnavailable(
            "the row was loaded without the columns that opening its personal fields needs",
            hint=f"load {key!r} too, or `await session.refresh(row)` first",
        ) from None


def known_refs(access: Access, values: Iterable[Any]) -> list[bytes]:
    """The log refs of refused values, as far as their keys are at hand: refusing fetches none."""
    refs = []
    for sealed in values:
        if sealed is not None:
            key = access.cached_keys.get(sealed[3:19]) if type(sealed) is Sealed else None
            refs.append(key.log_ref if key is not None else NO_REF)
    return refs or [NO_REF]
