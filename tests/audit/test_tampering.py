"""Every attack on a signed log is found, and an untouched log raises no alarm.

Every day on 3,000 records; the soak form runs this file on 100,000.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from copy import copy
from hashlib import sha256

import pytest

from vaultlayer.audit.event import canonical
from vaultlayer.audit.fsck import fsck
from vaultlayer.audit.heads import Conflict
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.note import Checkpoint
from vaultlayer.audit.prove import check_proof, prove_consistency, prove_inclusion
from vaultlayer.audit.registry import Signing, registry_path
from vaultlayer.audit.tiles import Tree
from vaultlayer.audit.upkeep import accept_loss, export, losses, prunable, prune
from vaultlayer.audit.verify import verify
from vaultlayer.errors import AuditUnavailable, ConfigurationError

RECORDS = int(os.environ.get("VAULTLAYER_TAMPER_RECORDS", "3000"))
MIDDLE = RECORDS // 2
BITS = range(8) if "VAULTLAYER_TAMPER_RECORDS" in os.environ else ()  # none: one of some bytes


@pytest.fixture(scope="module")
def whole():
    """A closed, signed log, once the first test has made it: a large shard and a small one."""
    return []


@pytest.fixture
def big(whole, tmp_path, tmp_path_factory, new_signed):
    """A copy of it to be tampered with."""
    if not whole:
        trail = new_signed(tmp_path_factory.mktemp("whole"))
        for start in range(0, RECORDS - 2, 20_000):
            end = min(start + 20_000, RECORDS - 2)
            trail.log.write_all({"event": "read", "n": n} for n in range(start, end))
        trail.close()
        trail.open()
        trail.log.write("read", n=1)
        trail.close()
        whole.append(trail)
    trail = copy(whole[0])
    trail.directory = tmp_path / "audit"
    shutil.copytree(whole[0].directory, trail.directory)
    return trail


def check(trail, **only):
    return trail.verify(stored=False, **only).findings


def edit(path, change):
    lines = path.read_bytes().split(b"\n")[:-1]
    path.write_bytes(b"".join(line + b"\n" for line in change(lines)))


def rechained(lines, first):
    """The lines from ``first`` on with new numbers and hashes: what a careful forger does."""
    done = lines[:first]
    for line in lines[first:]:
        prev = sha256(done[-1]).hexdigest() if done else "0" * 64
        done.append(canonical({**json.loads(line), "seq": len(done), "prev": prev}))
    return done


def test_no_false_alarm(big):
    """Untouched, with keys, with heads, and by files."""
    report = big.verify(stored=False)
    assert (report.records, report.findings, report.unsigned) == (RECORDS + 3, [], 0)
    assert fsck(big.directory) == []


@pytest.mark.parametrize("at", [0, MIDDLE, RECORDS - 1])
@pytest.mark.parametrize("forger", ["careless", "careful"])
@pytest.mark.parametrize("attack", ["edit", "insert", "delete", "swap", "double"])
def test_any_change_inside_is_found(big, attack, at, forger):
    """Even when every hash after it is computed anew."""

    def change(lines):
        line, near = lines[at], at - 1 if at else 1
        if attack == "edit":
            lines[at] = line.replace(b'"ts":"20', b'"ts":"19')
        elif attack == "insert":
            lines.insert(at, line.replace(b'"v":1', b'"x":1'))
        elif attack == "delete":
            del lines[at]
        elif attack == "swap":
            lines[at], lines[near] = lines[near], line
        else:
            lines.insert(at, line)
        return rechained(lines, min(at, near)) if forger == "careful" else lines

    edit(big.shards()[0], change)
    assert check(big)


@pytest.mark.parametrize("kept", [0, 1, 256, RECORDS * 2 // 3, RECORDS - 1])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_cut_end_is_found_even_when_the_log_goes_on(big, kept, resumed):
    """Truncate, and truncate then resume (CVE-2023-31438)."""

    def change(lines):
        if not resumed:
            return lines[:kept]
        return rechained([*lines[:kept], *lines[:1], *lines[kept + 2 :]], kept)

    edit(big.shards()[0], change)
    assert check(big)


@pytest.mark.parametrize("number", range(24))
def test_a_flipped_bit_anywhere_is_found(big, number):
    """In the lines, the registry, a checkpoint: at random places."""
    places = random.Random(number)
    path = places.choice([
        big.shards()[0], registry_path(big.directory), big.directory / "registry/checkpoint",
        big.directory / "tree" / big.shards()[0].stem / "checkpoint",
    ])  # fmt: skip
    data = bytearray(path.read_bytes())
    at = places.randrange(len(data))
    data[at] ^= 1 << places.randrange(8)
    path.write_bytes(data)
    assert check(big), (path, at)


def test_every_byte_of_a_small_log_counts(new_signed):
    """A bit of each 17th byte (soak: all of all), in every file that is signed or signs."""
    trail = new_signed()
    for number in range(3):
        trail.log.write("read", n=number)
    trail.close()
    (shard,) = trail.shards()
    for path in (
        shard, registry_path(trail.directory), trail.directory / "registry/checkpoint",
        trail.directory / "tree" / shard.stem / "checkpoint",
    ):  # fmt: skip
        whole = path.read_bytes()
        for at in range(0, len(whole), 1 if BITS else 17):
            for bit in BITS or [at % 8]:
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
                assert check(trail), (path.name, at, bit)
                fsck(trail.directory)
        path.write_bytes(whole)
    assert check(trail) == []


@pytest.mark.parametrize("what", ["log", "shard", "checkpoint", "registry", "registry_end", "swap"])
def test_a_removed_or_exchanged_file_is_found(big, what):
    """A shard, its checkpoint, the list of shards, its end."""
    first, second = big.shards()
    trees = big.directory / "tree"
    if what == "log":
        shutil.rmtree(big.directory / "log")
        (big.directory / "log").mkdir()
    elif what == "shard":
        second.unlink()
        shutil.rmtree(trees / second.stem)
    elif what == "checkpoint":
        (trees / second.stem / "checkpoint").unlink()
    elif what == "registry":
        shutil.rmtree(big.directory / "registry")
    elif what == "registry_end":
        edit(registry_path(big.directory), lambda lines: lines[:-1])
    else:
        shutil.copy(second, first)
    assert check(big)


def test_a_key_nobody_pinned_signs_nothing(big, new_signed, tmp_path_factory):
    """Somebody else's signature over a forged head is no signature."""
    other = new_signed(tmp_path_factory.mktemp("other"))
    signer = other.heads.signer(other.provider)
    path = big.directory / "registry/checkpoint"
    origin = path.read_text().split("\n")[0]
    path.write_text(signer.sign(Checkpoint(origin, 1, bytes(32)).text))
    assert "known key" in check(big)[0].what


def test_everything_rewritten_with_the_stolen_key_differs_from_the_stored_head(big):
    """Key and files are not enough: the head elsewhere still tells."""
    edit(registry_path(big.directory), lambda lines: lines[:2])
    lines = registry_path(big.directory).read_bytes().split(b"\n")[:-1]
    tree = Tree()
    tree.extend(map(leaf_hash, lines))
    path = big.directory / "registry/checkpoint"
    origin = path.read_text().split("\n")[0]
    signer = big.heads.signer(big.provider)
    path.write_text(signer.sign(Checkpoint(origin, tree.size, tree.root()).text))
    stored = big.heads.at("", origin)
    assert "cut off" in verify(big.directory, big.heads.keys(), stored).findings[0].what


# --- proofs, fsck, pruning, export ----------------------------------------------------------


def test_proofs_of_inclusion_and_consistency(big):
    """A line and its proof convince who has the public key, and no other line does."""
    shard, keys = big.shards()[0], big.heads.keys()
    lines = shard.read_bytes().split(b"\n")[:-1]
    for seq in (0, MIDDLE, RECORDS - 1):
        proof = prove_inclusion(big.directory, shard.stem, seq)
        assert check_proof(lines[seq], proof, keys).size == RECORDS
        with pytest.raises(ValueError, match="another record"):
            check_proof(lines[seq - 1], proof, keys)
    told = prove_consistency(big.directory, shard.stem, MIDDLE + 1)
    assert (told.old, told.size) == (MIDDLE + 1, RECORDS)
    with pytest.raises(ConfigurationError):
        prove_inclusion(big.directory, shard.stem, RECORDS)
    with pytest.raises(ConfigurationError):
        prove_consistency(big.directory, shard.stem, RECORDS + 1)


def test_fsck_finds_and_rebuilds_tiles(big):
    """A missing tile, a damaged one, a leftover; afterwards all is well and proofs work."""
    tree = big.directory / "tree" / big.shards()[0].stem
    (tree / "tile/0/007").unlink()
    level_1 = next(path for path in (tree / "tile/1").rglob("*") if path.is_file())
    level_1.write_bytes(bytes(level_1.stat().st_size))
    (tree / "tile/0/.008.new").write_bytes(b"half")
    with pytest.raises(AuditUnavailable, match="damaged"):
        prove_inclusion(big.directory, tree.name, 7 * 256)
    assert len(fsck(big.directory)) == 3
    assert all(problem.repaired for problem in fsck(big.directory, repair=True))
    assert fsck(big.directory) == []
    assert prove_inclusion(big.directory, tree.name, 7 * 256)


def test_pruned_records_go_and_their_proofs_stay(big, tmp_path):
    """The hashes are kept, the registry says so, and a removal it doesn't list is a finding."""
    shutil.copy(big.heads._url.database, tmp_path / "own.db")
    big.heads = type(big.heads)(big.heads._url.set(database=str(tmp_path / "own.db")))
    first = big.shards()[0]
    line = first.read_bytes().split(b"\n")[5]
    proof = prove_inclusion(big.directory, first.stem, 5)
    assert prunable(big.directory, 0) == []
    signing = Signing(big.heads.signer(big.provider), big.heads)
    gone = prune(big.directory, 1e11, signing)
    assert [one.records for one in gone] == [RECORDS, 3]
    assert big.shards() == []
    report = big.verify(stored=False)
    assert (report.findings, report.pruned) == ([], RECORDS + 3)
    assert fsck(big.directory) == []
    assert check_proof(line, proof, big.heads.keys())
    assert prove_inclusion(big.directory, first.stem, 5) == proof
    tree = big.directory / "tree" / first.stem
    level_1 = next(path for path in (tree / "tile/1").rglob("*") if path.is_file())
    level_1.write_bytes(bytes(level_1.stat().st_size))
    assert [one.path.split("/")[3] for one in fsck(big.directory, repair=True)] == ["1"]
    assert prove_inclusion(big.directory, first.stem, 5) == proof
    (tree / "tile/0/007").unlink()
    assert ["records are gone" in one.what for one in fsck(big.directory)] == [True]


def test_a_pruning_that_was_killed_is_ended(big, tmp_path):
    """The registry says that the records went, and they are there still: fsck removes them."""
    shutil.copy(big.heads._url.database, tmp_path / "own.db")
    big.heads = type(big.heads)(big.heads._url.set(database=str(tmp_path / "own.db")))
    first = big.shards()[0]
    kept = first.read_bytes()
    prune(big.directory, 1e11, Signing(big.heads.signer(big.provider), big.heads))
    first.write_bytes(kept)
    (found,) = fsck(big.directory, repair=True)
    assert (found.what, found.repaired) == ("was pruned, and is still there", True)
    assert fsck(big.directory) == []
    assert not first.exists()


def test_an_exported_shard_is_a_tlog_tiles_log(big, tmp_path):
    """An independent reader finds every entry under the checkpoint's root."""
    second = big.shards()[1]
    out = tmp_path / "out"
    assert export(big.directory, second.stem, out) == 3
    data, entries = (out / "tile/entries/000.p/3").read_bytes(), []
    while data:
        size = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + size])
        data = data[2 + size :]
    assert entries == second.read_bytes().split(b"\n")[:-1]
    leaves = [sha256(b"\0" + entry).digest() for entry in entries]
    assert (out / "tile/0/000.p/3").read_bytes() == b"".join(leaves)
    root = sha256(b"\1" + sha256(b"\1" + leaves[0] + leaves[1]).digest() + leaves[2]).digest()
    assert Checkpoint.parse((out / "checkpoint").read_text()).root == root
    with pytest.raises(ConfigurationError):
        export(big.directory, second.stem, out)


def test_a_loss_can_be_owned_up_to(signed, refs, tmp_path):
    """Then the vault goes on, and the registry says for ever what there had been."""
    signed.read(refs(3))
    signed.close()
    shutil.rmtree(signed.directory)
    with pytest.raises(Conflict):
        signed.open()
    signing = Signing(signed.heads.signer(signed.provider), signed.heads)
    signed.directory.mkdir()
    (lost,) = losses(signed.directory, signed.heads)
    assert accept_loss(signed.directory, "disk died", signing) == [lost]
    signed.open()
    signed.read(refs(1))
    signed.close()
    report = signed.verify()
    assert (report.findings, report.lost) == ([], 1)
    assert losses(signed.directory, signed.heads) == []


@pytest.mark.soak
def test_the_same_on_100_000_records():
    """This file, on a log of the size the promise names."""
    tests = [sys.executable, "-m", "pytest", "-q", "-x", __file__]
    many = {**os.environ, "VAULTLAYER_TAMPER_RECORDS": "100000"}
    subprocess.run(tests, env=many, check=True)
