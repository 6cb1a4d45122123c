"""Check what is in a wheel: python .ci/wheel.py FILE."""

from __future__ import annotations

import sys
from zipfile import ZipFile

ROOTS = {"vaultlayer", "vaultlayer_adapters", "vaultlayer_policies"}
NEEDED = {
    "vaultlayer/py.typed",
    "vaultlayer_adapters/py.typed",
    "vaultlayer_policies/model.conf",
    "vaultlayer_policies/roles.csv",
    "vaultlayer_policies/tests.toml",
}

names = set(ZipFile(sys.argv[1]).namelist())
roots = {name.split("/")[0] for name in names if ".dist-info/" not in name}
if roots != ROOTS:
    sys.exit(f"the wheel's top level is {sorted(roots)}, not {sorted(ROOTS)}")
if NEEDED - names:
    sys.exit(f"the wheel lacks {sorted(NEEDED - names)}")
sys.stdout.write(f"{len(names)} files under {', '.join(sorted(roots))}\n")
