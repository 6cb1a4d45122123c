"""verify and fsck of a large log take no more memory than of a small one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vaultlayer.audit.registry import Signing
from vaultlayer.audit.upkeep import adopt

PROGRAM = """if 1:
    import json, re, sys, time
    from pathlib import Path
    from vaultlayer.audit.fsck import fsck
    from vaultlayer.audit.note import VerifierKey
    from vaultlayer.audit.verify import verify

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

    directory, keys = Path(sys.argv[1]), [VerifierKey.parse(key) for key in sys.argv[2:]]
    began = time.process_time()
    report, before, verified = verify(directory, keys), peak(), time.process_time()
    problems, looked_through = fsck(directory), time.process_time()
    for path in (directory / "log").glob("*.jsonl"):  # as if pruned: from the hashes alone
        path.unlink()
    problems += fsck(directory)
    print(json.dumps({
        "findings": [str(one) for one in report.findings], "records": report.records,
        "unsigned": report.unsigned, "problems": [str(one) for one in problems],
        "verify_mib": before, "fsck_mib": peak(),
        "verify_seconds": verified - began, "fsck_seconds": looked_through - verified,
    }))
"""


@pytest.fixture
def measured(new_signed, write_log, tmp_path):
    """Verify and fsck a signed log of so many records, in a process of its own."""

    def measure(records):
        folder = tmp_path / str(records)
        folder.mkdir()
        trail = new_signed(folder)
        trail.close()
        write_log(folder / "more", records, shards=2)
        for path in sorted((folder / "more" / "log").iterdir()):
            path.rename(trail.directory / "log" / path.name)
            signing = Signing(trail.heads.signer(trail.provider), trail.heads)
            adopt(trail.directory, path.stem, "made for this test", signing)
        trail.open()
        trail.notary.sign_now()  # all that have ended
        trail.close()
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, trail.directory, *map(str, trail.heads.keys())],
            capture_output=True,
            check=True,
            timeout=3600,
        )
        answer = json.loads(told.stdout)
        assert (answer["findings"], answer["problems"], answer["unsigned"]) == ([], [], 0)
        assert answer["records"] > records
        return answer

    return measure


def rates(records, told):
    """Records a second of one core."""
    return {name: round(records / told[f"{name}_seconds"]) for name in ("verify", "fsck")}


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((3_000, 30_000), id="everyday"),
        pytest.param((150_000, 1_500_000, 10_000_000), id="soak", marks=pytest.mark.soak),
    ],
)
def test_a_longer_log_takes_no_more_memory(measured, sizes, capsys):
    """At most 8 MiB more, for some 18 MiB more of log (soak: 6 GB)."""
    small, *larger = [measured(records) for records in sizes]
    if sizes[-1] > 1_000_000:
        with capsys.disabled():
            for records, told in zip(sizes, (small, *larger), strict=True):
                sys.stderr.write(f"\n{records:,}: {told}, a second: {rates(records, told)}\n")
    for name in ("verify_mib", "fsck_mib"):
        assert all(large[name] - small[name] <= 8 for large in larger), (small, larger)
