"""verify and fsck of a large log take no more memory than of a small one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from vaultlayer.audit.registry import Signing
from vaultlayer.audit.upkeep import adopt

PROGRAM = """if 1:
    import json, re, sys
    from pathlib import Path
    from vaultlayer.audit.fsck import fsck
    from vaultlayer.audit.note import VerifierKey
    from vaultlayer.audit.verify import verify

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10

    directory, keys = Path(sys.argv[1]), [VerifierKey.parse(key) for key in sys.argv[2:]]
    report, before = verify(directory, keys), peak()
    problems = fsck(directory)
    print(json.dumps({
        "findings": [str(one) for one in report.findings], "records": report.records,
        "unsigned": report.unsigned, "problems": [str(one) for one in problems],
        "verify_mib": before, "fsck_mib": peak(),
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


@pytest.mark.parametrize(
    "records", [30_000, pytest.param(10_000_000, marks=pytest.mark.soak)], ids="{:,}".format
)
def test_a_log_ten_times_as_long_takes_no_more_memory(measured, records, capsys):
    """At most 8 MiB more, for some 18 MiB more of log (soak: 6 GB)."""
    small, large = measured(records // 10), measured(records)
    with capsys.disabled():
        if records > 1_000_000:
            sys.stderr.write(f"\n{small}\n{large}\n")
    for name in ("verify_mib", "fsck_mib"):
        assert large[name] - small[name] <= 8, (small, large)
