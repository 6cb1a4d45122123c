"""Hardware security modules: the provider key is an AES key in a PKCS#11 token.

``pkcs11:token=vaultlayer;object=vaultlayer?module-path=/usr/lib/softhsm/libsofthsm2.so``, a URI
as in RFC 7512: the token's label, the keys' label, the module. The PIN is VAULTLAYER_PKCS11_PIN,
or in the file that VAULTLAYER_PKCS11_PIN_FILE names.

Each version is an AES-256 key of its own that can't be taken out; its CKA_ID is the version's
name. The place of a KEK is the associated data of AES-GCM, whose 96-bit nonce is drawn here
(NIST SP 800-38D, 8.2.2): a module that draws its own is refused.
"""

from __future__ import annotations

import os
import secrets
import threading
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, unquote

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass
from pkcs11.exceptions import (
    ArgumentsBad,
    DeviceError,
    DeviceRemoved,
    EncryptedDataInvalid,
    EncryptedDataLenRange,
    GeneralError,
    MechanismInvalid,
    MechanismParamInvalid,
    SessionClosed,
    SessionHandleInvalid,
    TokenNotPresent,
    UserNotLoggedIn,
)

from vaultlayer.errors import ConfigurationError
from vaultlayer.forks import in_child
from vaultlayer.keys.provider import check_oldest
from vaultlayer.keys.remote import asking, damaged, misnamed, no_key, pack, unpack
from vaultlayer.settings import secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLE = "pkcs11:token=vaultlayer;object=vaultlayer?module-path=/usr/lib/…/libsofthsm2.so"
PIN = "VAULTLAYER_PKCS11_PIN"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_REFUSED = (EncryptedDataInvalid, EncryptedDataLenRange, GeneralError)
_NO_SUCH_NONCE = (ArgumentsBad, MechanismInvalid, MechanismParamInvalid)
_ENDED = (
    DeviceError, DeviceRemoved, SessionClosed, SessionHandleInvalid, TokenNotPresent,
    UserNotLoggedIn,
)  # fmt: skip

_T = TypeVar("_T")


class Token:
    """The keys of one label in one token."""

    def __init__(self, name: str, module: str, token: str, label: str) -> None:
        self.name = name
        self._at = (module, token)
        self._label = label

    @classmethod
    def open(cls, uri: str, *, passphrase: Callable[[], str], base: Path) -> Token:
        """Opens a session when it is first asked."""
        path, _, query = uri.partition("?")
        parts = dict(part.partition("=")[::2] for part in path.partition(":")[2].split(";"))
        module = parse_qs(query).get("module-path", [""])[0]
        if not (parts.keys() == {"token", "object"} and all(parts.values()) and module):
            raise misnamed("pkcs11:…", EXAMPLE)
        return cls(uri, str(base / module), unquote(parts["token"]), unquote(parts["object"]))

    def wrap(self, plaintext: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)

        def encrypt(session: Any) -> bytes:
            keys = self._keys(session)
            if not keys:
                raise no_key(self.name)
            version = list(keys)[-1]
            return pack(version, nonce + _encrypted(keys[version], plaintext, _gcm(nonce, aad)))

        return self._ask(encrypt)

    def unwrap(self, blob: bytes, aad: bytes) -> bytes:
        version, wrapped = unpack(blob)
        if len(wrapped) <= _NONCE_BYTES + _TAG_BYTES:
            raise damaged()
        nonce, wrapped = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]

        def decrypt(session: Any) -> bytes:
            key = self._keys(session).get(version)
            if key is None:
                raise no_key(self.name, version)
            try:
                plaintext: bytes = key.decrypt(wrapped, **_gcm(nonce, aad))
            except _REFUSED:
                _check_works(key)
                raise damaged() from None
            return plaintext

        return self._ask(decrypt)

    def version_of(self, blob: bytes) -> str:
        return unpack(blob)[0]

    def versions(self) -> list[str]:
        return self._ask(lambda session: list(self._keys(session)))

    def rotate(self) -> str:
        def generate(session: Any) -> str:
            number = max((_number(version) for version in self._keys(session)), default=0) + 1
            # The random end keeps two apart that are made at once.
            version = f"{number}-{secrets.token_hex(3)}"
            session.generate_key(
                KeyType.AES,
                256,
                id=version.encode(),
                label=self._label,
                store=True,
                template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
            return version

        return self._ask(generate, write=True)

    def destroy(self, version: str) -> datetime:
        check_oldest(self, version)

        def destroy(session: Any) -> None:
            key = self._keys(session).get(version)
            if key is not None:
                key.destroy()

        self._ask(destroy, write=True)
        return datetime.now(UTC)

    def _keys(self, session: Any) -> dict[str, Any]:
        """Version → key, oldest first."""
        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: self._label}
        keys = {_version(key.id): key for key in session.get_objects(wanted)}
        keys.pop("", None)  # not one of ours
        return {version: keys[version] for version in sorted(keys, key=_age)}

    def _ask(self, action: Callable[[Any], _T], write: bool = False) -> _T:
        with asking(self.name):
            return _modules().ask(*self._at, action, write)

    def __repr__(self) -> str:
        return f"<Token {self._at[1]}>"


class _Modules:
    """This process's sessions: one a token, since logging in counts for the whole process.

    One thread at a time: the client library initializes a module without promising more.
    """

    def __init__(self) -> None:
        self._initialized: set[str] = set()
        self._forked()
        in_child(self._forked)

    def ask(self, module: str, token: str, action: Callable[[Any], _T], write: bool) -> _T:
        """``action`` with a session; once more with a new one when the old one has ended."""
        with self._lock:
            try:
                return self._act(module, token, action, write)
            except _ENDED:
                self._sessions.pop((module, token), None)
                return self._act(module, token, action, write)

    def _act(self, module: str, token: str, action: Callable[[Any], _T], write: bool) -> _T:
        session = self._sessions.get((module, token))
        if session is None:
            library = pkcs11.lib(module)
            if module in self._stale:
                library.reinitialize()
                self._stale.discard(module)
            self._initialized.add(module)
            session = library.get_token(token_label=token).open(user_pin=secret(PIN)())
            self._sessions[module, token] = session
        if not write:
            return action(session)
        with session.token.open(rw=True) as writing:  # logged in with the other one
            return action(writing)

    def _forked(self) -> None:
        """At first, and in a forked child: there a module must be initialized anew."""
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, str], Any] = {}
        self._stale = set(self._initialized)


@cache
def _modules() -> _Modules:
    return _Modules()


def _encrypted(key: Any, plaintext: bytes, parameters: dict[str, Any]) -> bytes:
    """Tried at once: a module may refuse the nonce, or draw one of its own silently."""
    try:
        wrapped: bytes = key.encrypt(plaintext, **parameters)
        try:
            if key.decrypt(wrapped, **parameters) == plaintext:
                return wrapped
        except _REFUSED:
            pass
    except _NO_SUCH_NONCE:
        pass
    raise ConfigurationError(
        "the PKCS#11 module doesn't use the nonce it is given for AES-GCM",
        hint="let the HSM take nonces of the application (a setting of the partition, often off in "
        "FIPS mode), or use another provider",
    )


def _check_works(key: Any) -> None:
    """Tells a blob that doesn't open from a key that doesn't work: some modules call both alike."""
    parameters = _gcm(os.urandom(_NONCE_BYTES), b"")
    key.decrypt(key.encrypt(b"", **parameters), **parameters)


def _gcm(nonce: bytes, aad: bytes) -> dict[str, Any]:
    parameters = GCMParams(nonce, aad, _TAG_BYTES * 8)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": parameters}


def _version(key_id: bytes) -> str:
    version = key_id.decode("ascii", "ignore")
    return version if version.partition("-")[0].isdigit() else ""


def _number(version: str) -> int:
    return int(version.partition("-")[0])


def _age(version: str) -> tuple[int, str]:
    return _number(version), version
