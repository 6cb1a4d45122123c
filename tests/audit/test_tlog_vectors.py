"""Golden tiles, checkpoints and proofs, and a reader of them that shares nothing with ours.

The reader is written from C2SP's texts alone (signed-note, tlog-checkpoint, tlog-tiles, tlog-proof,
tlog-cosignature) and RFC 6962, with pycryptodome's Ed25519. tests/vectors/tlog.json is what version
1 of the format is: the reader must take it, refuse its named failures, and today's code must still
write it byte for byte.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from Crypto.Signature import eddsa

from vaultlayer.audit.merkle import consistency_proof, inclusion_proof, leaf_hash
from vaultlayer.audit.note import (
    Checkpoint,
    Signer,
    VerifierKey,
    cosigned,
    signature_line,
    signers,
)
from vaultlayer.audit.prove import prove_consistency, prove_inclusion
from vaultlayer.audit.tiles import Tiles, Tree, publish
from vaultlayer.audit.upkeep import export

VECTORS = Path(__file__).parents[1] / "vectors" / "tlog.json"
GOLDEN = json.loads(VECTORS.read_text("utf-8")) if VECTORS.exists() else {}


# --- the independent reader -----------------------------------------------------------------------


class Refused(Exception):
    """This is no such note, proof or tile."""


def require(holds):
    if not holds:
        raise Refused


def key_of(vkey):
    """(name, id, type, public key) of ``<name>+<hash>+<base64 of type and key>``."""
    name, hashed, text = vkey.split("+", 2)
    data = b64decode(text, validate=True)
    require(sha256(name.encode() + b"\n" + data).hexdigest()[:8] == hashed)
    return name, bytes.fromhex(hashed), data[0], data[1:]


def body_of(note, *vkeys):
    """The text of a note that each of these keys has signed."""
    body, blank, lines = note.rpartition("\n\n")
    require(blank)
    body += "\n"
    signatures = {}
    for line in lines.removesuffix("\n").split("\n"):
        dash, name, text = line.split(" ")
        require(dash == "\u2014")
        data = b64decode(text, validate=True)
        signatures[name, data[:4]] = data[4:]
    for name, hashed, kind, public in map(key_of, vkeys):
        signature, message = signatures.get((name, hashed), b""), body.encode()
        if kind == 4:  # a witness's, over a time too
            seconds = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {seconds}\n".encode() + message
            signature = signature[8:]
        try:
            eddsa.new(eddsa.import_public_key(public), "rfc8032").verify(message, signature)
        except ValueError:
            raise Refused from None
    return body


def head_of(note, *vkeys):
    """(origin, size, root) of a signed checkpoint."""
    origin, size, root, *_ = body_of(note, *vkeys).split("\n")
    require(origin and str(int(size)) == size and len(b64decode(root, validate=True)) == 32)
    return origin, int(size), b64decode(root)


def node(left, right):
    return sha256(b"\1" + left + right).digest()


def mth(hashes):
    """RFC 6962, section 2.1, over leaf hashes."""
    if len(hashes) < 2:
        return hashes[0] if hashes else sha256(b"").digest()
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return node(mth(hashes[:k]), mth(hashes[k:]))


def tile_name(level, place, width):
    digits = f"{place % 1000:03}"
    while place := place // 1000:
        digits = f"x{place % 1000:03}/{digits}"
    return f"tile/{level}/{digits}" + (f".p/{width}" if width < 256 else "")


def entries_of(fetch, size):
    """The entries of a served log of this size, each tile of which fits them."""
    entries, level, hashes = [], 0, []
    for place in range(-(-size // 256)):
        bundle = fetch(tile_name("entries", place, min(256, size - 256 * place)))
        while bundle:
            length = int.from_bytes(bundle[:2], "big")
            require(len(bundle) >= 2 + length)
            entries.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
    hashes = [sha256(b"\0" + entry).digest() for entry in entries]
    require(len(entries) == size)
    while hashes:
        rows = [hashes[at : at + 256] for at in range(0, len(hashes), 256)]
        for place, row in enumerate(rows):
            require(fetch(tile_name(level, place, len(row))) == b"".join(row))
        hashes, level = [mth(row) for row in rows if len(row) == 256], level + 1
    return entries


def included(proof, entry, *vkeys):
    """The origin of the log that, by a tlog-proof, has this entry (RFC 9162, 2.1.3.2)."""
    text, _, note = proof.partition("\n\n")
    header, index, *lines = text.split("\n")
    origin, size, root = head_of(note, *vkeys)
    fn = int(index.removeprefix("index "))
    require(header == "c2sp.org/tlog-proof@v1" and f"index {fn}" == index and fn < size)
    sn, r = size - 1, sha256(b"\0" + entry).digest()
    for p in (b64decode(line, validate=True) for line in lines):
        require(sn)
        if fn & 1 or fn == sn:
            r = node(p, r)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0 and r == root)
    return origin


def consistent(old, old_root, size, root, proof):
    """Whether one tree begins with the other (RFC 9162, 2.1.4.2)."""
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    fn, sn = old - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if not sn:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old_root, root, 0)


# --- what the vectors are made of -----------------------------------------------------------------


def made(folder):
    """Today's code, given the vectors' seeds and entries: what tlog.json should hold."""
    log = Signer("log.example/audit", bytes(range(32)))
    witness = Signer("witness.example/w1", bytes(range(32, 64)))
    witness_key = VerifierKey(witness.public.name, 4, witness.public.public)
    entries = [f'{{"seq":{n}}}'.encode() for n in range(600)]
    leaves, tree = [leaf_hash(entry) for entry in entries], Tree()
    tree.extend(leaves)
    tree.store(folder)
    head = Checkpoint("log.example/audit/1", tree.size, tree.root())
    note, time = log.sign(head.text), 1_700_000_000
    signature = time.to_bytes(8, "big") + witness._key.sign(cosigned(head.text, time))
    tiles = Tiles(folder, tree.size)
    return {
        "entries": '{"seq":N} of N from 0 to 599',
        "log": str(log.public),
        "witness": str(witness_key),
        "checkpoint": note + signature_line(witness_key, signature),
        "tiles": {
            str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
        "inclusion": {
            str(n): [b64(one) for one in inclusion_proof(n, 600, tiles.subtree)]
            for n in (0, 255, 256, 511, 599)
        },
        "consistency": {
            str(n): [b64(one) for one in consistency_proof(n, 600, tiles.subtree)]
            for n in (1, 2, 255, 256, 300, 512, 599)
        },
    }


def b64(data):
    return b64encode(data).decode()


def failures():
    """Name: a checkpoint that must be refused."""
    note = GOLDEN["checkpoint"]
    head, line, cosigned_by = note.partition("\n\n")[0], *note.splitlines()[-2:]
    yield "another size", note.replace("\n600\n", "\n601\n")
    yield "another origin", note.replace("audit/1\n", "audit/2\n")
    yield "another name", note.replace("\u2014 log.example/audit ", "\u2014 log.example/other ")
    yield "no signature of the log", f"{head}\n\n{cosigned_by}\n"
    yield "no signature of the witness", f"{head}\n\n{line}\n"
    yield "another time", note.replace(cosigned_by[-92:-80], "A" * 12)
    yield "one more line", note.replace("\n\n", "\nmore\n\n")


# --- the tests ------------------------------------------------------------------------------------


def test_the_format_is_what_it_was(tmp_path):
    """Byte for byte; VAULTLAYER_WRITE_VECTORS=1 writes them, for a new version of the format."""
    told = made(tmp_path)
    if os.environ.get("VAULTLAYER_WRITE_VECTORS"):
        VECTORS.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert json.loads(VECTORS.read_text("utf-8")) == told


def test_an_independent_reader_reads_the_vectors():
    """Signatures, tiles, proofs."""
    keys = GOLDEN["log"], GOLDEN["witness"]
    origin, size, root = head_of(GOLDEN["checkpoint"], *keys)
    assert (origin, size) == ("log.example/audit/1", 600)
    entries = [f'{{"seq":{n}}}'.encode() for n in range(size)]
    leaves = [sha256(b"\0" + entry).digest() for entry in entries]
    assert mth(leaves) == root
    above = b"".join(mth(leaves[at : at + 256]) for at in (0, 256))
    assert GOLDEN["tiles"] == {
        "tile/0/000": sha256(b"".join(leaves[:256])).hexdigest(),
        "tile/0/001": sha256(b"".join(leaves[256:512])).hexdigest(),
        "tile/0/002.p/88": sha256(b"".join(leaves[512:])).hexdigest(),
        "tile/1/000.p/2": sha256(above).hexdigest(),
    }
    for index, hashes in GOLDEN["inclusion"].items():
        proof = "\n".join(["c2sp.org/tlog-proof@v1", f"index {index}", *hashes, "", ""])
        proof += GOLDEN["checkpoint"]
        assert included(proof, entries[int(index)], *keys) == origin
        with pytest.raises(Refused):
            included(proof, entries[int(index) - 1], *keys)
    for old, hashes in GOLDEN["consistency"].items():
        told = int(old), mth(leaves[: int(old)]), size, root
        assert consistent(*told, [b64decode(one) for one in hashes])
        assert not consistent(*told, [b64decode(one) for one in hashes[:-1]] + [root])


def test_named_failures_are_refused_by_both_readers():
    """What the independent reader refuses, ours does too."""
    keys = GOLDEN["log"], GOLDEN["witness"]
    parsed = [VerifierKey.parse(key) for key in keys]
    assert signers(GOLDEN["checkpoint"], parsed) == parsed
    for name, note in failures():
        assert note != GOLDEN["checkpoint"], name
        with pytest.raises((Refused, ValueError)):
            head_of(note, *keys)
        try:
            taken = signers(note, parsed)
        except ValueError:
            continue
        assert taken != parsed, name


def test_an_independent_reader_reads_an_exported_shard(signed, refs, tmp_path):
    """A log as a vault writes it: every entry under the signed root, and both kinds of proof."""
    for _ in range(3):
        signed.log.write_all({"event": "read", "n": n} for n in range(100))
    signed.read(refs(3))
    signed.close()
    (shard,) = signed.shards()
    out = tmp_path / "out"
    export(signed.directory, shard.stem, out)
    (vkey,) = map(str, signed.heads.keys())
    origin, size, root = head_of((out / "checkpoint").read_text("utf-8"), vkey)
    assert origin.endswith(shard.stem)
    entries = entries_of(lambda name: (out / name).read_bytes(), size)
    assert entries == shard.read_bytes().split(b"\n")[:-1]
    leaves = [sha256(b"\0" + entry).digest() for entry in entries]
    assert mth(leaves) == root
    for seq in (0, 255, 256, size - 1):
        proof = prove_inclusion(signed.directory, shard.stem, seq)
        assert included(proof, entries[seq], vkey) == origin
    told = prove_consistency(signed.directory, shard.stem, 257)
    hashes = [b64decode(one) for one in told.proof]
    assert consistent(257, mth(leaves[:257]), size, root, hashes)
    publish(out / "tile/0/000", bytes(256 * 32))
    with pytest.raises(Refused):
        entries_of(lambda name: (out / name).read_bytes(), size)
