"""The parts without which nothing is opened: the log and its sinks, the key providers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vaultlayer.doctor.finding import Case, Finding
from vaultlayer.errors import AuditUnavailable, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AAD = b"vaultlayer/doctor"


def log(case: Case) -> Iterator[Finding]:
    try:
        case.vault.log.check()
        case.vault.log.written()
    except AuditUnavailable as error:
        yield Finding("log_unreachable", error.message, "[audit] directory", error.hint)


def sinks(case: Case) -> Iterator[Finding]:
    for sink in case.vault.audit.sinks():
        if sink.failing or sink.lost:
            what = "takes no records now" if sink.failing else f"has lost {sink.lost} records"
            yield Finding(
                "sink_failing", what, sink.name, "see docs/audit.md, “Sinks”, and its own log"
            )


def providers(case: Case) -> Iterator[Finding]:
    """Each provider of the settings wraps 32 bytes and gives them back."""
    settings, known = case.vault.settings, case.vault.keys.keks.providers
    regions = ("", settings.region, *settings.regions)
    for provider in dict.fromkeys(map(known.of_region, regions)):
        probe = os.urandom(32)
        try:
            same = provider.unwrap(provider.wrap(probe, _AAD), _AAD) == probe
            why, hint = "gives back something else than it was given", "see docs/keys.md"
        except VaultLayerError as error:
            same, why, hint = False, error.message, error.hint
        if not same:
            yield Finding("provider_unreachable", why, provider.name, hint)
