"""vaultlayer audit prove | fsck | export | prune | accept-loss | adopt | recover.

Each: exit code, JSON, --dry-run that changes nothing, 80 columns without colour.
"""

from __future__ import annotations

import json
import shutil
import time
from hashlib import sha256

import pytest

from vaultlayer import AuditUnavailable, Vault
from vaultlayer.audit.event import canonical
from vaultlayer.audit.journal import Journal
from vaultlayer.audit.log import Log
from vaultlayer.audit.merkle import leaf_hash
from vaultlayer.audit.registry import registry_path
from vaultlayer.audit.tiles import Tree
from vaultlayer.audit.verify import verify
from vaultlayer.cli import audit_upkeep

CONTEXT = {"actor": {"sub": "sam", "roles": {"support"}}, "purpose": "customer_service"}


@pytest.fixture
def audit(vaultlayer, shop, tmp_path):
    """Run ``vaultlayer audit ARGUMENTS``: exit code, text, and what it says as JSON.

    With --dry-run before, where the command knows it: that must leave every file as it was.
    """

    def run(*arguments, dry=False):
        if dry:
            before = files(tmp_path)
            told = vaultlayer("audit", *arguments, "--dry-run")
            fits(told.stdout)
            assert json.loads(vaultlayer("audit", *arguments, "--dry-run", "--json").stdout)
            assert files(tmp_path) == before
        return vaultlayer("audit", *arguments)

    return run


def files(folder):
    paths = [*(folder / "audit").rglob("*"), folder / "app.db"]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def fits(text):
    assert text
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def shards(tmp_path):
    """Those that tell of an access, the oldest first."""
    found = sorted((tmp_path / "audit" / "log").glob("*.jsonl"))
    return [path for path in found if b'"event":"read"' in path.read_bytes()]


def test_a_record_is_proved_and_the_proof_checked_elsewhere(audit, tmp_path):
    """inclusion -> check with the pinned key: 0; another record: 1; no such record: 2."""
    shard, *_ = shards(tmp_path)
    lines = shard.read_bytes().splitlines()
    proof = audit("prove", "inclusion", shard.stem, 2)
    assert proof.returncode == 0
    assert proof.stdout.startswith("c2sp.org/tlog-proof@v1\nindex 2\n")
    told = json.loads(audit("prove", "inclusion", shard.stem, 2, "--json").stdout)
    assert told == {"shard": shard.stem, "record": 2, "proof": proof.stdout}
    (tmp_path / "proof").write_text(proof.stdout)
    (tmp_path / "record").write_bytes(lines[2] + b"\n")
    (tmp_path / "key").write_text(audit("key").stdout)
    check = "prove", "check", tmp_path / "record", tmp_path / "proof", "--key", tmp_path / "key"
    checked = audit(*check)
    assert checked.returncode == 0
    assert f"one of the first {len(lines)}" in checked.stdout
    assert json.loads(audit(*check, "--json").stdout)["size"] == len(lines)
    (tmp_path / "record").write_bytes(lines[1])
    assert (audit(*check).returncode, audit(*check).stdout) == (
        1, "Not proved: the proof is of another record.\n",
    )  # fmt: skip
    assert json.loads(audit(*check, "--json").stdout)["ok"] is False
    assert audit("prove", "inclusion", shard.stem, 99).returncode == 2
    (tmp_path / "record").unlink()
    assert audit(*check).returncode == 2


def test_the_log_is_proved_to_have_only_grown(audit, tmp_path):
    """Two sizes, two roots, hashes; the registry too; a size it never had: 2."""
    shard, *_ = shards(tmp_path)
    size = len(shard.read_bytes().splitlines())
    told = audit("prove", "consistency", shard.stem, 2)
    assert told.returncode == 0
    fits("\n".join(told.stdout.splitlines()[1:]))  # its origin is one word
    proof = json.loads(audit("prove", "consistency", shard.stem, 2, "--json").stdout)
    assert (proof["old"], proof["size"]) == (2, size)
    assert proof["proof"]
    assert told.stdout.splitlines()[1:] == [
        f"2 {proof['old_root']}", f"{size} {proof['root']}", *proof["proof"],
    ]  # fmt: skip
    assert audit("prove", "consistency", "registry", 1).returncode == 0
    assert audit("prove", "consistency", shard.stem, size + 1).returncode == 2


def test_fsck_finds_and_repairs(audit, tmp_path):
    """0 when all is well or repaired, 1 when it isn't."""
    whole = audit("fsck")
    assert (whole.returncode, whole.stdout) == (0, "All files are as they should be.\n")
    shard, *_ = shards(tmp_path)
    tile = max((tmp_path / "audit" / "tree" / shard.stem / "tile" / "0").rglob("?"))
    tile.write_bytes(bytes(tile.stat().st_size))
    told = audit("fsck")
    assert told.returncode == 1
    fits(told.stdout)
    (problem,) = json.loads(audit("fsck", "--json").stdout)["problems"]
    assert (problem["path"], problem["repaired"]) == (
        str(tile.relative_to(tmp_path / "audit")),
        False,
    )
    assert audit("fsck", "--repair", "--dry-run").returncode == 1
    assert audit("fsck", "--repair").returncode == 0
    assert audit("fsck").returncode == 0


def test_export_writes_a_log_to_be_served(audit, tmp_path):
    """Entries counted; a folder that is there already: 2; a shard that isn't: 3."""
    shard, *_ = shards(tmp_path)
    size = len(shard.read_bytes().splitlines())
    told = audit("export", shard.stem, "--out", "out", dry=True)
    assert (told.returncode, f"Wrote {size} entries" in told.stdout) == (0, True)
    assert (tmp_path / "out" / "tile" / "entries" / "000.p" / str(size)).is_file()
    assert audit("export", shard.stem, "--out", "out").returncode == 2
    told = json.loads(audit("export", "registry", "--out", tmp_path / "list", "--json").stdout)
    assert told["entries"] > 1
    assert audit("export", "none", "--out", tmp_path / "none").returncode == 3


def test_prune_removes_old_records_and_the_log_stays_whole(audit, tmp_path, monkeypatch):
    """Nothing that is young; afterwards verify counts what was pruned, and finds nothing."""
    assert audit("prune", "--keep-days", 1).stdout == "No shard is that old.\n"
    assert audit("prune", "--keep-days", 0).returncode == 2
    later = time.time() + 10 * audit_upkeep.DAY
    with monkeypatch.context() as patch:
        patch.setattr(audit_upkeep.time, "time", lambda: later)
        told = audit("prune", "--keep-days", 1, dry=True)
    assert (told.returncode, "Removed; the hashes are kept" in told.stdout) == (0, True)
    fits(told.stdout)
    assert shards(tmp_path) == []
    verified = json.loads(audit("verify", "--json").stdout)
    assert verified["ok"]
    assert verified["pruned"] > 5
    assert audit("fsck").returncode == 0


def test_a_loss_is_accepted_for_ever(audit, tmp_path):
    """The vault refuses to open until it is, and verify says so afterwards."""
    assert audit("accept-loss", "--reason", "none").stdout.startswith("Nothing is lost")
    shutil.rmtree(tmp_path / "audit")
    (tmp_path / "audit").mkdir()
    with pytest.raises(AuditUnavailable, match="not the one"):
        Vault.open()
    told = audit("accept-loss", "--reason", "the disk died", dry=True)
    assert (told.returncode, "Recorded in the registry" in told.stdout) == (0, True)
    Vault.open().close()
    verified = json.loads(audit("verify", "--json").stdout)
    assert (verified["ok"], verified["lost"]) == (True, 1)


def test_a_shard_of_ones_own_is_adopted(audit, tmp_path):
    """verify finds it until then; one that the registry has, or nobody: 2."""
    log = Log(tmp_path / "elsewhere")
    log.write("key", what="kek")
    path = log.path
    log.close()
    shutil.copy(path, tmp_path / "audit" / "log")
    told = audit("verify")
    assert (told.returncode, path.stem[:16] in told.stdout) == (1, True)
    fits(told.stdout)
    told = audit("adopt", path.stem, "--reason", "written before the move", dry=True)
    assert (told.returncode, told.stdout) == (0, "Recorded in the registry.\n")
    assert audit("adopt", path.stem, "--reason", "again").returncode == 2
    Vault.open().close()  # signs it
    assert json.loads(audit("verify", "--json").stdout)["ok"]


@pytest.mark.parametrize("torn", [b"", b'{"event":"read","journal":{"first":0}'])
def test_recover_says_first_what_it_will_do(audit, vaultlayer, tmp_path, torn):
    """--dry-run: the same shard, notes and torn bytes, and not a byte changed."""
    assert "Nothing to recover" in audit("recover", dry=True).stdout
    log = Log(tmp_path / "audit")
    journal = Journal(tmp_path / "audit", log=log)
    access = journal.open_access(CONTEXT)
    for fields in (("email",), ("name",)):
        prefix = journal.spec(access, "customer", fields, "read", "allow")
        journal.append_many(prefix, [bytes([n]) * 16 for n in range(3)])
    log.write("key", what="kek")
    journal.release()
    path = log.path
    log.release()
    path.write_bytes(path.read_bytes() + torn)
    foreseen = json.loads(vaultlayer("audit", "recover", "--dry-run", "--json").stdout)
    assert foreseen["dry_run"]
    (one,) = foreseen["recovered"]
    assert one == {"shard": path.stem, "notes": 6, "torn": len(torn)}
    told = audit("recover", dry=True)
    assert (told.returncode, path.stem[:16] in told.stdout) == (0, True)
    fits(told.stdout)
    assert json.loads(audit("recover", "--json").stdout) == {"dry_run": False, "recovered": []}


def test_the_vault_itself_checks_signatures_and_heads(shop, tmp_path):
    """A shard and the registry rewritten under a vault that is open: each chain alone is whole."""
    with Vault.open() as vault:
        (first, *_) = sorted((tmp_path / "audit" / "log").glob("*.jsonl"))
        assert (vault.audit.verify().findings, vault.audit.verify().records) == ([], 8)
        forged = rechained(first.read_bytes().replace(b'"mona"', b'"lisa"').splitlines())
        first.write_bytes(b"".join(line + b"\n" for line in forged))
        tree = Tree()
        tree.extend(map(leaf_hash, forged))
        registry = registry_path(tmp_path / "audit")
        lines = registry.read_bytes().splitlines()
        told = rechained(lines, {"event": "sealed", "root": tree.root().hex()})
        registry.write_bytes(b"".join(line + b"\n" for line in told))
        assert verify(tmp_path / "audit").findings == []
        found = {one.shard: one.what for one in vault.audit.verify().findings}
        assert found.keys() == {first.stem, "registry"}
        assert all("was signed" in what for what in found.values())
        registry.write_bytes(b"".join(line + b"\n" for line in lines))


def rechained(lines, sealed=None):
    """The lines with new hashes, what is said of the sealed shard changed on the way."""
    done, prev = [], "0" * 64
    for line in lines:
        record = {**json.loads(line), "prev": prev}
        if sealed and record["event"] == sealed["event"]:
            record |= sealed
        done.append(canonical(record))
        prev = sha256(done[-1]).hexdigest()
    return done
