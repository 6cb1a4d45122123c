"""OpenTelemetry: a vault's figures as observable instruments of a meter.

``observe(vault)`` once, after the application has set up its MeterProvider. Only the API is
needed; without an SDK nothing happens. (Trace ids reach the log by themselves.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import metrics

from vaultlayer.metrics import figures
from vaultlayer.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

    from vaultlayer.vault import Vault

COUNTERS = (
    "values", "refusals", "keys_used", "keys_opened", "sink_delivered", "sink_lost", "sink_failures"
)  # fmt: skip
GAUGES = ("journal_lag_seconds", "keys_cached", "sink_up", "sink_lag_seconds", "sink_queued")


def observe(vault: Vault, provider: MeterProvider | None = None) -> None:
    """Register an instrument for each figure: ``vaultlayer.values``, ``vaultlayer.sink_up`` …"""
    meter = metrics.get_meter("vaultlayer", __version__, meter_provider=provider)
    for name in COUNTERS:
        meter.create_observable_counter(
            f"vaultlayer.{name}", [_reading(vault, f"vaultlayer_{name}_total")]
        )
    for name in GAUGES:
        unit = "s" if name.endswith("_seconds") else ""
        meter.create_observable_gauge(
            f"vaultlayer.{name.removesuffix('_seconds')}",
            [_reading(vault, f"vaultlayer_{name}")],
            unit=unit,
        )


def _reading(vault: Vault, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        for figure in figures(vault):
            if figure.name == name:
                yield metrics.Observation(figure.value, dict(figure.labels))

    return read
