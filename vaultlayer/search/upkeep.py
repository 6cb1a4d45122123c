"""The indexes of rows about to be stored: their terms put beside the values they are of."""

from __future__ import annotations

import hmac
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from vaultlayer.search.blind_index import index_keys, together
from vaultlayer.search.buckets import Compound
from vaultlayer.search.terms import draw_number, insert_terms, table_of, term_rows
from vaultlayer.search.unique import keep_unique

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Table

    from vaultlayer.acting import Access
    from vaultlayer.orm.field import Field
    from vaultlayer.search.blind_index import Index
    from vaultlayer.write_path import Row


class Upkeep:
    """The indexes of one write. ``note`` each row, then ``store``."""

    def __init__(self, access: Access, connection: Connection, keys_on: Connection) -> None:
        self._access, self._connection, self._keys_on = access, connection, keys_on
        self._keys: dict[tuple[str, Index], list[bytes]] = {}
        self._unique: dict[Index, list[list[bytes]]] = defaultdict(list)
        self._rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)

    def note(self, row: Row, values: Mapping[Field, bytes | None]) -> None:
        """Put the hidden columns of one row's encoded values into it."""
        for field, data in values.items():
            for index in field.indexes:
                if data is None:
                    row.put(index.key, None)
                else:
                    self._note(row, index, data, values)

    def store(self) -> None:
        """Write what goes into tables of its own, and hold unique values apart."""
        keep_unique(self._connection, self._unique)
        for table, rows in self._rows.items():
            insert_terms(self._connection, table, rows)

    def _note(
        self, row: Row, index: Index, data: bytes, values: Mapping[Field, bytes | None]
    ) -> None:
        if type(index.kind) is Compound:
            payloads = together(index, {f.key: (f, data) for f, data in values.items()})
            if payloads is None:
                row.put(index.key, None)
                return
        else:
            payloads = index.kind.stored(index.field.codec, data)
        keys = self._keys.get((row.tenant, index))
        if keys is None:
            keys = index_keys(self._access, self._keys_on, row.tenant, index, self._connection)
            self._keys[row.tenant, index] = keys
        if index.kind.many:
            number, terms = draw_number(), index.terms(keys[0], payloads)
            row.put(index.key, number)
            self._rows[table_of(index)] += term_rows(
                index, row.tenant, row.subject, number, terms
            )
            return
        row.put(index.key, hmac.digest(keys[0], payloads[0], "sha256"))
        if len(keys) > 1 and index.is_unique:  # the roots are being exchanged
            self._unique[index].append([index.terms(key, payloads)[0] for key in keys])
