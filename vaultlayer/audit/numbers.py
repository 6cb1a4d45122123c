"""The numbers a journal gives to accesses and kinds of notes, and defines in each segment."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.definitions import ACCESS_BITS, Access, Definitions, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultlayer.audit.segment import Segment


class Numbers(Definitions):
    """One journal's; for ``define`` and ``redefine`` the caller holds its lock."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, Access] = {}  # until their last note is logged
        self._kinds: dict[Kind, int] = {}
        self._next_access, self._next_kind = count(1), count(1)

    def next_access(self) -> int:
        return next(self._next_access)

    def begin(self, number: int, context: dict[str, Any], segment: Segment | None) -> None:
        """Know an access from now on."""
        self.accesses[number] = context
        self.known[number] = Access.begin(number, context, segment)

    def noting(self) -> list[Access]:
        """The open accesses for which something may be noted already."""
        return [access for access in list(self.known.values()) if access.notes]

    def define(self, access: Access, kind: Kind, segment: Segment) -> bytes:
        """Define what isn't yet in the segment, and return the prefix of such notes."""
        lines = [] if access.prefixes else [access.line()]
        number = self._kinds.get(kind) or next(self._next_kind)
        if kind not in segment.kinds:
            self.kinds[number] = kind.clipped()
            lines.append(self.kinds[number].line(number))
        if lines:
            segment.define(lines)
        self._kinds[kind] = number
        segment.kinds.add(kind)
        prefix = (access.number | number << ACCESS_BITS).to_bytes(8, "little")
        access.prefixes[kind] = prefix
        return prefix

    def redefine(self) -> tuple[list[dict[str, Any]], set[Kind]]:
        """What a new segment begins with: the open accesses and the kinds of their notes."""
        noting = self.noting()
        kinds = {kind for access in noting for kind in access.prefixes}
        return [access.line() for access in noting] + list(self._lines(kinds)), kinds

    def forget(self, logged: int) -> None:
        """Drop accesses closed before the segment just logged; it had their last notes."""
        for access in list(self.known.values()):
            if access.closed_in is not None and access.closed_in < logged:
                self.drop(access)

    def drop(self, access: Access) -> None:
        self.known.pop(access.number, None)
        self.accesses.pop(access.number, None)

    def _lines(self, kinds: set[Kind]) -> Iterator[dict[str, Any]]:
        for kind in kinds:
            number = self._kinds[kind]
            yield self.kinds[number].line(number)
