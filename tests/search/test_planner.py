"""The planner: what fits a column, what it tells, and a look at the indexes that are there."""

from __future__ import annotations

import json
import re
import sys
import types
from datetime import date, timedelta

import pytest
from sqlalchemy import Column, Date, Integer, MetaData, String, Table, create_engine, inspect, text

from vaultlayer.cli import main
from vaultlayer.lifecycle.index_plan import plan_sealed, unindexed
from vaultlayer.orm.entity import entity_of
from vaultlayer.search.planner import LEAKS, Counted, advise, prefix_length

NAMES = [f"{first}{last}" for first in "abcdefgh" for last in ("dams", "rown", "lark", "vans")]


def declared(values):
    return [each.declare for each in advise(Counted.of(values))]


def test_what_fits():
    assert declared([f"{n}@example.com" for n in range(400)])[0] == 'Equality("…")'
    assert declared(NAMES * 20)[0] == 'Equality("…")'
    assert declared([f"text {n} " * 20 for n in range(50)]) == ["Words()"]
    assert declared([date(1950, 1, 1) + timedelta(n) for n in range(900)])[-1] == "Buckets(…)"
    assert declared([]) == [""]
    assert declared([None, None]) == [""]


@pytest.mark.parametrize("values", [[True, False], ["f", "m", "x"], list(range(15))])
def test_few_values_are_refused(values):
    (advice,) = advise(Counted.of(values * 100))
    assert (advice.declare, advice.leaks) == ("", "")
    assert "Compound" in advice.why


def test_a_value_that_gives_itself_away_is_refused():
    (advice,) = advise(Counted.of(["London"] * 90 + NAMES * 3))
    assert advice.declare == ""
    assert "gives itself away" in advice.why


def test_the_length_of_a_prefix():
    """The longest that several people share on average."""
    names = [f"{n % 26:02}{n % 100:02}{n:06}" for n in range(2600)]
    counted = Counted.of(names)
    length = prefix_length(counted)
    assert length is not None
    assert 2600 / counted.prefixes[length] >= 4 > 2600 / counted.prefixes.get(length + 1, 2600)
    assert f"Prefix({length})" in declared(names)
    assert prefix_length(Counted.of([date(2000, 1, 1)])) is None


def test_a_database_counts_as_python_does(postgres_engine):
    from vaultlayer.lifecycle.index_plan import plan_plain

    metadata = MetaData()
    table = Table("t", metadata, Column("id", Integer, primary_key=True), Column("name", String))
    table.append_column(Column("born", Date))
    metadata.create_all(postgres_engine)
    rows = [{"name": n, "born": date(1990, 1, 1) + timedelta(i)} for i, n in enumerate(NAMES * 3)]
    with postgres_engine.begin() as connection:
        connection.execute(table.insert(), [*rows, {"name": None, "born": None}])
    name, born = plan_plain(postgres_engine, [table.c.name, table.c.born])
    assert name.counted == Counted.of(row["name"] for row in rows)
    assert (born.counted.rows, born.counted.distinct, born.counted.most) == (96, 96, 1)


def test_the_indexes_that_are_there(any_world):
    """Counted by their terms alone: nothing is opened, and each says what it tells."""
    any_world.populate()
    before = len(any_world.sent)
    planned = plan_sealed(any_world.engine, any_world.Base.metadata.sorted_tables)
    told = {(each.column, each.index): each for each in planned if each.table == "person"}
    assert told["city", "Equality"].counted == Counted(4, 3, 2)
    assert told["bio", "Words"].counted.most == 2
    assert all(each.advice[0].leaks == LEAKS[each.index] for each in planned)
    assert not any(each.no_database_index for each in planned)
    looked_at = " ".join(any_world.sent[before:])
    assert not re.search(r"person\.(name|bio|city|email)\b", looked_at)


def test_a_hidden_column_without_an_index_is_told(world):
    world.populate()
    field = entity_of(world.Person.__mapper__).fields["city"]
    (index,) = field.indexes
    table = world.Person.__table__
    assert not unindexed(inspect(world.engine), table, index)
    world.sql("DROP INDEX ix_person_city_bidx")
    assert unindexed(inspect(world.engine), table, index)
    planned = plan_sealed(world.engine, [table])
    assert [p.column for p in planned if p.no_database_index] == ["city"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["vaultlayer", *words])
        with pytest.raises(SystemExit) as left:
            main()
        told = capsys.readouterr()
        return left.value.code or 0, told.out

    return command


def test_the_command_before_sealing(tmp_path, run):
    """A plain database: counts and advice, and not one of its values."""
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE client (id INTEGER, email TEXT, sex TEXT)"))
        for n in range(200):
            row = {"id": n, "email": f"ada{n}@geheim.example", "sex": "fm"[n % 2]}
            connection.execute(text("INSERT INTO client VALUES (:id, :email, :sex)"), row)
    engine.dispose()
    code, out = run("scan", f"sqlite:///{tmp_path}/plain.db", "--indexes")
    assert code == 0
    assert 'search=Equality("…")' in out
    assert "It tells an onlooker which rows hold equal values" in out
    assert "geheim" not in out
    assert max(map(len, out.splitlines())) <= 80
    code, out = run("scan", f"sqlite:///{tmp_path}/plain.db", "--indexes", "--json")
    email = next(each for each in json.loads(out)["indexes"] if each["column"] == "email")
    assert (email["counted"]["distinct"], email["advice"][0]["declare"]) == (200, 'Equality("…")')


def test_the_command_with_models(world, run, tmp_path, monkeypatch, policies):
    """It has no key, opens nothing and so has nothing to decide: no vault is opened for it."""
    world.populate()
    monkeypatch.setattr("vaultlayer.vault.Vault.open", lambda *_: pytest.fail("a vault was opened"))
    module = types.ModuleType("people_models")
    module.Person, module.Order = world.Person, world.Order
    monkeypatch.setitem(sys.modules, "people_models", module)
    (tmp_path / "vaultlayer.toml").write_text(
        f'[vault]\ndatabase = "{world.engine.url}"\npolicies = "{policies}"\n'
        '[keys]\nprovider = "local:keyring.json"\n[audit]\ndirectory = "audit"\n'
    )
    code, out = run("scan", "people_models", "--indexes")
    assert code == 0
    assert "person.city, Equality" in out
    assert "Take it out: 3 different values" in out
    assert "person.bio, Words" in out
    assert "lovelace" not in out.lower()
    assert not {"keyring.json", "audit"} & {each.name for each in tmp_path.iterdir()}
