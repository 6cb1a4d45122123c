"""Where vaultlayer meets SQLAlchemy: what ``vault.attach()`` listens to, and nothing before it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from sqlalchemy import ChunkedIteratorResult, Connection, Engine, event
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from vaultlayer.access.context import EXECUTING, SESSIONS, acting, acting_on, no_access
from vaultlayer.errors import ConfigurationError, VaultLayerError
from vaultlayer.orm import batch, bulk, columns, fetching, flush, gate, plaintext
from vaultlayer.orm.finding import finding
from vaultlayer.search.found import LEFT_OUT
from vaultlayer.write_path import seal_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import ORMExecuteState, SessionTransaction

    from vaultlayer.acting import Access
    from vaultlayer.orm.finding import Finding

_FLUSHING = "vaultlayer.flushing"
_BULK = "vaultlayer.bulk"
_UNSAVED = "vaultlayer.unsaved_keys"  # for objects that are added again after a rollback
_GATED: WeakSet[Engine] = WeakSet()

# Not event.contains(): it knows targets by id(), and takes a new class for a collected one.
_ATTACHED: WeakSet[Any] = WeakSet()


def attach(target: Any) -> None:
    """Listen on a session factory, a session or an engine, sync or async. Idempotent."""
    engine = getattr(target, "sync_engine", target)
    if isinstance(engine, Engine):
        _gate(engine)
        return
    session = _session_target(target)
    classes = session.__mro__ if isinstance(session, type) else type(session).__mro__
    if not any(known in _ATTACHED for known in (session, *classes)):
        _ATTACHED.add(session)
        for name, listener in _SESSION_LISTENERS.items():
            event.listen(session, name, listener)


def _session_target(target: Any) -> Any:
    """What SQLAlchemy's session events take: a Session, a Session class or a sessionmaker."""
    if isinstance(target, scoped_session):
        return _session_target(target.session_factory)
    if isinstance(target, sessionmaker):
        return target.class_
    if isinstance(target, Session) or (isinstance(target, type) and issubclass(target, Session)):
        return target
    if hasattr(target, "sync_session"):  # AsyncSession
        return target.sync_session
    if hasattr(getattr(target, "class_", None), "sync_session_class"):  # async_sessionmaker
        return _own_sync_class(target)
    raise ConfigurationError(
        f"a vault can't be attached to a {type(target).__name__}",
        hint="attach it to a sessionmaker, async_sessionmaker, Session, AsyncSession or an engine",
    )


def _own_sync_class(factory: Any) -> Any:
    """A Session class of the factory's own, so that other factories stay untouched."""
    shared = factory.kw.get("sync_session_class") or factory.class_.sync_session_class
    if shared in _ATTACHED:
        return shared
    own = type(shared.__name__, (shared,), {})
    factory.configure(sync_session_class=own)
    return own


def _gate(engine: Engine) -> None:
    if engine not in _GATED:
        _GATED.add(engine)
        event.listen(engine, "before_execute", _before_execute, retval=True)


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    _gate(connection.engine)
    SESSIONS[connection] = ref(session)


def _before_execute(
    connection: Connection, statement: Any, many: Any, one: Any, options: Any
) -> tuple[Any, Any, Any]:
    EXECUTING.set(ref(connection))
    given = many or ([one] if one else [])
    try:
        sent, parameters = gate.check(connection, statement, given, acting_on, _is_sealed)
    except VaultLayerError as refusal:
        many = one = given = None  # a traceback that shows locals must not show them
        raise refusal.with_traceback(None) from None
    if parameters is given:
        return sent, many, one
    return (sent, parameters, {}) if len(parameters) != 1 else (sent, [], parameters[0])


def _before_flush(session: Session, context: Any, instances: Any) -> None:
    rows = flush.rows_to_seal(session)
    if rows:
        access = acting(session)
        if access is None:
            raise no_access("personal fields were written")
        seal_rows(access, session.connection(), rows, session.info.setdefault(_UNSAVED, {}))
    session.info[_FLUSHING] = True


def _after_flush(session: Session, context: Any) -> None:
    del session.info[_FLUSHING]
    flush.settle_children(session)


def _after_rollback(session: Session, previous: SessionTransaction) -> None:
    session.info.pop(_FLUSHING, None)
    flush.forget_children(session)


def _after_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        session.info.pop(_UNSAVED, None)


def _is_sealed(connection: Connection) -> bool:
    """Whether the values of what is being sent were sealed for the rows they go to."""
    noted = SESSIONS.get(connection)
    session = noted() if noted is not None else None
    if session is None:
        return False
    return _BULK in session.info or (session._flushing and _FLUSHING in session.info)


def _on_execute(state: ORMExecuteState) -> Any:
    """Open selected personal columns; fetch keys ahead where reading an attribute can do no I/O."""
    session, access = state.session, acting(state.session)
    if state.is_select:
        if not state.is_column_load:
            state.statement = plaintext.with_plain(access, state.statement)
        search = finding(state.statement)
        sent = search.statement if search is not None else state.statement
        statement, selected = columns.with_places(sent, partial(plaintext.beside, access))
        if selected or search is not None:
            if access is None:
                raise no_access("a personal column was selected or searched")
            return _found(state, access, search, statement, selected)
    else:
        columns.refuse_returning(state.statement)
    result: Any = None
    if state.is_update or state.is_insert:
        try:
            parameters = bulk.sealed_parameters(state, access)
        except VaultLayerError as refusal:  # without the frames that hold the plain parameters
            raise refusal.with_traceback(None) from None
        if parameters is not None:
            result = _send_sealed(state, parameters)
    if access is not None and _is_async(state):
        result = result or state.invoke_statement()
        if isinstance(result, ChunkedIteratorResult):  # it brings rows
            return columns.chunkwise(result, partial(_prefetched, access, session), _ahead(state))
    return result


def _found(
    state: ORMExecuteState, access: Access, search: Finding | None, statement: Any,
    selected: list[columns.Selected],
) -> Any:  # fmt: skip
    """The result of a SELECT, without what may not be found, and with its columns opened."""
    session, ahead = state.session, _ahead(state)
    if search is not None:
        plaintext.refuse_unsealed(access, search.fields)
    left_out = LEFT_OUT.set(partial(search.leaves_out, selected) if search is not None else None)
    try:
        result = state.invoke_statement(statement=statement)
    finally:
        LEFT_OUT.reset(left_out)
    if not isinstance(result, ChunkedIteratorResult):
        return result
    if search is not None:
        keep = partial(search.keep, access, session, selected)
        result = columns.chunkwise(result, keep, ahead)
    if selected:
        opened = partial(batch.open_selected, access, session)
        return columns.opening(result, selected, opened, ahead)
    if _is_async(state):
        return columns.chunkwise(result, partial(_prefetched, access, session), ahead)
    return result


def _send_sealed(state: ORMExecuteState, parameters: Any) -> Any:
    info = state.session.info
    info[_BULK] = True
    try:
        return state.invoke_statement(params=parameters)
    finally:
        del info[_BULK]


def _prefetched(access: Access, session: Session, rows: list[Any]) -> list[Any]:
    fetching.prefetch_session(access, session)
    return rows


def _ahead(state: ORMExecuteState) -> bool:
    """Whether rows are handed out where nothing can be fetched: AsyncSession.execute()."""
    return bool(state.execution_options.get("prebuffer_rows", False))


def _is_async(state: ORMExecuteState) -> bool:
    return bool(state.session.get_bind(**state.bind_arguments).dialect.is_async)


_SESSION_LISTENERS: dict[str, Callable[..., Any]] = {
    "after_begin": _after_begin,
    "before_flush": _before_flush,
    "after_flush_postexec": _after_flush,
    "after_soft_rollback": _after_rollback,
    "after_commit": _after_commit,
    "do_orm_execute": _on_execute,
}
