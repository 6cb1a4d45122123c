"""What every report says while shadow mode is on: its JSON has it as the member ``shadow``, its
page in the head, and the terminal after the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from vaultlayer.errors import ConfigurationError
from vaultlayer.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def shadow_note(config: Path | None, folder: Path | None = None) -> str | None:
    """The sentence; None while it is off, and where a folder alone is asked, not the settings."""
    if folder is not None and config is None:
        return None
    try:
        settings = Settings.load(config)
    except ConfigurationError:
        return None
    if settings.shadow is None:
        return None
    return (
        f"Shadow mode is on: the rules in {settings.shadow.name} are tried beside those in force, "
        "logged as “shadow” where they would decide otherwise, and enforced nowhere."
    )


def tell_shadow(note: str | None) -> None:
    """The same in the terminal."""
    if note is not None:
        Console().print(Text(note))
