"""Canonical records and what may be in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.audit.event import access_context, canonical, check_plain, clip, timestamp
from vaultlayer.errors import ConfigurationError

HOSTILE = [
    "a\nb",
    "a\r\n{}",
    "\x1b[2J",
    "\u2028\x85",
    "\ud800",
    "\x00",
    '","seq":9,"x":"',
    "🔑" * 9,
]


@given(st.text())
def test_any_text_stays_on_one_line(text):
    """A record is one line whatever a name holds, and reads back as the clipped name."""
    line = canonical({"sub": clip(text, 10_000)})
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line)["sub"] == clip(text, 10_000)


@pytest.mark.parametrize(
    ("record", "line"),
    [
        # RFC 8785 section 3.2.2.2: what is escaped, and how
        ({"a": '\x08\t\n\x0c\r"\\\x1f\x7f€/'}, '{"a":"\\b\\t\\n\\f\\r\\"\\\\\\u001f\x7f€/"}'),
        ({"b": 1, "a": [True, None, -5]}, '{"a":[true,null,-5],"b":1}'),
        ({"a": {"c": "é", "b": 9007199254740991}}, '{"a":{"b":9007199254740991,"c":"é"}}'),
    ],
)
def test_records_are_in_rfc_8785_form(record, line):
    """Keys are sorted, control characters escaped as the RFC says, all else is plain UTF-8."""
    assert canonical(record) == line.encode()


@pytest.mark.parametrize(
    "value", [1.5, float("nan"), 2**53, -(2**53), b"x", {1: 2}, {"é": 1}, [[object()]], "\udc80"]
)
def test_what_has_no_canonical_form_is_refused(value):
    """Floats, big integers, bytes and odd keys never get into a record."""
    with pytest.raises(ConfigurationError):
        check_plain({"deep": [{"value": value}]})


@given(st.text(max_size=600), st.text(max_size=600))
def test_clipped_names_stay_bounded_and_distinct(one, other):
    """A clipped name has at most 256 characters, and two names never become one."""
    assert len(clip(one)) <= 256
    if one.encode("utf-8", "backslashreplace") != other.encode("utf-8", "backslashreplace"):
        assert clip(one) != clip(other)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_actors_can_be_recorded(text):
    """Names from a token can hold anything without breaking or forging a line."""
    context = access_context({"actor": {"sub": text, "roles": {text}}, "purpose": "p"})
    line = canonical(context)
    assert line.count(b"\n") == 0
    assert json.loads(line) == context
    assert b'"seq":9' not in line


def test_long_reasons_and_many_roles_are_cut():
    """A record stays small whatever a token or an application puts in."""
    roles = {f"role{n:04}" for n in range(5000)}
    context = access_context(
        {"actor": {"sub": "s" * 10**6, "roles": roles}, "purpose": "p", "reason": "r" * 10**6}
    )
    assert len(context["reason"]) == 200
    assert context["actor"]["roles"][-1] == "…4968 more"
    assert len(canonical(context)) < 2000


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"actor": {"sub": "u"}},
        {"actor": {"sub": ""}, "purpose": "p"},
        {"actor": {}, "purpose": "p"},
        {"actor": {"sub": "u"}, "purpose": "p", "email": "ada@example.com"},
        {"actor": {"sub": "u", "phone": "1"}, "purpose": "p"},
    ],
)
def test_a_context_must_name_who_and_what_for_and_nothing_unknown(context):
    """Nothing slips into the log by being put into the context."""
    with pytest.raises(ConfigurationError) as caught:
        access_context(context)
    assert "ada@" not in str(caught.value)


def test_timestamps_are_utc_with_microseconds():
    """RFC 3339, always the same width."""
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(1_700_000_000.25) == "2023-11-14T22:13:20.250000Z"
