"""Every path by which SQLAlchemy lets data in or out: each works, or is refused with a remedy.

MATRIX is the table of docs/sqlalchemy.md. The functions it names are in cases_*.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vaultlayer.errors import NoAccess, VaultLayerError

DOCUMENT = Path(__file__).parents[2] / "docs" / "sqlalchemy.md"

# (what you do, outcome, the function that does it)
# An outcome is "works", with a remark after a colon, or "refused: " and words of the remedy.
MATRIX: dict[str, list[tuple[str, str, str]]] = {
    "Unit of work": [
        ("`session.add(obj)`", "works", "add_one"),
        ("`session.add_all([...])`", "works", "add_many"),
        ("assign to a loaded row", "works", "assign"),
        ("assign `None`", "works", "assign_none"),
        ("assign an equal value", "works: sealed anew", "assign_the_same"),
        ("assign an SQL expression", "refused: compute the value in Python", "assign_expression"),
        ("assign a value of another type", "refused: convert it first", "assign_wrong_type"),
        ("assign a row's own `Sealed`", "works", "set_own_sealed"),
        ("assign another row's `Sealed`", "refused: assign the opened value", "set_foreign_sealed"),
        ("`session.delete(obj)`", "works", "delete_object"),
        ("two flushes in one transaction", "works", "two_flushes"),
        ("autoflush", "works", "autoflush"),
        ("parent and children new in one flush", "works", "cascade_child"),
        ("a child by its foreign-key column", "works", "child_by_column"),
        ("a child without its parent", "refused: before the flush", "child_of_nobody"),
        ("remove a child (delete-orphan)", "works", "child_removed"),
        ("move a child to another customer", "refused: anew in the same flush", "child_moved"),
        ("move a child and assign its fields", "works", "child_moved_and_assigned"),
        ("move it by its column, relationship loaded", "works", "child_moved_by_column"),
        ("move a child's child within one customer", "works", "child_within_person"),
        ("assign the same parent to an expired row", "works", "same_parent_again"),
        ("move a row that has children of its own", "refused: add a new", "parent_moved"),
        (
            "change the primary key of a row-bound row",
            "refused: anew in the same flush",
            "child_key_changed",
        ),
        ("change that key and assign its fields", "works", "child_key_changed_and_assigned"),
        ("change a `subject_id`", "refused: add a new", "subject_id_changed"),
        ("rollback, then add the same object again", "works", "rollback_and_add_again"),
        ("rollback of a change", "works", "rollback_of_a_change"),
        ("savepoint rolled back, then further writes", "works", "savepoint_rolled_back"),
        ("keys first made inside a rolled-back savepoint", "works", "savepoint_first_key"),
        ("the same on a connection", "works", "savepoint_bare_person"),
        ("a failed flush, then the same object again", "works", "failed_flush_then_again"),
        ("`make_transient()` of a deleted row, then `add`", "works", "transient_again"),
        (
            "`make_transient()` to make another person",
            "refused: assign the opened value",
            "transient_as_another",
        ),
        ("`make_transient_to_detached()`", "works", "transient_to_detached"),
        ("`default=` of the column, a value or a callable", "works", "column_default"),
        (
            "change a JSON value in place",
            "works: not seen, as without MutableDict; assign it anew",
            "in_place_json",
        ),
    ],
    "Events": [
        ("assign in `before_insert`", "works", "before_insert_event"),
        ("assign in `before_update`", "refused: before_flush", "before_update_event"),
        (
            "assign and add in `before_flush`, listening before `vault.attach()`",
            "works",
            "before_flush_event",
        ),
    ],
    "Bulk methods": [
        ("`bulk_save_objects()` of new objects", "works", "bulk_save_new"),
        (
            "`bulk_save_objects()` of changed objects",
            "refused: load the rows and assign",
            "bulk_save_changed",
        ),
        ("`bulk_insert_mappings()`", "works", "bulk_insert_mappings"),
        ("`bulk_update_mappings()`", "refused: load the rows and assign", "bulk_update_mappings"),
        (
            "`bulk_update_mappings()` that moves a child",
            "refused: load the rows and assign",
            "bulk_update_binding",
        ),
    ],
    "INSERT": [
        ("`session.execute(insert(X), [dicts])`", "works", "insert_list"),
        ("`insert(X).values(...)`", "works", "insert_values"),
        ("`insert(X).values({X.a: ...})`", "works", "insert_values_by_attribute"),
        ("`insert(X).values([...])`", "works", "insert_many_values"),
        ("`insert()` of a child, or of a row without a person", "works", "insert_child"),
        ("`insert()` of a child's child", "works", "insert_child_of_child"),
        ("`insert()` that leaves a `default=` to the column", "works", "insert_default"),
        ("`insert()` into a joined subclass, through the ORM", "works", "insert_orm_inherited"),
        ("`insert()` of a single-table subclass", "works", "insert_single_table"),
        (
            "`insert(X.__table__)` of a joined subclass",
            "refused: add objects to a session",
            "insert_inherited",
        ),
        ("`values(a=func...)`", "refused: compute the value in Python", "insert_expression"),
        ("`values(a=bindparam(...))`", "refused: give all values in one", "insert_bindparam"),
        (
            "`insert()` of another row's `Sealed`",
            "refused: assign the opened value",
            "insert_sealed",
        ),
        ("`insert()` of the same person's `Sealed`", "works", "insert_own_sealed"),
        ("`insert().from_select()`", "refused: load the rows", "insert_from_select"),
        ("`insert().returning(X)`", "works", "insert_returning_entity"),
        (
            "`insert().returning(X.a)`",
            "refused: return the mapped class",
            "insert_returning_column",
        ),
        ("`insert().returning(X.other)`", "works", "insert_returning_other_column"),
        ("`on_conflict_do_nothing()`", "works", "upsert_nothing"),
        ("`on_conflict_do_update()` of other columns", "works", "upsert_other"),
        (
            "`on_conflict_do_update()` from `excluded`",
            "refused: load the row and assign",
            "upsert_excluded",
        ),
        (
            "`on_conflict_do_update()` of a plain value",
            "refused: load the row and assign",
            "upsert_value",
        ),
        (
            "`on_conflict_do_update()` from `excluded`, by a unique blind index",
            "works",
            "upsert_unique",
        ),
        ("Core `insert(table)` through a session", "works", "core_insert_session"),
        ("Core `insert(table)` through a connection", "works", "core_insert_connection"),
        ("Core executemany", "works", "core_executemany"),
        ("Core `values((...))` by position", "works", "core_insert_tuple"),
        ("`text()` with no personal value", "works", "text_insert"),
    ],
    "UPDATE and DELETE": [
        ("`update(X).values(a=...)`", "refused: load the rows and assign", "update_values"),
        (
            "Core `update(table).values(a=...)`",
            "refused: load the rows and assign",
            "update_core_values",
        ),
        (
            "Core `update(table)`, executemany",
            "refused: load the rows and assign",
            "update_core_many",
        ),
        ("`update(X).values(a=sealed)`", "refused: load the rows and assign", "update_sealed"),
        ("`update(X).values(a=X.b)`", "refused: load the rows and assign", "update_from_column"),
        ("`query.update({...})`", "refused: load the rows and assign", "query_update"),
        ("`update(X).values(other=...)`", "works", "update_other"),
        ("`update(X).where(X.email == ...)`", "works", "update_where"),
        ("`session.execute(update(X), [{primary key, ...}])`", "works", "update_by_key"),
        ("the same for a row that isn't there", "refused: existing row", "update_by_missing_key"),
        ("`update(X).values(a=None)`", "works", "update_to_null"),
        ("Core UPDATE to NULL", "works", "update_core_to_null"),
        ("`update()` that moves children", "refused: load the rows and assign", "update_binding"),
        ("`update()` of a `subject_id`", "refused: load the rows and assign", "update_subject"),
        (
            "`update()` by primary key that moves children",
            "refused: load the rows and assign",
            "update_binding_by_key",
        ),
        ("`delete(X)`, Core and ORM", "works", "delete_statement"),
        ("`delete(X).where(X.email == ...)`", "works", "delete_where"),
    ],
    "SELECT": [
        ("`select(X)`", "works", "select_entity"),
        ("`select(X.a)`", "works", "select_column"),
        ("`select(X.a.label(...))`", "works", "select_label"),
        ("`select(X.a, X.id, X.b)`", "works", "select_columns"),
        ("`select(Child.a)`", "works", "select_child_column"),
        ("`select(X, X.a)`", "works", "select_entity_and_column"),
        ("`select(X.a, Y.b).join(...)`", "works", "select_joined_columns"),
        ("`select(X.a, Y.b).outerjoin(...)`", "works", "select_outer_joined_column"),
        ("`aliased(X)`", "works", "aliased_entity"),
        ("columns of `aliased(X)`", "works", "aliased_column"),
        ("`aliased(X, subquery)`, and its columns", "works", "aliased_subquery"),
        ("`Bundle(...)` with a personal column", "refused: select the mapped class", "bundle"),
        ("joined and single-table inheritance", "works", "joined_inheritance"),
        ("`session.get()`, `get_one()`", "works", "get"),
        ("`with_for_update()`", "works", "for_update"),
        ("`from_statement(text(...))`", "works", "from_text"),
        (
            "`select(X.a).from_statement(text(...))`",
            "refused: select the mapped class",
            "from_text_column",
        ),
        ("`session.execute(text(...))`", "works: yields the sealed bytes", "raw_text"),
        ("Core `select(table)`", "works: yields `Sealed`", "core_select"),
        ("Core `select(table).where(table.c.email == ...)`", "works", "core_select_where"),
        ("`session.query(X)`", "works", "query_entity"),
        ("`session.query(X.a)`", "works", "query_column"),
        (
            "`scalars, scalar, one, first, mappings, partitions, unique, freeze ...`",
            "works",
            "result_forms",
        ),
        ("`yield_per`, entities", "works", "yield_entities"),
        ("`yield_per`, columns", "works", "yield_columns"),
        ("`stream_results`", "works", "stream"),
    ],
    "Loading": [
        ("`joinedload`", "works", "joined_loading"),
        ("`selectinload`", "works", "selectin_loading"),
        ("`subqueryload`", "works", "subquery_loading"),
        ("lazy loading", "works", "lazy_loading"),
        ("`raiseload`", "works", "raise_loading"),
        ("`contains_eager`", "works", "eager_containing"),
        ("`refresh()`", "works", "refresh"),
        ("`expire()`, then read", "works", "expire"),
        ("`expire_on_commit=False`, then read, also detached", "works", "no_expire_on_commit"),
        ("`merge()` of an unchanged detached object", "works: no write", "merge_unchanged"),
        ("`merge()` of a changed detached object", "works", "merge_changed"),
        ("`merge()` of a transient object", "works", "merge_transient"),
        ("`merge(load=False)`", "works", "merge_no_load"),
        ("`defer`, `undefer`, `deferred=True`", "works", "deferring"),
        ("`load_only` of personal fields", "works", "loading_only"),
    ],
    "Searching": [
        ("`==`, `!=`, `in_`, `not_in` of an indexed field", "works", "equality"),
        ("`is_(None)`, `is_not(None)`", "works", "is_null"),
        ("`exists()`, `has()`, `any()`", "works", "existing"),
        ("`count()`", "works", "counting"),
        ("a subquery of other columns that searches one", "works", "subquery_other_column"),
        ("`X.email == bindparam(...)`", "refused: compare it with a value", "bound_later"),
        (
            "`==` of a field without `search=`",
            "refused: declare the field with search",
            "unindexed_equality",
        ),
        ("`==` of two personal columns", "refused: compare it with a value", "compared_columns"),
        ("`like`", "refused: ==", "like"),
        ("`<`, `>`, `between`", "refused: ==", "less_than"),
        ("`+`", "refused: ==", "concatenated"),
        ("`tuple_(X.email).in_(...)`", "refused: in Python", "tuple_membership"),
        ("`X.email == subquery`", "refused: compare it with a value", "compared_subquery"),
        (
            "`X.email.in_(select(...))`",
            "refused: compare it with a value",
            "membership_of_subquery",
        ),
        (
            "`join(Y, X.a == Y.b)` of personal columns",
            "refused: compare it with a value",
            "joined_on",
        ),
    ],
    "Expressions": [
        ("`func.lower(X.a)`", "refused: in Python", "lower"),
        ("`func.min(X.a)`", "refused: in Python", "minimum"),
        ("`func.max(X.a).label(...)`", "refused: in Python", "maximum_label"),
        ("any other function but `count`", "refused: in Python", "any_function"),
        ("functions within expressions", "refused: in Python", "nested_function"),
        ("a function in `where()`", "refused: in Python", "function_in_where"),
        ("the same in Core", "refused: in Python", "core_function_in_where"),
        ("`cast(X.a, ...)` in `where()`", "refused: in Python", "casting"),
        ("`select(cast(X.a, ...))`", "refused: in Python", "casting_column"),
        ("`type_coerce(X.a, ...)`", "refused: in Python", "coercing"),
        ("`case(...)`", "refused: in Python", "case_when"),
        ("`func.count(distinct(X.a))`", "refused: ==", "counting_distinct"),
        ("a scalar subquery of a personal column", "refused: in Python", "scalar_subquery"),
        ("`order_by(X.a)`", "refused: order by another column", "order_by"),
        ("`order_by(X.a.desc())`", "refused: sort what access.reveal() returns", "order_by_desc"),
        ("`order_by(func.lower(X.a))`", "refused: order by another column", "order_by_function"),
        ('`order_by("label")`', "refused: order by another column", "order_by_label"),
        ('`order_by("a")`', "refused: order by another column", "order_by_name"),
        ("`query.order_by(X.a)`", "refused: order by another column", "query_order_by"),
        ("`group_by(X.a)`", "refused: in Python", "group_by"),
        ("`select(X.a).distinct()`", "refused: in Python", "distinct_column"),
        ("`select(X).distinct()`", "works", "distinct_entity"),
        ("`union()` of personal columns", "refused: in Python", "unions"),
        ("`query.union()` of personal columns", "refused: in Python", "union_query"),
        ("`having()` of a personal column", "refused: compare it with a value", "having"),
        ("`from_statement(union_all(select(X), ...))`", "works", "union_of_entities"),
        ("a personal column of a subquery", "refused: in Python", "subquery_column"),
        ("a personal column of a CTE", "refused: in Python", "cte_column"),
        ("`literal_binds` of a search", "refused: instead of literal_binds", "literal_binds"),
        (
            "`literal_binds` of an INSERT",
            "refused: instead of literal_binds",
            "literal_binds_insert",
        ),
        ("`hybrid_property`", "works", "hybrid"),
        ("`synonym`", "works", "synonyms"),
        ("`@validates`", "works: sees the plain value", "validated"),
    ],
    "Instances": [
        (
            "`pickle` of a loaded instance",
            "refused: pickle the row's primary key",
            "pickle_instance",
        ),
        (
            "`pickle` of a pending instance",
            "refused: pickle the row's primary key",
            "pickle_pending",
        ),
        ("`copy.copy()`", "works", "copying"),
        ("`repr`, `str`, `json` of an instance's dict", "works: shows `<Sealed>`", "json_instance"),
        ("`MappedAsDataclass`, with defaults", "works", "dataclass_mapped"),
        ("`insert()` of it", "works", "dataclass_inserted"),
        ("`dataclasses.asdict()`", "works: reads every field", "dataclass_asdict"),
        ("`dataclasses.replace()`", "works: reads every field", "dataclass_replace"),
        ("SQLModel", "works", "sqlmodel"),
        ("`@registry.mapped`", "works", "mapped_by_decorator"),
        ("`map_imperatively()`, `subject_id` in the Table", "works", "mapped_imperatively"),
        ("a class with `__tenant__`", "works", "tenants"),
    ],
}

# These touch no personal value, so there is nothing to decide.
UNTOUCHED = {
    "delete_object",
    "child_removed",
    "delete_statement",
    "raw_text",
    "core_select",
    "is_null",
    "json_instance",
}

ROWS = [row for rows in MATRIX.values() for row in rows]
WORKING = [row for row in ROWS if row[1].startswith("works")]
REFUSED = [row for row in ROWS if row[1].startswith("refused: ")]


def _each(rows: list[tuple[str, str, str]]) -> Any:
    names = [row[2] for row in rows]
    return pytest.mark.parametrize(("outcome", "name"), [row[1:] for row in rows], ids=names)


@_each(WORKING)
def test_works_and_leaves_nothing_plain(world, cases, outcome, name):
    """The path works; no byte of it is plain in database, statements, memory, journal or log."""
    before = world.decided()
    with world.acting() as session:
        cases[name](world, session)
        _assert_closed(session)
    world.assert_sealed()
    assert (world.decided() > before) == (name not in UNTOUCHED)


@pytest.mark.parametrize("name", [row[2] for row in WORKING if row[2] not in UNTOUCHED])
@pytest.mark.parametrize("world", ["sqlite"], indirect=True)
def test_works_only_within_an_access(world, cases, name):
    """The same path without an access ends in NoAccess."""
    with world.Session() as session, pytest.raises(NoAccess):
        cases[name](world, session)


@_each(REFUSED)
def test_is_refused_before_it_is_sent(world, cases, outcome, name):
    """The path is refused by one error that names the remedy, before any SQL is sent."""
    remedy = outcome.removeprefix("refused: ")
    with world.acting() as session:
        with pytest.raises(VaultLayerError) as refused:
            cases[name](world, session)
        # The statement that makes SQLite's writer of the transaction changes nothing.
        sent = [each for each, _ in world.sent if not each.endswith("WHERE 0 = 1")]
        assert not [each for each in sent if not each.startswith("SELECT")]
        session.rollback()
    assert remedy.lower() in refused.value.hint.lower(), str(refused.value)
    assert "geheim" not in repr(refused.value).lower()
    world.assert_sealed()
    _assert_unharmed(world)


def _assert_closed(session: Any) -> None:
    """No instance of the session holds a value that is stored, opened."""
    for instance in session.identity_map.values():
        for key, value in vars(instance).items():
            assert not (isinstance(value, str) and "geheim" in value.lower()), key


def _assert_unharmed(world: Any) -> None:
    """After a refusal everything still opens."""
    with world.acting() as session:
        people = session.query(world.m.Customer).order_by("id").all()
        assert [(each.name, each.email) for each in people] == [
            ("Ada Geheim", "ada@geheim.example"),
            ("Grace Geheim", "grace@geheim.example"),
        ]
        assert session.get(world.m.Visit, 1).page == "/geheim"
        assert session.get(world.m.Setting, "theme").value == "geheim theme"
        assert session.get(world.m.InvoiceLine, 1).remark == "geheim remark"


def test_the_table_names_every_case(cases):
    """No case is left out of the table, and none is there twice."""
    assert sorted(row[2] for row in ROWS) == sorted(cases)
    assert all(row in WORKING or row in REFUSED for row in ROWS)


def test_the_document_holds_the_same_table():
    """docs/sqlalchemy.md shows this table, row by row."""
    shown: dict[str, list[tuple[str, str]]] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            section = shown.setdefault(line.removeprefix("### "), [])
        elif line.startswith("| ") and shown:
            what, outcome = line.strip("| ").split(" | ")
            section.append((what, outcome))
    given = {name: [row[:2] for row in rows] for name, rows in MATRIX.items()}
    assert {name: rows[1:] for name, rows in shown.items()} == given
