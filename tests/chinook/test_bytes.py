"""No personal value of Chinook is in any byte that a protected database or the audit wrote."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sqlalchemy import Column, DateTime, MetaData, String, Table, create_engine

from vaultlayer.testing import assert_no_plaintext


def numbers_found(where, values):
    """The numbers of the values that a scan finds."""
    try:
        assert_no_plaintext(where, values)
    except AssertionError as error:
        return {int(number) for number in re.findall(r"^value (\d+) as", str(error), re.M)}
    return set()


def test_the_canaries_are_the_whole_of_chinook(chinook, canaries):
    """Every e-mail, phone, fax, street and birth date is among them, and most names."""
    employee, customer, invoice = chinook
    known = set(canaries)
    people = chinook[employee] + chinook[customer]
    for name in ("Email", "Phone", "Fax", "Address"):
        assert {row[name] for row in people} - {None} <= known, name
    assert {row["BillingAddress"] for row in chinook[invoice]} <= known
    assert {str(row["BirthDate"]) for row in chinook[employee]} <= known
    names = {row[name] for row in people for name in ("FirstName", "LastName")}
    assert len(names & known) > len(names) / 2


def test_the_scanner_finds_all_of_them_in_the_original(chinook_file, canaries):
    """The same scan over the unprotected file misses not one."""
    assert numbers_found(chinook_file, canaries) == set(range(len(canaries)))


def test_the_scanner_finds_all_of_them_in_a_plain_copy(postgres_server, canaries, birth_timestamps):
    """The same scan over a PostgreSQL that was given the plain values misses not one."""
    with postgres_server() as (url, folder):
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        table = Table("liar", MetaData(), Column("value", String), Column("born", DateTime))
        table.create(engine)
        epoch = datetime(2000, 1, 1)
        times = [int.from_bytes(value, "little", signed=True) for value in birth_timestamps]
        rows = [{"value": value, "born": None} for value in canaries]
        rows += [{"value": None, "born": epoch + timedelta(microseconds=time)} for time in times]
        with engine.connect() as connection:
            connection.execute(table.insert(), rows)
            connection.exec_driver_sql("CHECKPOINT")
        engine.dispose()
        values = [*canaries, *birth_timestamps]
        assert numbers_found(folder, values) == set(range(len(values)))


def test_no_byte_of_the_database_holds_a_personal_value(shop, canaries, birth_timestamps):
    """Tables, indexes, WAL, statistics, the server's own log: everything in its folder."""
    with shop.sessions() as session, shop.access("scan"):
        for entity in shop.rows:
            for row in shop.load(session, entity):
                for name in shop.personal(entity):
                    getattr(row, name)
    shop.settle()
    names = [path.name for path in shop.folder.rglob("*")]
    assert "shop.db-wal" in names or "pg_wal" in names
    assert assert_no_plaintext(shop.folder, [*canaries, *birth_timestamps]) > 300_000


def test_no_byte_of_the_audit_holds_a_personal_value(shop, canaries):
    """The journal while an access is open, and the log after it."""
    trail = shop.vault.settings.audit_directory
    with shop.sessions() as session, shop.access("audit scan") as access:
        for entity in shop.rows:
            rows = shop.load(session, entity)
            access.reveal(rows, *[getattr(entity, name) for name in shop.personal(entity)])
        assert list(trail.rglob("*.slots"))
        assert_no_plaintext(trail, canaries)
    assert_no_plaintext(trail / "log", canaries)
