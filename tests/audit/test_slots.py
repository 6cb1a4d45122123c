"""Events tell exactly what the slots told."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.audit.definitions import ACCESS_BITS, Kind, Spec
from vaultlayer.audit.slots import NO_REF, SLOT, events_of, refs_by_spec, runs_of

SPECS = {
    access | kind << ACCESS_BITS: Spec(access, {"access": str(access)}, Kind(*named))
    for kind, access, *named in [
        (1, 1, "customer", ("name",), "read", "allow", ""),
        (2, 1, "customer", ("email",), "read", "allow", ""),
        (3, 1, "customer", ("email", "name"), "read", "allow", ""),
        (4, 1, "customer", ("email",), "read", "deny", "role"),
        (5, 1, "invoice", ("address",), "write", "allow", ""),
        (6, 2, "customer", ("name",), "read", "mask", ""),
    ]
}
NUMBERS = dict(enumerate(SPECS, start=1))
REFS = [bytes([n]) * 16 for n in range(1, 6)]
PLACE = {"shard": "s", "segment": 0, "first": 0, "last": 9}


def pack(notes):
    """Slots; a number is that of a line in SPECS, or stands for itself."""
    return b"".join(SLOT.pack(ref, NUMBERS.get(number, number)) for number, ref in notes)


def decode(text):
    return base64.urlsafe_b64decode(text + "==")


def kind(spec):
    entity, _, *rest = spec.kind
    return spec.access, entity, *rest


@given(st.lists(st.tuples(st.sampled_from([0, *NUMBERS]), st.sampled_from(REFS)), max_size=60))
def test_events_say_neither_more_nor_less_than_the_notes(notes):
    """Each ref stands in one event per kind, with exactly the fields touched; counts add up."""
    fields = defaultdict(set)
    values = Counter()
    for number, ref in notes:
        if number:
            spec = SPECS[NUMBERS[number]]
            fields[kind(spec), ref].update(spec.kind.fields)
            values[kind(spec)] += len(spec.kind.fields)
    told = {}
    told_values = Counter()
    for event in events_of(refs_by_spec(pack(notes)), SPECS.get, PLACE):
        code = event.get("reason_code", "")
        key = int(event["access"]), event["entity"], event["event"], event["decision"], code
        told_values[key] += event["count"]
        for ref in event["refs"]:
            assert (key, decode(ref)) not in told, "a ref is told twice"
            told[key, decode(ref)] = set(event["fields"])
    assert told == fields
    assert told_values == values


@given(
    st.lists(st.sampled_from([0, *NUMBERS]), min_size=1, max_size=5),
    st.lists(st.sampled_from(REFS), max_size=12),
    st.lists(st.tuples(st.sampled_from([0, *NUMBERS]), st.sampled_from(REFS)), max_size=2),
)
def test_rows_read_alike_are_sorted_as_any_notes_are(row, refs, rest):
    """The short way for notes that repeat row after row finds what looking at each would."""
    notes = [(number, ref) for ref in refs for number in row] + rest
    expected = defaultdict(list)
    for number, ref in notes:
        expected[NUMBERS.get(number, 0)].append(ref)
    assert refs_by_spec(pack(notes)) == expected


def test_a_field_read_twice_counts_twice():
    """The count is of values opened, the refs are of people."""
    slots = pack([(1, REFS[0]), (1, REFS[0]), (1, REFS[1])])
    (event,) = events_of(refs_by_spec(slots), SPECS.get, PLACE)
    assert event["count"] == 3
    assert [decode(ref) for ref in event["refs"]] == REFS[:2]


def test_many_refs_are_split_into_numbered_parts():
    """At most 256 refs an event; the parts together hold every ref once."""
    refs = [n.to_bytes(16, "big") for n in range(1, 701)]
    events = events_of(refs_by_spec(pack((2, ref) for ref in refs)), SPECS.get, PLACE)
    assert [(event["part"], event["parts"]) for event in events] == [(1, 3), (2, 3), (3, 3)]
    assert [event["count"] for event in events] == [256, 256, 188]
    assert [decode(ref) for event in events for ref in event["refs"]] == refs


def test_notes_about_no_one_are_counted_without_a_ref():
    """A search or a refusal before any row is known has a count and no refs."""
    (event,) = events_of(refs_by_spec(pack([(4, NO_REF)] * 2)), SPECS.get, PLACE)
    assert event["refs"] == []
    assert event["count"] == 2
    assert (event["event"], event["decision"], event["reason_code"]) == ("read", "deny", "role")


def test_notes_without_a_definition_are_not_swallowed():
    """After a power cut a definition may be gone; the refs are told all the same."""
    (event,) = events_of(
        refs_by_spec(pack([(99 << ACCESS_BITS, REFS[0]), (99 << ACCESS_BITS, REFS[1])])),
        SPECS.get,
        PLACE,
    )
    assert event["event"] == "journal_damaged"
    assert [decode(ref) for ref in event["refs"]] == REFS[:2]
    assert event["count"] == 2
    assert event["spec"] == 99


@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(1, 2**24 - 1), st.binary(min_size=16, max_size=16)
        ),
        max_size=40,
    ),
    st.sampled_from([1, 2, 0x0101010101, 2**40 - 1]),
)
def test_the_slots_of_one_access_are_found_among_others(notes, mine):
    """Whatever the refs and numbers beside them look like, and in the order of noting."""
    slots = b"".join(
        SLOT.pack(ref, (mine if whose == 1 else whose) | kind << ACCESS_BITS)
        for whose, kind, ref in notes
    )
    found = b"".join(slots[start:end] for start, end in runs_of(slots, mine.to_bytes(5, "little")))
    low = (1 << ACCESS_BITS) - 1
    own = [SLOT.pack(ref, n) for ref, n in SLOT.iter_unpack(slots) if n & low == mine]
    assert found == b"".join(own)
