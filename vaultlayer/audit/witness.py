"""Cosignatures of a witness (c2sp.org/tlog-witness): somebody else has seen how far the log came.

A witness signs a head only when it extends the last one it saw, so that not even the holder of
the log's key, its files and its head store can take the log back behind it.
"""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from vaultlayer.audit.files import DEADLINE, unavailable
from vaultlayer.audit.heads import Conflict, conflict
from vaultlayer.audit.merkle import consistency_proof
from vaultlayer.audit.note import COSIGNATURE, Checkpoint, VerifierKey, signers, split
from vaultlayer.audit.tiles import Tiles
from vaultlayer.errors import AuditUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MOST = 64 << 10  # bytes of an answer


class Witness:
    """One witness, by its submission prefix (an http or https URL) and its public key."""

    def __init__(self, url: str, key: VerifierKey) -> None:
        self.key = key
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._size = 0  # of the head it saw last

    @classmethod
    def parse(cls, text: str) -> Witness:
        """From ``URL vkey``, as the settings have it."""
        url, _, vkey = text.partition(" ")
        key = VerifierKey.parse(vkey)
        if not url.startswith(("https://", "http://")) or key.kind != COSIGNATURE:
            raise ConfigurationError(
                "one of [audit] witnesses is not a URL and a cosigner's vkey",
                hint='e.g. witnesses = ["https://witness.example/prefix witness.example+…+BA…"]',
            )
        return cls(url, key)

    def cosign(self, note: str, folder: Path) -> str:
        """The witness's signature line for a signed head whose tiles are in ``folder``.

        :raises AuditUnavailable: the witness can't be reached, or doesn't answer as it should.
        :raises Conflict: it has seen a log that is longer, or another one.
        """
        head = Checkpoint.parse(split(note)[0])
        status, answer = self._post(note, head, folder)
        if status == 409:  # it has seen another size last than we know of
            self._size = _size(answer)
            if self._size > head.size:
                raise conflict(head.origin)
            status, answer = self._post(note, head, folder)
        if status == 422:
            raise conflict(head.origin)
        if status != 200:
            raise unavailable(f"the witness {self.key.name} answered {status}")
        try:
            signed = signers(f"{split(note)[0]}\n{answer}", [self.key])
        except ValueError:
            signed = []
        if not signed:
            raise unavailable(f"the witness {self.key.name} didn't sign with its key")
        self._size = head.size
        return answer

    def _post(self, note: str, head: Checkpoint, folder: Path) -> tuple[int, str]:
        hashes = consistency_proof(self._size, head.size, Tiles(folder, head.size).subtree)
        lines = [f"old {self._size}", *(base64.b64encode(one).decode() for one in hashes), "", note]
        request = urllib.request.Request(self._url, "\n".join(lines).encode(), method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:  # noqa: S310
                return answer.status, answer.read(_MOST).decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(_MOST).decode("utf-8", "replace")
        except (OSError, ValueError) as error:
            kind = type(error).__name__
            raise unavailable(f"the witness {self.key.name} can't be reached ({kind})") from None


def cosigned(note: str, witnesses: Iterable[Witness], folder: Path) -> tuple[str, list[str]]:
    """The note with the signature of every witness that gave one, and who didn't, and why."""
    lines, missing = note, []
    for witness in witnesses:
        try:
            lines += witness.cosign(note, folder)
        except Conflict:
            raise
        except AuditUnavailable as error:
            missing.append(error.message)
    return lines, missing


def _size(answer: str) -> int:
    try:
        return int(answer)
    except ValueError:
        raise unavailable("a witness named no size in its answer") from None
