"""Signed notes and checkpoints as C2SP writes them, with Ed25519 keys.

Sources: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

ED25519, COSIGNATURE = 0x01, 0x04
_MOST_SIGNATURES = 64
_NAME = re.compile(r"[^\s+\x00-\x1f]{1,200}", re.ASCII)
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key by which notes are believed; its text form is the C2SP vkey."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """From ``name+hash+base64(type ‖ key)``; ConfigurationError when it is no such text."""
        try:
            name, key_id, material = text.strip().split("+", 2)
            decoded = _decode(material)
            key = cls(name, decoded[0], decoded[1:])
            Ed25519PublicKey.from_public_bytes(key.public)
            if not _NAME.fullmatch(name) or key.kind not in (ED25519, COSIGNATURE):
                raise ValueError
            if key.id != bytes.fromhex(key_id) or len(key_id) != 8:
                raise ValueError
        except (ValueError, IndexError):
            raise ConfigurationError(
                "a public key of an audit log or witness is not a C2SP vkey of an Ed25519 key",
                hint="`vaultlayer audit key` prints the log's: name+8 hex digits+base64",
            ) from None
        return key

    @property
    def id(self) -> bytes:
        """The 4 bytes that tell keys of one name apart."""
        return sha256(self.name.encode() + bytes((0x0A, self.kind)) + self.public).digest()[:4]

    def __str__(self) -> str:
        material = base64.b64encode(bytes((self.kind,)) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{material}"

    def accepts(self, text: str, signature: bytes) -> bool:
        """Whether ``signature`` (without the key id) is this key's over the note's text."""
        signed = text.encode()
        if self.kind == COSIGNATURE:
            if len(signature) != 72:
                return False
            time = int.from_bytes(signature[:8], "big")
            signed, signature = cosigned(text, time), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, signed)
        except InvalidSignature:
            return False
        return True


class Signer:
    """A log's private key and its name; ``repr`` and pickle show and carry nothing of it."""

    __slots__ = ("_key", "public")

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = VerifierKey(name, ED25519, self._key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The note: the text, a blank line and this key's signature line."""
        return f"{text}\n{signature_line(self.public, self._key.sign(text.encode()))}"

    def __repr__(self) -> str:
        return f"<Signer {self.public.name}>"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The head of a log: how many entries it has, and the root of their Merkle tree."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """ValueError for what is no checkpoint; extension lines are left alone."""
        origin, size, root, *_ = text.split("\n")
        decoded = _decode(root)
        if not origin or not _SIZE.fullmatch(size) or len(decoded) != 32:
            raise ValueError("not a checkpoint")
        return cls(origin, int(size), decoded)


def cosigned(text: str, time: int) -> bytes:
    """What a witness signs: a header, the time in Unix seconds, and the checkpoint."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def signature_line(key: VerifierKey, signature: bytes) -> str:
    return f"— {key.name} {base64.b64encode(key.id + signature).decode()}\n"


def split(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """A note's text, and of each signature line the name, the key id and the signature.

    ValueError for what is no signed note.
    """
    body, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n") or lines.count("\n") > _MOST_SIGNATURES:
        raise ValueError("not a signed note")
    if any(ord(character) < 0x20 and character != "\n" for character in note):
        raise ValueError("not a signed note")
    return f"{body}\n", [_signature(line) for line in lines[:-1].split("\n")]


def signers(note: str, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Those of ``keys`` that signed the note. ValueError if one's signature is not its own."""
    text, signatures = split(note)
    known = {(key.name, key.id): key for key in keys}
    found = []
    for name, key_id, signature in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.accepts(text, signature):
            raise ValueError("a signature of the note is not its key's")
        found.append(key)
    return found


def open_checkpoint(note: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """The checkpoint of a note that one of the log's ``keys`` signed; else ValueError."""
    if not any(key.kind == ED25519 for key in signers(note, keys)):
        raise ValueError("no known key of the log signed it")
    return Checkpoint.parse(split(note)[0])


def _signature(line: str) -> tuple[str, bytes, bytes]:
    found = _SIGNATURE.fullmatch(line)
    signed = _decode(found[2]) if found else b""
    if found is None or len(signed) < 5:
        raise ValueError("not a signed note")
    return found[1], signed[:4], signed[4:]


def _decode(text: str) -> bytes:
    """Base64 in its canonical form, else ValueError."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("not canonical base64")
    return decoded
