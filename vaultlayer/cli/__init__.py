"""The command ``vaultlayer``: one file a command group, of typer and rich (extra ``cli``)."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from vaultlayer.cli.root import run
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in ("typer", "rich"):
            raise
        sys.stderr.write(
            f"Error: the command line needs {library}, which is not installed.\n"
            'Hint: pip install "sqlalchemy-vaultlayer[cli]"\n'
        )
        sys.exit(2)
    run()
