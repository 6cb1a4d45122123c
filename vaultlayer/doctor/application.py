"""How the application around the vault is set up: what it would show of values by itself."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Engine

from vaultlayer.doctor.finding import Case, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator


def parameters(case: Case) -> Iterator[Finding]:
    """Engines that write a statement's parameters into their log and their errors."""
    engines = {case.vault.databases.engine: "the engine that the vault is attached to"}
    for name in case.vault.settings.models:
        for attribute, value in vars(sys.modules.get(name, object)).items():
            engine = getattr(value, "sync_engine", value)
            if isinstance(engine, Engine):
                engines.setdefault(engine, f"{name}.{attribute}")
    for each, where in engines.items():
        if each is not None and not each.hide_parameters:
            yield Finding(
                "parameters_shown",
                "the engine shows statements' parameters in its log and errors",
                where,
                "create_engine(…, hide_parameters=True)",
            )


def structlog_locals(_: Case) -> Iterator[Finding]:
    """Renderers of structlog whose tracebacks show the values of local variables."""
    chains = list(structlog.get_config()["processors"]) if structlog.is_configured() else []
    for handler in logging.getLogger().handlers:
        chains += getattr(handler.formatter, "processors", ())
    if any(map(_shows_locals, chains)):
        yield Finding(
            "locals_shown",
            "tracebacks in the log show local variables, opened values among them",
            "structlog's processors",
            "use ExceptionDictTransformer(show_locals=False), or "
            "ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)",
        )


def _shows_locals(processor: Any) -> bool:
    """structlog keeps a renderer's formatter in one of these attributes."""
    names = ("format_exception", "exception_formatter", "_exception_formatter")
    formatters = (getattr(processor, name, None) for name in names)
    return any(getattr(each, "show_locals", False) for each in formatters)


def sentry_locals(_: Case) -> Iterator[Finding]:
    """Sentry's client sends local variables with an error, unless it is told not to."""
    sentry = sys.modules.get("sentry_sdk")
    client = sentry.get_client() if sentry is not None else None
    if client is not None and client.is_active() and client.options["include_local_variables"]:
        yield Finding(
            "locals_shown",
            "errors are sent with local variables, opened values among them",
            "sentry_sdk.init()",
            "sentry_sdk.init(…, include_local_variables=False)",
        )
