"""Copies of personal columns that nobody thinks of: indexes, views, triggers, logs, documents.

Sealing a column leaves these as they are, in plain text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from vaultlayer.lifecycle.scan import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Table

    from vaultlayer.lifecycle.scan.finding import Finding

_FTS = re.compile(r"CREATE\s+VIRTUAL\s+TABLE.*?USING\s+fts\d", re.IGNORECASE | re.DOTALL)
_SHADOWS = ("content", "data", "idx", "docsize", "config", "segments", "segdir", "stat")
_WORD = re.compile(r"\w+")
_ALL = re.compile(r"\*|\b(NEW|OLD)\b(?!\s*\.)|to_jsonb?|row_to_json", re.IGNORECASE)

# What each database knows of itself: kind, name, the table it is on, its text.
_OBJECTS: Mapping[str, str] = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL",
    "postgresql": """
        SELECT 'view', c.oid::regclass::text, '', pg_get_viewdef(c.oid) FROM pg_class c
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'v' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        UNION ALL
        SELECT 'materialized view', c.oid::regclass::text, '', pg_get_viewdef(c.oid)
          FROM pg_class c WHERE c.relkind = 'm'
        UNION ALL
        SELECT 'trigger', t.tgname::text, t.tgrelid::regclass::text,
               pg_get_triggerdef(t.oid) || ' ' || p.prosrc
          FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal
        UNION ALL
        SELECT 'index', i.indexrelid::regclass::text, i.indrelid::regclass::text,
               pg_get_indexdef(i.indexrelid)
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname NOT IN ('pg_catalog', 'pg_toast')""",
    "mysql": """
        SELECT 'view', table_name, '', view_definition FROM information_schema.views
         WHERE table_schema = database()
        UNION ALL
        SELECT 'trigger', trigger_name, event_object_table, action_statement
          FROM information_schema.triggers WHERE trigger_schema = database()
        UNION ALL
        SELECT CASE index_type WHEN 'FULLTEXT' THEN 'full-text index' ELSE 'index' END,
               index_name, table_name, GROUP_CONCAT(column_name)
          FROM information_schema.statistics WHERE table_schema = database()
         GROUP BY index_type, index_name, table_name""",
}


@dataclass(frozen=True, slots=True)
class Copy:
    """Something that repeats personal columns in plain text. ``of``: their names."""

    kind: str
    where: str
    of: tuple[str, ...]
    remedy: str


_REMEDIES = {
    "full-text index": "drop it; search by declared words instead: search=Words()",
    "index": "drop it; search=Equality(...) makes an index that shows no value",
    "view": "it goes on reading the column: drop it, or select without the column",
    "materialized view": "it stores the values: drop it, or refresh it without the column",
    "trigger": "it copies values at each write: drop it, and look where it wrote to",
    "generated column": "it stores values made from the column: drop it",
    "JSON document": "seal the whole document, or move its members into columns of their own",
    "log or copy": "seal its columns too, or empty it once the originals are sealed",
}


def objects_of(connection: Connection) -> list[tuple[str, str, str, str]]:
    """What the database itself says of views, triggers and indexes: kind, name, table, text."""
    name = "mysql" if connection.dialect.name == "mariadb" else connection.dialect.name
    query = _OBJECTS.get(name)
    if query is None:
        return []
    rows = connection.execute(sa.text(query)).all()
    return [tuple(str(each or "") for each in row) for row in rows]  # type: ignore[misc]


def full_text_tables(objects: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """SQLite's virtual tables for full-text search, and the shadow tables each stores itself in."""
    found = [name for _, name, _, text in objects if _FTS.match(text)]
    return {name: {f"{name}_{shadow}" for shadow in _SHADOWS} for name in found}


def find_copies(
    findings: Sequence[Finding], tables: Sequence[Table], objects: Sequence[Sequence[str]]
) -> list[Copy]:
    """The copies of the columns found, the surest kinds first."""
    by_table: dict[str, list[str]] = {}
    for each in findings:
        by_table.setdefault(each.table.name, []).append(each.column.name)
    found = [
        *_full_text(by_table, objects),
        *_vectors(by_table, tables),
        *_generated(by_table, tables),
        *_objects(by_table, objects),
        *_documents(findings),
        *_logs(findings),
    ]
    return list(dict.fromkeys(found))


def _full_text(
    by_table: Mapping[str, list[str]], objects: Sequence[Sequence[str]]
) -> Iterator[Copy]:
    """A full-text table holds what its columns are called after, in itself and its shadows."""
    stored = full_text_tables(objects)
    columns = {column for columns in by_table.values() for column in columns}
    for _, name, _, text in objects:
        if name not in stored:
            continue
        words = set(_WORD.findall(text))
        named = tuple(
            f"{table}.{column}"
            for table, its in by_table.items()
            for column in its
            if table in words and column in words
        )
        of = named or tuple(
            f"{name}.{word}"
            for word in _WORD.findall(text.partition("(")[2])
            if word in columns or ((hit := names.look(word)) is not None and not hit.weak)
        )
        if of:
            there = {each for _, each, _, _ in objects} & stored[name]
            where = ", ".join([name, *sorted(there)])
            yield _copy("full-text index", where, of)


def _vectors(by_table: Mapping[str, list[str]], tables: Sequence[Table]) -> Iterator[Copy]:
    """PostgreSQL's tsvector columns hold the words of the columns they are made from."""
    for table in tables:
        for column in table.columns:
            if type(column.type).__name__ == "TSVECTOR" and by_table.get(table.name):
                made = str(column.computed.sqltext) if column.computed is not None else ""
                its = by_table[table.name]
                named = [name for name in its if name in _WORD.findall(made)] or its
                of = tuple(f"{table.name}.{name}" for name in named)
                yield _copy("full-text index", f"{table.name}.{column.name}", of)


def _generated(by_table: Mapping[str, list[str]], tables: Sequence[Table]) -> Iterator[Copy]:
    for table in tables:
        for column in table.columns:
            if column.computed is None or type(column.type).__name__ == "TSVECTOR":
                continue
            words = set(_WORD.findall(str(column.computed.sqltext)))
            of = [f"{table.name}.{name}" for name in by_table.get(table.name, ()) if name in words]
            if of:
                yield _copy("generated column", f"{table.name}.{column.name}", tuple(of))


def _objects(
    by_table: Mapping[str, list[str]], objects: Sequence[Sequence[str]]
) -> Iterator[Copy]:
    """Views, triggers and indexes whose text names a column found, or all columns."""
    for kind, name, on, text in objects:
        if kind not in _REMEDIES or _FTS.match(text):
            continue
        words = set(_WORD.findall(text)) | set(_WORD.findall(on))
        all_of_it = kind != "index" and _ALL.search(text) is not None
        of = tuple(
            f"{table}.{column}"
            for table, its in by_table.items()
            if table in words
            for column in its
            if column in words or all_of_it
        )
        if of:
            full = kind == "index" and "tsvector" in text
            where = f"{name} on {on}" if on and on != name else name
            yield _copy("full-text index" if full else kind, where, of)


def _documents(findings: Sequence[Finding]) -> Iterator[Copy]:
    for each in findings:
        if each.from_json:
            where = f"{each.table.fullname}.{each.column.name}"
            yield _copy("JSON document", where, (where,))


def _logs(findings: Sequence[Finding]) -> Iterator[Copy]:
    """Tables called like logs, histories and copies, with personal columns in them."""
    by_table: dict[str, list[str]] = {}
    for each in findings:
        if names.is_repeating(each.table.name):
            name = f"{each.table.fullname}.{each.column.name}"
            by_table.setdefault(each.table.fullname, []).append(name)
    for table, of in by_table.items():
        yield _copy("log or copy", table, tuple(of))


def _copy(kind: str, where: str, of: tuple[str, ...]) -> Copy:
    return Copy(kind, where, of, _REMEDIES[kind])

