"""vaultlayer report controls: facts of this vault, signed by its log."""

from __future__ import annotations

import json
from hashlib import sha256

from sqlalchemy import create_engine, text

from vaultlayer import Principal, Vault
from vaultlayer.audit.event import canonical
from vaultlayer.audit.follow import tree_folder
from vaultlayer.audit.heads import heads_at
from vaultlayer.audit.merkle import leaf_hash, root_of
from vaultlayer.audit.note import open_checkpoint
from vaultlayer.evidence.controls import catalogues


def controls(vaultlayer, *arguments):
    told = vaultlayer("report", "controls", "--json", *arguments)
    return told.returncode, json.loads(told.stdout)


def test_every_control_names_artefacts_and_every_artefact_serves_one(vaultlayer, shop):
    """The catalogues of the issue, without a dangling name."""
    code, answer = controls(vaultlayer)
    assert code == 0, answer["artefacts"]
    named = {a for c in answer["catalogues"] for one in c["controls"] for a in one["artefacts"]}
    assert named == set(answer["artefacts"])
    names = " ".join(each["name"] for each in catalogues())
    assert all(word in names for word in ("800-53", "27001", "27701", "SOC 2", "GDPR"))
    families = {one["id"][:2] for one in answer["catalogues"][0]["controls"]}
    assert families == {"AC", "AU", "IA", "SC"}


def test_the_facts_are_of_this_vault(vaultlayer, shop):
    """What is there is told with its figures; what is not says so."""
    _, answer = controls(vaultlayer)
    found = answer["artefacts"]
    assert found["log"]["facts"]["findings"] == []
    assert found["decisions"]["facts"]["values"]["read"] == {"allow": 3, "deny": 3}
    assert found["key_inventory"]["facts"]["subject_keys"] == {"active": 3}
    assert found["tokens"]["facts"]["issuers"][0]["issuer"] == "https://id.example"
    assert found["policy"]["facts"]["tests_failed"] == 0
    for name in ("backup_drill", "erasures", "consents", "honeytokens", "field_register"):
        assert found[name]["state"] == "absent", name
    states = {c["id"]: c["state"] for each in answer["catalogues"] for c in each["controls"]}
    assert (states["A.8.13"], states["AC-3"], states["AC-3-11"]) == ("absent", "there", "partly")
    assert not [w for w in ("Zenobia", "7946", "secret") if w in json.dumps(answer)]


def test_the_report_is_signed_by_a_checkpoint_of_the_log(vaultlayer, shop, tmp_path):
    """Its digest is a record; the record is under a root signed with the log's key."""
    _, answer = controls(vaultlayer)
    signed = answer.pop("signed")
    assert sha256(canonical(answer)).hexdigest() == signed["sha256"]
    shard = tmp_path / "audit" / "log" / f"{signed['shard']}.jsonl"
    lines = shard.read_bytes().splitlines()
    record = json.loads(lines[signed["seq"]])
    assert (record["event"], record["sha256"]) == ("report", signed["sha256"])
    keys = heads_at(f"sqlite:///{tmp_path / 'app.db'}").keys()
    head = open_checkpoint(signed["checkpoint"], keys)
    assert head.size > signed["seq"]
    assert head.root == root_of([leaf_hash(line) for line in lines[: head.size]])
    assert (tree_folder(tmp_path / "audit", signed["shard"]) / "checkpoint").is_file()
    shop.events()  # the new kind fits the schema


def test_findings_are_found(vaultlayer, shop, tmp_path):
    """A changed log and a lost key table are no evidence: exit code 1, or an error."""
    shards = sorted((tmp_path / "audit" / "log").glob("*.jsonl"))
    shards[0].write_bytes(shards[0].read_bytes().replace(b'"sam"', b'"tim"'))
    code, answer = controls(vaultlayer)
    assert code == 1
    assert answer["artefacts"]["log"]["state"] == "finding"
    states = {c["id"]: c["state"] for each in answer["catalogues"] for c in each["controls"]}
    assert states["AU-9"] == "finding"
    with create_engine("sqlite:///app.db").begin() as connection:
        connection.execute(text("DROP TABLE vaultlayer_subject_key"))
    told = vaultlayer("report", "controls", "--json")  # no evidence without the tables: no report
    assert (told.returncode, told.stdout) == (3, "")
    assert "vault.create_tables()" in told.stderr


def test_it_fits_the_terminal_and_opens_as_a_page(vaultlayer, shop, browser, tmp_path):
    """80 columns; one file."""
    told = vaultlayer("report", "controls")
    assert max(map(len, told.stdout.splitlines())) <= 80
    assert "GDPR" in told.stdout
    page = tmp_path / "page.html"
    assert vaultlayer("report", "controls", "--html", page).returncode == 0
    seen = browser(page)
    assert seen.count("<section") == page.read_text("utf-8").count("<section") > 15
    assert "nothing to show" in seen


def test_a_restore_drill_counts_once_it_is_in_the_log(vaultlayer, shop):
    """As `vaultlayer keys drill` records it; another change of keys is none."""
    olga = Principal("olga", ["privacy_officer"])
    with (
        Vault.open() as vault,
        vault.access(olga, purpose="security") as access,
    ):
        access.record("keys_changed", what="kek", step="added")
    assert controls(vaultlayer)[1]["artefacts"]["backup_drill"]["state"] == "absent"
    with (
        Vault.open() as vault,
        vault.access(olga, purpose="security") as access,
    ):
        access.record("keys_changed", what="backup", step="drilled")
    found = controls(vaultlayer)[1]["artefacts"]["backup_drill"]
    assert (found["state"], found["facts"]["times"]) == ("there", 1)
    with Vault.open() as vault, vault.access(olga, purpose="security") as access:
        access.record("keys_changed", what="backup", step="drilled", left=2)
    code, answer = controls(vaultlayer)
    assert (code, answer["artefacts"]["backup_drill"]["state"]) == (1, "finding")
    shop.events()
