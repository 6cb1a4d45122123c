"""``vaultlayer scan`` as a user meets it."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MARK = "zenobiageheim"


@pytest.fixture
def shop_db(settings_of_nobody: None, tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        columns = "id INTEGER PRIMARY KEY, name TEXT, mail TEXT, ip TEXT"
        database.execute(f"CREATE TABLE customer ({columns})")
        for number in range(20):
            row = (number, f"Anna {MARK}", f"{number}{MARK}@example.com", f"203.0.113.{number}")
            database.execute("INSERT INTO customer VALUES (?, ?, ?, ?)", row)
        database.execute("CREATE VIEW everybody AS SELECT * FROM customer")
    database.close()
    return tmp_path / "shop.db"


def test_json(vaultlayer: Callable[..., Any], shop_db: Path) -> None:
    """The columns as the contract says, and nothing that was sampled."""
    told = vaultlayer("scan", f"sqlite:///{shop_db}", "--json")
    assert told.returncode == 0
    answer = json.loads(told.stdout)
    assert {frozenset(each) for each in answer["columns"]} == {
        frozenset({"table", "column", "category", "confidence", "why"})
    }
    assert [(each["column"], each["category"]) for each in answer["columns"]] == [
        ("name", "identity.name"), ("mail", "contact.email"), ("ip", "device.ip"),
    ]  # fmt: skip
    assert all(0 < each["confidence"] <= 1 for each in answer["columns"])
    assert [each["where"] for each in answer["copies"]] == ["everybody"]


@pytest.mark.parametrize("options", [[], ["--json"], ["--html", "page.html"], ["--sample", "0"]])
def test_no_value_is_shown(
    vaultlayer: Callable[..., Any], shop_db: Path, options: list[str]
) -> None:
    told = vaultlayer("scan", f"sqlite:///{shop_db}", *options)
    page = shop_db.parent / "page.html"
    shown = told.stdout + told.stderr + (page.read_text() if page.exists() else "")
    assert "customer" in shown
    assert MARK not in shown and "203.0.113" not in shown
    assert all(len(line) <= 80 for line in told.stdout.splitlines() if not line.startswith("  "))


def test_the_page_opens(
    vaultlayer: Callable[..., Any], shop_db: Path, browser: Callable[[Path], str]
) -> None:
    vaultlayer("scan", f"sqlite:///{shop_db}", "--html", "page.html")
    opened = browser(shop_db.parent / "page.html")
    assert "contact.email" in opened and "Plain-text copies" in opened


def test_the_copies_are_readable_at_80_columns(
    vaultlayer: Callable[..., Any], shop_db: Path
) -> None:
    """Kind, place, origin and remedy each have their column."""
    told = vaultlayer("scan", f"sqlite:///{shop_db}").stdout
    copies = told.partition("Plain-text copies")[2].partition("To declare")[0]
    assert all(word in copies for word in ("Kind", "Where", "Of", "Remedy"))
    assert "view" in copies and "everybody" in copies and "drop it" in " ".join(copies.split())


def test_a_module(
    vaultlayer: Callable[..., Any], tmp_path: Path, settings_of_nobody: None
) -> None:
    """A module's tables are judged by their names and types where there is no database."""
    (tmp_path / "scanned_models.py").write_text(
        "from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column\n"
        "class Base(DeclarativeBase): pass\n"
        "class User(Base):\n"
        "    __tablename__ = 'users'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "    email: Mapped[str]\n"
    )
    answer = json.loads(vaultlayer("scan", "scanned_models", "--json").stdout)
    assert [(each["table"], each["column"]) for each in answer["columns"]] == [("users", "email")]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("sqlite:///nowhere.db", 2),
        ("sqlite+aiosqlite:///shop.db", 2),
        ("no_such_module_here", 2),
        ("nosuch://host/name", 2),
        (f"postgresql+psycopg://u:{MARK}@127.0.0.1:1/x", 3),
    ],
)
def test_what_cannot_be_scanned_is_told(
    vaultlayer: Callable[..., Any], shop_db: Path, target: str, code: int
) -> None:
    told = vaultlayer("scan", target)
    assert told.returncode == code
    assert "Hint:" in told.stderr and MARK not in told.stderr
    assert not (shop_db.parent / "nowhere.db").exists()
