"""What acting on people's rights has in common: who may, whom it concerns, what is told."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

from sqlalchemy import select

from vaultlayer.access.context import acting, no_access
from vaultlayer.access.grants import NO_REF, refusal
from vaultlayer.access.snapshot import ANY_FIELD
from vaultlayer.errors import ConfigurationError
from vaultlayer.keys import tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from vaultlayer.acting import Access
    from vaultlayer.keys.keyring import SubjectKey
    from vaultlayer.vault import Vault

_K = tables.subject_key.c


def acting_for(
    session: Session | None, action: str, what: str, names: tuple[str, ...],
    categories: Iterable[str],
) -> Access:  # fmt: skip
    """The access that acts here; refused, and recorded, unless it may do it to all categories.

    :param what: what is acted on, as the log's ``entity``, such as ``consent``.
    :param names: of what exactly, as the log's ``fields``, such as a purpose.
    """
    access = acting(session)
    if access is None or access.closed:
        raise no_access(f"{action} of {what}")
    for category in categories:
        decision = access.decide(ANY_FIELD, category, action)
        if decision.effect != "allow":
            reason = decision.reason if decision.effect == "deny" else "role"
            prefix = access.spec(what, names, action, "deny", reason)
            access.journal.append_many(prefix, [NO_REF])
            raise refusal(action, f"{what} ({category})", access.purpose, reason)
    return access


def acting_for_some(session: Session | None, what: str, name: str, vault: Vault) -> Access:
    """The access that acts here, where it may administer something of its purpose."""
    access, categories = acting(session), categories_of(vault, session)
    if access is not None and not access.closed:
        may = [c for c in categories if access.decide(ANY_FIELD, c, "administer").effect == "allow"]
        categories = tuple(may or categories)[:1]
    return acting_for(session, "administer", what, (name,), categories)


def categories_of(vault: Vault, session: Session | None) -> tuple[str, ...]:
    """The categories of the purpose that the access at hand acts for."""
    access = acting(session)
    known = vault.snapshot.bundle.purposes.get(access.purpose) if access is not None else None
    return known.categories if known else ()


def key_of(access: Access, connection: Connection, subject: bytes) -> SubjectKey:
    """The key of a person of the access's tenant, whose ``log_ref`` tells of them in the log.

    Its record is locked up to the end of the transaction: one change of a person at a time.
    Who has no key has no data here: ConfigurationError. Who was erased: KeyErased.
    """
    tables.become_writer(connection)
    mine = select(_K.key_id).where(
        _K.subject == subject, _K.tenant.in_(["", access.tenant])
    ).order_by(_K.generation.desc()).limit(1).with_for_update()  # fmt: skip
    key_id = connection.execute(mine).scalar()
    if key_id is None:
        raise ConfigurationError(
            "there is no person of this id among those the access is for",
            hint="give the subject_id of a stored row, and flush a new one first",
        )
    found: SubjectKey = access.vault.keys.fetch(connection, [bytes(key_id)])[bytes(key_id)]
    return found


def check_texts(texts: Mapping[str, object], most: Mapping[str, int]) -> None:
    """Refuse what is no text for the record, of at most so many characters."""
    for name, text in texts.items():
        if not isinstance(text, str) or len(text) > most[name] or not text.isprintable():
            raise ConfigurationError(
                f"{name} is not a text of at most {most[name]} characters",
                hint="give a reference to it, not the thing itself",
            )


def ref_of(key: SubjectKey) -> str:
    """A person's pseudonym as the log writes it."""
    return urlsafe_b64encode(key.log_ref).rstrip(b"=").decode()
