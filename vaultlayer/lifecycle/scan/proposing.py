"""What to write: the ``personal()`` lines, and the rows of roles.csv and purposes.toml."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from vaultlayer.lifecycle.scan import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, Table

    from vaultlayer.access.bundle import Bundle
    from vaultlayer.lifecycle.scan.finding import Finding

ROLE, PURPOSE = "service", "provide_service"
_NEW_PURPOSE = (
    'words = "To provide the service that you have asked for"',
    'basis = "contract"',
    "consent = false",
    'regions = ["*"]',
    'retention = "3 years"',
)
_SEARCHES = {"email": "email", "phone": "phone"}
_MASKS = {"email": "email", "phone": "last4", "card": "last4", "bank": "last4", "name": "initials"}


def propose(findings: Sequence[Finding], bundle: Bundle | None) -> dict[str, Any]:
    """``models``: table → lines of a class; ``roles`` and ``purposes``: rows the bundle lacks."""
    by_table: dict[Table, list[Finding]] = {}
    for each in findings:
        if each.column.computed is None:  # the database makes it from another: to be dropped
            by_table.setdefault(each.table, []).append(each)
    subjects = {table for table, its in by_table.items() if _is_subject(table, its)}
    categories = sorted({each.category for each in findings})
    return {
        "models": {
            table.fullname: list(_model(table, its, subjects)) for table, its in by_table.items()
        },
        "roles": list(_rows(findings, categories, bundle)),
        "purposes": _purposes(categories, bundle),
    }


def _is_subject(table: Table, findings: Sequence[Finding]) -> bool:
    identified = not {"name", "email"}.isdisjoint(each.kind for each in findings)
    return (names.is_about_people(table.name) or identified) and not _child_of_people(table)


def _child_of_people(table: Table) -> bool:
    """Whether a table that isn't called after people leads to one that is."""
    if names.is_about_people(table.name):
        return False
    return any(names.is_about_people(_target(key)) for key in table.foreign_keys)


def _target(key: Any) -> str:
    """The name of the table that a foreign key points at."""
    return str(key.target_fullname).split(".")[-2]


def _model(table: Table, findings: Sequence[Finding], subjects: set[Table]) -> Iterator[str]:
    yield f"class {_class_name(table.name)}(PersonalData, Base):"
    yield f'    __tablename__ = "{table.name}"'
    if table not in subjects:
        named = {subject.name for subject in subjects}
        leading = [key.parent.name for key in table.foreign_keys if _target(key) in named]
        if leading:
            yield f'    __subject__ = "{leading[0]}"'
        else:
            yield "    __subject__ = None  # no foreign key leads to a person: name one if you can"
    for each in findings:
        yield f"    {_line(each)}"


def _line(finding: Finding) -> str:
    column = finding.column
    attribute, said = _attribute(column.name), [f'"{finding.category}"']
    if attribute != column.name:
        said.append(f'name="{column.name}"')
    if finding.kind in _SEARCHES and not finding.from_json:
        said.append(f'search=Equality("{_SEARCHES[finding.kind]}")')
        if _is_unique(column):
            said.append("unique=True")
    if finding.kind in _MASKS and not finding.from_json:
        said.append(f'mask="{_MASKS[finding.kind]}"')
    if finding.kind == "birth" and isinstance(column.type, sa.Date | sa.DateTime):
        said.append('mask="year"')
    kind = _python_type(column)
    kind = f"{kind} | None" if column.nullable else kind
    return f"{attribute}: Mapped[{kind}] = personal({', '.join(said)})"


def _python_type(column: Column[Any]) -> str:
    if isinstance(column.type, sa.JSON):
        return "dict"
    try:
        return column.type.python_type.__name__
    except NotImplementedError:
        return "str"


def _is_unique(column: Column[Any]) -> bool:
    table = column.table
    alone = [
        each
        for each in (*table.constraints, *table.indexes)
        if list(getattr(each, "columns", ())) == [column]
    ]
    return bool(column.unique) or any(
        isinstance(each, sa.UniqueConstraint) or getattr(each, "unique", False) for each in alone
    )


def _attribute(name: str) -> str:
    fits = name.isidentifier() and not keyword.iskeyword(name)
    return name if fits else "".join(c if c.isalnum() else "_" for c in f"_{name}").lower()


def _class_name(table: str) -> str:
    letters = "".join(c if c.isalnum() else "_" for c in table)
    words = "".join(word[:1].upper() + word[1:] for word in letters.split("_"))
    return words if words.isidentifier() else f"T{words}"


def _rows(
    findings: Sequence[Finding], categories: Sequence[str], bundle: Bundle | None
) -> Iterator[str]:
    searched = {each.category for each in findings if each.kind in _SEARCHES}
    for category in categories:
        for action in ("read", "search", "write"):
            wanted = action != "search" or category in searched
            if wanted and not _is_allowed(bundle, category, action):
                yield f"p, {ROLE}, {category}, {action}, {PURPOSE}, allow"


def _is_allowed(bundle: Bundle | None, category: str, action: str) -> bool:
    """Whether somebody may already: who has rules of their own needs no proposal."""
    if bundle is None or category not in bundle.categories:
        return False
    above = bundle.lineage(category)
    return any(
        rule.target in above and rule.action == action and rule.effect != "deny"
        for rule in bundle.rules
    )


def _purposes(categories: Sequence[str], bundle: Bundle | None) -> list[str]:
    reached: Mapping[str, Any] = bundle.purposes if bundle is not None else {}
    covered = {name for purpose in reached.values() for name in purpose.categories}
    lacking = [
        name
        for name in categories
        if not any(name == each or name.startswith(f"{each}.") for each in covered)
    ]
    if not lacking:
        return []
    known = reached.get(PURPOSE)
    listed = ", ".join(f'"{name}"' for name in [*(known.categories if known else ()), *lacking])
    return [f"[{PURPOSE}]", f"categories = [{listed}]", *([] if known else _NEW_PURPOSE)]
