"""The matrix's reading cases. Each gets the world and a session inside an access."""

from __future__ import annotations

from datetime import date

from sqlalchemy import (
    String,
    and_,
    bindparam,
    case,
    cast,
    distinct,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    union,
    union_all,
)
from sqlalchemy.orm import (
    Bundle,
    aliased,
    contains_eager,
    defer,
    joinedload,
    lazyload,
    load_only,
    raiseload,
    selectinload,
    subqueryload,
    undefer,
)

ADA, GRACE = "Ada Geheim", "Grace Geheim"
EMAILS = ["ada@geheim.example", "grace@geheim.example"]


def _by_id(w, *what):
    return select(*(what or [w.m.Customer])).order_by(w.m.Customer.id)


# selecting


def select_entity(w, s):
    assert [each.name for each in s.scalars(_by_id(w))] == [ADA, GRACE]
    ada, grace = s.scalars(_by_id(w)).all()
    assert (ada.email, ada.phone, ada.born) == (EMAILS[0], "+44 20 7946 0000", date(1815, 12, 10))
    assert grace.born is None


def select_column(w, s):
    assert s.execute(_by_id(w, w.m.Customer.email)).all() == [(EMAILS[0],), (EMAILS[1],)]
    assert s.scalars(_by_id(w, w.m.Customer.born)).all() == [date(1815, 12, 10), None]


def select_label(w, s):
    row = s.execute(_by_id(w, w.m.Customer.email.label("mail"))).first()
    assert row.mail == EMAILS[0]
    assert row._mapping["mail"] == EMAILS[0]


def select_columns(w, s):
    row = s.execute(_by_id(w, w.m.Customer.name, w.m.Customer.id, w.m.Customer.email)).first()
    assert row == (ADA, 1, EMAILS[0])
    assert (row.name, row.email) == (ADA, EMAILS[0])


def select_child_column(w, s):
    statement = select(w.m.Invoice.address, w.m.InvoiceLine.remark).join(w.m.Invoice.lines)
    assert s.execute(statement).one() == ("12 Geheim St", "geheim remark")
    assert s.scalars(select(w.m.Visit.page)).one() == "/geheim"
    assert s.scalars(select(w.m.Setting.value)).one() == "geheim theme"
    assert s.scalars(select(w.m.InvoiceLine.remark)).one() == "geheim remark"


def select_entity_and_column(w, s):
    row = s.execute(_by_id(w, w.m.Customer, w.m.Customer.email)).first()
    assert (row.Customer.name, row.email) == (ADA, EMAILS[0])


def select_joined_columns(w, s):
    statement = select(w.m.Customer.name, w.m.Invoice.address).join(w.m.Invoice.customer)
    rows = s.execute(statement.order_by(w.m.Invoice.id)).all()
    assert rows == [(ADA, "12 Geheim St"), (ADA, None)]


def select_outer_joined_column(w, s):
    statement = select(w.m.Customer.name, w.m.Invoice.address).outerjoin(w.m.Invoice)
    rows = s.execute(statement.where(w.m.Customer.id == 2)).all()
    assert rows == [(GRACE, None)]


def aliased_entity(w, s):
    other = aliased(w.m.Customer)
    assert [each.name for each in s.scalars(select(other).order_by(other.id))] == [ADA, GRACE]
    found = s.scalars(select(other).where(other.email == "ADA@geheim.example")).one()
    assert found.id == 1


def aliased_column(w, s):
    one, two = aliased(w.m.Customer), aliased(w.m.Customer, name="second")
    statement = select(one.name, two.name.label("other")).join(two, two.id == one.id + 1)
    assert s.execute(statement).one() == (ADA, GRACE)


def aliased_subquery(w, s):
    chosen = select(w.m.Customer).where(w.m.Customer.id == 2).subquery()
    other = aliased(w.m.Customer, chosen)
    assert s.scalars(select(other)).one().name == GRACE
    assert s.scalars(select(other.name)).one() == GRACE


def bundle(w, s):
    both = Bundle("both", w.m.Customer.id, w.m.Customer.name)
    w.sent.clear()
    s.execute(select(both)).all()


def joined_inheritance(w, s):
    s.add_all([w.m.Employee(name=ADA, badge="geheim 1"), w.m.Guest(name=GRACE, host="geheim host")])
    s.commit()
    s.expunge_all()
    people = s.scalars(select(w.m.Person).order_by(w.m.Person.id)).all()
    assert [each.name for each in people] == [ADA, GRACE]
    assert (people[0].badge, people[1].host) == ("geheim 1", "geheim host")
    assert s.execute(select(w.m.Employee.name, w.m.Employee.badge)).one() == (ADA, "geheim 1")
    assert s.scalars(select(w.m.Guest.host)).one() == "geheim host"
    assert s.scalars(select(w.m.Employee).where(w.m.Employee.name == "ada geheim")).one().id == 1
    assert s.scalars(select(w.m.Employee).where(w.m.Employee.badge == "geheim 1")).one().id == 1
    assert s.scalars(select(w.m.Person.name).order_by(w.m.Person.id)).all() == [ADA, GRACE]


# loading


def _address(w, s, *options):
    statement = select(w.m.Customer).where(w.m.Customer.id == 1).options(*options)
    ada = s.scalars(statement).unique().one()
    return ada.invoices[0].address


def joined_loading(w, s):
    assert _address(w, s, joinedload(w.m.Customer.invoices)) == "12 Geheim St"
    line = s.scalars(
        select(w.m.InvoiceLine).options(
            joinedload(w.m.InvoiceLine.invoice).joinedload(w.m.Invoice.customer)
        )
    ).one()
    assert (line.remark, line.invoice.customer.name) == ("geheim remark", ADA)


def selectin_loading(w, s):
    assert _address(w, s, selectinload(w.m.Customer.invoices)) == "12 Geheim St"


def subquery_loading(w, s):
    assert _address(w, s, subqueryload(w.m.Customer.invoices)) == "12 Geheim St"


def lazy_loading(w, s):
    assert _address(w, s, lazyload(w.m.Customer.invoices)) == "12 Geheim St"
    assert s.get(w.m.InvoiceLine, 1).invoice.customer.name == ADA


def raise_loading(w, s):
    ada = s.get(w.m.Customer, 1, options=[raiseload("*")])
    assert ada.name == ADA
    line = s.scalars(select(w.m.InvoiceLine).options(raiseload("*"))).one()
    assert line.remark == "geheim remark"


def eager_containing(w, s):
    statement = select(w.m.Customer).join(w.m.Customer.invoices)
    statement = statement.options(contains_eager(w.m.Customer.invoices))
    ada = s.scalars(statement).unique().one()
    assert [each.address for each in ada.invoices] == ["12 Geheim St", None]


def refresh(w, s):
    ada = s.get(w.m.Customer, 1)
    s.refresh(ada)
    assert ada.name == ADA
    s.refresh(ada, ["email"])
    assert ada.email == EMAILS[0]
    line = s.get(w.m.InvoiceLine, 1)
    s.refresh(line)
    assert line.remark == "geheim remark"


def expire(w, s):
    ada, visit = s.get(w.m.Customer, 1), s.get(w.m.Visit, 1)
    s.expire(ada)
    s.expire(visit)
    assert (ada.name, visit.page) == (ADA, "/geheim")
    s.expire(ada, ["email"])
    assert ada.email == EMAILS[0]
    s.expire(ada, ["subject_id"])
    assert ada.name == ADA


def no_expire_on_commit(w, s):
    with w.Session(expire_on_commit=False) as kept:
        eve = w.m.Customer(name="Eve Geheim")
        invoice = w.m.Invoice(customer=eve, address="geheim 5")
        kept.add_all([eve, invoice])
        kept.commit()
        w.sent.clear()
        assert (eve.name, invoice.address) == ("Eve Geheim", "geheim 5")
        assert w.sent == []
    assert (eve.name, invoice.address) == ("Eve Geheim", "geheim 5")


def merge_unchanged(w, s):
    with w.Session() as other:
        ada = other.get(w.m.Customer, 1)
    w.sent.clear()
    merged = s.merge(ada)
    s.commit()
    assert not [sent for sent, _ in w.sent if sent.startswith(("UPDATE", "INSERT"))]
    assert merged.name == ADA


def merge_changed(w, s):
    with w.Session() as other:
        ada = other.get(w.m.Customer, 1)
    ada.name = "Ada King Geheim"
    assert s.merge(ada).name == "Ada King Geheim"
    s.commit()
    assert w.fresh().get(w.m.Customer, 1).name == "Ada King Geheim"


def merge_transient(w, s):
    s.merge(w.m.Customer(id=1, name="Ada King Geheim"))
    s.merge(w.m.Customer(id=8, name="Eve Geheim"))
    s.commit()
    assert s.get(w.m.Customer, 1).name == "Ada King Geheim"
    assert s.get(w.m.Customer, 1).email == EMAILS[0]
    assert s.get(w.m.Customer, 8).name == "Eve Geheim"


def merge_no_load(w, s):
    with w.Session() as other:
        ada = other.get(w.m.Customer, 1)
    assert s.merge(ada, load=False).name == ADA


def yield_entities(w, s):
    statement = _by_id(w).execution_options(yield_per=1)
    assert [each.name for each in s.scalars(statement)] == [ADA, GRACE]


def yield_columns(w, s):
    statement = _by_id(w, w.m.Customer.name).execution_options(yield_per=1)
    assert list(s.scalars(statement)) == [ADA, GRACE]
    parts = s.execute(statement).partitions()
    assert [list(part) for part in parts] == [[(ADA,)], [(GRACE,)]]


def stream(w, s):
    statement = _by_id(w, w.m.Customer, w.m.Customer.email)
    rows = s.execute(statement, execution_options={"stream_results": True})
    assert [(each.name, email) for each, email in rows] == [(ADA, EMAILS[0]), (GRACE, EMAILS[1])]


def deferring(w, s):
    ada = s.get(w.m.Customer, 1, options=[defer(w.m.Customer.name)])
    assert "name" not in vars(ada)
    assert (ada.name, ada.letter) == (ADA, "Dear geheim")
    s.expunge_all()
    assert s.get(w.m.Customer, 1, options=[undefer(w.m.Customer.letter)]).letter == "Dear geheim"


def loading_only(w, s):
    ada = s.get(w.m.Customer, 1, options=[load_only(w.m.Customer.name)])
    assert "subject_id" not in vars(ada)
    assert ada.name == ADA
    setting = s.scalars(select(w.m.Setting).options(load_only(w.m.Setting.value))).one()
    assert setting.value == "geheim theme"
    visit = s.scalars(select(w.m.Visit).options(load_only(w.m.Visit.page))).one()
    assert visit.page == "/geheim"


def get(w, s):
    assert s.get(w.m.Customer, 1).name == ADA
    assert s.get_one(w.m.Visit, 1).page == "/geheim"


def for_update(w, s):
    ada = s.scalars(select(w.m.Customer).where(w.m.Customer.id == 1).with_for_update()).one()
    assert ada.name == ADA
    visit = s.scalars(select(w.m.Visit).with_for_update(of=w.m.Visit)).one()
    assert visit.page == "/geheim"
    assert s.scalars(_by_id(w, w.m.Customer.name).with_for_update()).all() == [ADA, GRACE]


def from_text(w, s):
    statement = text("SELECT * FROM customer ORDER BY id")
    assert [each.name for each in s.scalars(select(w.m.Customer).from_statement(statement))] == [
        ADA,
        GRACE,
    ]
    visits = select(w.m.Visit).from_statement(text("SELECT * FROM visit"))
    assert s.scalars(visits).one().page == "/geheim"


def raw_text(w, s):
    envelope = s.execute(text("SELECT name FROM customer WHERE id = 1")).scalar_one()
    assert bytes(envelope)[0] == 0xF9


def core_select(w, s):
    table = w.m.Customer.__table__
    for execute in (s.execute, s.connection().execute):
        (sealed,) = execute(select(table.c.name).where(table.c.id == 1)).one()
        assert repr(sealed) == "<Sealed>"


def core_select_where(w, s):
    table = w.m.Customer.__table__
    with w.engine.connect() as connection:
        found = connection.execute(select(table.c.id).where(table.c.email == EMAILS[0]))
        assert found.scalar_one() == 1


def query_entity(w, s):
    query = s.query(w.m.Customer).filter_by(email="ada@geheim.example")
    assert query.one().name == ADA
    assert [each.name for each in s.query(w.m.Customer).order_by(w.m.Customer.id)] == [ADA, GRACE]


def query_column(w, s):
    query = s.query(w.m.Customer.email).order_by(w.m.Customer.id)
    assert query.all() == [(EMAILS[0],), (EMAILS[1],)]
    assert query.first() == (EMAILS[0],)
    assert query.filter(w.m.Customer.id == 2).scalar() == EMAILS[1]
    both = s.query(w.m.Customer, w.m.Customer.email).order_by(w.m.Customer.id)
    each, email = both.first()
    assert (each.name, email) == (ADA, EMAILS[0])
    assert s.query(w.m.Customer.id).filter(w.m.Customer.id == 1).with_entities(
        w.m.Customer.name
    ).one() == (ADA,)


def query_update(w, s):
    w.sent.clear()
    s.query(w.m.Customer).update({"name": "Geheim"})


def result_forms(w, s):
    statement = _by_id(w, w.m.Customer.name, w.m.Customer.id)
    assert s.scalar(statement) == ADA
    assert s.execute(statement).scalars().all() == [ADA, GRACE]
    assert s.execute(statement).first() == (ADA, 1)
    assert s.execute(statement.where(w.m.Customer.id == 2)).one() == (GRACE, 2)
    assert s.execute(statement.where(w.m.Customer.id == 9)).one_or_none() is None
    assert s.execute(statement).mappings().all()[1] == {"name": GRACE, "id": 2}
    assert s.execute(statement).unique().all() == [(ADA, 1), (GRACE, 2)]
    assert s.execute(statement).columns("id", "name").first() == (1, ADA)
    assert s.execute(statement).fetchmany(1) == [(ADA, 1)]
    assert s.execute(statement).fetchone() == (ADA, 1)
    assert list(s.execute(statement).partitions(1)) == [[(ADA, 1)], [(GRACE, 2)]]
    assert s.execute(statement).freeze()().all() == [(ADA, 1), (GRACE, 2)]
    assert [name for name, _ in s.execute(statement)] == [ADA, GRACE]
    assert s.scalars(_by_id(w)).unique().all()[0].name == ADA


# searching


def equality(w, s):
    m = w.m
    for condition in (
        m.Customer.email == "ADA@geheim.example ",
        m.Customer.email.in_(["ada@geheim.example", "x@geheim.example"]),
        m.Customer.phone == "+442079460000",
        and_(m.Customer.email == "ada@geheim.example", m.Customer.id == 1),
        m.Customer.email.is_not(None) & (m.Customer.id < 2),
        or_(m.Customer.email == "ada@geheim.example", m.Customer.id > 9),
        m.Customer.email == "ada@geheim.example",
    ):
        assert s.scalars(select(m.Customer.id).where(condition)).all() == [1]
    assert s.scalars(select(m.Customer.id).where(m.Customer.email != EMAILS[0])).all() == [2]
    assert s.scalars(select(m.Customer.id).where(m.Customer.email.not_in(EMAILS))).all() == []


def is_null(w, s):
    m = w.m
    for condition in (m.Customer.phone.is_(None), m.Customer.phone == None):  # noqa: E711
        assert s.scalars(select(m.Customer.id).where(condition)).all() == [2]
    assert s.scalars(select(m.Invoice.id).where(m.Invoice.address.is_not(None))).all() == [1]


def existing(w, s):
    m = w.m
    assert s.scalar(select(exists().where(m.Customer.email == EMAILS[0])))
    assert s.query(exists().where(m.Customer.email == "x@geheim.example")).scalar() is False
    has = select(m.Invoice.id).where(m.Invoice.customer.has(m.Customer.email == EMAILS[0]))
    assert s.scalars(has.order_by(m.Invoice.id)).all() == [1, 2]


def counting(w, s):
    m = w.m
    assert s.scalar(select(func.count()).select_from(m.Customer)) == 2
    assert s.scalar(select(func.count(m.Customer.phone))) == 1
    assert s.query(m.Customer).filter(m.Customer.email == EMAILS[0]).count() == 1


def bound_later(w, s):
    w.sent.clear()
    statement = select(w.m.Customer).where(w.m.Customer.email == bindparam("given"))
    s.execute(statement, {"given": "ada@geheim.example"})


def like(w, s):
    w.sent.clear()
    select(w.m.Customer).where(w.m.Customer.email.like("ada%"))


def less_than(w, s):
    w.sent.clear()
    select(w.m.Customer).where(w.m.Customer.born < date(1900, 1, 1))


def unindexed_equality(w, s):
    w.sent.clear()
    select(w.m.Customer).where(w.m.Customer.name == "Ada Geheim")


def compared_columns(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).where(w.m.Customer.email == w.m.Customer.phone))


def compared_subquery(w, s):
    w.sent.clear()
    inner = select(w.m.Customer.email).where(w.m.Customer.id == 1)
    s.execute(select(w.m.Customer.id).where(w.m.Customer.email == inner.scalar_subquery()))


def membership_of_subquery(w, s):
    w.sent.clear()
    select(w.m.Customer.id).where(w.m.Customer.email.in_(select(w.m.Customer.phone)))


def joined_on(w, s):
    m = w.m
    w.sent.clear()
    s.execute(select(m.Customer.id).join(m.Invoice, m.Invoice.address == m.Customer.name))


def from_text_column(w, s):
    w.sent.clear()
    statement = text("SELECT name FROM customer")
    s.execute(select(w.m.Customer.name).from_statement(statement)).all()


def union_query(w, s):
    w.sent.clear()
    s.query(w.m.Customer.name).union(s.query(w.m.Customer.nickname)).all()


def having(w, s):
    w.sent.clear()
    by_tier = select(w.m.Customer.tier).group_by(w.m.Customer.tier)
    s.execute(by_tier.having(func.min(w.m.Customer.born) == func.max(w.m.Customer.born)))


def concatenated(w, s):
    w.sent.clear()
    select(w.m.Customer.name + " of geheim")


def tuple_membership(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).where(tuple_(w.m.Customer.email).in_([("ada@geheim.example",)])))


# expressions


def lower(w, s):
    w.sent.clear()
    s.execute(select(func.lower(w.m.Customer.email)))


def minimum(w, s):
    w.sent.clear()
    s.execute(select(func.min(w.m.Customer.born)))


def maximum_label(w, s):
    w.sent.clear()
    s.execute(select(func.max(w.m.Customer.born).label("last")))


def any_function(w, s):
    w.sent.clear()
    s.execute(select(func.length(w.m.Customer.email)))


def nested_function(w, s):
    w.sent.clear()
    s.execute(select(func.length(func.trim(w.m.Customer.email)) + 1))


def function_in_where(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).where(func.trim(w.m.Customer.email) == "geheim"))


def core_function_in_where(w, s):
    table = w.m.Customer.__table__
    w.sent.clear()
    with w.engine.connect() as connection:
        connection.execute(select(table.c.id).where(func.trim(table.c.email) == "geheim"))


def casting(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer.id).where(cast(w.m.Customer.email, String) == "geheim"))


def casting_column(w, s):
    w.sent.clear()
    s.execute(select(cast(w.m.Customer.email, String)))


def coercing(w, s):
    w.sent.clear()
    s.execute(select(type_coerce(w.m.Customer.email, String)))


def case_when(w, s):
    w.sent.clear()
    s.execute(select(case((w.m.Customer.id == 1, w.m.Customer.name), else_=literal("none"))))


def counting_distinct(w, s):
    w.sent.clear()
    s.execute(select(func.count(distinct(w.m.Customer.email))))


def scalar_subquery(w, s):
    w.sent.clear()
    inner = select(w.m.Customer.name).where(w.m.Customer.id == 1).scalar_subquery()
    s.execute(select(w.m.Invoice.id, inner))


def order_by(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).order_by(w.m.Customer.name))


def order_by_desc(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).order_by(w.m.Customer.name.desc()))


def order_by_function(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer).order_by(func.lower(w.m.Customer.name)))


def order_by_label(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer.id, w.m.Customer.name.label("n")).order_by("n"))


def order_by_name(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer.id, w.m.Customer.name).order_by("name"))


def query_order_by(w, s):
    w.sent.clear()
    s.query(w.m.Customer).order_by(w.m.Customer.name).all()


def group_by(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer.name, func.count()).group_by(w.m.Customer.name))


def distinct_column(w, s):
    w.sent.clear()
    s.execute(select(w.m.Customer.name).distinct())


def distinct_entity(w, s):
    statement = select(w.m.Customer).join(w.m.Customer.invoices).distinct()
    assert s.scalars(statement).one().name == ADA


def unions(w, s):
    w.sent.clear()
    s.execute(union(select(w.m.Customer.name), select(w.m.Customer.nickname)))


def union_of_entities(w, s):
    one, two = (select(w.m.Customer).where(w.m.Customer.id == each) for each in (1, 2))
    statement = select(w.m.Customer).from_statement(union_all(one, two).order_by("id"))
    assert [each.name for each in s.scalars(statement)] == [ADA, GRACE]


def subquery_column(w, s):
    w.sent.clear()
    inner = select(w.m.Customer.id, w.m.Customer.name).subquery()
    s.execute(select(inner.c.name))


def subquery_other_column(w, s):
    inner = select(w.m.Customer.id).where(w.m.Customer.email == EMAILS[0]).subquery()
    statement = select(w.m.Invoice).where(w.m.Invoice.customer_id.in_(select(inner.c.id)))
    rows = s.scalars(statement.order_by(w.m.Invoice.id))
    assert [each.address for each in rows] == ["12 Geheim St", None]


def cte_column(w, s):
    w.sent.clear()
    inner = select(w.m.Customer.id, w.m.Customer.name).cte()
    s.execute(select(inner.c.name))


def literal_binds(w, s):
    w.sent.clear()
    statement = select(w.m.Customer).where(w.m.Customer.email == "ada@geheim.example")
    statement.compile(w.engine, compile_kwargs={"literal_binds": True})


def literal_binds_insert(w, s):
    w.sent.clear()
    statement = w.m.Customer.__table__.insert().values(name="geheim")
    statement.compile(w.engine, compile_kwargs={"literal_binds": True})


def hybrid(w, s):
    assert s.get(w.m.Customer, 1).shown == ADA
    assert s.scalars(_by_id(w, w.m.Customer.shown)).all() == [ADA, GRACE]


def synonyms(w, s):
    assert s.get(w.m.Customer, 1).mail == EMAILS[0]
    assert s.scalars(select(w.m.Customer.id).where(w.m.Customer.mail == EMAILS[0])).all() == [1]


def validated(w, s):
    s.add(w.m.Customer(name="Eve Geheim", nickname="  geheim e  "))
    s.commit()
    assert s.get(w.m.Customer, 3).nickname == "geheim e"
