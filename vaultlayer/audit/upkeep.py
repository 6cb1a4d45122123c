"""What is done to a log over the years: old records pruned, copies exported, losses owned up to."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.audit.check import seconds_of
from vaultlayer.audit.event import timestamp
from vaultlayer.audit.files import lines_backwards, unavailable
from vaultlayer.audit.follow import Follower, is_dead, shard_path
from vaultlayer.audit.heads import Head, place_of
from vaultlayer.audit.prove import REGISTRY, log_folder, signed_head
from vaultlayer.audit.registry import opened, origin_of, read_registry, registry_path, state_of
from vaultlayer.audit.tiles import WIDTH, publish, tile_path
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaultlayer.audit.heads import Heads
    from vaultlayer.audit.registry import Signing


@dataclass(frozen=True, slots=True)
class Prunable:
    """A shard that ended so long ago that its records may go: how many, and the last one's time."""

    shard: str
    records: int
    ended: str


def prunable(directory: Path, before: float) -> list[Prunable]:
    """The sealed shards whose last record is older than ``before`` (Unix seconds)."""
    found = []
    for name, record in sorted(state_of(read_registry(directory)).items()):
        path = shard_path(directory, name)
        if record["event"] == "sealed" and path.exists():
            ended = seconds_of(next(lines_backwards(path), b""))
            if ended is not None and ended < before:
                found.append(Prunable(name, int(record["size"]), timestamp(ended)))
    return found


def prune(directory: Path, before: float, signing: Signing) -> list[Prunable]:
    """Remove the records of those shards; their hashes stay, so every proof holds.

    The registry says so first, signed: a removal that it doesn't list is a finding.
    """
    with opened(directory, signing) as registry:
        stored = {head.origin: head for head in signing.heads.at("", registry.origin)}
        gone = prunable(directory, before)
        if gone:
            records = [{"event": "pruned", "shard": one.shard, "size": one.records} for one in gone]
            registry.append(records, stored.get(registry.origin))
        for one in gone:
            shard_path(directory, one.shard).unlink()
    return gone


def export(directory: Path, shard: str, out: Path) -> int:
    """Write a shard, or the registry, as a whole C2SP tlog-tiles log; how many entries it has.

    ``out`` then holds ``checkpoint``, ``tile/<L>/…`` and the entry bundles ``tile/entries/…``.
    """
    folder = log_folder(directory, shard)
    note, head = signed_head(folder)
    lines = registry_path(directory) if shard == REGISTRY else shard_path(directory, shard)
    if not lines.exists():
        raise unavailable(f"the records of {shard} were pruned")
    if out.exists():
        raise ConfigurationError(f"{out} is there already", hint="name a folder that is not")
    shutil.copytree(folder / "tile", out / "tile")
    for place, entries in enumerate(_bundles(lines, head.size)):
        content = b"".join(len(line).to_bytes(2, "big") + line for line in entries)
        publish(tile_path(out, "entries", place, len(entries)), content)
    publish(out / "checkpoint", note.encode())
    return head.size


def losses(directory: Path, heads: Heads) -> list[Head]:
    """The stored heads that no log here leads to: what was taken back, or removed."""
    log, lost = origin_of(directory), []
    for head in heads.at(place_of(directory), log):
        name = head.origin.removeprefix(f"{log}/")
        path = registry_path(directory) if head.origin == log else shard_path(directory, name)
        if head.log != log or not path.exists():
            lost.append(head)
        elif head.origin == log or is_dead(path):
            roots = Follower(path).advance(path.stat().st_size, [head.size])
            if roots.get(head.size) != head.root:
                lost.append(head)
    return lost


def accept_loss(directory: Path, reason: str, signing: Signing) -> list[Head]:
    """Go on with the log as it is, and say in its registry for ever what it had been."""
    lost = losses(directory, signing.heads)
    if not lost:
        return lost
    with opened(directory, signing) as registry:
        records = [
            {
                "event": "loss",
                "shard": head.origin.removeprefix(f"{head.log}/"),
                "log": head.log,
                "size": head.size,
                "root": head.root.hex(),
                "reason": reason[:200],
            }
            for head in lost
        ]
        mine = [head for head in lost if head.origin == registry.origin]
        kept = {head.origin: head for head in signing.heads.at("", registry.origin)}
        old = kept.get(registry.origin)
        drop = [head.origin for head in lost if head not in mine]
        registry.append(records, old, drop, forced=bool(mine))
        for head in lost:
            _set_aside(directory, head)
    return lost


def adopt(directory: Path, shard: str, reason: str, signing: Signing) -> None:
    """Register a shard that nobody registered, with the reason: the next vault signs it.

    :raises ConfigurationError: there is no such shard, or the registry has it already.
    """
    with opened(directory, signing) as registry:
        if shard in registry.state() or not shard_path(directory, shard).exists():
            raise ConfigurationError(
                "there is no such shard that the registry lacks",
                hint="`vaultlayer audit verify` names those that there are",
            )
        kept = {head.origin: head for head in signing.heads.at("", registry.origin)}
        record = {"event": "shard", "shard": shard, "adopted": reason[:200]}
        registry.append([record], kept.get(registry.origin))


def _set_aside(directory: Path, head: Head) -> None:
    """A checkpoint that the log doesn't lead to any more is kept under another name."""
    name = head.origin.removeprefix(f"{head.log}/")
    path = log_folder(directory, name) / "checkpoint"
    if head.origin != head.log and path.exists():
        path.rename(path.with_name("checkpoint.lost"))


def _bundles(path: Path, size: int) -> Iterator[list[bytes]]:
    entries: list[bytes] = []
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if number == size:
                break
            entries.append(line.rstrip(b"\n"))
            if len(entries) == WIDTH:
                yield entries
                entries = []
    if entries:
        yield entries
