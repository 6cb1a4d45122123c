"""EXPLAIN: every operator that an index serves uses that index, on PostgreSQL and SQLite."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import event, select, text

OPERATORS = {
    "==": (lambda p: p.email == "ada@example.com", "person_email_bidx|(email_bidx=?)"),
    "in_": (
        lambda p: p.email.in_(["ada@example.com", "eve@example.com"]),
        "person_email_bidx|(email_bidx=?)",
    ),
    "== of a text": (lambda p: p.name == "ada lovelace", "ix_person_name_bidx"),
    "== by band": (lambda p: p.age == 36, "ix_person_age_bidx_bucket"),
    "<": (lambda p: p.born < date(1820, 1, 1), "ix_person_born_bidx_bucket"),
    ">": (lambda p: p.age > 44, "ix_person_age_bidx_bucket"),
    "== of a number": (lambda p: p.phone == "020 7946 0000", "ix_person_phone_bidx"),
    "startswith": (lambda p: p.name.startswith("ada"), "ix_person_name_bidx_prefix3"),
    "a longer startswith": (lambda p: p.name.startswith("ada lo"), "ix_person_name_bidx_prefix5"),
    "contains, words": (lambda p: p.bio.contains("algorithm"), "ix_person_bio_bidx_words"),
    "contains, letters": (lambda p: p.name.contains("lovel"), "ix_person_name_bidx_substring"),
    "between": (
        lambda p: p.born.between(date(1815, 1, 1), date(1815, 12, 31)),
        "ix_person_born_bidx_bucket",
    ),
    "a box": (lambda p: p.home.between((51.4, -0.2), (51.6, 0.0)), "ix_person_home_bidx_cell"),
    "a pair": (
        lambda p: (p.name == "ada lovelace") & (p.born == date(1815, 12, 10)),
        "_compound|name_bidx",
    ),
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def crowd(request, tmp_path_factory, bundle, postgres_url):
    """Enough people for an index to be worth its while; the others are copies by the database."""
    import secrets

    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    from vaultlayer import Vault

    if request.param == "sqlite":
        engine = create_engine(f"sqlite:///{tmp_path_factory.mktemp('plans')}/people.db")
        server = name = None
    else:
        name = f"vaultlayer_{secrets.token_hex(6)}"
        server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine = create_engine(make_url(postgres_url).set(database=name))
    world = request.getfixturevalue("world_class")(engine, Vault.ephemeral(policies=bundle))
    world.populate()
    _multiply(world)
    yield world
    world.close()
    engine.dispose()
    if server is not None:
        with server.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


def _multiply(world):
    table = world.Person.__table__
    hidden = [c.name for c in table.c if "_bidx" in c.name]
    sealed = [f.column.name for f in _fields(table)]
    if world.engine.dialect.name == "postgresql":
        term, rows = "decode(md5(n || '{0}'), 'hex')", "generate_series(1, 4000) n"
        empty, person = "decode(repeat('f9', 60), 'hex')", "gen_random_uuid()"
    else:
        term = "randomblob(16)"
        counting = "WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t LIMIT 4000)"
        rows = f"({counting} SELECT n FROM t)"
        empty, person = "randomblob(60)", "lower(hex(randomblob(16)))"
    names = [*hidden, *sealed, "tier", "subject_id"]
    values = [*(term.format(name) for name in hidden), *([empty] * len(sealed)), "'free'", person]
    world.sql(f"INSERT INTO person ({', '.join(names)}) SELECT {', '.join(values)} FROM {rows}")
    term, number, other = (term.format(each) for each in ("t", "r", "s"))
    world.sql(
        "INSERT INTO vaultlayer_term (term, value_number, index_number, tenant, subject) "
        f"SELECT {term}, {number}, {other}, '', {other} FROM {rows}"
    )
    world.sql("ANALYZE")


def _fields(table):
    from vaultlayer.orm.entity import fields_of_table

    return fields_of_table(table).values()


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_uses_its_index(crowd, operator):
    build, index = OPERATORS[operator]
    ran = []

    def note(connection, cursor, statement, parameters, context, many):
        if statement.startswith("SELECT person."):
            ran.append((statement, parameters))

    event.listen(crowd.engine, "before_cursor_execute", note)
    try:
        with crowd.acting() as session:
            assert session.scalars(select(crowd.Person).where(build(crowd.Person))).all()
    finally:
        event.remove(crowd.engine, "before_cursor_execute", note)
    ((statement, parameters),) = ran
    explain = "EXPLAIN " if crowd.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    with crowd.engine.connect() as connection:
        plan = " ".join(
            str(row) for row in connection.exec_driver_sql(explain + statement, parameters)
        )
    assert any(each in plan for each in index.split("|")), plan
    assert "Seq Scan on person" not in plan and "SCAN person" not in plan, plan
    if index.endswith(("_words", "_substring")):
        assert "Seq Scan on vaultlayer_term" not in plan and "SCAN vaultlayer_term" not in plan
