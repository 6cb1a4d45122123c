"""On which ground somebody may be given something: an agreement, a consent, an order, one's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from vaultlayer.access.grants import refusal
from vaultlayer.access.processors import is_public_key
from vaultlayer.access.words import BASES
from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import MOST_WORDS
from vaultlayer.orm.attribute import personal_field
from vaultlayer.privacy.acting import check_texts
from vaultlayer.privacy.disclosures import COMPELLED, CONSENT, KINDS, PROCESSOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from vaultlayer.acting import Access
    from vaultlayer.orm.field import Field

_MOST = {"recipient": 255, "reason": MOST_WORDS, "reference": 255}


@dataclass(frozen=True, slots=True)
class Terms:
    """To whom, and on which ground."""

    kind: str
    recipient: str
    basis: str
    reference: str
    reason: str
    public_key: str


def asked_for(attributes: Sequence[Any]) -> dict[Any, list[tuple[Any, Field]]]:
    """Attribute and field by entity, each entity once."""
    asked: dict[Any, list[tuple[Any, Field]]] = {}
    for attribute in attributes:
        known = personal_field(attribute)
        if known is None or known[0].subject_key is None:
            raise ConfigurationError(
                "disclose() takes personal attributes of people",
                hint="name them as on the class, e.g. [Customer.name, Invoice.address]",
            )
        asked.setdefault(known[0], []).append((attribute, known[1]))
    if not asked:
        raise ConfigurationError("disclose() was given no field", hint="name at least one")
    return asked


def fields_of(asked: dict[Any, list[tuple[Any, Field]]]) -> Iterable[Field]:
    return (field for pairs in asked.values() for _, field in pairs)


def settle(access: Access, asked: Any, given: Terms) -> Terms:
    """What is given, completed and checked; a ground that isn't there is a recorded refusal."""
    told = {"recipient": given.recipient, "reason": given.reason, "reference": given.reference}
    check_texts(told, _MOST)
    if given.kind not in KINDS or not given.recipient.strip() or not given.reason.strip():
        raise ConfigurationError(
            "a disclosure has a kind, a recipient and a reason",
            hint=f"kind is one of {', '.join(KINDS)}",
        )
    purpose = access.snapshot.bundle.purposes.get(access.purpose)
    basis, reference, key = given.basis, given.reference, given.public_key
    if not basis:
        basis = "legal_obligation" if given.kind in COMPELLED else purpose.basis if purpose else ""
    if given.kind == PROCESSOR:
        reference, key = _agreement(access, asked, given)
    elif given.kind == CONSENT and purpose is not None and not purpose.consent:
        _refuse(access, list(fields_of(asked)), "consent_not_asked")
    elif given.kind in COMPELLED and not reference.strip():
        raise ConfigurationError(
            "a compelled disclosure names the order that compels it",
            hint="give its reference: reference=\"District Court 4 C 17/26\"",
        )
    if basis not in BASES and purpose is not None:
        raise ConfigurationError("no such lawful basis", hint=f"use one of {', '.join(BASES)}")
    if not is_public_key(key):
        raise ConfigurationError(
            "there is no public key to encrypt for",
            hint="set the processor's public_key in processors.toml, or pass public_key= for "
            "another recipient; `vaultlayer disclosure key` makes a pair",
        )
    return Terms(given.kind, given.recipient, basis, reference, given.reason, key)


def _agreement(access: Access, asked: Any, given: Terms) -> tuple[str, str]:
    """The reference and the key of the processor's agreement, which covers all of it."""
    if given.public_key or given.reference:
        raise ConfigurationError(
            "a processor's key and agreement are those of processors.toml",
            hint=f"leave public_key and reference out, or name another kind than {PROCESSOR}",
        )
    processors = access.vault.processors
    categories = [field.category for field in fields_of(asked)]
    why = processors.why_not(given.recipient, access.purpose, categories)
    if why:
        refused = [f for f in fields_of(asked) if "" in why or f.category in why]
        _refuse(access, refused, next(iter(why.values())))
    processor = processors.get(given.recipient)
    return processor.agreement, processor.public_key


def _refuse(access: Access, fields: Sequence[Field], reason: str) -> NoReturn:
    """Journal each field's refusal; the error names them all."""
    errors = [access.refused(field, "disclose", reason) for field in fields]
    if len(errors) == 1:
        raise errors[0]
    names = ", ".join(sorted(field.label for field in fields))
    raise refusal("disclose", names, access.purpose, reason)
