"""The matrix's cases about instances outside a statement: copies, pickles, other mappings."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

from sqlalchemy import insert, select
from sqlalchemy.orm import make_transient_to_detached

ADA = "Ada Geheim"


def pickle_instance(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    pickle.dumps(ada)


def pickle_pending(w, s):
    w.sent.clear()
    pickle.dumps(w.m.Customer(name=ADA))


def copying(w, s):
    ada = s.get(w.m.Customer, 1)
    assert copy.copy(ada).name == ADA


def json_instance(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    shown = repr(vars(ada)) + str(ada) + json.dumps(vars(ada), default=repr)
    assert "geheim" not in shown.lower()


def dataclass_mapped(w, s):
    one = w.m.Contact(name=ADA)
    two = w.m.Contact(name="Eve Geheim", country="Geheimland", phone="7946")
    assert (one.name, one.country, one.phone) == (ADA, "Nowhereland", None)
    assert "geheim" not in repr(one).lower() + repr(two).lower()
    s.add_all([one, two])
    s.commit()
    s.expunge_all()
    rows = s.scalars(select(w.m.Contact).order_by(w.m.Contact.id)).all()
    assert [(row.name, row.country, row.phone, row.stars) for row in rows] == [
        (ADA, "Nowhereland", None, 3),
        ("Eve Geheim", "Geheimland", "7946", 3),
    ]
    assert "geheim" not in repr(rows).lower()


def dataclass_inserted(w, s):
    s.execute(insert(w.m.Contact), [{"name": ADA}])
    assert s.execute(select(w.m.Contact.name, w.m.Contact.country)).one() == (ADA, "Nowhereland")


def dataclass_asdict(w, s):
    s.add(w.m.Contact(name=ADA))
    s.commit()
    row = s.scalars(select(w.m.Contact)).one()
    assert dataclasses.asdict(row)["name"] == ADA


def dataclass_replace(w, s):
    s.add(w.m.Contact(name=ADA, phone="7946"))
    s.commit()
    row = s.scalars(select(w.m.Contact)).one()
    other = dataclasses.replace(row, name="Eve Geheim")
    s.add(other)
    s.commit()
    assert (other.name, other.phone) == ("Eve Geheim", "7946")


def sqlmodel(w, s):
    ada = w.m.Reader(name=ADA, email="ada@geheim.example")
    assert "geheim" not in repr(ada).lower()
    s.add(ada)
    assert (ada.name, ada.email) == (ADA, "ada@geheim.example")
    s.commit()
    ada.name = "Ada King Geheim"
    assert ada.name == "Ada King Geheim"
    s.commit()
    s.refresh(ada)
    assert vars(ada)["name"].__class__.__name__ == "Sealed"
    found = s.scalars(select(w.m.Reader).where(w.m.Reader.email == "ADA@geheim.example")).one()
    assert (found.name, found.shelf) == ("Ada King Geheim", "A")
    assert "geheim" not in repr(found).lower() + str(found.model_dump()).lower()
    s.execute(insert(w.m.Reader), [{"name": "Eve Geheim"}])
    assert s.scalars(select(w.m.Reader.name).order_by(w.m.Reader.id)).all()[1] == "Eve Geheim"


def mapped_by_decorator(w, s):
    s.add(w.m.Supplier(name=ADA))
    s.commit()
    assert s.scalars(select(w.m.Supplier)).one().name == ADA
    assert s.scalars(select(w.m.Supplier.name)).one() == ADA


def mapped_imperatively(w, s):
    partner = w.m.Partner()
    partner.name, partner.city = ADA, "Bern"
    s.add(partner)
    s.commit()
    s.expunge_all()
    assert s.scalars(select(w.m.Partner)).one().name == ADA
    s.execute(insert(w.m.partners).values(name="Eve Geheim"))
    assert s.scalars(select(w.m.Partner.name).order_by(w.m.Partner.id)).all() == [ADA, "Eve Geheim"]


def tenants(w, s):
    s.add_all([w.m.Member(club="", name=ADA), w.m.Member(club="", name="Eve Geheim")])
    s.commit()
    rows = s.scalars(select(w.m.Member).order_by(w.m.Member.id)).all()
    assert [row.name for row in rows] == [ADA, "Eve Geheim"]


def transient_to_detached(w, s):
    ada = w.m.Customer(id=1)
    make_transient_to_detached(ada)
    s.add(ada)
    assert ada.name == ADA


def in_place_json(w, s):
    """A change inside a JSON value is seen only when the value is assigned."""
    s.add(w.m.Sample(record={"geheim": 1}))
    s.commit()
    row = s.scalars(select(w.m.Sample)).one()
    row.record["geheim"] = 2
    s.commit()
    assert row.record == {"geheim": 1}
    row.record = {**row.record, "geheim": 2}
    s.commit()
    assert row.record == {"geheim": 2}
