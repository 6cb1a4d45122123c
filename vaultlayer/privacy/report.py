"""A person's own report (GDPR articles 13, 15 and 20): all that is held of them, and who read it.

It is a reading like any other: each field is decided and journaled for the access at hand, and
what is refused is listed with its reason instead. A person nobody knows gets a report of the same
shape, with nothing in it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, select
from sqlalchemy.orm import Session

from vaultlayer.errors import AccessDenied, IntegrityError, KeyErased, KeyUnavailable
from vaultlayer.lifecycle.kept import shared_rows
from vaultlayer.lifecycle.models import entities, rows_of
from vaultlayer.orm import session as listeners
from vaultlayer.orm.twin import TwinType
from vaultlayer.orm.types import BlindIndexType, PersonalType
from vaultlayer.sealed import Masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.orm.entity import Entity
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

MOST_READS = 10_000  # of the log's records, the newest
# What the person is told where the rules, not somebody's refusal, withhold something.
_NOT_ALLOWED = "Whoever made this report may not read it for this purpose: ask for it again."
WORDS = {
    "damaged": "It can't be opened: it was changed or is damaged, and is being looked into.",
    "others_rights": "The rows are another person's, and tell of them too.",
    "erased": "It was erased, and nobody can open it any more.",
    "masked": "Shown in part only, by the rules for this category.",
}


def collect(vault: Vault, access: Access, subject_id: UUID) -> dict[str, Any]:
    """The report as plain values, those of the person's fields as they were stored."""
    refused = _refused_items(vault, subject_id)
    withheld: dict[tuple[str, str], dict[str, Any]] = {}
    reader = _Reader(access, refused, withheld)
    with vault.databases.transaction() as connection, _session(connection) as session:
        known = [each for each in entities(vault.known_models(), connection) if each.subject_key]
        tables = [reader.read(session, entity, subject_id) for entity in known]
        for name, rows in shared_rows(connection, known, subject_id):
            reader.withhold(name, "others_rights", WORDS["others_rights"], rows)
    for item, (code, text) in refused.items():
        reader.withhold(item, code, text, withheld.get((item, code), {}).get("rows", 0))
    purposes = access.snapshot.bundle.purposes
    return {
        "subject": str(subject_id),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "policy_version": access.snapshot.bundle.version.number,
        "policy": access.snapshot.digest,
        "data": [table for table in tables if table["rows"]],
        "purposes": [
            {"purpose": each.name, "words": each.words, "basis": each.basis,
             "retention": each.retention, "categories": [*each.categories]}
            for each in purposes.values()
        ],
        "reads": _reads(vault, subject_id),
        "disclosures": _disclosures(vault, subject_id),
        "consents": vault.consent.history(subject_id),
        "notices": vault.notices.history(subject_id),
        "requests": _requests(vault, subject_id),
        "withheld": list(withheld.values()),
    }  # fmt: skip


class _Reader:
    """Reads the rows of one person, and notes what it may not."""

    def __init__(
        self,
        access: Access,
        refused: Mapping[str, tuple[str, str]],
        withheld: dict[tuple[str, str], dict[str, Any]],
    ) -> None:
        self._access, self._refused, self._withheld = access, refused, withheld

    def withhold(self, item: str, code: str, text: str, rows: int) -> None:
        told = {"item": item, "code": code, "text": text, "rows": rows}
        self._withheld[item, code] = told

    def read(self, session: Session, entity: Entity, subject_id: UUID) -> dict[str, Any]:
        mapper = entity.mapper
        table: Any = mapper.local_table
        mine = rows_of(table, entity, table, subject_id)
        found = session.scalars(select(mapper.class_).where(mine).order_by(*mapper.primary_key))
        rows = [row for row in found if type(row) is mapper.class_]
        fields = dict(entity.fields)
        opened = {key: self._open(rows, key, field) for key, field in fields.items()}
        plain = [*_plain(entity)]
        return {
            "table": table.name,
            "fields": {
                key: {"field": field.label, "category": field.category,
                      "words": self._words(field.category)}
                for key, field in fields.items()
            },
            "rows": [
                {
                    **{name: getattr(row, name) for name in plain},
                    **{key: values[place] for key, values in opened.items() if values is not None},
                }
                for place, row in enumerate(rows)
            ],
        }  # fmt: skip

    def _open(self, rows: Sequence[Any], key: str, field: Field) -> list[Any] | None:
        """The values of one field, or None where it is withheld, and why is noted."""
        if not rows:
            return []
        item = self._item(field)
        if item is not None:
            code, text = self._refused[item]
            self.withhold(field.label, code, text, len(rows))
            return None
        attribute = getattr(type(rows[0]), key)
        try:
            values = self._access.reveal(rows, attribute)
        except AccessDenied as denied:
            self.withhold(field.label, denied.reason, _NOT_ALLOWED, len(rows))
            return None
        except (KeyErased, IntegrityError) as error:
            code = "erased" if isinstance(error, KeyErased) else "damaged"
            self.withhold(field.label, code, WORDS[code], len(rows))
            return None
        if any(isinstance(value, Masked) for value in values):
            self.withhold(field.label, "masked", WORDS["masked"], len(rows))
        return values

    def _item(self, field: Field) -> str | None:
        lineage = self._access.snapshot.bundle.lineage(field.category)
        return next((each for each in (field.label, *lineage) if each in self._refused), None)

    def _words(self, category: str) -> str:
        return self._access.snapshot.bundle.categories[category].words


def _session(connection: Connection) -> Session:
    session = Session(connection, expire_on_commit=False, autoflush=False)
    listeners.attach(session)
    return session


def _plain(entity: Entity) -> Iterator[str]:
    """The attributes of a row that aren't sealed: ids, dates, amounts; no blind index."""
    for attribute in entity.mapper.column_attrs:
        column = attribute.columns[0]
        if isinstance(column, Column) and not isinstance(
            column.type, PersonalType | BlindIndexType | TwinType
        ):
            yield attribute.key


def _refused_items(vault: Vault, subject_id: UUID) -> dict[str, tuple[str, str]]:
    """What was refused of the newest request for a copy."""
    asked = [r for r in vault.requests.of(subject_id) if r.kind in ("access", "portability")]
    return dict(asked[-1].withheld) if asked else {}


def _reads(vault: Vault, subject_id: UUID) -> dict[str, Any]:
    try:
        found = vault.audit.who_read(subject_id, limit=MOST_READS)
    except (KeyErased, KeyUnavailable):  # nobody has this id, or nobody any more
        found = {"total": 0, "readers": [], "events": []}
    return {name: found[name] for name in ("total", "readers", "events")}


def _disclosures(vault: Vault, subject_id: UUID) -> list[dict[str, Any]]:
    """Those the person may be told of; of the others a word here would tell too."""
    return [
        {
            "disclosed": each.disclosed.isoformat(),
            "kind": each.kind,
            "recipient": each.recipient,
            "purpose": each.purpose,
            "basis": each.basis,
            "reference": each.reference,
            "reason": each.reason,
            "fields": [*each.fields],
        }
        for each in vault.disclosures.of(subject_id)
    ]


def _requests(vault: Vault, subject_id: UUID) -> list[dict[str, Any]]:
    return [
        {
            "request": each.request_id.hex,
            "kind": each.kind,
            "state": each.state,
            "received": each.received.isoformat(),
            "due": each.due.isoformat(),
            "code": each.code,
            "text": each.text,
            "policy_version": each.policy_version,
        }
        for each in vault.requests.of(subject_id)
    ]
