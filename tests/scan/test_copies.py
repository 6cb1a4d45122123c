"""Plain-text copies nobody thinks of, on each database; and no value in anything shown."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from vaultlayer.access.bundle import bundle_of, read_files

if TYPE_CHECKING:
    from pathlib import Path

MARK = "zenobiageheim"
EMAIL = f"{MARK}@example.com"

SQLITE = f"""
CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT, email TEXT UNIQUE, bio TEXT,
  email_lower TEXT GENERATED ALWAYS AS (lower(email)) VIRTUAL);
CREATE INDEX customer_email ON customer (email);
CREATE VIRTUAL TABLE customer_search USING fts5(name, email, content='customer');
CREATE VIRTUAL TABLE letters USING fts5(first_name, body);
CREATE VIEW mailing AS SELECT name, email FROM customer WHERE id > 0;
CREATE TABLE customer_history (id INTEGER PRIMARY KEY, customer_id INTEGER, email TEXT);
CREATE TRIGGER keep AFTER UPDATE ON customer BEGIN
  INSERT INTO customer_history (customer_id, email) VALUES (OLD.id, '{MARK}' || OLD.email); END;
CREATE TABLE request_log (id INTEGER PRIMARY KEY, payload JSON, line TEXT);
CREATE TABLE product (id INTEGER PRIMARY KEY, name TEXT, attributes JSON);
"""
POSTGRES = f"""
CREATE TABLE customer (id integer PRIMARY KEY, name text, email text, ip inet, place point,
  words tsvector GENERATED ALWAYS AS (to_tsvector('simple', name)) STORED);
CREATE INDEX customer_fts ON customer USING gin (to_tsvector('simple', email));
CREATE VIEW mailing AS SELECT name, email FROM customer;
CREATE MATERIALIZED VIEW mailing_stored AS SELECT email FROM customer;
CREATE TABLE customer_history (id serial PRIMARY KEY, email text);
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO customer_history (email) VALUES ('{MARK}' || OLD.email); RETURN NEW; END $$;
CREATE TRIGGER keep AFTER UPDATE ON customer FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TABLE request_log (id serial PRIMARY KEY, payload jsonb);
"""
MARIADB = f"""
CREATE TABLE customer (id INTEGER PRIMARY KEY, name VARCHAR(99), email VARCHAR(99),
  email_lower VARCHAR(99) GENERATED ALWAYS AS (lower(email)) VIRTUAL, FULLTEXT customer_fts (name));
CREATE VIEW mailing AS SELECT name, email FROM customer;
CREATE TABLE customer_history (id INTEGER PRIMARY KEY AUTO_INCREMENT, email VARCHAR(99));
CREATE TRIGGER keep AFTER UPDATE ON customer FOR EACH ROW
  INSERT INTO customer_history (email) VALUES (concat('{MARK}', OLD.email));
CREATE TABLE request_log (id INTEGER PRIMARY KEY AUTO_INCREMENT, payload JSON);
"""
PAYLOAD = json.dumps({"user": {"email": EMAIL, MARK: 1}, EMAIL: True, "ok": False})


def told(scan: Any) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for each in scan.copies:
        kinds.setdefault(each.kind, []).append(each.where)
    return kinds


def filled(connection: Any, run: Any) -> None:
    for number in range(1, 21):
        run(connection, f"INSERT INTO customer (id, name, email) VALUES ({number}, 'Anna {MARK}', "
            f"'{number}{EMAIL}')")  # fmt: skip
        run(connection, f"INSERT INTO request_log (payload) VALUES ('{PAYLOAD}')")
        run(connection, f"INSERT INTO customer_history (email) VALUES ('{number}{EMAIL}')")


@pytest.fixture
def sqlite_file(tmp_path: Path) -> Path:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as database:
        database.executescript(SQLITE)
        filled(database, lambda to, sql: to.execute(sql))
        database.execute(f"UPDATE request_log SET line = 'mail to {EMAIL} bounced ' || id")
        lamp = ("Lamp", '{"colour": 1}')
        database.execute("INSERT INTO product (name, attributes) VALUES (?, ?)", lamp)
    database.close()
    return file


def test_sqlite(scan, sqlite_file: Path) -> None:
    found = scan(sa.create_engine(f"sqlite:///{sqlite_file}"))
    kinds = told(found)
    full_text = [each.split(", ") for each in kinds["full-text index"]]
    assert {each[0] for each in full_text} == {"customer_search", "letters"}
    assert "letters_content" in next(each for each in full_text if each[0] == "letters")
    assert kinds["view"] == ["mailing"]
    assert kinds["trigger"] == ["keep on customer"]
    assert kinds["index"] == ["customer_email on customer"]
    assert kinds["generated column"] == ["customer.email_lower"]
    assert kinds["JSON document"] == ["request_log.payload"]
    assert set(kinds["log or copy"]) == {"customer_history", "request_log"}
    assert {e.table.name for e in found.findings} == {"customer", "customer_history", "request_log"}
    assert MARK not in repr(found) and MARK not in json.dumps(found.as_json())


def test_postgresql(scan, postgres_engine: sa.Engine) -> None:
    with postgres_engine.begin() as connection:
        connection.exec_driver_sql(POSTGRES)
        filled(connection, lambda to, sql: to.exec_driver_sql(sql))
    found = scan(postgres_engine)
    kinds = told(found)
    assert set(kinds["full-text index"]) == {"customer.words", "customer_fts on customer"}
    assert kinds["view"] == ["mailing"]
    assert kinds["materialized view"] == ["mailing_stored"]
    assert kinds["trigger"] == ["keep on customer"]
    assert kinds["JSON document"] == ["request_log.payload"]
    assert "customer_history" in kinds["log or copy"]
    assert MARK not in repr(found) and MARK not in json.dumps(found.as_json())


def test_mariadb(scan, mariadb_engine: sa.Engine) -> None:
    with mariadb_engine.begin() as connection:
        for statement in MARIADB.split(";\n")[:-1]:
            connection.exec_driver_sql(statement)
        filled(connection, lambda to, sql: to.exec_driver_sql(sql))
    found = scan(mariadb_engine)
    kinds = told(found)
    assert kinds["full-text index"] == ["customer_fts on customer"]
    assert kinds["view"] == ["mailing"]
    assert kinds["trigger"] == ["keep on customer"]
    assert "customer.email_lower" in kinds["generated column"]
    assert kinds["JSON document"] == ["request_log.payload"]
    assert MARK not in repr(found) and MARK not in json.dumps(found.as_json())


def test_large_tables_are_sampled_cheaply_and_spread(scan, tmp_path: Path) -> None:
    """Ten places along the key; the values at the end count as those at the beginning."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/large.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)")
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
            "INSERT INTO t SELECT i, iif(i > 5000, i || 'x@example.com', 'none ' || i) FROM n"
        )
    (finding,) = scan(engine, sample=100).findings
    assert finding.category == "contact.email"
    assert "of 100 values" in finding.why


def test_it_only_reads(scan, sqlite_file: Path, tmp_path: Path) -> None:
    before = sqlite_file.read_bytes()
    scan(sa.create_engine(f"sqlite:///{sqlite_file}"))
    assert sqlite_file.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shop.db"]


def test_what_is_proposed_is_a_bundle(scan, sqlite_file: Path, policies: Path) -> None:
    """The rows parse, and with them nothing is left to propose."""
    proposed = scan(sa.create_engine(f"sqlite:///{sqlite_file}")).proposals
    files = {**read_files(policies), "roles.csv": "\n".join(proposed["roles"]).encode()}
    files["purposes.toml"] = "\n".join(proposed["purposes"]).encode()
    files = {name: text for name, text in files.items() if name != "tests.toml"}
    bundle = bundle_of({**files, "processors.toml": b""})
    again = scan(sa.create_engine(f"sqlite:///{sqlite_file}"), bundle=bundle).proposals
    assert (again["roles"], again["purposes"]) == ([], [])
    line = '    email: Mapped[str | None] = personal("contact.email", search=Equality("email"), '
    assert any(each.startswith(line) for each in proposed["models"]["customer"])
    assert "email_lower" not in str(proposed["models"])  # the database makes it: it must go
