"""Step-up: how strongly, and how lately, somebody must have signed in to touch a category."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultlayer.access.toml import Table

if TYPE_CHECKING:
    from vaultlayer.access.principal import Principal

_AGE = re.compile(r"([1-9][0-9]{0,3}) (second|minute|hour)s?")
_SECONDS = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True)
class StepUp:
    """What a sign-in must have; every part that is given counts.

    ``amr``: one of these authentication methods (RFC 8176). ``acr``: one of these assurance
    levels (OpenID Connect Core, section 2). ``age``: seconds since the person signed in, by the
    token's ``auth_time``, else by its ``iat``.
    """

    amr: tuple[str, ...] = ()
    acr: tuple[str, ...] = ()
    age: int | None = None

    def seconds_left(self, principal: Principal, now: float) -> float:
        """How long this sign-in will do, in seconds; 0 or less: it doesn't.

        :param now: seconds since 1970. A principal without the claims in question never does.
        """
        if self.amr and not set(self.amr).intersection(principal.amr):
            return 0.0
        if self.acr and principal.claims.get("acr") not in self.acr:
            return 0.0
        if self.age is None:
            return float("inf")
        signed_in = principal.claims.get("auth_time", principal.claims.get("iat"))
        if isinstance(signed_in, bool) or not isinstance(signed_in, int | float):
            return 0.0
        return min(signed_in, now) + self.age - now


def read_step_up(table: Table) -> StepUp | None:
    """``step_up = { amr = […], acr = […], age = "10 minutes" }`` of a category; None without."""
    if "step_up" not in table.left:
        return None
    content = table.left.pop("step_up")
    part = Table(table.file, table.line, f"{table.name}.step_up", content)
    step_up = StepUp(
        amr=part.names("amr") if "amr" in part.left else (),
        acr=part.texts("acr") if "acr" in part.left else (),
        age=_age(part) if "age" in part.left else None,
    )
    part.done()
    if step_up == StepUp():
        raise part.refuse("asks for nothing", 'give it amr, acr or age, e.g. amr = ["mfa"]')
    return step_up


def _age(table: Table) -> int:
    match = _AGE.fullmatch(table.text("age"))
    if match is None:
        raise table.refuse("age is not a time", 'write "90 seconds", "10 minutes" or "1 hour"')
    return int(match[1]) * _SECONDS[match[2]]
