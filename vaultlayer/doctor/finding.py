"""What a check is given, and what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from vaultlayer.lifecycle.models import declared

if TYPE_CHECKING:
    from vaultlayer.orm.entity import Entity
    from vaultlayer.vault import Vault


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that isn't as it should be; texts for people, and never a value.

    ``code`` is stable. ``where`` is a field, table, file or part of the settings; ``remedy`` is
    what to do next.
    """

    code: str
    what: str
    where: str
    remedy: str


class Case:
    """The vault that is examined, and ``sample``: how many rows of each table are looked at."""

    def __init__(self, vault: Vault, sample: int) -> None:
        self.vault = vault
        self.sample = sample

    @cached_property
    def entities(self) -> list[Entity]:
        """What the vault's models declare, whether their tables are there or not."""
        return declared(self.vault.known_models())
