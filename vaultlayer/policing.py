"""The policies of a vault: where they come from, what is held against them, what is recorded."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from vaultlayer.access.check import Finding, undeclared
from vaultlayer.access.policies import Policies
from vaultlayer.access.source import Folder, Source, Stored
from vaultlayer.audit.event import clip
from vaultlayer.errors import ConfigurationError, PolicyError
from vaultlayer.orm.field import DECLARED

if TYPE_CHECKING:
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.audit.log import Log
    from vaultlayer.settings import Settings
    from vaultlayer.vault import Vault

STORED = "database:"  # [vault] policies: in the database that [vault] database names


def open_policies(settings: Settings, vault: Vault) -> Policies:
    """The policies that ``[vault] policies`` names; PolicyError when they aren't good."""
    return Policies(
        source_of(settings),
        max_age=settings.policy_max_age,
        check=misspelt,
        permit=lambda wanted: vault.governing.permit(wanted),
        tell=lambda *change: vault.policies_changed(*change),
    )


def source_of(settings: Settings) -> Source:
    """The folder, or the table, that the settings name."""
    if settings.policies.name != STORED:
        return Folder(settings.policies)
    if settings.database is None:
        raise ConfigurationError(
            f'policies = "{STORED}" needs [vault] database',
            hint="name the database that holds vaultlayer_policy, or a folder of files",
        )
    return Stored.at(settings.database)


def misspelt(snapshot: Snapshot) -> list[Finding]:
    """Rules about fields that a class mapped so far doesn't have."""
    return undeclared(snapshot, DECLARED)


def refuse_misspelt(snapshot: Snapshot) -> None:
    """The PolicyError of such a rule: a deny with a misspelt field would deny nothing."""
    for found in misspelt(snapshot):
        raise PolicyError(f"{found.where}: {found.message}", hint=found.hint)


def record(log: Log, change: str, snapshot: Snapshot, error: PolicyError | None) -> None:
    """One event for a bundle that came into force, or was refused."""
    told: dict[str, Any] = {"change": change, "policy": snapshot.digest}
    if error is not None:
        told["why"] = clip(str(error))
    log.write("policy", **told)


def on_hangup(policies: Policies) -> None:
    """Have SIGHUP make the next access look at the policies; in the main thread only."""
    before = signal.getsignal(signal.SIGHUP)

    def hangup(number: int, frame: Any) -> None:
        policies.soon()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGHUP, hangup)
