"""What the models declare: categories that the policies know and explain, rows that are bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaultlayer.doctor.finding import Case, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultlayer.orm.entity import Entity


def models(case: Case) -> Iterator[Finding]:
    """Without models nothing of them can be looked at, which must not look like health."""
    if not case.entities:
        yield Finding(
            "models_unknown",
            "no model with personal fields is known, so none was looked at",
            "[vault] models",
            'name their modules in the settings: models = ["shop.models"]',
        )


def categories(case: Case) -> Iterator[Finding]:
    """A field's category is declared, and some purpose says what it is used for."""
    bundle = case.vault.snapshot.bundle
    explained = {name for purpose in bundle.purposes.values() for name in purpose.categories}
    fields = {field for entity in case.entities for field in entity.fields.values()}
    for field in sorted(fields, key=lambda each: each.label):
        if field.category not in bundle.categories:
            yield Finding(
                "category_undeclared",
                f"its category {field.category} is not declared",
                field.label,
                "declare it in categories.toml, or correct the personal() line",
            )
        elif not explained & {*bundle.lineage(field.category)}:
            yield Finding(
                "category_unexplained",
                f"no purpose says what {field.category} is used for",
                field.label,
                "add it to the categories of a purpose in purposes.toml, or stop collecting it",
            )


def rows(case: Case) -> Iterator[Finding]:
    """A person's other rows are bound to their primary key, where that is known in time."""
    for entity in case.entities:
        if entity.row_keys and entity.subject_key is not None and _is_late(entity):
            table = entity.mapper.local_table
            yield Finding(
                "row_unbound",
                "the database makes the primary key, so values are bound to their person only: "
                "two rows of one person could have theirs exchanged",
                getattr(table, "fullname", str(table)),
                "give the key a default in Python, such as uuid.uuid4, or accept it",
            )


def _is_late(entity: Entity) -> bool:
    """Whether a part of the primary key is known after the INSERT only."""
    return any(map(_made_by_database, (entity.mapper.columns[key] for key in entity.row_keys)))


def _made_by_database(column: Any) -> bool:
    if column.default is not None and not column.default.is_sequence:
        return False
    own = column.table._autoincrement_column is column
    return own or column.default is not None or column.server_default is not None
