"""A worked migration: Chinook's plain customers and employees, revision by revision, on each
database; and the SQL that is written for those who run it by hand."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vaultlayer import Equality, PersonalData, Principal, Vault, personal
from vaultlayer.errors import ConfigurationError, NoAccess

CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sqlite"
TEXTS = {
    "FirstName": "identity.name", "LastName": "identity.name", "Address": "contact.address",
    "City": "contact.address", "Phone": "contact.phone", "Email": "contact.email",
}  # fmt: skip
ENV = """
from alembic import context
import vaultlayer_adapters.alembic_steps

engine, vault, officer = (context.config.attributes[n] for n in ("engine", "vault", "officer"))
with officer():
    if context.is_offline_mode():
        context.configure(url=engine.url, output_buffer=context.config.attributes["out"])
        context.run_migrations()
    else:
        with engine.connect() as connection:
            context.configure(connection=connection, transaction_per_migration=True)
            with context.begin_transaction():
                context.run_migrations()
"""
REVISION = """
from alembic import op
revision, down_revision = {0!r}, {1!r}
def upgrade():
    {2}
"""
REVISIONS = {
    "1": "op.vaultlayer_expand()",
    "2": "op.vaultlayer_backfill(); op.vaultlayer_verify()",
    "3": "op.vaultlayer_switch(wait=0)",
    "4": "op.vaultlayer_contract(wait=0)",
}


class Base(DeclarativeBase):
    pass


def _sealed(name: str, category: str) -> object:
    search = Equality("email") if name == "Email" else None
    return personal(
        category, name=f"{name}_sealed", search=search,
        migrating_from=sa.Column(name, sa.String(100)), until="2999-01-01",
    )  # fmt: skip


def _person(table: str, **more: object) -> type:
    """A class with the personal texts of both tables."""
    annotations = {f"{table}Id": Mapped[int], **dict.fromkeys(TEXTS, Mapped[str | None])}
    body = {f"{table}Id": mapped_column(primary_key=True), "__tablename__": table, **more}
    body |= {name: _sealed(name, category) for name, category in TEXTS.items()}
    annotations |= dict.fromkeys(more, Mapped[datetime | None])
    return type(table, (PersonalData, Base), {"__annotations__": annotations, **body})


Customer = _person("Customer")
Employee = _person(
    "Employee",
    BirthDate=personal(
        "identity.birth_date", name="BirthDate_sealed",
        migrating_from=sa.Column("BirthDate", sa.DateTime), until="2999-01-01",
    ),
)  # fmt: skip


def plain_rows(engine):
    """Chinook's rows as they are, in the columns they always had."""
    if not CHINOOK.is_file():
        pytest.skip("../shared/data/chinook.sqlite is not there")
    rows, metadata = {}, sa.MetaData()
    with sqlite3.connect(f"{CHINOOK.as_uri()}?mode=ro&immutable=1", uri=True) as chinook:
        chinook.row_factory = sqlite3.Row
        for cls in (Customer, Employee):
            name = cls.__name__
            names = [f"{name}Id", *TEXTS, *(["BirthDate"] if cls is Employee else [])]
            sql = f"SELECT {', '.join(names)} FROM {name} ORDER BY {name}Id"
            rows[cls] = [dict(row) for row in chinook.execute(sql)]
            for row in rows[cls]:
                if "BirthDate" in row:
                    row["BirthDate"] = datetime.fromisoformat(row["BirthDate"])
            columns = [sa.Column(f"{name}Id", sa.Integer, primary_key=True)]
            columns += [
                sa.Column(each, sa.String(100), nullable=each == "Phone") for each in TEXTS
            ]
            if cls is Employee:
                columns.append(sa.Column("BirthDate", sa.DateTime))
            sa.Table(name, metadata, *columns)
    chinook.close()
    metadata.create_all(engine)
    with engine.begin() as connection:
        for cls, found in rows.items():
            connection.execute(metadata.tables[cls.__name__].insert(), found)
    return rows


@pytest.fixture
def migrate(request, tmp_path, policies):
    def made(engine):
        folder = tmp_path / "migrations"
        (folder / "versions").mkdir(parents=True)
        (folder / "env.py").write_text(ENV)
        for number, text in REVISIONS.items():
            before = str(int(number) - 1) if number > "1" else None
            script = REVISION.format(number, before, text)
            (folder / "versions" / f"{number}.py").write_text(script)
        config = Config()
        config.set_main_option("script_location", str(folder))
        config.set_main_option("path_separator", "os")
        vault = Vault.ephemeral(policies=policies)
        request.addfinalizer(vault.close)
        vault.models = (Base,)
        vault.attach(engine)
        vault.create_tables(engine)
        officer = Principal("deploy", roles=["privacy_officer"])
        config.attributes["engine"], config.attributes["vault"] = engine, vault
        config.attributes["officer"] = lambda: vault.access(
            officer, purpose="legal_obligation", reason="release 12"
        )
        return config, vault

    return made


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mariadb"])
def test_chinook_is_migrated_by_four_revisions(request, migrate, database):
    """Every value reads as before after each revision, and no plain column is left."""
    engine = request.getfixturevalue(f"{database}_engine")
    rows = plain_rows(engine)
    config, vault = migrate(engine)
    sessions = sa.orm.sessionmaker(engine)
    vault.attach(sessions)
    for number in REVISIONS:
        command.upgrade(config, number)
        service = vault.access(Principal("shop", roles=["service"]), purpose="provide_service")
        with sessions() as session, service as access:
            for cls, expected in rows.items():
                names = [name for name in expected[0] if name != f"{cls.__name__}Id"]
                found = session.scalars(sa.select(cls).order_by(cls.__mapper__.primary_key[0]))
                values = access.reveal(found, *[getattr(cls, name) for name in names])
                assert values == [tuple(row[name] for name in names) for row in expected], number
            if number > "2":
                query = sa.select(Customer).where(Customer.Email == "LUISG@embraer.com.br")
                assert session.scalars(query).one().CustomerId == 1
    for cls in rows:
        left = {each["name"] for each in sa.inspect(engine).get_columns(cls.__name__)}
        assert not left & {*TEXTS, "BirthDate"}


@pytest.mark.parametrize("url", ["sqlite://", "postgresql+psycopg://", "mysql+pymysql://"])
def test_the_sql_of_expand_is_written_and_the_others_refuse(migrate, tmp_path, url, sqlite_engine):
    """Of each table the subject, the sealed columns and the index; nothing of plaintext."""
    import io

    config, _ = migrate(sqlite_engine)
    config.attributes["engine"] = create_engine(url)
    out = config.attributes["out"] = io.StringIO()
    command.upgrade(config, "1", sql=True)
    written = out.getvalue()
    assert written.count("ADD COLUMN") == 2 + 2 * len(TEXTS) + 1 + 2
    assert written.count("CREATE INDEX") == 2
    assert written.count("CREATE UNIQUE INDEX") == 2
    with pytest.raises(ConfigurationError, match="which no SQL can"):
        command.upgrade(config, "1:2", sql=True)


def test_a_step_without_an_access_is_refused(migrate, sqlite_engine):
    """Whoever runs a revision says who they are."""
    from contextlib import nullcontext

    config, _ = migrate(sqlite_engine)
    config.attributes["officer"] = nullcontext
    with pytest.raises(NoAccess):
        command.upgrade(config, "1")


@pytest.mark.parametrize("database", ["sqlite", "postgres", "mariadb"])
def test_autogenerate_leaves_a_moving_field_to_its_steps(request, tmp_path, make_shop, database):
    """At no stage anything of it is added, changed or dropped: least of all plaintext, anew."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from vaultlayer_adapters.alembic import options

    shop = make_shop(request.getfixturevalue(f"{database}_engine"))

    def found():
        given = options(shop.Base.metadata, vault_tables=False)
        (target,) = given.pop("target_metadata")
        with shop.engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={**given, "include_name": lambda name, kind, _: (
                    kind != "table" or name in target.tables
                )},
            )  # fmt: skip
            return compare_metadata(context, target)

    shop.old_rows("ada")
    told = [found()]
    for step in ("expand", "backfill", "verify", "switch", "contract"):
        shop.steps(step)
        told.append(found())
    words = "vaultlayer_term"  # a table of its own, which autogenerate adds as it does others
    assert not [each for some in told for each in some if words not in str(each)]
