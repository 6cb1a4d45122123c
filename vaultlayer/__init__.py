"""Field encryption for SQLAlchemy that decides and records every read."""

import typing

from vaultlayer.access.principal import Principal
from vaultlayer.declare import PersonalData, personal
from vaultlayer.errors import (
    AccessDenied,
    AuditUnavailable,
    ConfigurationError,
    IntegrityError,
    KeyErased,
    KeyUnavailable,
    NoAccess,
    PlaintextFound,
    PolicyError,
    UnsupportedQuery,
    VaultLayerError,
)
from vaultlayer.orm.former import Former
from vaultlayer.sealed import Masked, Sealed
from vaultlayer.search.buckets import Buckets, Compound
from vaultlayer.search.kinds import Equality
from vaultlayer.search.texts import Prefix, Substring, Words
from vaultlayer.version import __version__ as __version__

if typing.TYPE_CHECKING:
    from vaultlayer.vault import Vault

__all__ = [
    "AccessDenied",
    "AuditUnavailable",
    "Buckets",
    "Compound",
    "ConfigurationError",
    "Equality",
    "Former",
    "IntegrityError",
    "KeyErased",
    "KeyUnavailable",
    "Masked",
    "NoAccess",
    "PersonalData",
    "PlaintextFound",
    "PolicyError",
    "Prefix",
    "Principal",
    "Sealed",
    "Substring",
    "UnsupportedQuery",
    "Vault",
    "VaultLayerError",
    "Words",
    "personal",
]


def __getattr__(name: str) -> object:
    """``Vault`` when it is first asked for: models are declared, and migrated, without one."""
    if name != "Vault":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vaultlayer.vault import Vault

    return Vault
