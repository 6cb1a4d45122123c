"""The providers under test, each against its real part; a missing part skips by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultlayer.keys.local import WEAK_KDF_FOR_TESTS, LocalKeyring
from vaultlayer.keys.provider import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaultlayer.keys.provider import KeyProvider

PROVIDERS = ("memory", "local")


class Service:
    """A provider's service: ``open()`` is what each application process does."""

    def __init__(self, open_: Callable[[], KeyProvider]) -> None:
        self.open = open_


@pytest.fixture(params=PROVIDERS)
def service(request: pytest.FixtureRequest) -> Service:
    """Each provider's service in turn, with one version of a new key."""
    found: Service = request.getfixturevalue(f"{request.param}_service")
    return found


@pytest.fixture
def memory_service() -> Service:
    provider = MemoryProvider()
    return Service(lambda: provider)


@pytest.fixture
def local_service(tmp_path: Path) -> Service:
    path = tmp_path / "keyring.json"
    LocalKeyring.create(path, "passphrase", kdf_for_tests=WEAK_KDF_FOR_TESTS)
    return Service(
        lambda: LocalKeyring.open(
            "local:keyring.json", passphrase=lambda: "passphrase", base=tmp_path
        )
    )
