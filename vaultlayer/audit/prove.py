"""Proofs from the stored tiles: that a record is in the log, and that a log only grew.

An inclusion proof is written as c2sp.org/tlog-proof: with the record's line and the log's public
key, anybody's RFC 6962 tool can check it, offline.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.audit.files import unavailable
from vaultlayer.audit.follow import tree_folder
from vaultlayer.audit.merkle import (
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from vaultlayer.audit.note import Checkpoint, open_checkpoint, split
from vaultlayer.audit.tiles import Tiles
from vaultlayer.errors import AuditUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaultlayer.audit.note import VerifierKey

REGISTRY = "registry"
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Consistency:
    """That the log of ``size`` records begins with that of ``old``; hashes in base64."""

    origin: str
    old: int
    old_root: str
    size: int
    root: str
    proof: list[str]


def log_folder(directory: Path, shard: str) -> Path:
    """Where a shard's tiles are, or the registry's."""
    return directory / REGISTRY if shard == REGISTRY else tree_folder(directory, shard)


def signed_head(folder: Path) -> tuple[str, Checkpoint]:
    """The published note and its checkpoint; nothing of it is verified here."""
    try:
        note = (folder / "checkpoint").read_text("utf-8")
        return note, Checkpoint.parse(split(note)[0])
    except OSError as error:
        raise unavailable("there is no signed checkpoint", error) from error
    except ValueError:
        raise unavailable("the checkpoint is damaged: see `vaultlayer audit fsck`") from None


def prove_inclusion(directory: Path, shard: str, seq: int) -> str:
    """The tlog-proof that record ``seq`` is in the shard, or in the registry."""
    folder = log_folder(directory, shard)
    note, head = signed_head(folder)
    if not 0 <= seq < head.size:
        raise ConfigurationError(
            f"record {seq} is not among the {head.size} signed ones",
            hint="numbers begin with 0; the last records are signed within a second",
        )
    tiles = Tiles(folder, head.size)
    try:
        hashes = inclusion_proof(seq, head.size, tiles.subtree)
        root = check_inclusion(tiles.subtree(0, seq), seq, head.size, hashes)
    except OSError:
        root = None
    if root != head.root:
        raise _damaged()
    lines = [_HEADER, f"index {seq}", *map(_text, hashes)]
    return "\n".join([*lines, "", note])


def prove_consistency(directory: Path, shard: str, old: int) -> Consistency:
    """That the shard, or the registry, has only grown since it had ``old`` records."""
    folder = log_folder(directory, shard)
    _, head = signed_head(folder)
    if not 0 < old <= head.size:
        raise ConfigurationError(
            f"the log never had {old} signed records", hint=f"it has {head.size} now"
        )
    tiles = Tiles(folder, head.size)
    try:
        old_root = tiles.root_at(old)
        proof = consistency_proof(old, head.size, tiles.subtree)
        holds = check_consistency(old, old_root, head.size, head.root, proof)
    except OSError:
        holds = False
    if not holds:
        raise _damaged()
    told = head.origin, old, _text(old_root), head.size, _text(head.root)
    return Consistency(*told, [_text(one) for one in proof])


def check_proof(line: bytes, proof: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint under which the record's line (no newline) is logged.

    :raises ValueError: the proof is not of this line, or nobody known signed its checkpoint.
    """
    text, blank, note = proof.partition("\n\n")
    header, *rest = text.split("\n")
    if rest and rest[0].startswith("extra "):
        del rest[0]
    if header != _HEADER or not blank or not rest or not rest[0].startswith("index "):
        raise ValueError("not a tlog-proof")
    head = open_checkpoint(note, keys)
    hashes = [base64.b64decode(one, validate=True) for one in rest[1:]]
    index = int(rest[0].removeprefix("index "))
    if check_inclusion(leaf_hash(line), index, head.size, hashes) != head.root:
        raise ValueError("the proof is of another record")
    return head


def _damaged() -> AuditUnavailable:
    return AuditUnavailable(
        "the log's tiles are damaged or missing", hint="run `vaultlayer audit fsck --repair`"
    )


def _text(hashed: bytes) -> str:
    return base64.b64encode(hashed).decode()
