"""Do the tests notice? A fixed list of faults in what decides, seals and opens, one at a time.

Each fault is put into a copy of the sources, and the room's tests are run there until one fails.
What changes nothing that can be seen (a faster way to the same answer) is not in the list.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("vaultlayer", "adapters", "policies", "tests", "docs", "pyproject.toml")

pytestmark = pytest.mark.skipif(
    not (ROOT / "vaultlayer" / "read_path.py").is_file(), reason="the sources are not here"
)

# The quickest to notice something come first.
CRYPTO = ("tests/crypto/test_vectors.py", "tests/crypto/test_envelope.py", "tests/crypto")
PATHS = (
    "tests/attacks/test_refusals.py", "tests/attacks/test_failures_told.py",
    "tests/attacks/test_envelopes.py", "tests/lifecycle/test_nonces.py",
    "tests/orm/test_access.py", "tests/orm/test_region.py", "tests/privacy/test_consent.py",
    "tests/privacy/test_conditions.py", "tests/search/test_upkeep.py", "tests/keys/test_cache.py",
    "tests/attacks", "tests/orm/test_matrix.py", "tests/lifecycle/test_side_by_side.py",
    "tests/lifecycle/test_former_forms.py",
)  # fmt: skip

# File, what stands there once, and what is put in its place.
FAULTS = [
    # envelope: the key's commitment, what is authenticated, what is refused
    ("crypto/envelope.py", "byte ^ 0x36 for", "byte ^ 0x35 for"),
    ("crypto/envelope.py", "if len(key) != _KEY_BYTES", "if len(key) > _KEY_BYTES"),
    ("crypto/envelope.py", "+ inner).digest()[:16]", "+ inner).digest()[16:]"),
    ("crypto/envelope.py", "nonce = os.urandom(NONCE_BYTES)", "nonce = bytes(NONCE_BYTES)"),
    ("crypto/envelope.py", "fits = len(plaintext) <= MAX_PLAINTEXT", "fits = True"),
    ("crypto/envelope.py", " or len(nonce) != NONCE_BYTES", ""),
    ("crypto/envelope.py", " or len(key_id) != 16", ""),
    ("crypto/envelope.py", " or flags not in _HEADERS", ""),
    ("crypto/envelope.py", "item(6, header[1:])", 'item(6, b"")'),
    ("crypto/envelope.py", "for flags in range(4)", "for flags in range(8)"),
    ("crypto/envelope.py", "return unpad(plaintext) if envelope[2] & FLAG_PADDED else plaintext",
     "return plaintext"),
    ("crypto/envelope.py", "new.encrypt(nonce, padded, aad)", "new.encrypt(nonce, padded, place)"),
    ("crypto/envelope.py", "return envelope[3:19]", "return envelope[3:18]"),
    ("crypto/envelope.py", "len(stored) > OVERHEAD", "len(stored) >= OVERHEAD"),
    ("crypto/envelope.py", "return damaged() if isinstance(stored, bytes) and stored[:1] == _MAGIC "
     "else not_sealed()", "return damaged()"),
    ("crypto/envelope.py", "bool(envelope[2] & FLAG_ROW)", "bool(envelope[2] & FLAG_PADDED)"),
    ("crypto/envelope.py", "self._former + aad[self._head :]", "aad"),
    ("crypto/codecs.py", "if data[:1] not in former_bytes:", "if True:"),
    # binding: two places never have the same bytes
    ("crypto/binding.py", 'struct.Struct(">BI")', 'struct.Struct("<BI")'),
    ("crypto/binding.py", '_RECORD_DOMAIN = b"VL1R"', '_RECORD_DOMAIN = b"VL1"'),
    ("crypto/binding.py", "(tenant, entity, field), start=1", "(entity, tenant, field), start=1"),
    ("crypto/binding.py", "    if subject:\n", "    if False:\n"),
    ("crypto/binding.py", "if not row_id:", "if row_id is None:"),
    ("crypto/binding.py", "for name in sorted(parts)", "for name in parts"),
    ("crypto/binding.py", "bit_length() // 8 + 1", "bit_length() // 8 + 2"),
    ("crypto/binding.py", "return item(0x03, signed_bytes(value))",
     "return item(0x01, str(value).encode())"),
    ("crypto/binding.py", "return item(0x0A, value.bytes)", "return item(0x02, value.bytes)"),
    ("crypto/binding.py", "and value.is_finite()", ""),
    ("crypto/binding.py", "if denominator == 1:", "if False:"),
    ("crypto/binding.py", "(value - _EPOCH) // _MICROSECOND",
     "(value.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND"),
    # padding and values: exactly the same, or refused
    ("crypto/padding.py", " and len(padded) == bucket(len(marked))", ""),
    ("crypto/padding.py", "exponent - exponent.bit_length()", "exponent"),
    ("crypto/padding.py", "_STEP = 16", "_STEP = 8"),
    ("crypto/codecs.py", "len({leaf.type_byte for leaf in leaves}) != len(leaves) or ", ""),
    ("crypto/codecs.py", " and not issubclass(kind, Flag)", ""),
    ("crypto/codecs.py", "any(key is not str for key in keys)", "False"),
    ("crypto/leaves.py", "if data[0] == type_byte:", "if data:"),
    ("crypto/leaves.py", "if signed_bytes(number) != data:", "if False:"),
    ("crypto/leaves.py", "if _render_decimal(number) != data:", "if False:"),
    ("crypto/leaves.py", "if float(number) == number:", "if True:"),
    ("crypto/leaves.py", '_FLOAT = struct.Struct(">d")', '_FLOAT = struct.Struct("<d")'),
    ("crypto/leaves.py", 'b"\\x01" if value else b"\\x00"', 'b"\\x00" if value else b"\\x01"'),
    ("crypto/json_values.py", "allow_nan=False", "sort_keys=True"),
    ("crypto/json_values.py", "if type(value) not in kinds:", "if False:"),
    ("crypto/json_values.py", "value.bit_length() <= _MAX_INT_BITS", "True"),
    ("crypto/json_values.py", "parse_constant=_no_constant", "strict=True"),
    ("crypto/moments.py", "value.microsecond, value.fold)", "value.microsecond, 0)"),
    ("crypto/moments.py", "type(zone) is ZoneInfo and _has_key(zone)", "type(zone) is ZoneInfo"),
    ("crypto/networks.py", 'f"{address}%{scope}") if scope else address', '"%s" % address)'),
    ("crypto/networks.py", "interface.packed", "interface.network.network_address.packed"),
    # the read path: decided, located, journaled, opened, masked
    ("read_path.py", "if PINNED else CURRENT.get()\n        if access is None:\n"
     "            raise no_access(f\"{field.label} was read\")",
     "if PINNED else CURRENT.get()\n        if access is None:\n            return sealed"),
    ("read_path.py", "row.get(SUBJECT_KEY) is not owner_id or ", ""),
    ("read_path.py", "or monotonic() >= until or grant.denied", "or grant.denied"),
    ("read_path.py", "or monotonic() >= until or grant.denied", "or monotonic() >= until"),
    ("read_path.py", "            if grant.denied or monotonic() >= access.deadline:\n"
     "                grant = access.confirm(grant, loading.known_refs(access, [sealed]))\n", ""),
    ("read_path.py", "access.journal.put(ref + grant.prefix)", "pass"),
    ("read_path.py", "            access.journal.append(grant.prefix, ref)  # or it raises",
     "            pass"),
    ("read_path.py", "if is_text and data[0] == TEXT:", "if data[0] == TEXT:"),
    ("read_path.py", "            raise loading.unopened(access, field, [(row, sealed, ref)]) "
     "from None", "            return None"),
    ("read_path.py", "grant = access.confirm(grant, loading.known_refs(access, closed))", "pass"),
    ("read_path.py", "access.journal.append_many(grant.prefix, refs)", "pass"),
    ("read_path.py", "flagged = flagged or sealed[2] != 0", "pass"),
    ("read_path.py", "    if grant.former:\n", "    if False:\n"),
    ("read_path.py", "if flagged or grant.masked:", "if flagged:"),
    ("read_path.py", "raise loading.unopened(access, grant.field, found) from None",
     "return [None for _ in closed]"),
    ("read_path.py", "unpad(data) if flags & FLAG_PADDED else data", "data"),
    ("read_path.py", "return Masked(grant.show(value)) if grant.show else value", "return value"),
    ("read_path.py", "access.journal.append(grant.prefix, NO_REF)", "pass"),
    # the write path: decided, admitted, journaled, sealed in its place, indexed
    ("write_path.py", "    if grant.denied or monotonic() >= access.deadline:", "    if False:"),
    ("write_path.py", "if field.tenanted and row.tenant != access.tenant:", "if False:"),
    ("write_path.py", "        access.admit(\n", "        (lambda *_: None)(\n"),
    ("write_path.py", "access.journal.append_many(grants[field].prefix, refs)", "pass"),
    ("write_path.py", "            if row.row_id:\n", "            if False:\n"),
    ("write_path.py", "row_flag | FLAG_PADDED if field.padded else row_flag", "row_flag"),
    ("write_path.py", "is not Sealed else _reopened(\n                    former, "
     "grants[field], row, value\n                )", "is not Sealed else None"),
    ("write_path.py", "if renew is None else renew(data)", ""),
    ("write_path.py", "either_place(key.cipher, grant.head, grant.former)", "key.cipher"),
    ("write_path.py", "if field.indexes or field.compounds:", "if field.indexes:"),
    ("write_path.py", "        upkeep.store()\n", ""),
    ("write_path.py", "if former[key_id_of(value)].subject != row.subject:", "if False:"),
    ("write_path.py", "place += row_part(row.row_id) if row.row_id else b\"\"", "pass"),
    ("write_path.py", "pool = os.urandom(NONCE_BYTES * count)",
     "pool = bytes(NONCE_BYTES * count)"),
    ("write_path.py", "return group[0][2] is None", "return group[0][2] is not None"),
]  # fmt: skip


def test_each_fault_fits_the_code_once() -> None:
    """So that the list can't fall behind it."""
    for file, old, new in FAULTS:
        assert (ROOT / "vaultlayer" / file).read_text("utf-8").count(old) == 1, (file, old)
        assert old != new


@pytest.mark.soak
@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_the_tests_notice(number, tmp_path):
    """A test fails; that nothing could be imported isn't meant."""
    file, old, new = FAULTS[number]
    copy = _copy(tmp_path)
    source = copy / "vaultlayer" / file
    source.write_text(source.read_text("utf-8").replace(old, new), "utf-8")
    ran = _run(copy, CRYPTO if file.startswith("crypto/") else PATHS)
    assert ran.returncode == 1, f"{file}: {new!r} for {old!r} went unnoticed"
    assert "error" not in ran.stdout.splitlines()[-1], ran.stdout[-2000:]


@pytest.mark.soak
def test_without_a_fault_they_pass(tmp_path):
    """Else each of the above would have told nothing."""
    ran = _run(_copy(tmp_path), (*CRYPTO, *PATHS))
    assert ran.returncode == 0, ran.stdout[-2000:]


def _copy(folder):
    for name in SOURCES:
        kept = ROOT / name
        if kept.is_dir():
            shutil.copytree(kept, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(kept, folder)
    return folder


def _run(folder, tests):
    """There: ``python -m`` puts the folder it is started in before what is installed."""
    quick = "not postgres and not mariadb and not redis and not kill"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:randomly", "-k", quick, *tests],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=900,
    )
