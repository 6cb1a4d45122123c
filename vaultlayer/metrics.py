"""Figures of one vault, for Prometheus, OpenTelemetry or whoever reads them.

They are read from what the vault keeps anyway: nothing is counted a value. Names and labels
hold no person, principal, value or key.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vaultlayer.vault import Vault

__all__ = ["Figure", "figures"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure now. A counter only grows while the process lives; its name ends in ``_total``."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def figures(vault: Vault) -> Iterator[Figure]:
    """Decisions and refusals, lag of journal and sinks, the key cache.

    Decisions are counted when their records are written: when an access ends.
    """
    yield from _decisions(vault)
    yield from _journal(vault)
    yield from _sinks(vault)
    yield Figure("vaultlayer_keys_cached", "gauge", "Subject keys at hand", len(vault.keys.cached))
    yield Figure(
        "vaultlayer_keys_opened_total",
        "counter",
        "Subject keys fetched and unwrapped: what the cache did not have",
        vault.keys.opened,
    )
    yield Figure(
        "vaultlayer_keys_used_total",
        "counter",
        "People told in records, once an event: whose keys were needed, from the cache or not",
        vault.log.people,
    )


def _decisions(vault: Vault) -> Iterator[Figure]:
    values: Counter[tuple[str, str]] = Counter()
    for (event, decision, code), count in sorted(vault.log.told.copy().items()):
        values[event, decision] += count
        if decision == "deny":
            told = "Values refused, by what was asked and the reason code"
            labels = {"event": event, "reason": code}
            yield Figure("vaultlayer_refusals_total", "counter", told, count, labels)
    for (event, decision), count in values.items():
        told = "Values touched or refused, by what was done and how it was decided"
        labels = {"event": event, "decision": decision}
        yield Figure("vaultlayer_values_total", "counter", told, count, labels)


def _journal(vault: Vault) -> Iterator[Figure]:
    yield Figure(
        "vaultlayer_journal_lag_seconds",
        "gauge",
        "Age of the oldest access whose notes are not in the log yet",
        vault.journal.lag(),
    )


def _sinks(vault: Vault) -> Iterator[Figure]:
    for sink in vault.audit.sinks():
        labels = {"sink": sink.name}
        up = 0 if sink.failing else 1
        yield Figure("vaultlayer_sink_up", "gauge", "Whether it takes records", up, labels)
        yield Figure(
            "vaultlayer_sink_lag_seconds",
            "gauge",
            "How long its oldest undelivered record has waited",
            sink.lag,
            labels,
        )
        for name, told, value in (
            ("delivered", "Records it has taken", sink.delivered),
            ("lost", "Records lost to it because its queue was full", sink.lost),
            ("failures", "Attempts to deliver that failed", sink.failures),
        ):
            yield Figure(f"vaultlayer_sink_{name}_total", "counter", told, value, labels)
        yield Figure(
            "vaultlayer_sink_queued", "gauge", "Records that wait for it", sink.queued, labels
        )
