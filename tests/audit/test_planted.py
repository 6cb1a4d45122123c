"""A shard put into the directory by someone else is never signed as one of the log's own."""

from __future__ import annotations

import os
import shutil

import pytest

from vaultlayer.audit.follow import shard_path
from vaultlayer.audit.registry import Signing, read_registry
from vaultlayer.audit.upkeep import adopt
from vaultlayer.errors import ConfigurationError


@pytest.fixture
def planted(signed, new_trail, refs, tmp_path):
    """A log, a process later, with somebody else's closed shard among its own; its name."""
    signed.read(refs(1))
    signed.close()
    forger = new_trail(tmp_path / "elsewhere")
    number, prefix = forger.reading("email")
    forger.journal.append_many(prefix, refs(3))
    forger.journal.close_access(number)
    name = forger.log.shard
    forger.close()
    shutil.copy(shard_path(forger.directory, name), shard_path(signed.directory, name))
    signed.open()
    signed.read(refs(1))
    signed.close()
    return name


def findings(signed):
    return [(one.shard, one.what) for one in signed.verify().findings]


def test_a_planted_shard_is_not_signed_and_is_a_finding(signed, planted):
    """Whole in itself, chained and closed: but no process of this log registered it."""
    ((shard, what),) = findings(signed)
    assert shard == planted
    assert "isn't in the registry" in what
    assert planted not in {record.get("shard") for record in read_registry(signed.directory)}
    assert not (signed.directory / "tree" / planted).exists()
    assert [one.shard for one in signed.verify(keys=False, stored=False).findings] == [planted]


def test_moved_away_it_is_no_finding_any_more(signed, planted):
    """That is the remedy."""
    shard_path(signed.directory, planted).unlink()
    assert findings(signed) == []


def test_adopted_it_is_signed_and_the_reason_stays(signed, planted):
    """Whoever knows that it is theirs says so, for ever."""
    signing = Signing(signed.heads.signer(signed.provider), signed.heads)
    adopt(signed.directory, planted, "copied from the old host", signing)
    signed.open()
    signed.close()
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    (said,) = [record for record in read_registry(signed.directory) if "adopted" in record]
    assert (said["shard"], said["adopted"]) == (planted, "copied from the old host")
    with pytest.raises(ConfigurationError):
        adopt(signed.directory, planted, "again", signing)
    with pytest.raises(ConfigurationError):
        adopt(signed.directory, "none", "of this name", signing)


def test_a_process_killed_after_its_first_note_is_none(new_signed, refs, in_child):
    """It had been registered before it could note anything: recovered, signed, no finding."""
    some = refs(3)

    def work():
        signed = new_signed()
        _, prefix = signed.reading("email")
        signed.journal.append_many(prefix, some)
        os.kill(os.getpid(), 9)

    os.waitpid(in_child(work), 0)
    signed = new_signed()
    signed.close()
    assert signed.told().keys() == set(some)
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)


def test_a_forked_child_is_registered_before_it_notes_anything(signed, refs, in_child):
    """Also in an access that was open at the fork."""
    number, prefix = signed.reading("email")
    some = refs(4)
    signed.journal.append(prefix, some[0])

    def work():
        signed.journal.append_many(prefix, some[1:])
        os.kill(os.getpid(), 9)

    os.waitpid(in_child(work), 0)
    signed.journal.close_access(number)
    signed.close()
    signed.open()
    signed.close()
    assert signed.told().keys() == set(some)
    assert signed.verify().findings == []


def test_a_process_that_did_nothing_may_die_unregistered(new_signed, in_child):
    """Its shard tells nothing that anybody could have wanted to forge."""
    os.waitpid(in_child(lambda: (new_signed(), os.kill(os.getpid(), 9))), 0)
    signed = new_signed()
    signed.close()
    report = signed.verify()
    assert (report.findings, report.unsigned) == ([], 0)
    assert any(record.get("found") for record in read_registry(signed.directory))
