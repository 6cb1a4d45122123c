"""``vault.disclosures``: what was given to whom, on which ground, and who is told of it.

Append-only (``vaultlayer_disclosure``), with the people concerned beside it
(``vaultlayer_disclosed``); each row has its leaf in the log (ledger.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import select

from vaultlayer.errors import ConfigurationError
from vaultlayer.ledgers import MOST_WORDS, disclosed
from vaultlayer.ledgers import disclosure as table
from vaultlayer.privacy import ledger
from vaultlayer.privacy.acting import acting_for, categories_of, check_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.privacy.disclosing import Package
    from vaultlayer.vault import Vault

CONSENT, PROCESSOR, INTERNAL = "consent", "processor", "internal"
COMPELLED = ("judicial", "legal", "government")
KINDS = (CONSENT, PROCESSOR, INTERNAL, *COMPELLED)

_C = table.c


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One disclosure as the ledger has it. ``fields`` are labels such as ``customer.email``.

    ``content``: SHA-256 of what the package held, which has a random salt in it. ``reference``:
    of the agreement or the order. ``withheld``: why the law forbids to tell its people of it, ""
    where they are told; it is looked at again on ``review``.
    """

    disclosure_id: UUID
    disclosed: datetime
    kind: str
    recipient: str
    purpose: str
    basis: str
    reference: str
    reason: str
    fields: tuple[str, ...]
    people: int
    content: str
    form: str
    disclosed_by: str
    withheld: str
    review: date | None


class Disclosures:
    """The ledger of disclosures. ``access.disclose()`` adds to it; nothing takes from it."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def all(self, *, since: datetime | None = None) -> list[Disclosure]:
        """Every disclosure, oldest first; for the privacy team, withheld ones included."""
        begin = int(since.timestamp()) if since is not None else 0
        return self._found(_C.recorded >= begin)

    def of(self, subject_id: UUID) -> list[Disclosure]:
        """Those that concern one person, oldest first, for them to see.

        What the law forbids to tell is left out: ``withheld_of`` has it.
        """
        return [each for each in self._of(subject_id) if not each.withheld]

    def withheld_of(self, subject_id: UUID) -> list[Disclosure]:
        """Those the person may not be told of, each with the reason and the day of its review."""
        return [each for each in self._of(subject_id) if each.withheld]

    def unreviewed(self, day: date | None = None) -> list[Disclosure]:
        """Those still withheld whose day of review lies before ``day`` (today, UTC)."""
        before = day or datetime.now(UTC).date()
        withheld = select(_C.disclosure_id).where(_C.withheld != "")
        found = self._found(_C.disclosure_id.in_(withheld))
        return [each for each in found if each.review is not None and each.review < before]

    def get(self, disclosure_id: UUID) -> Disclosure:
        """One disclosure; ConfigurationError where there is none of this id."""
        found = self._found(_C.disclosure_id == disclosure_id.bytes)
        if not found:
            raise ConfigurationError(
                "there is no disclosure of this id", hint="`vaultlayer disclosure list` shows them"
            )
        return found[0]

    def review(
        self, disclosure_id: UUID, *, withhold: str = "", until: date | None = None
    ) -> Disclosure:
        """Have its people told of it from now on, or withhold it for longer, until a day.

        Needs an access that may ``administer`` the categories of its purpose.
        """
        access = acting_for(
            None, "administer", "disclosure", ("review",), categories_of(self._vault, None)
        )
        told = telling(withhold, until)

        def next_row(before: Mapping[str, Any] | None) -> dict[str, Any]:
            if before is None or before["tenant"] != access.tenant:
                raise ConfigurationError(
                    "there is no disclosure of this id",
                    hint="`vaultlayer disclosure list` shows them",
                )
            if before["kind"] not in COMPELLED and told["withheld"]:
                raise not_compelled()
            kept = {name: _value(value) for name, value in before.items() if name not in _NEW}
            return {**kept, **told}

        with self._vault.key_connection(None) as connection:
            self.append(access, connection, disclosure_id, next_row, "reviewed")
        return self.get(disclosure_id)

    def append(
        self, access: Access, connection: Connection, disclosure_id: UUID, make: Any, change: str
    ) -> None:
        """Add a row and its leaf, which is told before the connection's transaction commits."""
        key = {"disclosure_id": disclosure_id.bytes}
        row = ledger.append(access, connection, table, key, make)
        ledger.tell(
            access, None, "disclosure", row,
            disclosure=disclosure_id.hex, change=change, kind=row["kind"],
            recipient=row["recipient"], ground=row["basis"], fields=row["fields"].split(),
            people=row["people"], content=row["content"], withheld=bool(row["withheld"]),
            **({"reference": row["reference"]} if row["reference"] else {}),
        )  # fmt: skip

    def make(self, access: Access, subjects: Any, fields: Any, **how: Any) -> Package:
        """See ``Access.disclose``."""
        from vaultlayer.privacy.disclosing import disclose

        return disclose(access, subjects, fields, **how)

    def _of(self, subject_id: UUID) -> list[Disclosure]:
        mine = select(disclosed.c.disclosure_id).where(disclosed.c.subject == subject_id.bytes)
        return self._found(_C.disclosure_id.in_(mine))

    def _found(self, where: Any) -> list[Disclosure]:
        """The first row of each tells when and by whom, the last what its people are told."""
        wanted = select(table).where(where).order_by(_C.disclosure_id, _C.number)
        found: dict[bytes, Disclosure] = {}
        with self._vault.key_connection(None) as connection:
            for row in connection.execute(wanted).mappings():
                key = bytes(row["disclosure_id"])
                found[key] = _disclosure(dict(row), found.get(key))
        return sorted(found.values(), key=lambda one: (one.disclosed, one.disclosure_id))


_NEW = ("disclosure_id", "number", "recorded", "recorded_by", "trail", "withheld", "review")


def telling(withhold: str, until: date | None) -> dict[str, Any]:
    """The two columns that say why nobody is told, and when that is looked at again."""
    check_texts({"withhold": withhold}, {"withhold": MOST_WORDS})
    if bool(withhold.strip()) != (until is not None):
        raise ConfigurationError(
            "a disclosure is withheld from its people with a reason and a day of review, or told",
            hint="give withhold= and review= (or until=), both or neither",
        )
    review = datetime(until.year, until.month, until.day, tzinfo=UTC) if until else None
    return {"withheld": withhold.strip(), "review": int(review.timestamp()) if review else 0}


def not_compelled() -> ConfigurationError:
    return ConfigurationError(
        "only a disclosure that the law compels can be withheld from its people",
        hint=f"kinds that can: {', '.join(COMPELLED)}",
    )


def _value(value: Any) -> Any:
    return value if isinstance(value, str | int) else bytes(value)


def _disclosure(row: Mapping[str, Any], first: Disclosure | None) -> Disclosure:
    return Disclosure(
        UUID(bytes=bytes(row["disclosure_id"])),
        first.disclosed if first else datetime.fromtimestamp(row["recorded"], UTC),
        row["kind"],
        row["recipient"],
        row["purpose"],
        row["basis"],
        row["reference"],
        row["reason"],
        tuple(row["fields"].split()),
        row["people"],
        row["content"],
        row["form"],
        first.disclosed_by if first else row["recorded_by"],
        row["withheld"],
        datetime.fromtimestamp(row["review"], UTC).date() if row["review"] else None,
    )
