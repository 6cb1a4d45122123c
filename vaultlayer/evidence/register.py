"""The register of what is collected: made from the models and the policies (GDPR article 30)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from vaultlayer.audit.event import timestamp
from vaultlayer.lifecycle.models import declared

if TYPE_CHECKING:
    from vaultlayer.access.bundle import Bundle
    from vaultlayer.access.processors import Processor
    from vaultlayer.access.words import Purpose
    from vaultlayer.orm.field import Field
    from vaultlayer.vault import Vault

VERSION = 1


def register(vault: Vault) -> dict[str, Any]:
    """Every purpose with its categories, fields, people who may see them, and recipients.

    ``unexplained`` are the fields whose category is not declared, or no purpose is for.
    """
    bundle = vault.snapshot.bundle
    fields = {
        field.label: field
        for entity in declared(vault.known_models())
        for field in entity.fields.values()
    }
    known = [fields[label] for label in sorted(fields)]
    purposes = [_purpose(bundle, each, known) for each in bundle.purposes.values()]
    explained = {label for each in purposes for label in each["fields"]}
    return {
        "report": "register",
        "version": VERSION,
        "made": timestamp(time.time()),
        "policy": bundle.digest,
        "purposes": purposes,
        "fields": [_field(bundle, each, purposes) for each in known],
        "recipients": [_processor(each) for each in bundle.processors.values()],
        "unexplained": sorted(fields.keys() - explained),
    }


def _purpose(bundle: Bundle, purpose: Purpose, known: list[Field]) -> dict[str, Any]:
    listed = {*purpose.categories}
    covered = [each for each in bundle.categories if listed & {*bundle.lineage(each)}]
    mine = [field.label for field in known if field.category in covered]
    return {
        "name": purpose.name,
        "words": purpose.words,
        "basis": purpose.basis,
        "consent": purpose.consent,
        "retention": purpose.retention,
        "regions": list(purpose.regions),
        "categories": [
            {
                "name": name,
                "words": bundle.categories[name].words,
                "sensitive": bundle.categories[name].sensitive,
            }
            for name in covered
        ],
        "fields": mine,
        "roles": sorted({r.role for r in bundle.rules if _lets(r, purpose)}),
        "recipients": [p.name for p in bundle.processors.values() if purpose.name in p.purposes],
    }


def _lets(rule: Any, purpose: Purpose) -> bool:
    return bool(rule.purpose == purpose.name and rule.effect != "deny")


def _field(bundle: Bundle, field: Field, purposes: list[dict[str, Any]]) -> dict[str, Any]:
    known = bundle.categories.get(field.category)
    return {
        "field": field.label,
        "category": field.category,
        "words": known.words if known else None,
        "sensitive": known.sensitive if known else None,
        "purposes": [each["name"] for each in purposes if field.label in each["fields"]],
        "searchable": bool(field.indexes),
    }


def _processor(processor: Processor) -> dict[str, Any]:
    return {
        "name": processor.name,
        "words": processor.words,
        "agreement": processor.agreement,
        "signed": processor.signed.isoformat(),
        "expires": processor.expires.isoformat(),
        "purposes": list(processor.purposes),
        "categories": list(processor.categories),
        "regions": list(processor.regions),
        "safeguards": processor.safeguards,
        "contact": processor.contact,
    }
