"""Chinook copied into a protected database reads back equal, and the log says how much was read."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import select

from vaultlayer.errors import NoAccess
from vaultlayer.testing import audit_events


def by_attributes(shop, session, access, entity):
    names = list(shop.rows[entity][0])
    return [{name: getattr(row, name) for name in names} for row in shop.load(session, entity)]


def by_reveal(shop, session, access, entity):
    names = shop.personal(entity)
    rows = shop.load(session, entity)
    opened = access.reveal(rows, *[getattr(entity, name) for name in names])
    others = shop.plain & set(shop.rows[entity][0])
    plain = [{name: getattr(row, name) for name in others} for row in rows]
    return [
        {**beside, **dict(zip(names, values, strict=True))}
        for beside, values in zip(plain, opened, strict=True)
    ]


def by_columns(shop, session, access, entity):
    names = list(shop.rows[entity][0])
    columns = [getattr(entity, name) for name in names]
    statement = select(*columns).order_by(*entity.__mapper__.primary_key)
    return [dict(zip(names, row, strict=True)) for row in session.execute(statement)]


@pytest.mark.parametrize("way", [by_attributes, by_reveal, by_columns])
def test_every_row_reads_back_equal_and_every_value_is_in_the_log(shop, way):
    """What went in comes out, type and value, and the log counts each value of each person once."""
    with shop.sessions() as session, shop.access(f"read {way.__name__}") as access:
        found = {entity: way(shop, session, access, entity) for entity in shop.rows}
    assert found == shop.rows
    assert [type(row["BirthDate"]) for row in found[next(iter(found))]] == [
        type(row["BirthDate"]) for row in shop.rows[next(iter(found))]
    ]

    reads = [
        event for event in audit_events(shop.vault) if event.get("reason") == f"read {way.__name__}"
    ]
    assert {event["event"] for event in reads} == {"read"}
    assert {event["decision"] for event in reads} == {"allow"}
    assert {event["actor"]["sub"] for event in reads} == {"shop"}
    counted = Counter()
    people = {}
    for event in reads:
        counted[event["entity"]] += event["count"]
        people.setdefault(event["entity"], set()).update(event["refs"])
    assert counted == {entity.__tablename__: shop.values(entity) for entity in shop.rows}
    assert {name: len(refs) for name, refs in people.items()} == {
        "employee": 8,
        "customer": 59,
        "invoice": 59,
    }
    assert people["invoice"] == people["customer"], "an invoice is its customer's"
    assert people["employee"].isdisjoint(people["customer"])


def test_the_copy_itself_is_in_the_log(shop):
    """Writing is touching: each sealed value is counted."""
    counted = Counter()
    for event in audit_events(shop.vault):
        if event["event"] == "write":
            counted[event["entity"]] += event["count"]
    assert counted == {entity.__tablename__: shop.values(entity) for entity in shop.rows}


def test_the_log_is_whole(shop):
    """vault.audit.verify() has nothing to report."""
    report = shop.vault.audit.verify()
    assert report.findings == []
    assert report.records == len(audit_events(shop.vault)) > 0


def test_employees_still_report_to_each_other(shop):
    """A self-referencing relationship works as on plain rows, and plain columns need no access."""
    (employee, *_) = shop.rows
    managers = {row["EmployeeId"]: row["ReportsTo"] for row in shop.rows[employee]}
    with shop.sessions() as session:
        for row in shop.load(session, employee):
            assert (row.manager.EmployeeId if row.manager else None) == managers[row.EmployeeId]
    with shop.sessions() as session, shop.access("manager"):
        staff = {row.EmployeeId: row for row in shop.load(session, employee)}
        assert staff[8].manager.manager.FirstName == "Andrew"


def test_without_an_access_nothing_opens(shop):
    """Neither an attribute nor a column of any entity."""
    with shop.sessions() as session:
        for entity in shop.rows:
            row = shop.load(session, entity)[0]
            for name in shop.personal(entity):
                if row.__dict__[name] is not None:
                    with pytest.raises(NoAccess):
                        getattr(row, name)
                with pytest.raises(NoAccess):
                    session.scalars(select(getattr(entity, name))).all()
