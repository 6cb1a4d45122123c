"""From slots to events: what the journal notes in 24 bytes, told in full.

A slot is ``log_ref`` 16 bytes ‖ number u64 LE: the access's in the lower 40 bits, above them the
kind's. The number comes last, so that a slot whose number is not zero is a whole one; zero means
unused, or told in the log already.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import Counter
from struct import Struct
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.definitions import ACCESS_BITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from vaultlayer.audit.definitions import Spec

SLOT = Struct("<16sQ")
NO_REF = bytes(16)  # of a slot about no one person: a search, a row that is not stored yet
REFS_PER_EVENT = 256  # keeps a line under about 8 KiB

_PAD = bytes(2)


def runs_of(slots: bytes, mark: bytes) -> list[tuple[int, int]]:
    """Where the slots of one access are among others': ranges of bytes, in order.

    ``mark`` is what their numbers begin with.
    """
    size, offset = SLOT.size, SLOT.size - 8
    count = len(slots) // size
    if all(slots[offset + n :: size] == mark[n : n + 1] * count for n in range(len(mark))):
        return [(0, len(slots))] if slots else []  # nobody else noted anything meanwhile
    runs = []
    found = slots.find(mark, offset)
    while found >= 0:
        start = found - offset
        if start % size:  # only looks like it, across two slots
            found = slots.find(mark, found + 1)
            continue
        end = start + size
        while slots.startswith(mark, end + offset):
            end += size
        runs.append((start, end))
        found = slots.find(mark, end + offset)
    return runs


def refs_by_spec(slots: bytes) -> dict[int, list[bytes]]:
    """The refs under each spec number, in order; number 0 holds what is not in use."""
    numbers = _repeated(slots)
    if numbers:
        row = Struct("<" + "16s8x" * len(numbers))
        return dict(zip(numbers, map(list, zip(*row.iter_unpack(slots), strict=True)), strict=True))
    refs: dict[int, list[bytes]] = {}
    for ref, number in SLOT.iter_unpack(slots):
        try:
            refs[number].append(ref)
        except KeyError:
            refs[number] = [ref]
    return refs


def _repeated(slots: bytes) -> list[int]:
    """The spec numbers that repeat from the first slot to the last, as where row after row was
    read alike; none where they don't."""
    size, offset = SLOT.size, SLOT.size - 8
    period = slots.find(slots[offset:size], size + offset) - offset
    if period <= 0 or period % size or len(slots) % period:
        return []
    times = len(slots) // period
    if any(slots[n::size] != slots[n:period:size] * times for n in range(offset, size)):
        return []
    numbers = [number for _, number in SLOT.iter_unpack(slots[:period])]
    return numbers if len({*numbers}) == len(numbers) else []


def events_of(
    refs: Mapping[int, list[bytes]],
    spec_of: Callable[[int], Spec | None],
    journal: Mapping[str, object],
) -> list[dict[str, Any]]:
    """The events that tell the same as slots with these refs by spec number.

    One event per access, entity, action, outcome, reason code and exact set of fields: of
    each of its refs it says that these fields, and no others, were touched. ``count`` is how
    many values that were, repetitions included. A number nobody defined (a definition lost
    with the power) becomes ``journal_damaged``.
    """
    kinds: dict[tuple[object, ...], list[tuple[Spec, list[bytes]]]] = {}
    events: list[dict[str, Any]] = []
    for number, some in refs.items():
        spec = spec_of(number)
        if spec is not None:
            entity, names, *rest = spec.kind
            apart = names if spec.kind.action == "search" else ()  # about no one person: its
            kinds.setdefault((spec.access, entity, apart, *rest), []).append((spec, some))
        elif number:
            told = {"event": "journal_damaged", "spec": number >> ACCESS_BITS}
            events += _parts(told, Counter(some), journal)
    for reads in kinds.values():
        shared = reads[0][0].event()
        for fields, counts in _by_field_set(reads):
            events += _parts({**shared, "fields": fields}, counts, journal)
    return events


def _by_field_set(
    reads: Sequence[tuple[Spec, list[bytes]]],
) -> Iterator[tuple[list[str], Mapping[bytes, int]]]:
    """Refs with the number of values touched of each, by the exact set of fields touched."""
    columns = _columns(reads)
    if len(columns) == 1:
        names, refs, width = columns[0]
        counts = dict.fromkeys(refs, width)
        if len(counts) < len(refs):
            counts = {ref: times * width for ref, times in Counter(refs).items()}
        yield sorted(names), counts
        return
    touched: dict[bytes, int] = {}  # ref -> bit set of columns
    values: dict[bytes, int] = {}
    for bit, (_, refs, width) in enumerate(columns):
        for ref, times in Counter(refs).items():
            touched[ref] = touched.get(ref, 0) | 1 << bit
            values[ref] = values.get(ref, 0) + times * width
    groups: dict[frozenset[str], dict[bytes, int]] = {}
    names_of = {
        bits: frozenset().union(*(c[0] for bit, c in enumerate(columns) if bits >> bit & 1))
        for bits in set(touched.values())
    }
    for ref, bits in touched.items():
        groups.setdefault(names_of[bits], {})[ref] = values[ref]
    for fields, group in groups.items():
        yield sorted(fields), group


def _columns(
    reads: Sequence[tuple[Spec, list[bytes]]],
) -> list[tuple[set[str], list[bytes], int]]:
    """Fields, refs and values per ref; specs with the very same refs are taken together.

    That is the usual case: every field of the same rows, in the same order.
    """
    columns: list[tuple[set[str], list[bytes], int]] = []
    for spec, refs in reads:
        width = len(spec.kind.fields)
        for place, (names, others, total) in enumerate(columns):
            if others == refs:
                columns[place] = (names.union(spec.kind.fields), refs, total + width)
                break
        else:
            columns.append((set(spec.kind.fields), refs, width))
    return columns


def _parts(
    event: dict[str, Any], counts: Mapping[bytes, int], journal: Mapping[str, object]
) -> Iterator[dict[str, Any]]:
    refs, values = list(counts), list(counts.values())
    parts = -(-len(refs) // REFS_PER_EVENT)
    for part in range(parts):
        window = slice(part * REFS_PER_EVENT, (part + 1) * REFS_PER_EVENT)
        some = refs[window]
        if NO_REF in counts:
            some = [ref for ref in some if ref != NO_REF]
        told = {**event, "refs": texts(some), "count": sum(values[window]), "journal": journal}
        yield {**told, "part": part + 1, "parts": parts} if parts > 1 else told


def texts(refs: Sequence[bytes]) -> list[str]:
    """Each 16-byte ref as 22 characters of base64url (RFC 4648 section 5, no padding)."""
    padded = _PAD.join(refs) + _PAD  # 18 bytes are 24 characters: one call encodes them all
    text = urlsafe_b64encode(padded).decode()
    return [text[start : start + 22] for start in range(0, 24 * len(refs), 24)]
