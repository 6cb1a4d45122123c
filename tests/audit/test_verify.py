"""What verification finds, and what it honestly can't."""

from __future__ import annotations

import json
import shutil
import time
from hashlib import sha256

import pytest

from vaultlayer.audit.event import canonical
from vaultlayer.audit.log import Log
from vaultlayer.audit.verify import LIMITS, verify
from vaultlayer.errors import AuditUnavailable

RECORDS = 12


@pytest.fixture
def shard(tmp_path):
    """A closed shard of 14 records: its file."""
    log = Log(tmp_path)
    for number in range(RECORDS):
        log.write("key", action="rotate", generation=number, note='text with "quotes"')
    path = log.path
    log.close()
    return path


def lines_of(shard):
    return shard.read_bytes().split(b"\n")[:-1]


def findings(shard, lines=None):
    """What is found after the shard's lines were replaced."""
    if lines is not None:
        shard.write_bytes(b"".join(line + b"\n" for line in lines))
    return verify(shard.parent.parent).findings


def _chained(before, lines, shift):
    """These records, made to follow ``before`` with numbers lower by ``shift``."""
    for line in lines:
        record = json.loads(line)
        record.update(prev=sha256(before).hexdigest(), seq=record["seq"] - shift)
        before = canonical(record)
        yield before


def test_an_untouched_log_has_no_findings(shard):
    """No false alarm."""
    report = verify(shard.parent.parent)
    assert (report.shards, report.records, report.findings) == (1, RECORDS + 2, [])


def test_every_flipped_byte_is_found(shard):
    """Any changed byte of any record but the last changes the chain."""
    lines = lines_of(shard)
    lines = [*lines[:2], *lines[-2:]]
    shift = len(lines_of(shard)) - len(lines)
    lines[2:] = _chained(lines[1], lines[2:], shift)
    data = b"".join(line + b"\n" for line in lines)
    shard.write_bytes(data)
    assert findings(shard) == []
    for at in range(len(data) - len(lines[-1]) - 1):
        shard.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        assert findings(shard), at


@pytest.mark.parametrize("at", range(RECORDS + 2))
def test_every_single_change_of_order_is_found(shard, at):
    """Deleting, doubling, swapping or inserting any line is found, and near its place."""
    lines = lines_of(shard)
    forged = canonical({**json.loads(lines[at]), "event": "key", "generation": 99})
    changes = {
        "deleted": lines[:at] + lines[at + 1 :],
        "doubled": lines[: at + 1] + lines[at:],
        "inserted": [*lines[:at], forged, *lines[at:]],
        "blank": [*lines[:at], b"", *lines[at:]],
    }
    if at + 1 < len(lines):
        changes["swapped"] = [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]
    for change, altered in changes.items():
        found = findings(shard, altered)
        assert found, change
        assert min(finding.line for finding in found) <= at + 2, change


@pytest.mark.parametrize("kept", range(RECORDS + 2))
def test_a_cut_head_or_tail_is_found(shard, kept):
    """A shard begins with its open record and ends with its close record."""
    lines = lines_of(shard)
    assert findings(shard, lines[:kept])
    assert findings(shard, lines[-kept:] if kept else [])


def test_a_tail_cut_within_a_line_is_called_torn(shard):
    """Every cut that leaves a part of a line behind is reported as torn."""
    data = shard.read_bytes()
    for size in range(len(data) - 40, len(data)):
        shard.write_bytes(data[:size])
        assert any("torn" in finding.what for finding in findings(shard))


def test_records_appended_after_the_end_are_found(shard):
    """Going on after a cut, or after the close record, breaks the chain or the end."""
    lines = lines_of(shard)
    assert findings(shard, [*lines, lines[3]])
    assert findings(shard, [*lines[:5], *lines[6:]])


def test_a_gap_with_a_repaired_chain_is_found(shard):
    """Removing records and recomputing the hashes, but not the numbers, is not enough."""
    lines = lines_of(shard)
    (finding,) = findings(shard, [*lines[:4], *_chained(lines[3], lines[6:], 0)])
    assert (finding.line, "4 to 5 are missing" in finding.what) == (5, True)


def test_a_shard_copied_over_another_is_found(shard):
    """A record names its shard; the file of another is noticed."""
    shutil.copy(shard, shard.with_name("20260101T000000.000000Z-00000000.jsonl"))
    (finding,) = findings(shard)
    assert (finding.line, "another shard" in finding.what) == (1, True)


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b"not json", b"\xff\xfe", b'{"seq":"7"}', b'{"seq":true}', b"[" * 99_999]
)
def test_lines_that_are_no_records_are_found(shard, line):
    """Whatever stands in a line, verification reports it and goes on."""
    lines = lines_of(shard)
    found = findings(shard, [*lines[:4], line, *lines[5:]])
    assert 5 in [finding.line for finding in found]


def test_a_record_in_another_form_is_found(shard):
    """The same JSON with a space in it is not the record that was written."""
    lines = lines_of(shard)
    spaced = json.dumps(json.loads(lines[4])).encode()
    assert findings(shard, [*lines[:4], spaced, *lines[5:]])


def test_the_limits_are_real_and_stated(shard):
    """Without checkpoints a whole removed shard, or one rewritten to its end, is not found."""
    lines = lines_of(shard)
    rewritten = [line.replace(b"rotate", b"forget") for line in lines[4:]]
    assert findings(shard, [*lines[:4], *_chained(lines[3], rewritten, 0)]) == []
    other = Log(shard.parent.parent)
    other.close()
    shard.unlink()
    assert findings(shard) == []
    assert "removed whole" in LIMITS
    assert "rewritten" in LIMITS


def test_a_living_log_may_be_verified_at_any_moment(trail):
    """No close record yet, perhaps half a line just being written: no finding."""
    for number in range(50):
        trail.log.write("key", n=number)
        assert verify(trail.directory).findings == []


def test_several_changes_are_all_reported(shard):
    """One finding does not hide the next."""
    lines = lines_of(shard)
    lines[3] = lines[3].replace(b"rotate", b"rotten")
    lines[9] = lines[9].replace(b"rotate", b"rotten")
    assert [finding.line for finding in findings(shard, lines)] == [5, 11]


def test_nothing_to_verify_is_an_error(tmp_path):
    """An empty or missing directory is not a clean log."""
    with pytest.raises(AuditUnavailable):
        verify(tmp_path)
    with pytest.raises(AuditUnavailable):
        verify(tmp_path / "missing")


def test_verification_is_fast(tmp_path):
    """Well above 50,000 records a second even on a busy machine (budget: 200,000)."""
    log = Log(tmp_path)
    log.write_all({"event": "key", "note": "x" * 400, "n": n} for n in range(20_000))
    log.close()
    began = time.process_time()
    report = verify(tmp_path)
    assert report.findings == []
    assert report.records / (time.process_time() - began) > 50_000
