"""Whole columns at once, without mapped instances: both paths, for data engines.

The same lines as read_path.py and write_path.py, decide → journal → open and decide → journal →
seal, for one field of many rows, whose places come beside them. What one seals the other opens.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag

from vaultlayer.access.grants import NO_REF
from vaultlayer.crypto.binding import row_part, subject_part
from vaultlayer.crypto.envelope import (
    FLAG_PADDED,
    FLAG_ROW,
    MAX_PLAINTEXT,
    PLAIN_HEADER,
    SUITE_ITEM,
    key_id_of,
)
from vaultlayer.crypto.padding import pad, unpad
from vaultlayer.errors import ConfigurationError
from vaultlayer.orm import fetching
from vaultlayer.sealed import Masked
from vaultlayer.write_path import authorize, fresh_nonces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from vaultlayer.access.grants import Grant
    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field

RowIds = tuple[Any, ...]
# What the values of one person share: how they begin, their key's encrypt or decrypt, their place
# (what follows the row, where they are bound to one, apart), and the person's log ref.
_Spot = tuple[bytes, "Callable[[bytes, bytes, bytes], bytes]", bytes, bytes, bytes]
_NOBODY: Any = (b"", None, b"", b"", b"")
_MOST_SPOTS = 100_000


class _Column:
    """One field of rows that belong to ``people``: subject ids of 16 bytes, b"" for nobody.

    Its methods take the rows in batches; ``whose`` is each row's place in ``people``.
    ``connection``: whose transaction keys are read and made in; None: one of the vault's own.
    """

    def __init__(
        self,
        access: Access,
        entity: Entity,
        field: Field,
        people: Sequence[bytes],
        connection: Connection | None = None,
    ) -> None:
        if not set(map(len, people)) <= {16 if entity.subject_key else 0}:
            raise ConfigurationError(
                "each value needs the subject id of its row",
                hint="give a column of subject ids; rows that belong to nobody "
                "(__subject__ = None) have none",
            )
        self._access, self._entity, self._field = access, entity, field
        self._people, self._connection = people, connection
        self._numbers = {subject: number for number, subject in enumerate(people)}
        self._begin()

    def _begin(self) -> None:
        """Know nobody: at first, when what is known has got old, and when it is too much."""
        self._spots: list[_Spot] = [_NOBODY] * len(self._people)
        self._known = 0
        self._until = self._access.deadline

    def _note(self, grant: Grant, refs: set[bytes]) -> None:
        """One note a person and batch, in the kernel before any value is touched."""
        self._access.journal.append_many(grant.prefix, list(refs))

    def _renew(self) -> None:
        if monotonic() >= self._until or self._known > _MOST_SPOTS:
            self._begin()


class ColumnSealer(_Column):
    """Seals encoded values."""

    def seal(
        self,
        data: Sequence[bytes | None],
        whose: Sequence[int],
        row_ids: Sequence[RowIds] | None = None,
    ) -> list[bytes | None]:
        """Envelopes; None stays None. Keys are made for people who have none.

        :param row_ids: each row's primary key, which a child's values are bound to; None: not.
        """
        grant = authorize(self._access, self._field)
        self._renew()
        if max(map(len, filter(None, data)), default=0) > MAX_PLAINTEXT:
            data = []
            raise ConfigurationError(
                "a value is longer than 2^30 bytes", hint="keep larger content elsewhere, in parts"
            )
        bound = FLAG_ROW if row_ids is not None and self._entity.row_keys else 0
        if self._field.padded:
            data = [None if each is None else pad(each) for each in data]
        flags = bound | FLAG_PADDED if self._field.padded else bound
        lacking = {number for number in set(whose) if not self._spots[number][0]}
        if lacking:
            self._fetch(grant, flags, lacking)
        self._note(grant, {self._spots[number][4] for number in whose})
        placed = [self._spots[number] for number in whose]
        nonces = fresh_nonces(len(data))
        if not bound:
            return [
                None if each is None else start + nonce + encrypt(nonce, each, place)
                for each, nonce, (start, encrypt, place, _, _) in zip(
                    data, nonces, placed, strict=True
                )
            ]
        rows = map(row_part, row_ids or ())
        return [
            None if each is None else start + nonce + encrypt(nonce, each, place + row + end)
            for each, nonce, row, (start, encrypt, place, end, _) in zip(
                data, nonces, rows, placed, strict=True
            )
        ]

    def _fetch(self, grant: Grant, flags: int, lacking: set[int]) -> None:
        access, header = self._access, PLAIN_HEADER[:2] + bytes([flags])
        tenant = access.tenant if self._field.tenanted else ""
        with access.vault.key_connection(self._connection) as keys_on:
            wanted = {self._people[number] for number in lacking}
            keys = access.vault.keys.active(keys_on, tenant, wanted)
            access.admit(keys_on, dict.fromkeys(keys.values(), self._field))
        access.vault.keys.remember(keys.values())
        for subject, key in keys.items():
            place, end = grant.head + subject_part(subject), SUITE_ITEM[header]
            if not flags & FLAG_ROW:
                place, end = place + end, b""
            spot = header + key.key_id, key.cipher.encrypt, place, end, key.log_ref
            self._spots[self._numbers[subject]] = spot
        self._known += len(keys)


class ColumnOpener(_Column):
    """Opens envelopes.

    A value's place is what is said of its row, never what an envelope says: one moved won't open.
    """

    def open(
        self,
        sealed: Sequence[bytes | None],
        whose: Sequence[int],
        row_ids: Sequence[RowIds] | None = None,
    ) -> list[Any]:
        """The encoded values or, where the rules mask, ``Masked`` texts; None stays None."""
        access = self._access
        grant = access.grant(self._field, "read")
        if grant.denied or monotonic() >= access.deadline:
            grant = access.confirm(grant)
        self._renew()
        placed, odd = self._placed(grant, sealed, whose, row_ids)
        refs = {self._spots[number][4] for number in whose}
        self._note(grant, refs.union([placed[number][4] for number, _ in odd]) - {b""})
        try:
            data = [
                None if each is None else decrypt(each[19:31], each[31:], place)
                for each, (_, decrypt, place, _, _) in zip(sealed, placed, strict=True)
            ]
            for number, each in odd:
                if each[2] & FLAG_PADDED:
                    data[number] = unpad(data[number] or b"")
        except (InvalidTag, ValueError):
            raise access.damaged(self._field, _unopened(sealed, placed)) from None
        if grant.show is None:
            return data
        show, decode = grant.show, grant.decode
        return [None if each is None else Masked(show(decode(each))) for each in data]

    def _placed(
        self,
        grant: Grant,
        sealed: Sequence[bytes | None],
        whose: Sequence[int],
        row_ids: Sequence[RowIds] | None,
    ) -> tuple[list[_Spot], list[tuple[int, bytes]]]:
        """Where each value opens; and what isn't its person's commonest form, looked at alone."""
        odd = self._odd(sealed, whose)
        if odd:
            keys = self._fetch(grant, {key_id_of(each) for _, each in odd})
            odd = self._odd(sealed, whose)
        placed = [self._spots[number] for number in whose]
        for number, each in odd:
            place = grant.head + subject_part(self._people[whose[number]])
            if each[2] & FLAG_ROW:
                place += row_part(row_ids[number]) if row_ids is not None else b""
            key = keys[each[3:19]]
            place += SUITE_ITEM[each[:3]]
            placed[number] = each[:19], key.cipher.decrypt, place, b"", key.log_ref
        return placed, odd

    def _odd(
        self, sealed: Sequence[bytes | None], whose: Sequence[int]
    ) -> list[tuple[int, bytes]]:
        spots = self._spots
        if [each and each[:19] for each in sealed] == [spots[owner][0] for owner in whose]:
            return []
        return [
            (number, each)
            for number, (each, owner) in enumerate(zip(sealed, whose, strict=True))
            if each is not None and each[:19] != spots[owner][0]
        ]

    def _fetch(self, grant: Grant, key_ids: set[bytes]) -> dict[bytes, SubjectKey]:
        """The keys, of people who may be touched; decoys are told of."""
        access, field = self._access, self._field
        keys = fetching.fetch(access, self._connection, key_ids)
        for key in keys.values():
            reason = access.people.reason(key.subject)
            if reason != "":
                raise access.refused(field, "read", reason or "person_unknown", [key.log_ref])
            if key.subject in access.decoys:
                access.alarm(field, key.log_ref)
            number = self._numbers.get(key.subject)
            if number is not None:
                _, header, decrypt, place = key.plain
                self._spots[number] = header, decrypt, grant.head + place, b"", key.log_ref
            self._until = min(self._until, key.expires)
        self._until = min(self._until, access.deadline)
        self._known += len(keys)
        return keys


def _unopened(sealed: Sequence[bytes | None], placed: Sequence[Any]) -> list[bytes]:
    """The log refs of the values among these that don't open."""
    refs = []
    for each, (_, decrypt, place, _, ref) in zip(sealed, placed, strict=True):
        try:
            decrypt(each[19:31], each[31:], place) if each is not None else None
        except (InvalidTag, ValueError):
            refs.append(ref)
    return refs or [NO_REF]
