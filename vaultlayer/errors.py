"""Every error vaultlayer raises.

::

    VaultLayerError
     ├── ConfigurationError   the settings or a declaration can't work
     ├── PolicyError          the policy bundle is not valid
     ├── NoAccess             a value was touched outside ``vault.access(...)``
     ├── AccessDenied         the rules say no; ``.reason`` is a stable code
     ├── UnsupportedQuery     sealed columns can't serve this statement
     ├── PlaintextFound       a sealed column holds a value nobody sealed
     ├── IntegrityError       a sealed value is damaged or not in its own place
     ├── KeyUnavailable       a key can't be had now; trying later may help
     ├── KeyErased            the key was destroyed; nothing brings it back
     └── AuditUnavailable     the read could not be recorded, so it was refused

Each has ``.code`` (a stable string), ``.hint`` (what to do next), and a text that
never holds a value, a key or a token.
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin


class VaultLayerError(DontWrapMixin, Exception):
    """Base of all; catch it to catch everything vaultlayer refuses.

    ``DontWrapMixin`` keeps SQLAlchemy from wrapping it together with a statement's
    parameters, which may still be plain when a bind processor refuses them.
    """

    code = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        hint = self.hint.removesuffix(".")
        return f"{self.message}. {hint[0].upper()}{hint[1:]}." if hint else f"{self.message}."


class ConfigurationError(VaultLayerError):
    code = "configuration"


class PolicyError(VaultLayerError):
    code = "policy"


class NoAccess(VaultLayerError):
    code = "no_access"


class AccessDenied(VaultLayerError):
    """The rules refuse. ``reason`` is a stable code, e.g. ``role`` or ``purpose_category``."""

    code = "access_denied"

    def __init__(self, message: str, hint: str = "", reason: str = "denied") -> None:
        super().__init__(message, hint)
        self.reason = reason

    def __reduce__(self) -> tuple[type[AccessDenied], tuple[str, str, str]]:
        return type(self), (self.message, self.hint, self.reason)


class UnsupportedQuery(VaultLayerError):
    code = "unsupported_query"


class PlaintextFound(VaultLayerError):
    code = "plaintext_found"


class IntegrityError(VaultLayerError):
    code = "integrity"


class KeyUnavailable(VaultLayerError):
    code = "key_unavailable"


class KeyErased(VaultLayerError):
    code = "key_erased"


class AuditUnavailable(VaultLayerError):
    code = "audit_unavailable"
