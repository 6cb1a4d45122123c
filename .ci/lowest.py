"""The lower bounds of pyproject.toml as pip constraints: the core's, and the command line's."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
for requirement in [*project["dependencies"], *project["optional-dependencies"]["cli"]]:
    found = re.fullmatch(r"([\w-]+)>=([\d.]+)(,.*)?", requirement)
    if found is None:
        sys.exit(f"{requirement}: it needs a lower bound")
    sys.stdout.write(f"{found[1]}=={found[2]}\n")
