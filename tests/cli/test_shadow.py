"""Shadow mode is seen in every report while it is on, in each of its forms; and in none else."""

from __future__ import annotations

import json

import pytest
from typer.main import get_command

from vaultlayer.cli.root import app
from vaultlayer.cli.shadow import shadow_note

REPORTS = {
    "policy check": [],
    "policy explain": ["support", "contact.phone", "read", "customer_service"],
    "policy test": [],
    "policy who-can": ["read", "contact.phone"],
    "policy matrix": ["--purpose", "customer_service"],
    "policy diff": ["{policies}"],
    "policy replay": ["{policies}"],
    "policy amend": ["--dry-run"],
    "policy emergencies": [],
    "audit who-read": ["--subject", "{subject}"],
    "audit what-did": ["--principal", "sam"],
    "audit scope": ["--principal", "sam"],
    "audit denials": [],
    "audit unusual": [],
    "report board": [],
    "report controls": [],
    "report promises": [],
    "report register": [],
}
# They change something, or show the log's lines and hashes as they are.
NO_REPORTS = {
    "policy review", "policy store", "audit verify", "audit recover", "audit tail", "audit key",
    "audit fsck", "audit prune", "audit export", "audit accept-loss", "audit adopt", "audit prove",
}  # fmt: skip
PAGES = {name for name in REPORTS if name.startswith(("audit", "report"))} | {"policy matrix"}
SAYS = "Shadow mode is on: the rules in candidate are tried"


def test_no_report_is_forgotten():
    """A new command is one of the reports below, or is named as none."""
    groups = get_command(app).commands
    known = {f"{g} {name}" for g in ("policy", "audit", "report") for name in groups[g].commands}
    assert known == REPORTS.keys() | NO_REPORTS


@pytest.fixture(params=REPORTS)
def forms(request, vaultlayer, shop, policies, tmp_path):
    """A report as the terminal, its JSON and its page (if it has one) tell it."""

    def told():
        values = {"policies": policies, "subject": shop.subjects[0]}
        given = [*request.param.split(), *REPORTS[request.param]]
        words = [each.format(**values) for each in given]
        terminal, json_ = vaultlayer(*words), vaultlayer(*words, "--json")
        # the register finds something to tell of the models that other tests brought along
        good = {0, 1} if request.param == "report register" else {0}
        assert {terminal.returncode, json_.returncode} <= good, terminal.stderr + json_.stderr
        page = None
        if request.param in PAGES:
            assert vaultlayer(*words, "--html", tmp_path / "page.html").returncode in good
            page = (tmp_path / "page.html").read_text("utf-8")
        return " ".join(terminal.stdout.split()), json.loads(json_.stdout), page

    return told


def test_every_report_says_that_shadow_mode_is_on_and_none_that_it_is_off(
    forms, policies, tmp_path
):
    """Off, on: in the terminal, as the JSON's member ``shadow``, and in the page's head."""
    terminal, answer, page = forms()
    assert "Shadow mode" not in terminal + (page or "")
    assert answer["shadow"] is None
    (tmp_path / "candidate").symlink_to(policies)
    settings = tmp_path / "vaultlayer.toml"
    settings.write_text(settings.read_text().replace("[vault]", '[vault]\nshadow = "candidate"'))
    terminal, answer, page = forms()
    assert "Shadow mode is on" in terminal
    assert answer["shadow"].startswith(SAYS)
    if page is not None:
        assert page[page.index("<header>") : page.index("</header>")].count(SAYS) == 1


def test_a_folder_alone_asks_no_settings(shop, policies, tmp_path):
    """--policies or --directory without --config: another vault's shadow is none of its own."""
    settings = tmp_path / "vaultlayer.toml"
    settings.write_text(settings.read_text().replace("[vault]", '[vault]\nshadow = "candidate"'))
    assert shadow_note(None, policies) is None
    assert shadow_note(None) == shadow_note(settings, policies) is not None
