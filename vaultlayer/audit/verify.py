"""Read a directory's log and say what was done to it. Needs public keys only."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.check import ChainCheck, Finding, RegistryCheck, seconds_of
from vaultlayer.audit.files import unavailable
from vaultlayer.audit.follow import shard_path, tells_something, tree_folder
from vaultlayer.audit.heads import MemoryHeads, place_of
from vaultlayer.audit.note import COSIGNATURE, Checkpoint, open_checkpoint, signers
from vaultlayer.audit.registry import origin_of, read_registry, registry_path, state_of
from vaultlayer.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vaultlayer.audit.heads import Head, Heads
    from vaultlayer.audit.note import VerifierKey

REGISTRY = "registry"
PLANTED = (
    "isn't in the registry: no process of this log began it. Move it out of log/ and ask who put "
    "it there; if it is yours, `vaultlayer audit adopt` takes it in"
)
LIMITS = (
    "Not found without signed checkpoints: a shard removed whole, "
    "or rewritten up to its end with new hashes."
)


@dataclass(frozen=True, slots=True)
class Report:
    """How many shards and records were read, and all that is wrong with them.

    ``unsigned`` counts the records no checked signature covers yet: all of them when no key
    was given, else those of the last second, or of a process nobody has signed for so far.
    ``pruned`` counts records that were removed as the registry says; ``lost`` the heads that
    were given up with ``vaultlayer audit accept-loss``.
    """

    shards: int
    records: int
    findings: list[Finding]
    unsigned: int = 0
    pruned: int = 0
    lost: int = 0

    @property
    def limits(self) -> str:
        """What could not be found, in words."""
        return LIMITS if self.unsigned == self.records else ""


def verify(
    directory: Path,
    keys: Sequence[VerifierKey] = (),
    stored: Iterable[Head] | None = None,
    track: Callable[[list[str]], Iterable[str]] = iter,
) -> Report:
    """Check the log under ``directory``; needs no more than read access.

    Within a shard any edit, insertion, deletion, repetition and change of order is found by the
    chain alone. With the log's public ``keys``: a shard removed or rewritten, an end cut off, a
    head that isn't signed. With the heads that are ``stored`` elsewhere: a log taken back as a
    whole. Raises ``AuditUnavailable`` when there is nothing to read.
    """
    return _Verification(Path(directory), keys, stored).run(track)


def keys_and_heads(heads: Heads, directory: Path) -> tuple[list[VerifierKey], list[Head]]:
    """What a store of heads knows of this directory's log; nothing where it can't be reached,

    or where it is one process's memory: that knows no key or head of the others'.
    """
    if isinstance(heads, MemoryHeads):
        return [], []
    try:
        return heads.keys(), heads.at(place_of(directory), origin_of(directory))
    except AuditUnavailable:
        return [], []


class _Verification:
    def __init__(
        self, directory: Path, keys: Sequence[VerifierKey], stored: Iterable[Head] | None
    ) -> None:
        self.directory, self.keys = directory, keys
        self.origin = origin_of(directory)
        self.records = read_registry(directory)
        self.state = state_of(self.records)
        self.told: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for record in self.records:
            self.told[str(record.get("shard"))].append(record)
        self.stored = {head.origin: head for head in stored or ()}
        self.findings: list[Finding] = []
        self.total = self.unsigned = self.pruned = 0

    def run(self, track: Callable[[list[str]], Iterable[str]]) -> Report:
        names = {path.stem for path in (self.directory / "log").glob("*.jsonl")}
        if not (names or self.state or self.stored):
            raise unavailable("there is no audit log to verify")
        if self.keys or self.records or self.stored:
            self._check_registry()
        for name in track(sorted(names | self.state.keys())):
            try:
                self._check_shard(name)
            except OSError as error:
                raise unavailable(f"the audit log {name} can't be read", error) from error
        lost = sum(record.get("event") == "loss" for record in self.records)
        return Report(len(names), self.total, self.findings, self.unsigned, self.pruned, lost)

    def _check_registry(self) -> None:
        for head in self.stored.values():
            if head.log != self.origin:
                self._find(REGISTRY, f"another log was here, {head.log}: it was removed")
        if not self.records:
            self._find(REGISTRY, "is missing: nothing says which shards there were")
            return
        heads = self._heads("", self.directory / "registry", [])
        check = RegistryCheck(registry_path(self.directory), {head.size for head in heads})
        check.run()
        self._compare(check, heads)
        self.findings += check.findings

    def _check_shard(self, name: str) -> None:
        told = _since_loss(self.told[name])
        ends = [head for head in map(_head, told) if head]
        folder, path = tree_folder(self.directory, name), shard_path(self.directory, name)
        heads = self._heads(name, folder, ends)
        if not path.exists():
            self._check_missing(name, ends, heads)
            return
        began = [record for record in told if record.get("event") == "shard"]
        promised = _seconds(began[0]) if began else None
        check = ChainCheck(path, {head.size for head in heads}, promised)
        check.run()
        signed = self._compare(check, heads)
        if self.records and name not in self.state and self._is_planted(path):
            check.find(PLANTED, 0)
        self.total += check.tree.size
        self.unsigned += check.tree.size - signed
        if self.state.get(name, {}).get("event") == "sealed":
            if not ends:
                check.find("ended, and where can't be read in the registry", 0)
            elif check.tree.size > ends[-1].size:
                check.find("goes on after its end", ends[-1].size + 1)
        if self.keys and told and not check.alive and not (folder / "checkpoint").exists():
            check.find("has no checkpoint", 0)
        self.findings += check.findings

    def _is_planted(self, path: Path) -> bool:
        """Whether it tells something, and nobody registered it meanwhile either."""
        is_telling = tells_something(path)
        return is_telling and path.stem not in state_of(read_registry(self.directory))

    def _check_missing(self, name: str, ends: list[Checkpoint], heads: list[Checkpoint]) -> None:
        if self.state[name]["event"] == "loss":
            return
        if self.state[name]["event"] != "pruned" or not ends:
            self._find(name, "was removed: the registry lists it")
        elif any((head.size, head.root) != (ends[-1].size, ends[-1].root) for head in heads[1:]):
            self._find(name, "was pruned, and its checkpoint isn't of its end")
        else:
            self.pruned += ends[-1].size

    def _heads(self, name: str, folder: Path, heads: list[Checkpoint]) -> list[Checkpoint]:
        """All that is known of a tree: what the registry and the store say, what is signed."""
        origin = f"{self.origin}/{name}" if name else self.origin
        known = list(heads)
        if origin in self.stored:
            stored = self.stored[origin]
            known.append(Checkpoint(origin, stored.size, stored.root))
        if not self.keys:
            return known
        label = name or REGISTRY
        try:
            note = (folder / "checkpoint").read_text("utf-8")
        except UnicodeDecodeError:
            self._find(label, "its checkpoint isn't signed by a known key")
            return known
        except FileNotFoundError:
            if not name:
                self._find(label, "has no checkpoint")
            return known
        try:
            checkpoint = open_checkpoint(note, self.keys)
        except ValueError:
            self._find(label, "its checkpoint isn't signed by a known key")
            return known
        if not name:
            self._check_witnesses(note)
        if checkpoint.origin != origin:
            self._find(label, f"its checkpoint is of another log, {checkpoint.origin}")
            return known
        return [*known, checkpoint]

    def _check_witnesses(self, note: str) -> None:
        cosigners = {key.name for key in signers(note, self.keys) if key.kind == COSIGNATURE}
        for key in self.keys:
            if key.kind == COSIGNATURE and key.name not in cosigners:
                self._find(REGISTRY, f"the witness {key.name} didn't sign its head")

    def _compare(self, check: ChainCheck, heads: list[Checkpoint]) -> int:
        """The size up to which the tree is what a checked head says."""
        signed = 0
        for head in heads:
            root = check.roots.get(head.size)
            if root is None:
                missing = head.size - check.tree.size
                check.find(f"its end was cut off: {missing} signed record(s) are missing", 0)
            elif root != head.root:
                check.find(f"isn't what was signed of its first {head.size} records", 0)
            elif self.keys or self.stored:
                signed = max(signed, head.size)
        return signed

    def _find(self, shard: str, what: str) -> None:
        self.findings.append(Finding(shard, 0, what))


def _since_loss(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was said of a shard after its former state was given up."""
    lost = [place for place, record in enumerate(records) if record.get("event") == "loss"]
    return records[lost[-1] + 1 :] if lost else records


def _head(record: dict[str, Any]) -> Checkpoint | None:
    """How the registry says that a shard ended, or stood."""
    try:
        if record["event"] not in ("sealed", "head"):
            return None
        size, root = record["size"], bytes.fromhex(record["root"])
    except (KeyError, ValueError, TypeError):
        return None
    return Checkpoint(str(record.get("shard")), size, root) if type(size) is int else None


def _seconds(record: dict[str, Any]) -> float | None:
    return seconds_of(f'"ts":"{record.get("ts")}"'.encode())
