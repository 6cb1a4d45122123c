"""TokenVerifier: a JSON Web Token in, a Principal out (RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from vaultlayer.access.principal import Principal


class TokenVerifier:
    def __init__(
        self,
        issuer: str,
        audience: str,
        algorithms: Collection[str],
        key: Path,
        *,
        leeway: float = 0,
        roles_claim: str = "roles",
    ) -> None:
        raise NotImplementedError

    def verify(self, token: str) -> Principal:
        raise NotImplementedError
