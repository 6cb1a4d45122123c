"""``vaultlayer.toml`` and the environment, read once into one frozen object.

Order: arguments, then ``VAULTLAYER_…`` variables, then the file. There is no default for
a passphrase, and no error repeats one.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CONFIG_VARIABLE = "VAULTLAYER_CONFIG"
DEFAULT_FILE = "vaultlayer.toml"

_TABLES: Mapping[str, frozenset[str]] = {
    "vault": frozenset(
        {"database", "policies", "shadow", "policy_max_age", "models", "request_months"}
    ),
    "keys": frozenset(
        {"provider", "former", "regions", "region", "ttl", "kek_ttl"}
        | {"epoch_days", "backup_days", "provider_days"}
    ),
    "audit": frozenset({"directory", "durability", "sinks", "witnesses"}),
    "watch": frozenset({"url"}),
    "tokens": frozenset(
        {"issuer", "audience", "algorithms", "key", "jwks", "secret_file", "typ", "leeway"}
        | {"roles_claim", "roles", "tenant_claim", "tenant", "region_claim", "region"}
    ),
}

_SINK = frozenset({"url", "required", "format"})
_FORMATS = ("native", "ocsf", "ecs")


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """One ``[[audit.sinks]]``: where records go beside the log. ``url`` may hold a password."""

    url: str = field(repr=False)
    required: bool = False
    format: str = "native"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is. Paths are absolute; ``folder`` is the settings file's own."""

    folder: Path
    database: str | None
    policies: Path
    provider: str
    audit_directory: Path
    durability: Literal["process", "power"] = "process"
    key_ttl: float = 60.0
    kek_ttl: float = 7200.0
    policy_max_age: float = 3600.0
    region: str = ""
    regions: Mapping[str, str] = field(default_factory=dict)  # region → provider
    former: tuple[str, ...] = ()  # providers
    epoch_days: int = 7  # how long a KEK is in use
    backup_days: int = 14  # how long backups of the key tables are kept
    provider_days: int = 7  # how long the provider takes to destroy a key
    models: tuple[str, ...] = ()  # modules
    request_months: int = 1  # in which a person's request is to be answered (GDPR article 12(3))
    watch: str | None = field(default=None, repr=False)
    shadow: Path | None = None
    tokens: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    sinks: tuple[SinkSettings, ...] = ()
    witnesses: tuple[str, ...] = ()  # each a URL, a space and a C2SP vkey

    @property
    def horizon_days(self) -> int:
        """From an erasure until no backup brings anything back."""
        return self.epoch_days + self.backup_days + self.provider_days

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Settings:
        """Read ``path``, else ``$VAULTLAYER_CONFIG``, else ``./vaultlayer.toml``."""
        file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE).absolute()
        try:
            document = tomllib.loads(file.read_text("utf-8"))
        except FileNotFoundError:
            raise ConfigurationError(
                f"there is no settings file at {file}",
                hint=f"write one with `vaultlayer init`, or name it in {CONFIG_VARIABLE}",
            ) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(
                f"{file} can't be read ({type(error).__name__})",
                hint="it must be a TOML file in UTF-8; `vaultlayer init` writes a working one",
            ) from None
        return cls._from_document(file, document)

    @classmethod
    def _from_document(cls, file: Path, document: Mapping[str, Any]) -> Settings:
        _refuse_unknown(file, document)
        vault, keys = document.get("vault", {}), document.get("keys", {})
        audit, folder = document.get("audit", {}), file.parent
        return cls(
            folder=folder,
            database=os.environ.get("VAULTLAYER_DATABASE") or vault.get("database"),
            policies=folder / _text(file, vault, "vault", "policies"),
            provider=os.environ.get("VAULTLAYER_PROVIDER") or _text(file, keys, "keys", "provider"),
            audit_directory=folder / _text(file, audit, "audit", "directory"),
            durability=_durability(file, audit),
            key_ttl=_seconds(file, keys, "keys", "ttl", 60.0, 3600),
            kek_ttl=_seconds(file, keys, "keys", "kek_ttl", 7200.0, 86400),
            policy_max_age=_seconds(file, vault, "vault", "policy_max_age", 3600.0, 86400),
            region=_text(file, keys, "keys", "region", ""),
            regions=_providers(file, keys, "regions", dict),
            former=tuple(_providers(file, keys, "former", list)),
            epoch_days=_days(file, keys, "epoch_days", 7),
            backup_days=_days(file, keys, "backup_days", 14),
            provider_days=_days(file, keys, "provider_days", 7),
            models=_models(file, vault),
            request_months=_days(file, vault, "request_months", 1, "vault"),
            watch=os.environ.get("VAULTLAYER_WATCH")
            or _text(file, document.get("watch", {}), "watch", "url", "")
            or None,
            shadow=folder / _text(file, vault, "vault", "shadow") if "shadow" in vault else None,
            tokens=document.get("tokens", ()),
            sinks=_sinks(file, audit.get("sinks", [])),
            witnesses=tuple(map(str, audit.get("witnesses", ()))),
        )


def secret(name: str) -> Callable[[], str]:
    """A reader for ``$NAME`` or the file named by ``$NAME_FILE``; called when it is needed."""

    def read() -> str:
        if value := os.environ.get(name):
            return value
        if file := os.environ.get(f"{name}_FILE"):
            try:
                return Path(file).read_text("utf-8").rstrip("\n")
            except OSError as error:
                raise ConfigurationError(
                    f"the file named by {name}_FILE can't be read ({type(error).__name__})",
                    hint="check that it exists and that this user may read it",
                ) from None
        raise ConfigurationError(
            f"neither {name} nor {name}_FILE is set",
            hint=f"put it into a file only this user can read, and name that in {name}_FILE",
        )

    return read


def _refuse_unknown(file: Path, document: Mapping[str, Any]) -> None:
    for table, content in document.items():
        known = _TABLES.get(table)
        tables = content if isinstance(content, list) and table == "tokens" else [content]
        if known is None or not all(isinstance(each, dict) for each in tables):
            raise ConfigurationError(
                f"{file}: [{table}] is not a table of these settings",
                hint="known tables: " + ", ".join(f"[{name}]" for name in _TABLES),
            )
        for key in (key for each in tables for key in each):
            if key not in known:
                raise ConfigurationError(
                    f"{file}: [{table}] has no setting {key!r}",
                    hint=f"known ones: {', '.join(sorted(known))}",
                )


def _text(
    file: Path, table: Mapping[str, Any], name: str, key: str, default: str | None = None
) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise ConfigurationError(
            f"{file}: [{name}] {key} must be set to a text",
            hint=f'add {key} = "…" under [{name}]; `vaultlayer init` shows a working file',
        )
    return value


def _durability(file: Path, audit: Mapping[str, Any]) -> Literal["process", "power"]:
    if (found := audit.get("durability", "process")) in ("process", "power"):
        return "power" if found == "power" else "process"
    raise ConfigurationError(
        f'{file}: [audit] durability is neither "process" nor "power"',
        hint='"process" survives a killed process, "power" also a power cut',
    )


def _sinks(file: Path, tables: object) -> tuple[SinkSettings, ...]:
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise ConfigurationError(
            f"{file}: audit.sinks is not a list of tables",
            hint="write [[audit.sinks]], with two brackets, once for each sink",
        )
    for one in tables:
        kinds = isinstance(one.get("url"), str) and isinstance(one.get("required", False), bool)
        if one.keys() - _SINK or not kinds or one.get("format", "native") not in _FORMATS:
            raise ConfigurationError(
                f"{file}: one of [[audit.sinks]] is not made as it should",
                hint='give url = "…", required = true or false, format = "native", "ocsf" or "ecs"',
            )
    return tuple(SinkSettings(**one) for one in tables)


def _providers(file: Path, keys: Mapping[str, Any], name: str, kind: type) -> Any:
    value = keys.get(name, kind())
    texts = value.values() if isinstance(value, dict) else value
    if isinstance(value, kind) and all(isinstance(text, str) for text in texts):
        return value
    raise ConfigurationError(
        f"{file}: [keys] {name} doesn't name key providers",
        hint='e.g. regions = {eu = "aws-kms:…"}, former = ["local:keyring.json"]',
    )


def _seconds(
    file: Path, table: Mapping[str, Any], of: str, name: str, default: float, most: int
) -> float:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigurationError(
            f"{file}: [{of}] {name} is not a number of seconds between 0 and {most}",
            hint=f"{default:g} is the default: for so long what was looked up is used",
        )
    return float(value)


def _days(file: Path, table: Mapping[str, Any], name: str, default: int, of: str = "keys") -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 3650:
        raise ConfigurationError(
            f"{file}: [{of}] {name} is not a whole number of {name.split('_')[1]}",
            hint=f"{default} is the default; docs/ says what follows from it",
        )
    return value


def _models(file: Path, vault: Mapping[str, Any]) -> tuple[str, ...]:
    value = vault.get("models", [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigurationError(
            f"{file}: [vault] models is not a list of modules", hint='e.g. models = ["shop.models"]'
        )
    return tuple(value)
