"""A witness over HTTP, by c2sp.org/tlog-witness: it cosigns, and it can't be fooled."""

from __future__ import annotations

import base64
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vaultlayer.audit.merkle import check_consistency
from vaultlayer.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Signer,
    VerifierKey,
    cosigned,
    signature_line,
    split,
)
from vaultlayer.audit.verify import verify
from vaultlayer.audit.witness import Witness
from vaultlayer.errors import AuditUnavailable, ConfigurationError


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append(body)
        proof, _, note = body.partition("\n\n")
        old, *hashes = proof.split("\n")
        head = Checkpoint.parse(split(note)[0])
        size, root = self.server.heads.get(head.origin, (0, b""))
        if int(old.removeprefix("old ")) != size:
            return self.answer(409, f"{size}\n")
        decoded = [base64.b64decode(one) for one in hashes]
        if size and not check_consistency(size, root, head.size, head.root, decoded):
            return self.answer(422, "")
        self.server.heads[head.origin] = head.size, head.root
        now = int(time.time())
        signed = self.server.signer._key.sign(cosigned(split(note)[0], now))
        line = signature_line(self.server.key, now.to_bytes(8, "big") + signed)
        return self.answer(200, line)

    def answer(self, status, text):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def witness():
    """Its server: ``heads`` by origin, ``seen`` requests, ``setting`` for the settings."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.heads, server.seen = {}, []
    server.signer = Signer("witness.example/w1", bytes(31) + b"\1")
    server.key = VerifierKey("witness.example/w1", COSIGNATURE, server.signer.public.public)
    server.setting = f"http://127.0.0.1:{server.server_port} {server.key}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_head_of_the_registry_is_cosigned(new_signed, refs, witness):
    """And verify asks for the witness's signature when its key is given."""
    trail = new_signed(witnesses=(witness.setting,))
    for _ in range(3):
        trail.read(refs(2))
        trail.signed()
        trail.close()
        trail.open()
    trail.close()
    keys = [*trail.heads.keys(), witness.key]
    assert verify(trail.directory, keys).findings == []
    assert witness.heads[trail.head().origin][0] == trail.head().size
    path = trail.directory / "registry/checkpoint"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))
    assert "didn't sign" in verify(trail.directory, keys).findings[0].what


def test_a_log_and_its_heads_taken_back_together_meet_the_witness(
    new_signed, refs, witness, tmp_path, until
):
    """Files, store and key are all the thief's: the witness has seen more."""
    trail = new_signed(witnesses=(witness.setting,))
    trail.read(refs(2))
    trail.close()
    shutil.copytree(trail.directory, tmp_path / "old")
    shutil.copy(tmp_path / "heads.db", tmp_path / "heads.old")
    trail.open()
    trail.read(refs(2))
    trail.close()
    shutil.rmtree(trail.directory)
    (tmp_path / "old").rename(trail.directory)
    shutil.copy(tmp_path / "heads.old", tmp_path / "heads.db")
    trail.open()
    with pytest.raises(AuditUnavailable):
        until(lambda: trail.read(refs(1)))


def test_a_witness_that_is_away_stops_nobody(new_signed, refs, caplog):
    """It is a warning; the head is signed by the log alone."""
    key = VerifierKey("w.example", COSIGNATURE, Signer("w.example", bytes(32)).public.public)
    trail = new_signed(witnesses=(f"http://127.0.0.1:1 {key}",))
    trail.read(refs(2))
    trail.signed()
    trail.close()
    assert trail.verify().findings == []
    assert "can't be reached" in caplog.text


@pytest.mark.parametrize("text", ["", "http://w.example", "ftp://w x+y+z", "http://w x+y+z"])
def test_a_setting_that_names_no_witness_is_refused(text):
    """With an example."""
    with pytest.raises(ConfigurationError) as caught:
        Witness.parse(text)
    assert caught.value.hint
