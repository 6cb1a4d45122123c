"""Stored values in their place: opened in the form declared now or before, sealed in that of now.

What a value's form is: the name of its field, its type, and whether it is padded.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from vaultlayer.crypto.binding import field_part
from vaultlayer.crypto.envelope import FLAG_PADDED, FLAG_ROW, either_place, open_sealed, seal
from vaultlayer.errors import IntegrityError
from vaultlayer.lifecycle.chunk_keys import Heads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.lifecycle.chunk_keys import Place
    from vaultlayer.orm.field import Field


class Forms:
    """The places of some fields' values. ``n`` is a field's place among them."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.heads = Heads(fields)
        self._fields = fields

    def bound(self, place: Place, n: int, value: bytes) -> bytes:
        """The place of a value as it is declared."""
        tenant, _, subject, row = place
        bound = self.heads[tenant][n] + subject
        return bound + row if value[2] & FLAG_ROW else bound

    def open(self, key: SubjectKey, place: Place, n: int, value: bytes) -> bytes:
        """The encoded value, as its type is now."""
        data, renew = self._stored(key, place, n, value), self._fields[n].renew
        return data if renew is None else renew(data)

    def renewed(
        self, key: SubjectKey, active: SubjectKey, place: Place, n: int, value: bytes
    ) -> bytes | None:
        """The value in the form that is declared, under the active key; None where it is in it."""
        bound, stored = self.bound(place, n, value), self._stored(key, place, n, value)
        field = self._fields[n]
        data = stored if field.renew is None else field.renew(stored)
        flags = value[2] & ~FLAG_PADDED | (FLAG_PADDED if field.padded else 0)
        if data == stored and flags == value[2]:
            with suppress(IntegrityError):
                open_sealed(key.cipher, bound, value)
                return None
        return seal(active.cipher, active.key_id, bound, data, flags)

    def _stored(self, key: SubjectKey, place: Place, n: int, value: bytes) -> bytes:
        field, former, tenant = self._fields[n], b"", place[0]
        if field.former is not None:
            former = field_part(tenant if field.tenanted else "", *field.former)
        cipher = either_place(key.cipher, self.heads[tenant][n], former)
        return open_sealed(cipher, self.bound(place, n, value), value)


def odd_flags(field: Field, *, every: bool) -> frozenset[bytes]:
    """The flags of values that may be in another form than is declared: all of a field that was
    renamed or had another type; else, where all keys are at hand, those padded otherwise."""
    if field.former or field.renew:
        return frozenset(bytes([flags]) for flags in range(4))
    odd = range(4) if every else ()
    return frozenset(bytes([flags]) for flags in odd if bool(flags & FLAG_PADDED) != field.padded)
