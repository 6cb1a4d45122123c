"""Prometheus: a vault's figures for ``prometheus_client``.

``REGISTRY.register(VaultCollector(vault))``; they are read when Prometheus scrapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from vaultlayer.metrics import figures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from vaultlayer.vault import Vault


class VaultCollector:
    """One vault's figures. Several vaults need several registries."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def describe(self) -> list[Metric]:
        """Nothing is known before the first scrape: labels come with what happens."""
        return []

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for figure in figures(self._vault):
            family = families.get(figure.name)
            if family is None:
                kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
                family = kind(figure.name, figure.help, labels=list(figure.labels))
                families[figure.name] = family
            family.add_metric(list(figure.labels.values()), figure.value)
        yield from families.values()
