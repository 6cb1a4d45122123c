"""The signed receipt of an erasure: read back everywhere first, and signed with the log.

A receipt is JSON: ``receipt`` (what was done), ``record`` (the line of the audit log that holds
the receipt's SHA-256) and ``proof`` (c2sp.org/tlog-proof: that line is in the log whose Ed25519
key signed the checkpoint). It is checked offline, with the log's public key alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from vaultlayer.audit.event import canonical
from vaultlayer.audit.files import lines_backwards
from vaultlayer.audit.prove import check_proof, prove_inclusion
from vaultlayer.errors import AuditUnavailable, IntegrityError, KeyErased
from vaultlayer.keys import tables
from vaultlayer.keys.states import ERASED
from vaultlayer.lifecycle.emptying import holdings
from vaultlayer.lifecycle.kept import kept
from vaultlayer.lifecycle.models import entities, shared_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from vaultlayer.acting import Access
    from vaultlayer.audit.note import VerifierKey
    from vaultlayer.lifecycle.erasure import Receipt
    from vaultlayer.vault import Vault

FORMAT = "vaultlayer/erasure-receipt/1"
_K = tables.subject_key.c


def certify(vault: Vault, access: Access, receipt: Receipt) -> Receipt:
    """Try to read everything back, and sign what was found gone.

    :raises IntegrityError: something is still there, or back; there is no receipt then.
    """
    subject = receipt.subject_id.bytes
    with vault.databases.transaction() as connection:
        known = [e for e in entities(vault.known_models(), connection) if e.subject_key]
        with vault.key_connection(connection) as keys_on:
            left = _read_back(vault, keys_on, receipt)
            rest = kept(connection, keys_on, known, receipt.subject_id)
        marker = _marker(vault, connection, subject)
        for holding in holdings(known, receipt.subject_id, access.tenant):
            held = holding.held(connection, marker)
            if held.values or held.terms:
                left.append(f"{held.table}: {held.values} values, {held.terms} terms")
        for shared in shared_tables(known, connection):
            whose = (shared.c.subject == subject, shared.c.tenant.in_(receipt.tenants))
            found = connection.scalar(select(func.count()).select_from(shared).where(*whose))
            if found:
                left.append(f"{shared.name}: {found} terms")
    if left:
        access.record("erasure_contradicted", erasure=receipt.erasure_id.hex, left=left)
        raise IntegrityError(
            f"the erasure is contradicted by what can still be read: {'; '.join(left)}",
            hint="find out what wrote it back, then erase again; there is no receipt until then",
        )
    return dataclasses.replace(receipt, document=_signed(vault, access, receipt, rest))


def verify_receipt(document: str, keys: Sequence[VerifierKey]) -> dict[str, Any]:
    """The receipt that a document proves; needs the log's public keys and nothing else.

    :raises IntegrityError: it was changed, is not of this log, or is not signed.
    """
    try:
        whole = json.loads(document)
        receipt, line, proof = whole["receipt"], whole["record"].encode(), whole["proof"]
        record = json.loads(line)
        ours = record["event"] == "erasure_receipt" and record["sha256"] == digest(receipt)
        if not ours or receipt["format"] != FORMAT or record["erasure"] != receipt["erasure"]:
            raise ValueError("not its record")
        check_proof(line, proof, keys)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise IntegrityError(
            "the receipt doesn't hold: it was changed, or this log's key didn't sign it",
            hint="ask for the file anew; the key is what `vaultlayer audit key` prints",
        ) from None
    return dict(receipt)


def digest(receipt: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(receipt)).hexdigest()


def _read_back(vault: Vault, connection: Connection, receipt: Receipt) -> list[str]:
    """What of the person's keys can still be had: in their records, and in the cache."""
    left = []
    subject = receipt.subject_id.bytes
    mine = select(_K.key_id, _K.state).where(
        _K.subject == subject, _K.tenant.in_(receipt.tenants)
    )  # fmt: skip
    rows = connection.execute(mine).all()
    if not rows:
        left.append("the mark that the person was erased is gone")
    for key_id, state in rows:
        try:
            vault.keys.fetch(connection, [bytes(key_id)])
        except KeyErased:
            continue
        except IntegrityError:
            left.append("a key's record that was changed")
            continue
        left.append(f"a key that is {state}")
    now = time.monotonic()  # a reader that began before may have put one there, already expired
    cached = [k for k in list(vault.keys.cached.values()) if k.subject == subject]
    left += ["a key in this process's cache"] * sum(key.expires > now for key in cached)
    return left


def _marker(vault: Vault, connection: Connection, subject: bytes) -> bytes | None:
    """The key id of the envelopes of nothing: the newest erased one."""
    with vault.key_connection(connection) as keys_on:
        mine = select(_K.key_id).where(_K.subject == subject, _K.state == ERASED)
        found = keys_on.scalar(mine.order_by(_K.generation.desc()).limit(1))
        return None if found is None else bytes(found)


def _signed(vault: Vault, access: Access, receipt: Receipt, rest: list[dict[str, Any]]) -> str:
    body = {
        "format": FORMAT,
        "erasure": receipt.erasure_id.hex,
        "subject": str(receipt.subject_id),
        "erased_at": receipt.erased_at.isoformat(),
        "horizon": receipt.horizon.date().isoformat(),
        "reason": receipt.reason,
        "keys": receipt.keys,
        "values": receipt.values,
        "terms": receipt.terms,
        "tables": [
            {**dataclasses.asdict(held), "fields": [*held.fields], "indexes": [*held.indexes]}
            for held in receipt.tables
        ],
        "read_back": "nothing of it opens, and no value, term or key is left",
        "kept": rest,
        "policy": access.snapshot.digest,
    }
    told = digest(body)
    access.record("erasure_receipt", erasure=receipt.erasure_id.hex, sha256=told)
    line, shard = _record(vault, told)
    vault._trail.notary.sign_now()
    try:
        proof = prove_inclusion(vault.settings.audit_directory, shard, json.loads(line)["seq"])
    except AuditUnavailable:
        proof = ""  # the log has no key: there is no database for it
    whole = {"receipt": body, "record": line, "proof": proof}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _record(vault: Vault, told: str) -> tuple[str, str]:
    """The line just written, and its shard: the one at hand, unless the log went on meanwhile."""
    own = vault.log.path
    others = sorted(own.parent.glob("*.jsonl"), key=lambda path: -path.stat().st_mtime)
    for path in (own, *others):
        for line in lines_backwards(path):
            if told.encode() in line:
                return line.decode(), path.stem
    raise AuditUnavailable(
        "the receipt's record is not in the log", hint="see `vaultlayer audit verify`"
    )
