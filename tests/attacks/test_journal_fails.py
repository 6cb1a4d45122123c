"""No record, no value: when the audit can't be written nothing is read, written or searched."""

from __future__ import annotations

import resource
import shutil
from contextlib import ExitStack, contextmanager, suppress

import pytest
from sqlalchemy import select

from vaultlayer.errors import AuditUnavailable
from vaultlayer.testing import audit_events
from vaultlayer.vault import Vault

WAYS = ("attribute", "reveal", "column")


def attempts(shop, pk):
    """Every way to a value, each in an access of its own."""

    def searched():
        with shop.sessions() as session, shop.access():
            who = select(shop.Customer.id).where(shop.Customer.email == shop.email)
            return session.scalars(who).all()

    yield from (lambda way=way: shop.read(shop.Customer, pk, "name", way) for way in WAYS)
    yield searched
    yield lambda: shop.add(shop.zenobia(email="other@example.com"))


@contextmanager
def removed(trail):
    """The audit folder is deleted under the running application."""
    shutil.rmtree(trail)
    yield


@contextmanager
def full(trail):
    """No file may grow: what a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("failure", [removed, full])
def test_a_failing_audit_refuses_everything(shop, refused, failure):
    """By whatever way; and nothing was stored either."""
    (pk,) = shop.add(shop.zenobia())
    for attempt in attempts(shop, pk):
        with suppress(Exception):
            attempt()  # keys are cached, statements compiled: only the audit can stop it now
    before = shop.sql("SELECT count(*) FROM customer")
    with failure(shop.vault.settings.audit_directory):
        for attempt in attempts(shop, pk):
            with refused(AuditUnavailable):
                attempt()
        assert shop.sql("SELECT count(*) FROM customer") == before


@pytest.mark.parametrize("failure", [removed, full])
def test_an_audit_that_fails_while_an_access_is_open(shop, refused, failure):
    """Fields not yet read in it are refused, and it doesn't end as if all were well."""
    (pk,) = shop.add(shop.zenobia())
    with (
        shop.sessions() as session,
        ExitStack() as failing,
        refused(AuditUnavailable),
        shop.access(),
    ):
        row = session.get_one(shop.Customer, pk)
        assert row.name == shop.name
        failing.enter_context(failure(shop.vault.settings.audit_directory))
        with refused(AuditUnavailable):
            row.email  # noqa: B018
        with refused(AuditUnavailable):
            session.scalars(select(shop.Customer.phone)).all()


@pytest.mark.smoke
def test_a_closed_vault_opens_nothing(shop, refused):
    """After vault.close() an access that is still open, and any new one, is refused."""
    (pk,) = shop.add(shop.zenobia())
    with shop.sessions() as session, shop.access():
        row = session.get_one(shop.Customer, pk)
        assert row.name == shop.name
        shop.vault.close()
        for field in ("name", "email"):
            with refused(AuditUnavailable):
                getattr(row, field)
    for attempt in attempts(shop, pk):
        with refused(AuditUnavailable):
            attempt()
    assert sum(event.get("count", 0) for event in audit_events(shop.vault)) >= 5


def test_a_vault_without_an_audit_folder_does_not_open(shop, refused):
    """A file where the folder should be: refused when the vault is opened."""
    shop.vault.close()
    shutil.rmtree(shop.vault.settings.audit_directory)
    shop.vault.settings.audit_directory.write_text("not a folder")
    with refused(AuditUnavailable):
        Vault.open(shop.config)
