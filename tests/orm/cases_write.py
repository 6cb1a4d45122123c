"""The matrix's writing cases. Each gets the world and a session inside an access."""

from __future__ import annotations

from datetime import date

from sqlalchemy import bindparam, delete, event, func, insert, null, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import make_transient, sessionmaker


def _again(w, primary_key=1, cls=None):
    """The row as a session of its own loads it, so that nothing comes from memory."""
    return w.fresh().get(cls or w.m.Customer, primary_key)


def _names(w):
    with w.Session() as fresh:
        return [each.name for each in fresh.scalars(select(w.m.Customer).order_by(w.m.Customer.id))]


def _dialect_insert(w, cls):
    known = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
    return known[w.engine.dialect.name](cls)


# unit of work


def add_one(w, s):
    s.add(w.m.Customer(name="Eve Geheim", email="eve@geheim.example", born=date(1815, 1, 2)))
    s.commit()
    eve = _again(w, 3)
    assert (eve.name, eve.email, eve.phone) == ("Eve Geheim", "eve@geheim.example", None)
    assert eve.born == date(1815, 1, 2)


def add_many(w, s):
    s.add_all([w.m.Customer(name=f"{n} Geheim") for n in range(30)])
    s.commit()
    assert _names(w)[2:] == [f"{n} Geheim" for n in range(30)]


def assign(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.name = "Ada King Geheim"
    ada.email = "king@geheim.example"
    s.commit()
    assert _again(w).name == "Ada King Geheim"
    found = s.scalars(select(w.m.Customer).where(w.m.Customer.email == "king@geheim.example"))
    assert found.one() is ada


def assign_none(w, s):
    s.get(w.m.Customer, 1).email = None
    s.commit()
    assert _again(w).email is None
    lost = select(w.m.Customer).where(w.m.Customer.email == "ada@geheim.example")
    assert s.scalars(lost).first() is None


def assign_the_same(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.name = "Ada Geheim"
    s.commit()
    assert _again(w).name == "Ada Geheim"


def assign_expression(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    ada.name = func.upper("geheim")


def assign_wrong_type(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    ada.name = 1815


def set_own_sealed(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.name = vars(ada)["name"]
    s.commit()
    assert _again(w).name == "Ada Geheim"


def set_foreign_sealed(w, s):
    ada, grace = s.get(w.m.Customer, 1), s.get(w.m.Customer, 2)
    grace.name = vars(ada)["name"]
    w.sent.clear()
    s.flush()


def delete_object(w, s):
    s.delete(s.get(w.m.Customer, 1))
    s.commit()
    assert s.get(w.m.Customer, 1) is None


def two_flushes(w, s):
    eve = w.m.Customer(name="Eve Geheim")
    s.add(eve)
    s.flush()
    eve.name, eve.phone = "Eva Geheim", "+44 7946"
    s.flush()
    s.add(w.m.Invoice(customer=eve, address="geheim"))
    s.commit()
    assert (_again(w, 3).name, _again(w, 3).phone) == ("Eva Geheim", "+44 7946")


def autoflush(w, s):
    s.add(w.m.Customer(name="Eve Geheim", email="eve@geheim.example"))
    found = select(w.m.Customer.name).where(w.m.Customer.email == "EVE@geheim.example")
    assert s.scalars(found).one() == "Eve Geheim"


def cascade_child(w, s):
    eve = w.m.Customer(name="Eve Geheim")
    eve.invoices.append(w.m.Invoice(address="geheim 7"))
    eve.invoices[0].lines.append(w.m.InvoiceLine(remark="geheim 8"))
    s.add(eve)
    s.commit()
    line = s.scalars(select(w.m.InvoiceLine).where(w.m.InvoiceLine.id == 2)).one()
    assert (line.remark, line.invoice.address) == ("geheim 8", "geheim 7")
    assert line.invoice.customer.name == "Eve Geheim"


def child_by_column(w, s):
    s.add(w.m.Visit(visitor=1, page="/geheim/2"))
    s.add(w.m.InvoiceLine(invoice_id=2, remark="geheim 9"))
    s.commit()
    assert _again(w, 2, w.m.Visit).page == "/geheim/2"
    assert _again(w, 2, w.m.InvoiceLine).remark == "geheim 9"


def child_of_nobody(w, s):
    s.add(w.m.Invoice(address="geheim"))
    w.sent.clear()
    s.flush()


def child_moved(w, s):
    visit = s.get(w.m.Visit, 1)
    visit.visitor = 1
    w.sent.clear()
    s.flush()


def child_moved_and_assigned(w, s):
    visit = s.get(w.m.Visit, 1)
    visit.visitor, visit.page = 1, "/geheim/moved"
    s.commit()
    assert _again(w, 1, w.m.Visit).page == "/geheim/moved"


def child_moved_by_column(w, s):
    """The loaded relationship still shows the old parent: the column says where it goes."""
    invoice = s.get(w.m.Invoice, 2)
    assert invoice.customer.id == 1
    invoice.customer_id, invoice.address = 2, "geheim moved"
    s.commit()
    w.vault.keys.cached.clear()
    assert _again(w, 2, w.m.Invoice).address == "geheim moved"


def child_within_person(w, s):
    line = s.get(w.m.InvoiceLine, 1)
    line.invoice = s.get(w.m.Invoice, 2)
    s.add(w.m.InvoiceLine(invoice=s.get(w.m.Invoice, 1), remark="geheim new"))
    s.commit()
    assert _again(w, 2, w.m.InvoiceLine).remark == "geheim new"
    assert _again(w, 1, w.m.InvoiceLine).remark == "geheim remark"


def same_parent_again(w, s):
    visit, invoice = s.get(w.m.Visit, 1), s.get(w.m.Invoice, 1)
    s.commit()  # both are expired now: what they held is not known
    visit.visitor = 2
    invoice.customer = s.get(w.m.Customer, 1)
    s.commit()
    assert (visit.page, invoice.address) == ("/geheim", "12 Geheim St")


def parent_moved(w, s):
    invoice = s.get(w.m.Invoice, 1)
    invoice.customer = s.get(w.m.Customer, 2)
    invoice.address = "geheim moved"
    w.sent.clear()
    s.flush()


def child_removed(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.invoices.remove(ada.invoices[0])
    s.commit()
    assert s.get(w.m.Invoice, 1) is None


def child_key_changed(w, s):
    setting = s.get(w.m.Setting, "theme")
    setting.name = "colour"
    w.sent.clear()
    s.flush()


def child_key_changed_and_assigned(w, s):
    setting = s.get(w.m.Setting, "theme")
    setting.name, setting.value = "colour", "geheim colour"
    s.commit()
    assert _again(w, "colour", w.m.Setting).value == "geheim colour"


def subject_id_changed(w, s):
    ada, grace = s.get(w.m.Customer, 1), s.get(w.m.Customer, 2)
    ada.subject_id = grace.subject_id
    w.sent.clear()
    s.flush()


def rollback_and_add_again(w, s):
    eve = w.m.Customer(name="Eve Geheim", email="eve@geheim.example")
    s.add(eve)
    s.flush()
    s.rollback()
    s.add(eve)
    s.commit()
    assert (_again(w, 3).name, _again(w, 3).email) == ("Eve Geheim", "eve@geheim.example")


def rollback_of_a_change(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.name = "Lost Geheim"
    s.flush()
    s.rollback()
    assert ada.name == "Ada Geheim"


def savepoint_rolled_back(w, s):
    eve = w.m.Customer(name="Eve Geheim")
    s.add(eve)
    nested = s.begin_nested()
    s.add(w.m.Setting(name="lost", value="geheim"))
    s.add(w.m.Customer(name="Lost Geheim"))
    grace = s.get(w.m.Customer, 2)
    grace.name = "Lost Geheim"
    s.flush()
    nested.rollback()
    grace.phone = "+44 7946 2"
    eve.nickname = "geheim"
    s.add(w.m.Setting(name="kept", value="geheim kept"))
    s.add(w.m.Visit(visitor=1, page="/geheim/kept"))
    s.commit()
    w.vault.keys.cached.clear()
    assert _again(w, "kept", w.m.Setting).value == "geheim kept"
    assert _again(w, 2, w.m.Customer).phone == "+44 7946 2"
    assert _names(w) == ["Ada Geheim", "Grace Geheim", "Eve Geheim"]
    pages = [each.page for each in s.scalars(select(w.m.Visit).order_by(w.m.Visit.id))]
    assert pages == ["/geheim", "/geheim/kept"]


def savepoint_first_key(w, s):
    """Keys first made inside the savepoint that is rolled back are made again after it."""
    s.execute(insert(w.m.Customer), [{"id": 5, "name": "Eve Geheim"}])
    with s.begin_nested() as nested:
        s.add(w.m.Member(id=7, club="", name="Lost Geheim"))
        s.add(w.m.Setting(name="lost", value="geheim"))
        s.flush()
        nested.rollback()
    s.add(w.m.Member(id=7, club="", name="Kept Geheim"))
    s.flush()
    with s.begin_nested():
        s.add(w.m.Member(id=8, club="", name="Also Geheim"))
    s.commit()
    w.vault.keys.cached.clear()
    assert [_again(w, n, w.m.Member).name for n in (7, 8)] == ["Kept Geheim", "Also Geheim"]


def savepoint_bare_person(w, s):
    """A person whose key is first made for a child, within a savepoint that is rolled back."""
    with w.engine.begin() as connection:
        table = w.m.Customer.__table__
        w.vault.keys.cached.clear()
        outer = connection.begin_nested()
        connection.execute(insert(table).values(id=5, name="Eve Geheim"))
        outer.rollback()
        connection.execute(insert(table).values(id=5, name="Eva Geheim"))
    w.vault.keys.cached.clear()
    assert _again(w, 5).name == "Eva Geheim"


def failed_flush_then_again(w, s):
    ada = w.m.Customer(name="Eve Geheim", email="ada@geheim.example")
    try:
        with s.begin_nested():
            s.add(ada)
    except Exception as failed:
        assert "geheim" not in str(failed).lower()
    ada.email = "eve@geheim.example"
    s.add(ada)
    s.commit()
    assert _again(w, ada.id).email == "eve@geheim.example"


def transient_again(w, s):
    visit = s.get(w.m.Visit, 1)
    s.delete(visit)
    s.flush()
    make_transient(visit)
    s.add(visit)
    s.commit()
    assert _again(w, 1, w.m.Visit).page == "/geheim"


def transient_as_another(w, s):
    grace = s.get(w.m.Customer, 2)
    make_transient(grace)
    grace.id = grace.subject_id = None
    s.add(grace)
    w.sent.clear()
    s.flush()


def column_default(w, s):
    s.add(w.m.Parcel())
    s.add(w.m.Parcel(sender="Ada Geheim"))
    s.commit()
    rows = s.scalars(select(w.m.Parcel).order_by(w.m.Parcel.id)).all()
    assert [(row.sender, row.note) for row in rows] == [
        ("Default Sender", "Default Note"),
        ("Ada Geheim", "Default Note"),
    ]


def insert_default(w, s):
    s.execute(insert(w.m.Parcel), [{"sender": "Ada Geheim"}, {"sender": "Grace Geheim"}])
    s.execute(insert(w.m.Parcel).values(note="geheim"))
    s.execute(insert(w.m.Parcel))
    rows = s.scalars(select(w.m.Parcel).order_by(w.m.Parcel.id)).all()
    assert [(row.sender, row.note) for row in rows] == [
        ("Ada Geheim", "Default Note"),
        ("Grace Geheim", "Default Note"),
        ("Default Sender", "geheim"),
        ("Default Sender", "Default Note"),
    ]


def before_insert_event(w, s):
    @event.listens_for(w.m.Customer, "before_insert")
    def shout(mapper, connection, target):
        target.nickname = target.name.upper()

    try:
        s.add(w.m.Customer(name="Eve Geheim"))
        s.commit()
    finally:
        event.remove(w.m.Customer, "before_insert", shout)
    assert (_again(w, 3).name, _again(w, 3).nickname) == ("Eve Geheim", "EVE GEHEIM")


def before_update_event(w, s):
    @event.listens_for(w.m.Customer, "before_update")
    def shout(mapper, connection, target):
        target.nickname = "geheim too"

    ada = s.get(w.m.Customer, 1)
    ada.name = "Ada King Geheim"
    w.sent.clear()
    try:
        s.flush()
    finally:
        event.remove(w.m.Customer, "before_update", shout)


def before_flush_event(w, s):
    factory = sessionmaker(w.engine)

    @event.listens_for(factory, "before_flush")
    def shout(session, context, instances):
        for each in session.dirty:
            each.nickname = "geheim too"
            session.add(w.m.Visit(visitor=1, page="/geheim/by/event"))

    w.vault.attach(factory)
    with factory() as other:
        other.get(w.m.Customer, 1).name = "Ada King Geheim"
        other.commit()
    assert (_again(w).name, _again(w).nickname) == ("Ada King Geheim", "geheim too")
    assert _again(w, 2, w.m.Visit).page == "/geheim/by/event"


# the old bulk methods


def bulk_save_new(w, s):
    s.bulk_save_objects([w.m.Customer(name="Eve Geheim", email="eve@geheim.example")])
    s.commit()
    assert (_again(w, 3).name, _again(w, 3).email) == ("Eve Geheim", "eve@geheim.example")


def bulk_save_changed(w, s):
    ada = s.get(w.m.Customer, 1)
    ada.name = "Ada King Geheim"
    w.sent.clear()
    s.bulk_save_objects([ada])


def bulk_insert_mappings(w, s):
    rows = [{"name": f"{n} Geheim", "email": f"{n}@geheim.example"} for n in range(3)]
    s.bulk_insert_mappings(w.m.Customer, rows)
    s.commit()
    assert _names(w)[2:] == ["0 Geheim", "1 Geheim", "2 Geheim"]
    assert rows[0] == {"name": "0 Geheim", "email": "0@geheim.example"}


def bulk_update_mappings(w, s):
    w.sent.clear()
    s.bulk_update_mappings(w.m.Customer, [{"id": 1, "name": "Ada King Geheim"}])


# INSERT


def insert_list(w, s):
    given = [{"name": "Eve Geheim", "email": "eve@geheim.example"}, {"name": "Bob Geheim"}]
    s.execute(insert(w.m.Customer), given)
    s.commit()
    assert _names(w)[2:] == ["Eve Geheim", "Bob Geheim"]
    found = select(w.m.Customer.id).where(w.m.Customer.email == "eve@geheim.example")
    assert s.scalars(found).one() == 3
    assert given == [{"name": "Eve Geheim", "email": "eve@geheim.example"}, {"name": "Bob Geheim"}]


def insert_values(w, s):
    s.execute(insert(w.m.Customer).values(name="Eve Geheim", phone="7946"))
    s.commit()
    assert (_again(w, 3).name, _again(w, 3).phone) == ("Eve Geheim", "7946")


def insert_values_by_attribute(w, s):
    s.execute(insert(w.m.Customer).values({w.m.Customer.name: "Eve Geheim"}))
    s.commit()
    assert _names(w)[2:] == ["Eve Geheim"]


def insert_many_values(w, s):
    s.execute(insert(w.m.Customer).values([{"name": "Eve Geheim"}, {"name": "Bob Geheim"}]))
    s.commit()
    assert _names(w)[2:] == ["Eve Geheim", "Bob Geheim"]


def insert_child(w, s):
    rows = [{"visitor": 1, "page": "/geheim/1"}, {"visitor": 2, "page": "/geheim/2"}]
    s.execute(insert(w.m.Visit), rows)
    s.execute(insert(w.m.Setting).values(name="sound", value="geheim loud"))
    s.commit()
    assert _again(w, 2, w.m.Visit).page == "/geheim/1"
    assert _again(w, "sound", w.m.Setting).value == "geheim loud"


def insert_child_of_child(w, s):
    s.execute(insert(w.m.InvoiceLine), [{"invoice_id": 1, "remark": "geheim 2"}])
    s.commit()
    assert _again(w, 2, w.m.InvoiceLine).remark == "geheim 2"


def insert_expression(w, s):
    w.sent.clear()
    s.execute(insert(w.m.Customer).values(name=func.upper("geheim")))


def insert_bindparam(w, s):
    w.sent.clear()
    statement = insert(w.m.Customer).values(name=bindparam("given"))
    s.execute(statement, {"given": "Eve Geheim"})


def insert_sealed(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    s.execute(insert(w.m.Customer).values(name=vars(ada)["name"]))


def insert_own_sealed(w, s):
    invoice = s.get(w.m.Visit, 1)
    s.execute(insert(w.m.Visit), [{"visitor": 2, "page": vars(invoice)["page"]}])
    s.commit()
    assert _again(w, 2, w.m.Visit).page == "/geheim"


def update_sealed(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    s.execute(update(w.m.Customer).values(name=vars(ada)["name"]))


def insert_from_select(w, s):
    w.sent.clear()
    from_where = select(w.m.Customer.name)
    s.execute(insert(w.m.Customer).from_select(["name"], from_where))


def insert_returning_entity(w, s):
    rows = [{"name": "Eve Geheim"}, {"name": "Bob Geheim"}]
    statement = insert(w.m.Customer).returning(w.m.Customer, sort_by_parameter_order=True)
    made = s.scalars(statement, rows).all()
    assert [each.name for each in made] == ["Eve Geheim", "Bob Geheim"]
    one = s.scalars(insert(w.m.Customer).values(name="Eva Geheim").returning(w.m.Customer)).one()
    assert one.name == "Eva Geheim"


def insert_returning_column(w, s):
    w.sent.clear()
    statement = insert(w.m.Customer).values(name="Eve Geheim").returning(w.m.Customer.name)
    s.execute(statement)


def insert_returning_other_column(w, s):
    statement = insert(w.m.Customer).returning(w.m.Customer.id, w.m.Customer.tier)
    assert s.execute(statement, [{"name": "Eve Geheim"}]).all() == [(3, "free")]


def upsert_nothing(w, s):
    statement = _dialect_insert(w, w.m.Customer).on_conflict_do_nothing()
    given = {"id": 1, "name": "Lost Geheim", "email": "ada@geheim.example"}
    s.execute(statement, [given, {"id": 9, "name": "Eve Geheim", "email": None}])
    s.commit()
    assert _names(w) == ["Ada Geheim", "Grace Geheim", "Eve Geheim"]


def upsert_other(w, s):
    statement = _dialect_insert(w, w.m.Customer).values(id=1, name="Lost Geheim", tier="gold")
    statement = statement.on_conflict_do_update(index_elements=["id"], set_={"tier": "gold"})
    s.execute(statement)
    s.commit()
    assert (_again(w).name, _again(w).tier) == ("Ada Geheim", "gold")


def upsert_excluded(w, s):
    w.sent.clear()
    statement = _dialect_insert(w, w.m.Customer).values(id=1, name="Eve Geheim")
    set_ = {"name": statement.excluded.name}
    s.execute(statement.on_conflict_do_update(index_elements=["id"], set_=set_))


def upsert_value(w, s):
    w.sent.clear()
    statement = _dialect_insert(w, w.m.Customer).values(id=1, name="Eve Geheim")
    set_ = {"name": "Eva Geheim"}
    s.execute(statement.on_conflict_do_update(index_elements=["id"], set_=set_))


def upsert_unique(w, s):
    given = {"name": "Eve Geheim", "email": "ADA@geheim.example", "phone": "+44 20 7946 0000"}
    statement = _dialect_insert(w, w.m.Customer).values(**given)
    set_ = {"name": statement.excluded.name}
    s.execute(statement.on_conflict_do_update(index_elements=[w.m.Customer.email], set_=set_))
    s.commit()
    assert _names(w) == ["Eve Geheim", "Grace Geheim"]


def core_insert_session(w, s):
    s.execute(insert(w.m.Customer.__table__).values(name="Eve Geheim"))
    s.execute(insert(w.m.Customer.__table__), {"name": "Bob Geheim", "email": "b@geheim.example"})
    s.commit()
    assert _names(w)[2:] == ["Eve Geheim", "Bob Geheim"]
    assert _again(w, 4).email == "b@geheim.example"


def core_insert_connection(w, s):
    with w.engine.begin() as connection:
        connection.execute(insert(w.m.Customer.__table__).values(name="Eve Geheim"))
        table = w.m.Setting.__table__
        connection.execute(insert(table), {"name": "sound", "value": "geheim loud"})
    assert _names(w)[2:] == ["Eve Geheim"]
    assert _again(w, "sound", w.m.Setting).value == "geheim loud"


def core_executemany(w, s):
    rows = [{"name": f"{n} Geheim", "phone": None} for n in range(5)]
    rows[0]["phone"] = "+44 7946 0000"
    with w.engine.begin() as connection:
        connection.execute(w.m.Customer.__table__.insert(), rows)
    assert _names(w)[2:] == [f"{n} Geheim" for n in range(5)]


def core_insert_tuple(w, s):
    values = ("dark", "geheim dark")
    s.execute(insert(w.m.Setting.__table__).values(values))
    s.commit()
    assert _again(w, "dark", w.m.Setting).value == "geheim dark"


def insert_inherited(w, s):
    w.sent.clear()
    s.execute(insert(w.m.Employee.__table__).values(id=1, badge="geheim"))


def insert_orm_inherited(w, s):
    s.execute(insert(w.m.Employee), [{"name": "Eve Geheim", "badge": "geheim 7"}])
    s.commit()
    employee = _again(w, 1, w.m.Employee)
    assert (employee.name, employee.badge) == ("Eve Geheim", "geheim 7")
    s.execute(insert(w.m.Employee), {"name": "Eva Geheim", "badge": "geheim 8"})
    assert s.scalars(select(w.m.Employee.id).where(w.m.Employee.badge == "geheim 8")).one() == 2


def insert_single_table(w, s):
    s.execute(insert(w.m.Guest), [{"name": "Eve Geheim", "host": "geheim host"}])
    s.execute(insert(w.m.Guest).values(name="Eva Geheim", host="geheim too", kind="guest"))
    s.commit()
    guests = s.query(w.m.Guest).order_by("id").all()
    assert [each.name for each in guests] == ["Eve Geheim", "Eva Geheim"]
    assert [each.host for each in guests] == ["geheim host", "geheim too"]


def text_insert(w, s):
    s.execute(text("UPDATE customer SET tier = 'gold' WHERE id = 1"))
    s.commit()
    assert (_again(w).tier, _again(w).name) == ("gold", "Ada Geheim")


# UPDATE and DELETE


def update_values(w, s):
    w.sent.clear()
    s.execute(update(w.m.Customer).where(w.m.Customer.id == 1).values(name="Geheim"))


def update_core_values(w, s):
    table = w.m.Customer.__table__
    w.sent.clear()
    with w.engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == 1).values(name="Geheim"))


def update_core_many(w, s):
    table = w.m.Customer.__table__
    w.sent.clear()
    with w.engine.begin() as connection:
        statement = table.update().where(table.c.id == bindparam("b_id"))
        connection.execute(statement, [{"b_id": 1, "name": "Geheim"}, {"b_id": 2, "name": "G"}])


def update_from_column(w, s):
    w.sent.clear()
    s.execute(update(w.m.Customer).values(name=w.m.Customer.nickname))


def update_other(w, s):
    s.execute(update(w.m.Customer).where(w.m.Customer.id == 1).values(tier="gold"))
    s.commit()
    assert (_again(w).tier, _again(w).name) == ("gold", "Ada Geheim")


def update_where(w, s):
    by_email = w.m.Customer.email == "ADA@geheim.example"
    s.execute(update(w.m.Customer).where(by_email).values(tier="gold"))
    s.commit()
    assert _again(w).tier == "gold"


def update_by_key(w, s):
    rows = [{"id": 1, "name": "Ada King Geheim"}, {"id": 2, "name": "Grace H Geheim"}]
    s.execute(update(w.m.Customer), rows)
    s.execute(update(w.m.Customer), [{"id": 1, "email": "king@geheim.example", "tier": "gold"}])
    s.execute(update(w.m.Invoice), [{"id": 1, "address": "geheim 3"}])
    s.commit()
    assert _names(w) == ["Ada King Geheim", "Grace H Geheim"]
    assert _again(w, 1, w.m.Invoice).address == "geheim 3"
    found = select(w.m.Customer.id).where(w.m.Customer.email == "king@geheim.example")
    assert s.scalars(found).one() == 1


def update_by_missing_key(w, s):
    w.sent.clear()
    s.execute(update(w.m.Customer), [{"id": 99, "name": "Eve Geheim"}])


def update_to_null(w, s):
    ada = s.get(w.m.Customer, 1)
    s.execute(update(w.m.Customer).where(w.m.Customer.id == 1).values(email=None))
    s.execute(update(w.m.Customer).values(phone=null()))
    s.commit()
    assert (ada.email, ada.phone, _again(w).email) == (None, None, None)
    for lost in (w.m.Customer.email == "ada@geheim.example", w.m.Customer.phone == "+442079460000"):
        assert s.scalars(select(w.m.Customer).where(lost)).first() is None


def update_core_to_null(w, s):
    table = w.m.Customer.__table__
    with w.engine.begin() as connection:
        statement = table.update().where(table.c.id == bindparam("b"))
        connection.execute(statement, [{"b": 1, "email": None}])
    assert _again(w).email is None
    lost = select(w.m.Customer).where(w.m.Customer.email == "ada@geheim.example")
    assert s.scalars(lost).first() is None


def update_binding(w, s):
    w.sent.clear()
    s.execute(update(w.m.Visit).values(visitor=1))


def update_subject(w, s):
    ada = s.get(w.m.Customer, 1)
    w.sent.clear()
    s.execute(update(w.m.Customer.__table__).values(subject_id=ada.subject_id))


def update_binding_by_key(w, s):
    w.sent.clear()
    s.execute(update(w.m.Visit), [{"id": 1, "visitor": 1}])


def bulk_update_binding(w, s):
    w.sent.clear()
    s.bulk_update_mappings(w.m.Visit, [{"id": 1, "visitor": 1}])


def delete_statement(w, s):
    s.execute(delete(w.m.Visit).where(w.m.Visit.id == 1))
    s.execute(delete(w.m.Setting.__table__))
    s.commit()
    assert s.get(w.m.Visit, 1) is None


def delete_where(w, s):
    by_email = w.m.Customer.email == "grace@geheim.example"
    s.execute(delete(w.m.Customer).where(by_email, w.m.Customer.id > 5))
    s.commit()
