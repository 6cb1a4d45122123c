"""The reviewer's kit, as reviewers call it: test, explain, who-can, matrix, diff, replay, amend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vaultlayer import AccessDenied, PersonalData, Principal, Vault, personal
from vaultlayer.testing import audit_events

if TYPE_CHECKING:
    pass

Run = "Callable[..., subprocess.CompletedProcess[str]]"


class Base(DeclarativeBase):
    pass


class Reader(PersonalData, Base):
    __tablename__ = "kit_reader"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = personal("contact.email")
    phone: Mapped[str] = personal("contact.phone", mask="last4")


@pytest.fixture
def shop(vaultlayer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, policies and a database with one person, made by the commands themselves."""
    assert vaultlayer("init", ".").returncode == 0
    settings = tmp_path / "vaultlayer.toml"
    settings.write_text(
        settings.read_text().replace("sqlite:///app.db", f"sqlite:///{tmp_path}/app.db")
    )
    monkeypatch.setenv("VAULTLAYER_PASSPHRASE_FILE", str(tmp_path / "keyring.passphrase"))
    engine = create_engine(f"sqlite:///{tmp_path}/app.db")
    with Vault.open(settings) as vault:
        vault.attach(engine)
        vault.create_tables(engine)
        Base.metadata.create_all(engine)
        with (
            Session(engine) as session,
            vault.access(Principal("setup", ["service"]), purpose="provide_service"),
        ):
            session.add(Reader(id=1, email="ada@example.org", phone="+44 20 7946 0193"))
            session.commit()
    return tmp_path


def read(shop: Path, role: str = "support", purpose: str = "customer_service") -> list[Any]:
    """What each field says to a role, or why not; and the log's records since."""
    engine, told = create_engine(f"sqlite:///{shop}/app.db"), []
    with Vault.open(shop / "vaultlayer.toml") as vault:
        vault.attach(engine)
        with Session(engine) as session, vault.access(Principal("sam", [role]), purpose=purpose):
            reader = session.get_one(Reader, 1)
            for name in ("email", "phone"):
                try:
                    told.append(str(getattr(reader, name)))
                except AccessDenied as refused:
                    told.append(refused.reason)
        told.append([each for each in audit_events(vault) if each["event"] == "shadow"])
    return told


def copy(shop: Path, name: str, *changes: tuple[str, str, str]) -> Path:
    folder = shop / name
    shutil.copytree(shop / "policies", folder)
    for file, old, new in changes:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1) if old else text + new)
    return folder


WIDER = ("roles.csv", "", "p, support, contact.phone, export, customer_service, allow\n")
CLOSED = ("roles.csv", "p, support, contact.email, read, customer_service, allow", "# closed")
OPENED = ("roles.csv", "p, support, contact.phone, read, customer_service, mask",
          "p, support, contact.phone, read, customer_service, allow")  # fmt: skip


def test_test_asks_and_fails(vaultlayer: Any, shop: Path) -> None:
    """0 while all is as expected; else 1, and the line that isn't."""
    good = vaultlayer("policy", "test")
    assert (good.returncode, "answers are as expected" in good.stdout) == (0, True)
    bad = vaultlayer("policy", "test", "--policies", copy(shop, "next", CLOSED), "--json")
    told = json.loads(bad.stdout)
    assert (bad.returncode, told["ok"], len(told["failed"])) == (1, False, 1)
    assert "tests.toml:" in told["failed"][0]["where"]


def test_explain_prints_the_chain(vaultlayer: Any, shop: Path) -> None:
    """Every condition in its order, inherited lines and what depends on the person included."""
    asked = ("policy", "explain", "support_lead", "contact.email", "read", "customer_service")
    chain = json.loads(vaultlayer(*asked, "--json").stdout)["chain"]
    says = " / ".join(step["says"] for step in chain)
    for part in (
        "holds what support", "reaches contact.email through contact", "roles.csv:",
        "(inherited by support_lead)", "So it is allowed", "must not have objected",
    ):  # fmt: skip
        assert part in says
    assert [step["holds"] for step in chain][-2:] == [None, None]
    refused = ("policy", "explain", "support", "financial.card", "read", "customer_service")
    last = json.loads(vaultlayer(*refused, "--json").stdout)["chain"][-1]
    assert last == {"says": "customer_service does not reach financial.card.", "holds": False}
    assert "[NO]" in vaultlayer(*refused).stdout


def test_who_can_lists_roles_purposes_and_emergencies(vaultlayer: Any, shop: Path) -> None:
    """And nobody, where nobody can."""
    told = json.loads(vaultlayer("policy", "who-can", "read", "contact.phone", "--json").stdout)
    found = {(row["role"], row["purpose"], row["effect"]) for row in told["who"]}
    assert found == {
        ("privacy_officer", "legal_obligation", "allow"), ("service", "provide_service", "allow"),
        ("support", "customer_service", "mask"), ("support_lead", "customer_service", "allow"),
    }  # fmt: skip
    assert told["in_an_emergency"] == [{"role": "support", "takes": "support_lead", "minutes": 30}]
    nobody = vaultlayer("policy", "who-can", "disclose", "contact.phone")
    assert (nobody.returncode, "Nobody may" in nobody.stdout) == (0, True)
    swapped = vaultlayer("policy", "who-can", "contact.phone", "read")
    assert (swapped.returncode, "not an action" in swapped.stderr) == (2, True)


def test_matrix_draws_every_answer(vaultlayer: Any, shop: Path) -> None:
    """In 80 columns, as JSON, and as a page that a browser opens with the same signs."""
    shown = vaultlayer("policy", "matrix", "--purpose", "customer_service")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "◐" in shown.stdout
    told = json.loads(vaultlayer("policy", "matrix", "--json").stdout)
    care = next(each for each in told["purposes"] if each["purpose"] == "customer_service")
    assert care["fields"]["contact.phone"]["support"] == "mask"
    assert "financial.card" in care["out_of_reach"]
    page = shop / "matrix.html"
    assert vaultlayer("policy", "matrix", "--html", page, "--dry-run").returncode == 0
    assert not page.exists()
    assert vaultlayer("policy", "matrix", "--html", page).returncode == 0
    answers = [v for p in told["purposes"] for row in p["fields"].values() for v in row.values()]
    for effect in ("allow", "mask", "deny"):
        assert page.read_text().count(f'<td class="{effect}"') == answers.count(effect)
    assert vaultlayer("policy", "matrix", "--action", "look").returncode == 2


def test_the_matrix_opens_in_a_browser(vaultlayer: Any, shop: Path, missing_part: Any) -> None:
    """Headless: the document is built as it is written, and nothing else is loaded."""
    chromium = shutil.which("chromium") or missing_part("chromium")
    page = shop / "matrix.html"
    vaultlayer("policy", "matrix", "--html", page)
    seen = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={shop}/browser", "--dump-dom", page.as_uri()],
        capture_output=True, encoding="utf-8", timeout=60, env={**os.environ, "HOME": str(shop)},
    )  # fmt: skip
    assert seen.stdout.count("<section") == 9
    assert seen.stdout.count('<td class="mask"') == page.read_text().count('<td class="mask"') > 3


def test_diff_says_who_gains_and_whether_rights_shrink(vaultlayer: Any, shop: Path) -> None:
    """Exit code 1 if they do."""
    wider = vaultlayer("policy", "diff", shop / "policies", copy(shop, "wider", WIDER))
    assert wider.returncode == 1
    assert "support may now export contact.phone for customer_service, in full." in wider.stdout
    assert "rights are reduced" in wider.stdout
    closed = copy(shop, "closed", CLOSED)
    told = vaultlayer("policy", "diff", shop / "policies", closed, "--json")
    answer = json.loads(told.stdout)
    assert (told.returncode, answer["reduces_rights"]) == (0, False)
    assert answer["changes"][0]["sentence"] == (
        "support may no longer read contact.email for customer_service."
    )
    assert "Nothing changes" in vaultlayer("policy", "diff", shop / "policies").stdout


def test_replay_finds_what_would_have_been_otherwise(vaultlayer: Any, shop: Path) -> None:
    """Refused and newly opened, each with its number of events; consent and the like stay."""
    read(shop)
    read(shop, "marketer", "direct_marketing")
    same = vaultlayer("policy", "replay", shop / "policies")
    assert (same.returncode, "0 would be decided otherwise" in same.stdout) == (0, True)
    next_ = copy(shop, "next", CLOSED, OPENED)
    told = vaultlayer("policy", "replay", next_, "--json")
    found = {(row["would"], row["field"]) for row in json.loads(told.stdout)["otherwise"]}
    assert told.returncode == 1
    assert found == {("refused", "kit_reader.email"), ("newly opened", "kit_reader.phone")}
    later = vaultlayer("policy", "replay", next_, "--since", "2999-01-01", "--json")
    assert json.loads(later.stdout)["events"] == 0


def test_shadow_mode_logs_and_enforces_nothing(vaultlayer: Any, shop: Path) -> None:
    """What the candidate would have refused is read, what it would have opened stays closed; and
    every report says that it is on."""
    copy(shop, "candidate", CLOSED, OPENED)
    settings = shop / "vaultlayer.toml"
    plain = read(shop)
    settings.write_text(settings.read_text().replace("[vault]", '[vault]\nshadow = "candidate"'))
    *values, shadows = read(shop)
    assert values == plain[:2] == ["ada@example.org", "***0193"]
    assert {(each["field"], each["decision"], each["would"]) for each in shadows} == {
        ("email", "allow", "deny"), ("phone", "mask", "allow"),
    }  # fmt: skip
    assert {each["actor"]["sub"] for each in shadows} == {"sam"}
    for command in (
        ["check"], ["matrix"], ["who-can", "read", "contact.email"], ["replay", "policies"],
        ["diff", "policies"], ["explain", "support", "contact.email", "read", "customer_service"],
    ):  # fmt: skip
        assert "Shadow mode is on" in vaultlayer("policy", *command).stdout, command


def test_amend_publishes_and_the_engine_waits(vaultlayer: Any, shop: Path) -> None:
    """A dry run notes nothing; a version without a number or a notice is refused."""
    next_ = copy(shop, "next", WIDER)
    assert vaultlayer("policy", "amend").stdout.startswith("This version is in force")
    refused = vaultlayer("policy", "amend", "--policies", next_)
    assert (refused.returncode, "version.toml" in refused.stderr) == (1, True)
    (next_ / "version.toml").write_text("version = 2\n")
    (next_ / "notice.md").write_text("Support may export telephone numbers.\n")
    dry = json.loads(
        vaultlayer("policy", "amend", "--policies", next_, "--dry-run", "--json").stdout
    )
    assert (dry["reduces_rights"], dry["published"], dry["notice_days"]) == (True, None, 30)
    done = vaultlayer("policy", "amend", "--policies", next_, "--by", "pat")
    assert "Published: version 2. It takes effect at 20" in done.stdout
    shutil.rmtree(shop / "policies")
    next_.rename(shop / "policies")
    assert read(shop)[:2] == ["ada@example.org", "***0193"]  # under version 1 still
    with Vault.open(shop / "vaultlayer.toml") as vault:
        published = [e for e in audit_events(vault) if e.get("change") == "published"]
    assert [(e["version"], e["reduces"], e["by"]) for e in published] == [(2, True, "pat")]
