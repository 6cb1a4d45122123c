"""What has run out, runs out soon, or waits for somebody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vaultlayer.doctor.finding import Case, Finding
from vaultlayer.lifecycle.migrating.stages import CONTRACTED

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = timedelta(days=30)


def shadow(case: Case) -> Iterator[Finding]:
    """Shadow mode is for trying rules out, not for staying on."""
    if case.vault.settings.shadow is not None:
        yield Finding(
            "shadow_mode",
            "a candidate's decisions are logged beside those in force, and enforced nowhere",
            "[vault] shadow",
            "take the candidate into force, or take the line out",
        )


def agreements(case: Case) -> Iterator[Finding]:
    """Agreements with processors that have run out, or will within 30 days."""
    today = datetime.now(UTC).date()
    for name, each in case.vault.snapshot.bundle.processors.items():
        if each.expires < today:
            yield Finding(
                "agreement_expired",
                f"{each.agreement} ran out on {each.expires}: nothing is sent there",
                name,
                "sign it anew and set its dates in processors.toml, or take the processor out",
            )
        elif each.expires <= today + SOON:
            yield Finding(
                "agreement_expires",
                f"{each.agreement} runs out on {each.expires}",
                name,
                f"renew it in time: {each.contact}",
            )


def emergencies(case: Case) -> Iterator[Finding]:
    """Emergency accesses that no second person has looked at yet."""
    for row in case.vault.elevations.open():
        began = datetime.fromtimestamp(row["begins"], UTC)
        yield Finding(
            "emergency_unreviewed",
            f"an emergency access of {began:%Y-%m-%d %H:%M} UTC waits for a second person",
            row["elevation_id"],
            f"vaultlayer policy review {row['elevation_id']} --as … --verdict …",
        )


def migrations(case: Case) -> Iterator[Finding]:
    """Fields whose plaintext should be gone by now, or is and is still declared."""
    today = datetime.now(UTC).date()
    for each in case.vault.migrations.status():
        if each.stage == CONTRACTED:
            yield Finding(
                "migration_over",
                f"its plaintext column {each.plaintext} is gone, and still declared",
                each.field,
                "take migrating_from= and until= out of its personal() line",
            )
        elif each.until < today:
            yield Finding(
                "migration_overdue",
                f"it is {each.stage} and was to be migrated by {each.until}: "
                "its plaintext isn't read any more",
                each.field,
                "finish it (vaultlayer migrate), or declare a later until=",
            )


def requests(case: Case) -> Iterator[Finding]:
    """Requests of people that are still open after their deadline."""
    for each in case.vault.requests.overdue():
        yield Finding(
            "request_overdue",
            f"a request ({each.kind}) was to be answered by {each.due:%Y-%m-%d}",
            str(each.request_id),
            "carry it out, or refuse it with a reason: vaultlayer subject request …",
        )


def withheld(case: Case) -> Iterator[Finding]:
    """Disclosures that their people aren't told of, and that nobody has looked at again."""
    for each in case.vault.disclosures.unreviewed():
        yield Finding(
            "disclosure_unreviewed",
            f"a disclosure ({each.kind}) is withheld from its people; "
            f"that was to be reviewed on {each.review}",
            str(each.disclosure_id),
            "have them told, or withhold it longer with a reason: vaultlayer disclosure review …",
        )
