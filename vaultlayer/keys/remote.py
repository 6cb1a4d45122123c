"""What key providers outside this process have in common: the form of their blobs, their errors.

A blob is 0x01, the length of the version's name (one byte), its name (UTF-8), and what the
provider gave. The name is a direction, not a promise: what is changed in it, the provider refuses.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vaultlayer.errors import ConfigurationError, IntegrityError, KeyUnavailable, VaultLayerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FORM = 1
CALL_SECONDS = 5.0  # the longest a provider may take to answer


def pack(version: str, wrapped: bytes) -> bytes:
    """The blob of what ``version`` wrapped."""
    name = version.encode()
    return bytes((_FORM, len(name))) + name + wrapped


def unpack(blob: bytes) -> tuple[str, bytes]:
    """The inverse of ``pack``; IntegrityError for anything else."""
    end = 2 + blob[1] if len(blob) > 1 else 0
    if not 2 < end < len(blob) or blob[0] != _FORM:
        raise damaged()
    try:
        return blob[2:end].decode(), blob[end:]
    except UnicodeDecodeError:
        raise damaged() from None


@contextmanager
def asking(
    name: str, meaning: Callable[[Exception], VaultLayerError | None] = lambda _: None
) -> Iterator[None]:
    """Turns whatever goes wrong while provider ``name`` is asked into an error of ours.

    ``meaning`` knows what the client library's errors say; the others are KeyUnavailable. Their
    own words are left out: they may repeat what was sent.
    """
    try:
        yield
    except VaultLayerError:
        raise
    except Exception as error:
        raise meaning(error) or KeyUnavailable(
            f"the key provider {name} failed ({type(error).__name__})",
            hint="check that it is reachable and that its credentials are valid, then try again",
        ) from None


def no_key(name: str, version: str = "") -> KeyUnavailable:
    """The provider answers, but doesn't have the key (any more), or not for us."""
    which = f"version {version!r} of its key" if version else "a key to wrap with"
    return KeyUnavailable(
        f"{name} doesn't have {which}, or not for these credentials",
        hint="check [keys] provider and what its policy allows; a destroyed version can't come "
        "back, and a first one is made with `vaultlayer keys rotate provider`",
    )


def damaged() -> IntegrityError:
    return IntegrityError("a wrapped KEK is damaged", hint="restore the key tables from a backup")


def misnamed(uri: str, example: str) -> ConfigurationError:
    """A URI that can't work; it is repeated, so it must not hold a secret."""
    return ConfigurationError(f"the key provider {uri!r} isn't named right", hint=f"e.g. {example}")
