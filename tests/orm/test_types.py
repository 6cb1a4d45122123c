"""Every type of the design comes back as it was, through a flush and through an INSERT."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from vaultlayer.errors import ConfigurationError

BERN = ZoneInfo("Europe/Zurich")

VALUES = {
    "text": ["", "geheim", "g\u00e9heim \U0001f600", "\ud800", "geheim" * 5000],
    "padded": ["", "geheim"],
    "picture": [b"", bytes(range(256)) * 20_000, b"\xf9\x01"],
    "number": [0, -1, 2**200],
    "height": [0.0, -0.0, 1.5, float("inf")],
    "agrees": [True, False],
    "price": [Decimal("0.00"), Decimal("-1E+30"), Decimal("19.90")],
    "day": [date.min, date(1815, 12, 10)],
    "moment": [
        datetime(1815, 12, 10, 1, 2, 3, 4),
        datetime(2024, 1, 1, tzinfo=UTC),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERN),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
    "hour": [time(0), time(23, 59, 59, 999_999), time(12, tzinfo=UTC)],
    "token": [UUID(int=0), UUID(int=2**128 - 1)],
    "ip4": [ip_address("192.0.2.1")],
    "ip6": [ip_address("2001:db8::1"), ip_address("fe80::1%eth0")],
    "ip": [ip_address("192.0.2.1"), ip_address("2001:db8::1")],
    "net4": [ip_network("192.0.2.0/24")],
    "net6": [ip_network("2001:db8::/32")],
    "card4": [ip_interface("192.0.2.1/24")],
    "card6": [ip_interface("2001:db8::1/64")],
    "record": [{}, {"geheim": [1, None, True, {"x": 1.5}]}],
    "items": [[], ["geheim", {"x": 1}]],
}


@pytest.mark.parametrize("field", [*VALUES, "mood"])
def test_a_field_of_this_type_round_trips(world, m, field):
    """Type and value are the same after the flush, an INSERT and a column select; NULL stays."""
    values = [*VALUES.get(field, list(m.Mood)), None]
    with world.acting() as session:
        session.add_all([m.Sample(**{field: value}) for value in values])
        session.commit()
        session.execute(insert(m.Sample), [{field: value} for value in values])
        session.expunge_all()
        rows = session.scalars(select(m.Sample).order_by(m.Sample.id)).all()
        loaded = [getattr(row, field) for row in rows]
        column = getattr(m.Sample, field)
        selected = session.scalars(select(column).order_by(m.Sample.id)).all()
    for found in (loaded, selected):
        assert found == values * 2
        assert [_exactly(each) for each in found] == [_exactly(each) for each in values * 2]
    world.assert_sealed()


def _exactly(value: object) -> object:
    if isinstance(value, datetime):
        return type(value), repr(value.tzinfo), value.fold, value
    return type(value), repr(value) if isinstance(value, float | Decimal) else value


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", b"geheim"),
        ("number", True),
        ("number", 1.5),
        ("agrees", 1),
        ("day", datetime(1815, 12, 10)),
        ("moment", date(1815, 12, 10)),
        ("record", {1: "geheim"}),
        ("items", ("geheim",)),
        ("mood", "calm"),
        ("ip4", ip_address("2001:db8::1")),
    ],
)
def test_another_type_is_refused_where_it_is_assigned(m, field, value):
    """The error comes on the line that assigns, and doesn't show the value."""
    with pytest.raises(ConfigurationError) as refused:
        m.Sample(**{field: value})
    assert "geheim" not in str(refused.value)
    assert f"sample.{field}" in str(refused.value)
