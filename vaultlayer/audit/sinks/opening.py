"""From ``[[audit.sinks]]`` to sinks: each is found by the scheme of its URL."""

from __future__ import annotations

from functools import partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from vaultlayer.audit.sinks.delivery import Delivery
from vaultlayer.audit.sinks.group import Sinks
from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from vaultlayer.audit.sinks.sink import Sink
    from vaultlayer.settings import Settings, SinkSettings

ENTRY_POINT_GROUP = "vaultlayer.audit_sinks"


def open_sinks(settings: Settings) -> Sinks:
    """A delivery for each, named by its place in the settings and its scheme."""
    return Sinks(
        [
            _delivery(f"{number}-{one.url.partition(':')[0]}", one)
            for number, one in enumerate(settings.sinks, 1)
        ]
    )


def open_sink(url: str) -> Sink:
    """The sink a URL names; it connects at its first ``send``.

    The scheme, up to a plus sign, is looked up among the entry points of
    ``vaultlayer.audit_sinks``; each has ``open(url)``. No error repeats the URL, which may
    hold a password.
    """
    scheme, colon, _ = url.partition(":")
    kind = scheme.partition("+")[0]
    found = {point.value: point for point in entry_points(group=ENTRY_POINT_GROUP, name=kind)}
    if not colon or len(found) != 1:
        known = sorted({point.name for point in entry_points(group=ENTRY_POINT_GROUP)})
        trouble = "several audit sinks serve" if found else "no audit sink serves"
        raise ConfigurationError(
            f"{trouble} the scheme of an [[audit.sinks]] url",
            hint=f"installed ones: {', '.join(known)}; others come with the extra of their name",
        )
    (point,) = found.values()
    try:
        sink: Sink = point.load().open(url)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the audit sink {kind!r} needs {error.name}, which is not installed",
            hint=f'pip install "sqlalchemy-vaultlayer[{kind}]"',
        ) from None
    return sink


def _delivery(name: str, settings: SinkSettings) -> Delivery:
    """Opened once here, so that a wrong URL is told at the start and not at the first record."""
    probe = open_sink(settings.url)
    probe.close()
    if settings.required and not getattr(probe, "acknowledges", True):
        raise ConfigurationError(
            f"the audit sink {name} can't be required: it doesn't tell whether records arrive",
            hint="use another transport (syslog+tcp, table, nats), or required = false",
        )
    return Delivery(
        name,
        partial(open_sink, settings.url),
        form=settings.format,
        required=settings.required,
    )
