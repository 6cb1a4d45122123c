"""What opening a loaded row needs from the database: its place and the keys of its batch."""

from __future__ import annotations

from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import instance_state

from vaultlayer.access.grants import NO_REF
from vaultlayer.crypto.binding import SUBJECT_HEAD, row_part, subject_part
from vaultlayer.crypto.envelope import (
    PLAIN_HEADER,
    PLAIN_ITEM,
    SUITE_ITEM,
    is_envelope,
    is_row_bound,
    key_id_of,
)
from vaultlayer.crypto.refusals import damaged
from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable
from vaultlayer.orm.entity import entity_of
from vaultlayer.sealed import Sealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.orm import Session
    from sqlalchemy.orm.state import InstanceState

    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

_WALK = "vaultlayer.walk"
_STATE = "_sa_instance_state"
BATCH = 1000
_ENOUGH_CACHED = 100  # so many neighbours in a row with cached keys end the look around


def locate(
    access: Access, entity: Entity, field: Field, row: dict[str, Any], envelope: bytes
) -> tuple[SubjectKey, bytes]:
    """The key of an envelope, and its place in this row from the subject on.

    The subject is the row's own, never the key's: a value moved to another person's row
    meets another subject here and doesn't open.
    """
    key = access.cached_keys.get(envelope[3:19])
    if key is None or monotonic() >= key.expires:
        key = fetch_key(access, row, envelope)
    subject = b""  # of a row that belongs to no person
    if entity.subject_key is not None:
        known = row.get(entity.subject_key) or _load(row, entity.subject_key)
        if known is None:
            raise damaged()
        subject = known.int.to_bytes(16)
    if subject != key.subject:
        raise damaged()
    if access.people.known.get(subject, access.people.otherwise) != "":
        _ask_about(access, field, row, envelope, subject)
    if subject in access.decoys:
        access.alarm(field, key.log_ref)
    if not entity.is_composite and envelope[:3] == PLAIN_HEADER:
        return key, SUBJECT_HEAD + subject + PLAIN_ITEM
    if entity.tenant_key is not None:
        _check_tenant(access, entity, field, row, key.log_ref)
    place = subject_part(subject)
    if is_row_bound(envelope):
        place += _row_part(entity, row)
    return key, place + SUITE_ITEM[envelope[:3]]


def _ask_about(
    access: Access, field: Field, row: dict[str, Any], envelope: bytes, subject: bytes
) -> None:
    """Refuse a person who may not be touched for the purpose; who isn't known is asked for."""
    if access.people.reason(subject) is None:
        fetch_key(access, row, envelope)
    reason = access.people.reason(subject)
    if reason != "":
        ref = access.cached_keys[envelope[3:19]].log_ref
        raise access.refused(field, "read", reason or "person_unknown", [ref])


def _row_part(entity: Entity, row: dict[str, Any]) -> bytes:
    for name in entity.row_keys:
        if name not in row:
            _load(row, name)
    row_id = entity.row_id(row)
    if row_id is None:
        raise damaged()
    return row_part(row_id)


def _check_tenant(
    access: Access, entity: Entity, field: Field, row: dict[str, Any], ref: bytes
) -> None:
    if entity.tenant_key not in row:
        _load(row, entity.tenant_key)
    if entity.tenant_of(row) != access.tenant:
        raise access.refused(field, "read", "tenant", [ref])


def _load(row: dict[str, Any], key: str | None) -> Any:
    """Load what a ``load_only`` or an expiry left out; ORM attribute access, so it may do I/O."""
    state = row.get(_STATE)
    if state is None or key is None:
        return None
    try:
        return getattr(state.obj(), key)
    except (MissingGreenlet, StatementError) as error:
        if not _lacks_greenlet(error):
            raise
        raise KeyUnavailable(
            "the row was loaded without the columns that opening its personal fields needs",
            hint=f"load {key!r} too, or `await session.refresh(row)` first",
        ) from None


def _lacks_greenlet(error: Exception) -> bool:
    """Whether asyncio was asked for I/O outside an await; some drivers wrap the error."""
    return isinstance(getattr(error, "orig", error), MissingGreenlet)


def known_refs(access: Access, values: Iterable[Any]) -> list[bytes]:
    """The log refs of refused values, as far as their keys are at hand: refusing fetches none."""
    refs = []
    for sealed in values:
        if sealed is not None:
            key = access.cached_keys.get(sealed[3:19]) if type(sealed) is Sealed else None
            refs.append(key.log_ref if key is not None else NO_REF)
    return refs or [NO_REF]


def fetch_key(access: Access, row: dict[str, Any], envelope: bytes) -> SubjectKey:
    """The key of one envelope, and in the same statement those of rows loaded beside it."""
    wanted = key_id_of(envelope)
    state = row.get(_STATE)
    session = state.session if state is not None else None
    key_ids = {wanted}
    if session is not None and state is not None:
        key_ids.update(islice(_around(session, state, access), BATCH - 1))
    try:
        return fetch(access, session, key_ids)[wanted]
    except (IntegrityError, KeyErased, KeyUnavailable):
        if len(key_ids) == 1:
            raise
        return fetch(access, session, {wanted})[wanted]  # a neighbour's trouble isn't this value's


def fetch(access: Access, session: Session | None, key_ids: set[bytes]) -> dict[bytes, SubjectKey]:
    """Bring in keys, and what is known of their people, over the session's connection if any."""
    try:
        with access.vault.key_connection(session) as connection:
            keys = access.vault.keys.fetch(connection, key_ids)
            access.meet(connection, keys.values())
            return keys
    except (MissingGreenlet, StatementError) as error:
        if not _lacks_greenlet(error):
            raise
        raise KeyUnavailable(
            "the keys of these rows aren't at hand, and reading an attribute does no I/O here",
            hint="load the rows inside the access, or "
            "`await session.run_sync(lambda _: access.prefetch(rows))` first",
        ) from None


def prefetch(access: Access, rows: Sequence[Any]) -> None:
    """Fetch the missing keys of these rows, in statements of 1,000."""
    key_ids = {key_id for row in rows for key_id in _missing(access, instance_state(row))}
    if key_ids:
        fetch(access, object_session(rows[0]), key_ids)


def fetch_missing(access: Access, session: Session | None, values: Iterable[Any]) -> None:
    """Fetch the keys of the sealed ones among these values that aren't cached, and who isn't
    known."""
    cached, people = access.cached_keys, access.people
    absent = [
        sealed
        for sealed in values
        if type(sealed) is Sealed
        and (
            (key := cached.get(sealed[3:19])) is None
            or people.known.get(key.subject, people.otherwise) is None
        )
    ]
    key_ids = {sealed[3:19] for sealed in absent if is_envelope(sealed)}
    if key_ids:
        fetch(access, session, key_ids)


def prefetch_session(access: Access, session: Session) -> None:
    """The same for everything a session holds: what asyncio needs after each load."""
    key_ids: set[bytes] = set()
    for state in session.identity_map.all_states():
        key_ids.update(_missing(access, state))
    if key_ids:
        fetch(access, session, key_ids)


def _around(session: Session, state: InstanceState[Any], access: Access) -> Iterator[bytes]:
    """Missing key ids of the session's rows, beginning at ``state``, in the order of loading.

    The walk is kept in the session and goes on where it stopped, so that reading n rows looks
    at about n states, however many times the keys run out.
    """
    walk = session.info.pop(_WALK, None)
    if walk is None:
        states = session.identity_map.all_states()
        start = states.index(state) if state in states else 0
        walk = iter(states[start:] + states[:start])
    cached_in_a_row = 0
    for each in walk:
        missing = _missing(access, each)
        cached_in_a_row = 0 if missing else cached_in_a_row + 1
        if cached_in_a_row > _ENOUGH_CACHED:
            return
        yield from missing
        session.info[_WALK] = walk
    session.info.pop(_WALK, None)


def _missing(access: Access, state: InstanceState[Any]) -> list[bytes]:
    """The ids of the keys a loaded row's sealed values need, and of people not known yet.

    What is no envelope is left out: a piece of it would go into a SELECT.
    """
    entity = entity_of(state.mapper)
    if entity is None:
        return []
    row, cached, people = state.dict, access.cached_keys, access.people
    missing: list[bytes] = []
    last = None
    for name in entity.fields:
        sealed = row.get(name)
        if type(sealed) is not Sealed or sealed[3:19] == last:
            continue  # a row's values mostly share their key
        last = sealed[3:19]
        key = cached.get(last)
        unknown = key is None or people.known.get(key.subject, people.otherwise) is None
        if unknown and is_envelope(sealed):
            missing.append(last)
    return missing
