"""Backfilling by several processes: ranges of the primary key, each done by one of them.

The step's own process holds the lease and proves the outcome; the workers only seal. They end with
it, however it ends.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, fields
from importlib import import_module
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.access.principal import Principal
from vaultlayer.errors import ConfigurationError, KeyUnavailable
from vaultlayer.keys.provider import open_providers
from vaultlayer.lifecycle.migrating.filling import Filling
from vaultlayer.lifecycle.migrating.move import Move
from vaultlayer.lifecycle.models import bare
from vaultlayer.settings import secret

if TYPE_CHECKING:
    from vaultlayer.lifecycle.migrating.filling import Bounds
    from vaultlayer.vault import Vault

_RANGES = 8  # for each worker, so that none has all of a crowded part


@dataclass(frozen=True, slots=True)
class _Task:
    """What one worker is told, pickled."""

    vault: type[Vault]
    settings: Any
    url: Any
    models: tuple[str, ...]
    actor: dict[str, Any]  # of the principal, whose claims don't pickle
    purpose: str
    reason: str
    labels: tuple[str, ...]
    ranges: list[tuple[str, Bounds]]  # of which table
    rate: float | None


def spread(move: Move, workers: int, told: str) -> None:
    """Seal what differs, by ``workers`` processes; KeyUnavailable when one of them fails."""
    vault, access = move.vault, move.access
    if vault.settings.provider == "memory:":
        raise ConfigurationError(
            "a vault whose key is in this process's memory has no other workers",
            hint="open it from settings: Vault.open(…)",
        )
    ranges = [
        (table.fullname, each)
        for _, table, _ in move.parts
        for each in _ranges(move, table, workers)
    ]
    context = get_context("spawn")
    done = context.SimpleQueue()
    modules = tuple({each.__module__ for each in vault.known_models()})
    told_of = (field.name for field in fields(Principal) if field.name != "claims")
    actor = {name: getattr(access.principal, name) for name in told_of}
    processes = [
        context.Process(
            target=_work,
            daemon=True,
            args=(
                _Task(
                    type(vault), vault.settings, move.engine.url, modules, actor, access.purpose,
                    access.reason, tuple(field.label for field in move.fields),
                    ranges[number::workers],
                    move.rate / workers if move.rate else None,
                ),
                done,
            ),
        )
        for number in range(workers)
    ]  # fmt: skip
    for process in processes:
        process.start()
    waiting = workers
    while waiting:
        while done.empty():
            if not any(process.is_alive() for process in processes) and done.empty():
                break
            processes[0].join(0.05)
        if done.empty():
            break
        rows = done.get()
        waiting -= rows is None
        move.tell(told, rows or 0)
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise KeyUnavailable(
            "a worker ended before its part was done",
            hint="its own error is above; run the command again, it goes on where it stopped",
        )


def _ranges(move: Move, table: Any, workers: int) -> list[Bounds]:
    """The table in ranges of its primary key's first column, which has to be a whole number."""
    target, (key, *_) = bare(table), list(table.primary_key)
    column = target.c[key.name]
    with move.engine.connect() as connection:
        low, high = connection.execute(sa.select(sa.func.min(column), sa.func.max(column))).one()
    if low is None:
        return []
    if not isinstance(low, int):
        raise ConfigurationError(
            f"the primary key of {table.name} is no whole number, so its rows can't be shared out",
            hint="leave --workers away",
        )
    step = max(1, (high - low) // (_RANGES * workers))
    cuts = [*range(low + step, high, step)]
    return list(zip([None, *cuts], [*cuts, None], strict=True))


def _work(task: _Task, done: Any) -> None:
    """One worker, in a process of its own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    engine = sa.create_engine(task.url, hide_parameters=True)
    providers = open_providers(task.settings, secret("VAULTLAYER_PASSPHRASE"))
    with task.vault(task.settings, providers) as vault:
        vault.models = tuple(
            each
            for name in task.models
            for each in vars(import_module(name)).values()
            if isinstance(each, type)
        )
        vault.attach(engine)
        principal = Principal(**task.actor)
        with vault.access(principal, purpose=task.purpose, reason=task.reason):
            move = Move(
                vault, task.labels, "backfill", rate=task.rate, progress=lambda _, n: done.put(n)
            )
            for name, bounds in task.ranges:
                parts = [part for part in move.parts if part[1].fullname == name]
                move.compare(Filling, "sealing", write=True, parts=parts, bounds=bounds)
    done.put(None)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        with suppress(OSError):
            parent.join()
        os._exit(1)
