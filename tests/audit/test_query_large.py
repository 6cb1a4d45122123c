"""One person's reads are found at once however long the log is, and memory stays as it is."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """if 1:
    import json, resource, sys, time
    from pathlib import Path
    from vaultlayer.audit.query import questions
    from vaultlayer.audit.query.index import Index
    from vaultlayer.audit.query.scope import scope
    from vaultlayer.audit.query.unusual import unusual

    def timed(work):
        began, spent = time.perf_counter(), time.process_time()
        answer = work()
        return (time.perf_counter() - began, time.process_time() - spent), answer

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # MiB

    directory, refs = Path(sys.argv[1]), [bytes.fromhex(ref) for ref in sys.argv[2:]]
    before = peak()
    made, index = timed(lambda: Index(directory))
    with index:
        asked = [timed(lambda: questions.who_read(index, [ref])) for ref in refs]
        others = {
            "unusual": timed(lambda: unusual(index))[0],
            "denials": timed(lambda: questions.denials(index))[0],
            "what_did": timed(lambda: questions.what_did(index, "u-7"))[0],
            "scope": timed(lambda: scope(index, sub="u-7"))[0],
        }
    reopened, index = timed(lambda: Index(directory))
    index.close()
    print(json.dumps({
        "index": made, "opening_again": reopened, **others,
        "who_read": max(spent for spent, _ in asked),
        "found": sum(answer["total"] for _, answer in asked),
        "mib_before": before, "mib_at_most": peak(),
        "index_mib": (directory / "index.sqlite").stat().st_size >> 20,
    }))
"""


@pytest.mark.parametrize(
    "records", [10_000, pytest.param(10_000_000, marks=pytest.mark.soak)], ids="{:,}".format
)
def test_one_persons_reads_are_found_at_once(write_log, tmp_path, records, capsys):
    """Under a second for each of twenty people, also with ten million records.

    The figures are seconds by the clock, and of the processor.
    """
    people = records // 100
    refs = write_log(tmp_path, records, people=people, readers=500, shards=100)
    chosen = [ref.hex() for ref in refs[:: people // 20]][:20]
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path, *chosen],
        capture_output=True,
        check=True,
        timeout=3600,
    )
    figures = json.loads(told.stdout)
    with capsys.disabled():
        if records > 1_000_000:
            sys.stderr.write(f"\n{records:,} records: {figures}\n")
    assert figures["who_read"][0] < 1
    assert 20 * 50 < figures["found"] < 20 * 200
    assert figures["mib_at_most"] - figures["mib_before"] < 250
