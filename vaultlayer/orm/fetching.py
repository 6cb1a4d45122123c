"""Keys for the rows at hand: what one value lacks is fetched for its whole batch."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import MissingGreenlet, StatementError
from sqlalchemy.orm import object_session
from sqlalchemy.orm.attributes import instance_state

from vaultlayer.crypto.envelope import is_envelope, key_id_of
from vaultlayer.errors import IntegrityError, KeyErased, KeyUnavailable
from vaultlayer.orm.entity import entity_of
from vaultlayer.sealed import Sealed
from vaultlayer.standing import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session
    from sqlalchemy.orm.state import InstanceState

    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey

STATE = "_sa_instance_state"
BATCH = 1000
_WALK = "vaultlayer.walk"
_ENOUGH_CACHED = 100  # so many neighbours in a row with cached keys end the look around


def fetch_key(
    access: Access, row: dict[str, Any], envelope: bytes, session: Session | None = None
) -> SubjectKey:
    """The key of one envelope, and in the same statement those of rows loaded beside it.

    :param session: whose connection serves a row that isn't a mapped instance's.
    """
    wanted = key_id_of(envelope)
    state = row.get(STATE)
    session = state.session if state is not None else session
    key_ids = {wanted}
    if session is not None and state is not None:
        key_ids |= _around(access, session, state)
    try:
        return fetch(access, session, key_ids)[wanted]
    except (IntegrityError, KeyErased, KeyUnavailable):
        if len(key_ids) == 1:
            raise
        return fetch(access, session, {wanted})[wanted]  # a neighbour's trouble isn't this value's


def fetch(
    access: Access, session: Session | Connection | None, key_ids: set[bytes]
) -> dict[bytes, SubjectKey]:
    """Bring in keys, and what is known of their people, over the session's connection if any."""
    with _at_hand(access, session) as connection:
        keys = access.vault.keys.fetch(connection, key_ids)
        access.meet(connection, keys.values())
        return keys


def meet(access: Access, session: Session | None, people: Iterable[tuple[bytes, str]]) -> None:
    """Bring in what is known of people by their subject and region, whether they have keys yet."""
    access.renew()
    known, otherwise = access.people.known, access.people.otherwise
    unknown = [Person(*each) for each in people if known.get(each[0], otherwise) is None]
    if unknown:
        with _at_hand(access, session) as connection:
            access.meet(connection, unknown)


@contextmanager
def _at_hand(access: Access, session: Session | Connection | None) -> Iterator[Connection]:
    try:
        with access.vault.key_connection(session) as connection:
            yield connection
    except (MissingGreenlet, StatementError) as error:
        if not lacks_greenlet(error):
            raise
        raise KeyUnavailable(
            "the keys of these rows aren't at hand, and reading an attribute does no I/O here",
            hint="load the rows inside the access, or "
            "`await session.run_sync(lambda _: access.prefetch(rows))` first",
        ) from None


def lacks_greenlet(error: Exception) -> bool:
    """Whether asyncio was asked for I/O outside an await; some drivers wrap the error."""
    return isinstance(getattr(error, "orig", error), MissingGreenlet)


def prefetch(access: Access, rows: Sequence[Any]) -> None:
    """Fetch the missing keys of these rows, in statements of 1,000."""
    access.renew()
    key_ids = {key_id for row in rows for key_id in _missing(access, instance_state(row))}
    if key_ids:
        fetch(access, object_session(rows[0]), key_ids)


def fetch_missing(access: Access, session: Session | None, values: Iterable[Any]) -> None:
    """Fetch the keys of the sealed ones among these values that aren't cached, and who isn't
    known."""
    access.renew()
    is_missing = _missing_from(access)
    of_keys = {value[3:19]: value for value in values if type(value) is Sealed}
    key_ids = {
        key_id for key_id, value in of_keys.items() if is_missing(key_id) and is_envelope(value)
    }
    if key_ids:
        fetch(access, session, key_ids)


def prefetch_session(access: Access, session: Session) -> None:
    """The same for everything a session holds: what asyncio needs after each load."""
    access.renew()
    key_ids: set[bytes] = set()
    for state in session.identity_map.all_states():
        key_ids.update(_missing(access, state))
    if key_ids:
        fetch(access, session, key_ids)


def _around(access: Access, session: Session, state: InstanceState[Any]) -> set[bytes]:
    """Missing key ids of the session's rows, beginning at ``state``, in the order of loading.

    The walk is kept in the session and goes on where it stopped, so that reading n rows looks
    at about n states, however many times the keys run out.
    """
    walk = session.info.pop(_WALK, None) or _walk_from(session, state)
    missing: set[bytes] = set()
    names: dict[type, Sequence[str]] = {}
    cached, now, idle = access.cached_keys, monotonic(), 0
    known, otherwise = access.people.known, access.people.otherwise
    for each in walk:
        instance = each.obj()
        if instance is None:
            continue
        kind, row = type(instance), instance.__dict__
        if kind not in names:
            entity = entity_of(each.mapper)
            names[kind] = list(entity.fields) if entity is not None else []
        idle += 1
        for name in names[kind]:
            sealed = row.get(name)
            if type(sealed) is Sealed:
                key = cached.get(sealed[3:19])  # as _missing_from, without a call for each row
                if (
                    is_envelope(sealed)
                    if key is None
                    else key.expires <= now or known.get(key.subject, otherwise) is None
                ):
                    missing.add(sealed[3:19])
                    idle = 0
                break
        if idle > _ENOUGH_CACHED:
            break
        if len(missing) == BATCH - 1:  # and the one that is wanted
            session.info[_WALK] = walk
            break
    return missing


def _walk_from(session: Session, state: InstanceState[Any]) -> Iterator[InstanceState[Any]]:
    """The states of the session's rows, beginning at ``state``."""
    states = session.identity_map.all_states()
    start = states.index(state) if state in states else 0
    return iter(states[start:] + states[:start])


def first_key_id(state: InstanceState[Any]) -> bytes | None:
    """The id of the key that a loaded row's values mostly share."""
    entity = entity_of(state.mapper)
    sealed = _first_sealed(state.dict, entity.fields if entity is not None else ())
    return sealed[3:19] if sealed is not None and is_envelope(sealed) else None


def _first_sealed(row: dict[str, Any], names: Iterable[str]) -> Sealed | None:
    for name in names:
        value = row.get(name)
        if type(value) is Sealed:
            return value
    return None


def _missing(access: Access, state: InstanceState[Any]) -> list[bytes]:
    """The ids of the keys a loaded row's sealed values need, and of people not known yet.

    What is no envelope is left out: a piece of it would go into a SELECT.
    """
    entity = entity_of(state.mapper)
    if entity is None:
        return []
    row, is_missing = state.dict, _missing_from(access)
    missing: list[bytes] = []
    last = None
    for name in entity.fields:
        sealed = row.get(name)
        if type(sealed) is not Sealed or sealed[3:19] == last:
            continue  # a row's values mostly share their key
        last = sealed[3:19]
        if is_missing(last) and is_envelope(sealed):
            missing.append(last)
    return missing


def _missing_from(access: Access) -> Callable[[bytes], bool]:
    """Whether a key is not at hand at this moment, or what is known of its person isn't."""
    cached, people, now = access.cached_keys, access.people, monotonic()

    def is_missing(key_id: bytes) -> bool:
        key = cached.get(key_id)
        return (
            key is None
            or key.expires <= now
            or people.known.get(key.subject, people.otherwise) is None
        )

    return is_missing
