"""Migrations: autogenerate writes what create_all makes, and finds nothing to do afterwards."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Column, Integer, MetaData, Table, inspect, text

from vaultlayer import Prefix, Vault, personal
from vaultlayer.governing import own_metadata
from vaultlayer_adapters import alembic as adapter

ENV = """
from alembic import context
from vaultlayer_adapters.alembic import options

with context.config.attributes["engine"].connect() as connection:
    given = options(*context.config.attributes["models"])
    context.configure(connection=connection, **given)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
"""
SCRIPT = '''
"""${message}"""
import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade():
    ${upgrades if upgrades else "pass"}
def downgrade():
    ${downgrades if downgrades else "pass"}
'''


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def engine(request):
    return request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture
def migrate(engine, tmp_path):
    """Writes and runs a migration; returns its script."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(ENV)
    (folder / "script.py.mako").write_text(SCRIPT)
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine

    def run(*metadata: MetaData) -> str:
        config.attributes["models"] = metadata
        made = command.revision(config, "next", autogenerate=True)
        command.upgrade(config, "head")
        return Path(made.path).read_text()

    run.config = config
    return run


def test_the_first_migration_makes_everything_and_the_second_nothing(
    engine, migrate, make_world, bundle
):
    world_tables = _models()
    script = migrate(world_tables)
    there = set(inspect(engine).get_table_names())
    everything = (world_tables, *own_metadata())
    wanted = {table.name for each in everything for table in each.sorted_tables}
    assert wanted <= there
    assert "vaultlayer" not in script.replace("vaultlayer_", "").replace("'vaultlayer", "")
    assert "PersonalType" not in script and "sa.LargeBinary()" in script
    second = migrate(world_tables)
    assert second.count("pass") == 2, second
    seen = inspect(engine)
    for table in world_tables.sorted_tables:
        indexed = {c for each in seen.get_indexes(table.name) for c in each["column_names"]}
        for each in seen.get_unique_constraints(table.name):
            indexed |= set(each["column_names"])
        hidden = {c.name for c in table.c if "_bidx" in c.name}
        assert hidden <= indexed
    world = make_world(engine)  # and it is what the library needs
    world.populate()
    p = world.Person
    assert world.names(p.bio.contains("algorithm")) == ["Ada", "Adam"]
    assert world.names(p.born < date(1816, 1, 1)) == ["Ada"]
    command.downgrade(migrate.config, "base")
    assert not wanted & set(inspect(engine).get_table_names())


def _models():
    module = next(m for name, m in sys.modules.items() if hasattr(m, "World") and "search" in name)
    return module.Base.metadata


def test_what_create_all_made_needs_no_migration(engine, migrate, bundle):
    models = _models()
    with Vault.ephemeral(policies=bundle) as vault:
        vault.create_tables(engine)
    models.create_all(engine)
    assert migrate(models).count("pass") == 2


def test_a_new_index_is_one_column_and_one_database_index(engine, migrate):
    """An index that is declared later; the plain column beside stays as it is."""
    def table(search):
        metadata = MetaData()
        word = personal("content.text", str, search=search, name="word").column
        Table("thing", metadata, Column("id", Integer, primary_key=True), word)
        return metadata

    migrate(table(None))
    script = migrate(table(Prefix(3)))
    up = script.partition("def downgrade")[0]
    up = up.replace("op.f(", "")
    assert (up.count("add_column"), up.count("create_index"), up.count("op.")) == (1, 1, 2)
    assert migrate(table(Prefix(3))).count("pass") == 2


def test_a_plain_column_that_is_to_be_sealed_is_told(engine, migrate):
    metadata = MetaData()
    Table("thing", metadata, personal("content.text", str, name="word").column)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE thing (word TEXT)"))
    migrate.config.attributes["models"] = [metadata]
    made = command.revision(migrate.config, "next", autogenerate=True)
    assert "alter_column('thing', 'word'" in Path(made.path).read_text()


def test_the_vaults_own_tables_may_live_elsewhere():
    models = MetaData()
    assert adapter.options(models, vault_tables=False)["target_metadata"] == [models]
    assert adapter.options()["target_metadata"] == list(own_metadata())
