"""``roles.csv`` cut into cells: every line is read, or the file is refused.

Casbin's own loader skips lines it doesn't understand and lets a name inject a rule.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from vaultlayer.access.names import ALLOWED, is_name, quote
from vaultlayer.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = "roles.csv"


def refuse(line: int, what: str, hint: str) -> PolicyError:
    return PolicyError(f"{FILE}:{line}: {what}", hint=hint)


def read_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    # One physical line at a time: a quoted line break must not join two lines into one rule.
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith(("#", '"#')):
            continue
        try:
            cells = next(csv.reader([stripped], strict=True, skipinitialspace=True))
        except (csv.Error, StopIteration):
            raise refuse(
                number, "the quotes don't match", "no name needs quotes; remove them"
            ) from None
        cells = [cell.strip(" \t") for cell in cells]
        while cells and not cells[-1]:  # spreadsheets fill short lines up with empty cells
            cells.pop()
        if cells:
            yield number, cells


def check_cells(number: int, cells: list[str], shape: str) -> None:
    if len(cells) != shape.count(",") + 1:
        raise refuse(
            number,
            f"{len(cells)} cells instead of {shape.count(',') + 1}",
            f"the line reads `{shape}`, with commas between; a comment needs a line of its own",
        )
    for cell in cells:
        if not is_name(cell):
            raise refuse(number, f"{quote(cell)} is not a name", f"a name is {ALLOWED}")
