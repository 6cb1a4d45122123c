"""The Vault: opens the settings, wires the rooms, hands out accesses."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, finalize

from vaultlayer import policing
from vaultlayer.access.principal import Principal
from vaultlayer.access.tokens import Verifier, verifier
from vaultlayer.acting import Access
from vaultlayer.audit.sinks.opening import open_sinks
from vaultlayer.audit.trail import Trail
from vaultlayer.auditing import Audit
from vaultlayer.databases import Databases
from vaultlayer.declare import PersonalData
from vaultlayer.errors import ConfigurationError
from vaultlayer.governing import Governing
from vaultlayer.keys.provider import MemoryProvider, open_providers
from vaultlayer.lifecycle.key_keeping import VaultKeys
from vaultlayer.lifecycle.migrating.migrations import Migrations
from vaultlayer.lifecycle.models import declared_indexes, import_models, subclasses
from vaultlayer.lifecycle.tombstones import Tombstones
from vaultlayer.orm import session as listeners
from vaultlayer.privacy.consent import Consent
from vaultlayer.privacy.disclosures import Disclosures
from vaultlayer.privacy.elevation import Elevations
from vaultlayer.privacy.notices import Notices
from vaultlayer.privacy.processors import Processors
from vaultlayer.privacy.requests import Requests
from vaultlayer.privacy.subjects import Subjects
from vaultlayer.search.declarations import Indexes
from vaultlayer.settings import Settings, secret
from vaultlayer.standing import Standing
from vaultlayer.watch import CONSENT, KEY, POLICY, Watch

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

    from vaultlayer.access.policies import Policies
    from vaultlayer.access.snapshot import Snapshot
    from vaultlayer.errors import PolicyError
    from vaultlayer.keys.provider import KeyProvider, Providers


class Vault:
    """Keys, rules and the audit trail of one application. Open one per process.

    ``Vault.open("vaultlayer.toml")`` for real, ``Vault.ephemeral(policies=...)`` in tests.
    """

    def __init__(self, settings: Settings, provider: KeyProvider | Providers) -> None:
        self.settings = settings
        self.policies: Policies = policing.open_policies(settings, self)
        self.keys: VaultKeys = VaultKeys(
            self, provider, ttl=settings.key_ttl, kek_ttl=settings.kek_ttl, region=settings.region
        )
        self.accesses: WeakSet[Access] = WeakSet()  # the open ones, to hear of changes
        self.heard = 0  # how many changes there were to hear of
        self.standing: Standing = Standing(ttl=settings.key_ttl, changed=self._look_again)
        self.consent: Consent = Consent(self)
        self.elevations: Elevations = Elevations(self)
        self.notices: Notices = Notices(self)
        self.requests: Requests = Requests(self)
        self.processors: Processors = Processors(self)
        self.disclosures: Disclosures = Disclosures(self)
        self.tokens: Verifier = verifier(settings.tokens, settings.folder)
        self.models: tuple[Any, ...] = ()  # classes or bases; else settings, else all there are
        self.subjects: Subjects = Subjects(self)
        self.tombstones: Tombstones = Tombstones(settings.audit_directory)
        self.indexes: Indexes = Indexes(self)
        self.migrations: Migrations = Migrations(self)
        self.databases: Databases = Databases(settings.database, self.tombstones.check)
        log_provider = self.keys.keks.providers.of_region(settings.region)
        self._trail = Trail(settings, log_provider, open_sinks(settings))
        self.log = self._trail.log
        self.begin_audit: Callable[[], None] = self._trail.begin
        self.journal = self._trail.journal
        self.governing: Governing = Governing(self.databases, self.log, settings)
        self.audit: Audit = Audit(self)
        self.watch: Watch = Watch.open(settings.watch)
        self.watch.on(KEY, self._forget_keys)
        self.watch.on(POLICY, self.policies.heard)
        self.watch.on(CONSENT, self.standing.forget)
        self._finalizer = finalize(self, Trail.finish, self._trail)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Vault:
        """Open what ``path``, else ``$VAULTLAYER_CONFIG``, else ./vaultlayer.toml describes."""
        settings = Settings.load(path)
        return cls(settings, open_providers(settings, secret("VAULTLAYER_PASSPHRASE")))

    @classmethod
    def ephemeral(cls, *, policies: str | os.PathLike[str]) -> Vault:
        """A vault for tests: its key in memory, its log in a folder that goes with the process."""
        folder = Path(tempfile.mkdtemp(prefix="vaultlayer-"))
        settings = Settings(
            folder=folder,
            database=None,
            policies=Path(policies),
            provider="memory:",
            audit_directory=folder / "audit",
        )
        try:
            vault = cls(settings, MemoryProvider())
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        vault._finalizer.detach()
        finalize(vault, Trail.finish, vault._trail, folder)
        return vault

    def __repr__(self) -> str:
        return f"<Vault {self.settings.provider.partition(':')[0]}>"

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what the journal still holds into the log, and let go of the files."""
        self.watch.close()
        self.keys.forget()
        self._trail.close()

    def attach(self, target: Any, *, check_indexes: bool = True) -> None:
        """Serve a sessionmaker, async_sessionmaker, Session, AsyncSession or engine.

        Nothing of vaultlayer happens in SQLAlchemy before this. PolicyError: a rule names a field
        that the mapped class doesn't have. ConfigurationError: an index was made otherwise than is
        declared (docs/search.md); ``check_indexes=False`` is for who makes its terms anew.
        """
        policing.refuse_misspelt(self.snapshot)
        listeners.attach(target)
        if self.databases.attached(target) and check_indexes:
            self.indexes.refuse_changed(declared_indexes(subclasses(PersonalData)))

    def create_tables(self, bind: Engine | Connection) -> None:
        """Create the vault's own tables where they are missing."""
        self.governing.create_tables(bind, self.policies)

    def access(
        self,
        principal: Principal | str,
        *,
        purpose: str,
        reason: str = "",
        session: Any = None,
        request_id: str = "",
        trace_id: str = "",
        emergency: str = "",
        grant: str = "",
    ) -> Access:
        """A principal, or its bearer token, acting for a purpose; use it in a ``with`` block.

        :param reason: why, in words for the record, such as a ticket's number.
        :param session: pin the access to this (Async)Session instead of the current context.
        :param request_id: the application's own id of the request, for the record.
        :param trace_id: of the request's trace (W3C Trace Context), where OpenTelemetry has none.
        :param emergency: break the glass, with this justification: the principal takes on the
            roles that an ``e`` line of roles.csv names, for minutes, under review.
        :param grant: the id of a grant that ``vault.elevations.give()`` returned, to use it.
        :raises AccessDenied: the token is not valid; ``.reason`` begins with ``token_``.
        """
        speaker = self.tokens.outcome(principal) if isinstance(principal, str) else principal
        del principal
        if isinstance(speaker, Exception):
            raise speaker
        if not isinstance(speaker, Principal):
            raise ConfigurationError(
                "an access needs a Principal or a bearer token",
                hint='e.g. vault.access(Principal("sam", roles=["support"]), purpose=...)',
            )
        if not isinstance(purpose, str) or not purpose:
            raise ConfigurationError(
                "an access needs a purpose",
                hint="name one of purposes.toml: vault.access(principal, purpose=...)",
            )
        if not self.governing.settled:
            self.governing.settle(self.policies)
        access = Access(
            self,
            speaker,
            purpose,
            reason="; ".join(filter(None, (reason, emergency))),
            session=getattr(session, "sync_session", session),
            request_id=request_id,
            trace_id=trace_id,
        )
        if grant:
            access.elevate(self.elevations.use(access, grant))
        if emergency:
            access.elevate(self.elevations.break_glass(access, emergency))
        return access

    @property
    def snapshot(self) -> Snapshot:
        """The policies in force."""
        return self.policies.snapshot

    def reload_policy(self) -> None:
        """Read ``policies/`` anew. PolicyError: it is bad or not due yet; the good one stays."""
        self.policies.reload()
        self.watch.publish(POLICY, self.snapshot.digest)

    def reload_on_hangup(self) -> None:
        """Let SIGHUP have the policies read anew; call it in the main thread."""
        policing.on_hangup(self.policies)

    @contextmanager
    def key_connection(self, using: Session | Connection | None) -> Iterator[Connection]:
        """Where the key tables are: the caller's own transaction, unless settings name another."""
        with self.databases.keys(using) as connection:
            yield connection

    def _forget_keys(self, key_ids: str) -> None:
        """Keys were destroyed in another process."""
        self.keys.forget(key_ids)
        self._look_again()

    def mask_key(self, tenant: str, purpose: str) -> bytes:
        """The 32 bytes that a tenant's pseudonyms for a purpose are made with."""
        with self.key_connection(None) as keys_on:
            return self.keys.index_keys(keys_on, tenant, "", purpose, "mask/hash/1")[0]

    def policies_changed(self, change: str, now: Snapshot, error: PolicyError | None) -> None:
        policing.record(self.log, change, now, error)
        self._look_again()

    def _look_again(self) -> None:
        """Policies, keys or what is known of people changed: no open access goes on as it was."""
        self.heard += 1
        for access in list(self.accesses):
            access.look_again()

    def known_models(self) -> list[Any]:
        """The mapped classes with personal fields that this vault serves, or their bases."""
        if self.models or self.settings.models:
            return [*self.models, *import_models(self.settings.models)]
        return subclasses(PersonalData)
