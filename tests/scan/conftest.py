"""Databases to scan: Chinook, and made-up ones in several styles and languages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from vaultlayer.access.bundle import read_bundle
from vaultlayer.lifecycle.scan import reading
from vaultlayer.lifecycle.scan.scanning import Scan
from vaultlayer.lifecycle.scan.scanning import scan as scan_database

if TYPE_CHECKING:
    from collections.abc import Callable

CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sqlite"


@pytest.fixture(scope="session")
def scan(policies: Path) -> Callable[..., Scan]:
    """Scan an engine's database, opened anew as the command opens it."""
    categories = read_bundle(policies).categories

    def scanned(engine: sa.Engine, **options: Any) -> Scan:
        url = engine.url.render_as_string(hide_password=False)
        own = reading.engine_for(url)
        try:
            return scan_database(own, **{"categories": categories, **options})
        finally:
            own.dispose()

    return scanned


@pytest.fixture(scope="session")
def chinook(missing_part: Callable[[str], None]) -> sa.Engine:
    if not CHINOOK.is_file():
        missing_part("../shared/data/chinook.sqlite")
    return sa.create_engine(f"sqlite:///{CHINOOK}")
