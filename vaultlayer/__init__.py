"""Field encryption for SQLAlchemy that decides and records every read."""

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
from vaultlayer.sealed import Masked, Sealed
from vaultlayer.search.blind_index import Equality
from vaultlayer.vault import Vault
from vaultlayer.version import __version__ as __version__

__all__ = [
    "AccessDenied",
    "AuditUnavailable",
    "ConfigurationError",
    "Equality",
    "IntegrityError",
    "KeyErased",
    "KeyUnavailable",
    "Masked",
    "NoAccess",
    "PersonalData",
    "PlaintextFound",
    "PolicyError",
    "Principal",
    "Sealed",
    "UnsupportedQuery",
    "Vault",
    "VaultLayerError",
    "personal",
]
