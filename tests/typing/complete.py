"""Check that what users touch is typed in full: python tests/typing/complete.py.

pyright's own ``--verifytypes`` takes every module without a leading underscore for public. Ours
are public by ``vaultlayer.__all__`` and ``vaultlayer.testing``: those names, their attributes, and
``Access``, which ``vault.access()`` returns, must be typed without guessing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import vaultlayer
from vaultlayer import testing

GUESSED = ("Type is missing type annotation", "Ambiguous base class override", "Type unknown")


def main() -> int:
    command = ["pyright", "--verifytypes", "vaultlayer", "--ignoreexternal", "--outputjson"]
    told = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, encoding="utf-8", check=False
    )
    report = json.loads(told.stdout)["typeCompleteness"]
    public = {"vaultlayer.acting.Access", *_homes(vaultlayer), *_homes(testing)}
    guessed = [
        symbol["name"]
        for symbol in report["symbols"]
        if _is_of(symbol["name"], public) and any(map(_is_guess, symbol["diagnostics"]))
    ]
    for name in guessed:
        sys.stdout.write(f"{name}: its type is guessed; annotate it\n")
    sys.stdout.write(
        f"{len(guessed)} of the users' names are guessed. Of all modules' names pyright calls "
        f"{report['completenessScore']:.0%} complete.\n"
    )
    return bool(guessed)


def _homes(module: Any) -> set[str]:
    values = [(name, getattr(module, name)) for name in module.__all__]
    return {f"{getattr(value, '__module__', module.__name__)}.{name}" for name, value in values}


def _is_of(name: str, public: set[str]) -> bool:
    return name in public or name.rpartition(".")[0] in public


def _is_guess(diagnostic: dict[str, Any]) -> bool:
    return str(diagnostic["message"]).startswith(GUESSED)


if __name__ == "__main__":
    sys.exit(main())
