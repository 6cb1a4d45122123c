"""Grants: what one access has been told it may do, each field decided once per snapshot."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from vaultlayer.access.masks import masking
from vaultlayer.access.names import MASKABLE
from vaultlayer.crypto.binding import DEFAULT_TENANT, field_part
from vaultlayer.errors import AccessDenied

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaultlayer.access.masks import Mask
    from vaultlayer.access.snapshot import Decision

_head = lru_cache(maxsize=4096)(field_part)  # every access asks for the same ones
NO_REF = bytes(16)  # the log_ref of a record that concerns nobody, or a row not stored yet


class Grant:
    """A decision, made ready for the path: journal prefix, place in the tenant, decoder, mask.

    A denied grant is kept too, so that every attempt is journaled and refused without being
    decided anew. What shows nobody a value can't be masked: there a
    mask denies.
    """

    __slots__ = (
        "action",
        "decode",
        "denied",
        "field",
        "former",
        "head",
        "masked",
        "prefix",
        "reason",
        "show",
        "text",
    )

    def __init__(
        self,
        field: Any,
        action: str,
        decision: Decision,
        prefix: bytes,
        tenant: str,
        mask_key: Callable[[], bytes],
    ) -> None:
        self.field = field
        self.action = action
        self.denied = decision.effect == "deny" or (
            decision.effect == "mask" and action not in MASKABLE
        )
        self.masked = decision.effect == "mask"
        self.reason = decision.reason
        self.prefix = prefix
        owner = tenant if field.tenanted else DEFAULT_TENANT
        self.head = _head(owner, field.entity, field.name)
        self.former = _head(owner, *field.former) if field.former else b""
        self.decode = field.codec.decode
        self.text = field.codec.name == "str" and not self.masked  # opened without a decoder
        masked = self.masked and not self.denied
        self.show: Mask | None = masking(decision.mask or field.mask, mask_key) if masked else None


def refusal(action: str, field: Any, purpose: str, reason: str) -> AccessDenied:
    """The error of a refused action, with the hint that belongs to its reason.

    ``field`` is a personal field, or the name of something else that was acted on.
    """
    return AccessDenied(
        f"this access may not {action} {getattr(field, 'label', field)} "
        f"for the purpose {purpose!r}",
        hint=f"{HINTS.get(reason, 'see policies/')} (reason code: {reason})",
        reason=reason,
    )


HINTS = {
    "role": "no rule of roles.csv allows it; ask whoever reviews policies/",
    "rule_deny": "a rule of roles.csv forbids it; ask whoever reviews policies/",
    "no_roles": "the principal has no role; check how its token or session is mapped",
    "purpose_unknown": "declare the purpose in purposes.toml, or use one that is declared",
    "field_invalid": "rename the table or attribute: policies can't name it as it is",
    "action_unknown": "use one of read, search, write, export, disclose, erase, administer",
    "purpose_category": "purposes.toml doesn't list the field's category under this purpose",
    "category_unknown": "declare the field's category in categories.toml",
    "place_invalid": "a principal's tenant and region are texts",
    "field_undeclared": "roles.csv names a field that this table doesn't have: put it right there",
    "policy_stale": "the policies can't be confirmed any more: see the log, and put them right",
    "step_up": "sign in again, as categories.toml asks for this category, and open a new access",
    "consent_missing": "the purpose needs the person's consent, and none is recorded",
    "consent_refused": "the person was asked for this purpose and refused",
    "consent_withdrawn": "the person has taken their consent back",
    "objected": "the person objected to this purpose",
    "restricted": "the person's data is restricted; purposes.toml says which purposes go on",
    "region": "the person's region is not one for this purpose, or not the principal's",
    "person_unknown": "load the row again",
    "emergency_not_allowed": "no e line of roles.csv allows it; ask whoever reviews policies/",
    "emergency_over": "its minutes have passed; open another one if the emergency lasts",
    "grant_own": "somebody else must give it",
    "review_own": "a second person reviews it",
    "grant_unknown": "ask for a grant for this principal and purpose",
    "grant_over": "its time has passed, it was used or it was revoked: ask for another one",
    "recipient_unknown": "declare the recipient and its agreement in processors.toml",
    "agreement_not_valid": "its agreement has run out, or isn't in force yet: renew it",
    "agreement_purpose": "the agreement in processors.toml is not for this purpose",
    "agreement_category": "the agreement doesn't cover the field: leave it out, or extend it",
    "consent_not_asked": "the purpose needs no consent, so there is none to rest on",
    "masked": "the rules mask it, and a mask can't be stored in the value's place",
    "tenant": "the row belongs to another tenant than the principal",
    "token_expired": "get a new token and open a new access",
}
