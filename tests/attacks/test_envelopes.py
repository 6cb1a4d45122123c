"""A stored envelope that was changed, cut, extended, moved or replaced never opens."""

from __future__ import annotations

import pytest

from vaultlayer.errors import AccessDenied, IntegrityError, KeyUnavailable, PlaintextFound

WAYS = ("attribute", "reveal", "column")
DAMAGED = (
    "a sealed value is damaged or not in its own place. Restore its row from a backup, and find "
    "out what changed or moved it."
)
KEY_ID = range(3, 19)


@pytest.mark.parametrize("field", ["name", "nick"])
def test_no_flipped_bit_goes_unseen(shop, refused, field):
    """Each bit of an envelope, plain or padded: never a value, and one text for all damage."""
    (pk,) = shop.add(shop.zenobia(nick="Quillfeather the Elder"))
    whole = shop.stored("customer", pk, field)
    for bit in range(len(whole) * 8):
        byte, mask = bit // 8, 1 << bit % 8
        flipped = bytearray(whole)
        flipped[byte] ^= mask
        shop.store("customer", pk, field, bytes(flipped))
        kind = PlaintextFound if byte == 0 else KeyUnavailable if byte in KEY_ID else IntegrityError
        with refused(kind) as caught:
            shop.read(shop.Customer, pk, field, WAYS[bit % 3])
        if kind is IntegrityError:
            assert str(caught.error) == DAMAGED
    shop.store("customer", pk, field, whole)
    assert shop.read(shop.Customer, pk, field).startswith(("Zenobia", "Quillfeather"))


@pytest.mark.parametrize("way", WAYS)
def test_no_cut_or_longer_envelope_opens(shop, refused, way):
    """Every length short of the whole, and bytes after it."""
    (pk,) = shop.add(shop.zenobia())
    whole = shop.stored("customer", pk, "name")
    changed = [whole[:length] for length in range(len(whole))]
    changed += [whole + extra for extra in (b"\0", b"\xf9", b"x" * 16, whole)]
    for envelope in changed:
        shop.store("customer", pk, "name", envelope)
        with refused(PlaintextFound if not envelope else IntegrityError) as caught:
            shop.read(shop.Customer, pk, "name", way)
        if envelope:
            assert str(caught.error) == DAMAGED


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "plain",
    ["Zenobia Quillfeather", b"Zenobia Quillfeather", "", b"", b"\0", "\u00f9 not an envelope"],
)
def test_plaintext_in_a_sealed_column_is_found(shop, refused, way, plain):
    """What was written past vaultlayer, as text or bytes, is neither returned nor called damage."""
    (pk,) = shop.add(shop.zenobia())
    shop.store("customer", pk, "name", plain)
    with refused(PlaintextFound):
        shop.read(shop.Customer, pk, "name", way)


@pytest.mark.parametrize("way", WAYS)
def test_an_envelope_opens_only_in_its_own_field_row_and_table(any_shop, refused, way):
    """Moved to another field, person, child or table of the same database: refused, one text."""
    shop = any_shop
    ada = shop.Customer(name="Ada", nick="Countess", email="ada@example.com")
    first = shop.Invoice(id=1, customer=ada, address="1 St James's Square")
    second = shop.Invoice(id=2, customer=ada, address=shop.street)
    zenobia = shop.zenobia(nick="Zee")
    others = shop.Invoice(id=3, customer=zenobia, address="3 Elsewhere")
    shop.add(ada, first, second, zenobia, others, shop.Notice(id=1, name="Closed on Monday"))
    (a, z) = (row[0] for row in shop.sql("SELECT id FROM customer ORDER BY id"))
    moves = [
        (("customer", a, "name"), ("customer", a, "nick")),  # another field of the same type
        (("customer", a, "name"), ("customer", z, "name")),  # another subject
        (("customer", a, "name"), ("customer", a, "email")),
        (("invoice", 2, "address"), ("invoice", 1, "address")),  # another row of the same person
        (("invoice", 1, "address"), ("invoice", 3, "address")),  # another person's row
        (("invoice", 1, "address"), ("customer", a, "name")),  # another table, same person
        (("customer", a, "name"), ("invoice", 1, "address")),
        (("customer", a, "name"), ("notice", 1, "name")),  # a row of nobody's
        (("notice", 1, "name"), ("customer", a, "name")),
    ]
    entity = {"customer": shop.Customer, "invoice": shop.Invoice, "notice": shop.Notice}
    for source, (table, pk, column) in moves:
        before = shop.stored(table, pk, column)
        shop.store(table, pk, column, shop.stored(*source))
        with refused(IntegrityError) as caught:
            shop.read(entity[table], pk, column, way)
        assert str(caught.error) == DAMAGED
        shop.store(table, pk, column, before)
        shop.read(entity[table], pk, column, way)


def test_a_child_without_a_known_key_is_bound_to_its_person_only(shop, refused):
    """Documented (docs/format.md, DESIGN §5): a key the database draws is not in the envelope."""
    ada = shop.Customer(name="Ada", email="ada@example.com")
    one, two = (shop.Invoice(customer=ada, address=f"{n} St James's Square") for n in (1, 2))
    stranger = shop.Invoice(customer=shop.zenobia(), address="3 Elsewhere")
    _, one, two, stranger = shop.add(ada, one, two, stranger)
    moved = shop.stored("invoice", two, "address")
    assert not moved[2] & 2
    shop.store("invoice", one, "address", moved)
    assert shop.read(shop.Invoice, one, "address") == "2 St James's Square"
    shop.store("invoice", stranger, "address", moved)
    with refused(IntegrityError):
        shop.read(shop.Invoice, stranger, "address")


@pytest.mark.parametrize("way", WAYS)
def test_a_row_moved_to_another_person_takes_nothing_along(shop, refused, way):
    """The foreign key changed in the database: the address belongs to the old customer."""
    ada = shop.Customer(name="Ada", email="ada@example.com")
    shop.add(ada, shop.Invoice(id=1, customer=ada, address=shop.street), shop.zenobia())
    shop.sql("UPDATE invoice SET customer_id = (SELECT max(id) FROM customer)")
    with refused(IntegrityError):
        shop.read(shop.Invoice, 1, "address", way)


@pytest.mark.parametrize("way", WAYS)
def test_two_people_can_not_swap_their_subject_ids(shop, refused, way):
    """Exchanging who they are in the database opens neither's values."""
    first, second = shop.add(shop.zenobia(), shop.Customer(name="Ada", email="ada@example.com"))
    ids = dict(shop.sql("SELECT id, subject_id FROM customer"))
    shop.sql("UPDATE customer SET subject_id = 'x' WHERE id = :id", id=first)
    shop.sql("UPDATE customer SET subject_id = :s WHERE id = :id", s=ids[first], id=second)
    shop.sql("UPDATE customer SET subject_id = :s WHERE id = :id", s=ids[second], id=first)
    for pk in (first, second):
        with refused(IntegrityError):
            shop.read(shop.Customer, pk, "name", way)


@pytest.mark.parametrize("way", WAYS)
def test_no_tenant_reads_anothers_values(shop, refused, way):
    """By the row's tenant, by the principal's, or with the envelope carried over."""
    (north,) = shop.add(shop.Patient(clinic="north", name=shop.name), tenant="north")
    (south,) = shop.add(shop.Patient(clinic="south", name="Ada"), tenant="south")
    assert shop.read(shop.Patient, north, "name", way, tenant="north") == shop.name
    for tenant in ("south", None, "NORTH", "north "):
        with refused(AccessDenied) as caught:
            shop.read(shop.Patient, north, "name", way, tenant=tenant)
        assert caught.error.reason == "tenant"
    shop.store("patient", south, "name", shop.stored("patient", north, "name"))
    with refused(IntegrityError):
        shop.read(shop.Patient, south, "name", way, tenant="south")
    shop.sql("UPDATE patient SET clinic = 'south'")
    with refused(IntegrityError):
        shop.read(shop.Patient, north, "name", way, tenant="south")


def test_a_padded_field_tells_a_bucket_and_no_length(shop):
    """Between 1 and 12 letters nothing shows; what comes back is what was written."""
    lengths = set()
    for number, nick in enumerate(("Z", "Zenobia", "Zenobia Quil")):
        (pk,) = shop.add(shop.zenobia(nick=nick, email=f"{number}@canary.example"))
        lengths.add(len(shop.stored("customer", pk, "nick")))
        assert shop.read(shop.Customer, pk, "nick") == nick
    assert len(lengths) == 1
