"""What is kept of people for one purpose alone goes with their objection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultlayer.lifecycle.emptying import NOBODYS, holdings
from vaultlayer.lifecycle.models import entities
from vaultlayer.orm.field import DECLARED

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.acting import Access
    from vaultlayer.vault import Vault


def is_only_for(bundle: Bundle, category: str, purpose: str) -> bool:
    """Whether this purpose explains the category, and no other does."""
    if category not in bundle.categories:
        return False
    lineage = set(bundle.lineage(category))
    explain = [each.name for each in bundle.purposes.values() if lineage & set(each.categories)]
    return explain == [purpose]


def erase_only_for(
    vault: Vault, access: Access, subject_id: UUID, purpose: str, session: Session | None
) -> None:
    """Empty the person's fields that only this purpose used, and record it."""
    if session is not None:
        session.flush()
        _erase(vault, access, session.connection(), subject_id, purpose)
        session.expire_all()
    elif vault.databases.engine is not None:
        with vault.databases.transaction() as connection:
            _erase(vault, access, connection, subject_id, purpose)


def _erase(
    vault: Vault, access: Access, connection: Connection, subject_id: UUID, purpose: str
) -> None:
    bundle = vault.snapshot.bundle
    if not any(is_only_for(bundle, each, purpose) for each in set(DECLARED.values())):
        return
    known = [each for each in entities(vault.known_models(), connection) if each.subject_key]
    for holding in holdings(
        known, subject_id, access.tenant, lambda field: is_only_for(bundle, field.category, purpose)
    ):
        held = holding.held(connection)
        if held.values or held.terms:
            holding.forget_terms(connection)
            holding.empty(connection, NOBODYS)
            access.record(
                "fields_erased", about=purpose, entity=held.table, fields=list(held.fields),
                values=held.values, terms=held.terms,
            )  # fmt: skip
