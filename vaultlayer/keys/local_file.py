"""The keyring file on disk: its form, its mode, and writing it whole or not at all."""

from __future__ import annotations

import base64
import json
import os
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaultlayer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = 1
SALT_BYTES = 16

_PARAMETERS = {"argon2id": {"memory_kib", "iterations", "lanes"}, "scrypt": {"n", "r", "p"}}
_MOST_MEMORY_KIB = 4 * 1024 * 1024

Document = dict[str, Any]


def read(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            if os.name == "posix":
                _refuse_open_mode(path, os.fstat(file.fileno()).st_mode)
            document: Document = json.loads(file.read())
        _check_form(document)
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no keyring at {path}",
            hint="`vaultlayer init` writes one; or correct [keys] provider in the settings",
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} can't be read ({type(error).__name__})",
            hint="it must be a file that belongs to the user who runs this program",
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise not_a_keyring(path) from None
    return document


def not_a_keyring(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a keyring of version {VERSION}, or is damaged",
        hint="restore it from its backup; without it nothing sealed under it can be read",
    )


def decode(text: str) -> bytes:
    """Base64 in its one canonical form: ValueError for any other text of the same bytes."""
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise ValueError
    return content


def _refuse_open_mode(path: Path, mode: int) -> None:
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"other users of this machine may use {path}", hint=f"run `chmod 600 {path}`"
        )


def _check_form(document: Document) -> None:
    """ValueError, KeyError or TypeError for all that is not a keyring of this version."""
    kdf, keys = document["kdf"], document["keys"]
    numbers = {key: value for key, value in kdf.items() if key not in ("name", "salt")}
    well_formed = (
        document.keys() == {"version", "kdf", "keys", "active"}
        and document["version"] == VERSION
        and numbers.keys() == _PARAMETERS[kdf["name"]]
        and all(type(value) is int and value > 0 for value in numbers.values())
        and len(decode(kdf["salt"])) == SALT_BYTES
        and all(isinstance(key["wrapped"], str) for key in keys.values())
        and all(name.isascii() and name.isdigit() for name in keys)
        and document["active"] in keys
    )
    memory_kib = numbers.get("memory_kib", 0) + numbers.get("n", 0) * numbers.get("r", 0) // 8
    if not well_formed or memory_kib > _MOST_MEMORY_KIB:
        raise ValueError


def fingerprint(path: Path) -> tuple[int, int, int]:
    """What differs once another process put a new file in this one's place."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)  # reading it will say what is wrong
    return (status.st_ino, status.st_mtime_ns, status.st_size)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time rewrites the files of this folder; a killed one holds up nobody."""
    if os.name != "posix":
        yield
        return
    from fcntl import LOCK_EX, flock

    handle = os.open(path.parent, os.O_RDONLY)
    try:
        flock(handle, LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(path: Path, text: str) -> None:
    """Put a file in the place of the one that is there, whole or not at all, on disk after."""
    try:
        temporary = _write_aside(path, text)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _not_written(path, error) from None


def publish(path: Path, text: str) -> None:
    """Put a new file in its place whole or not at all, on disk when this returns.

    ConfigurationError when there is one already: a keyring that is replaced by mistake takes
    everything sealed under it along.
    """
    try:
        _link_new(path, text)
    except FileExistsError:
        raise ConfigurationError(
            f"there is a file at {path} already",
            hint="it may be the only key to your data: move it away yourself if it is not needed",
        ) from None
    except OSError as error:
        raise _not_written(path, error) from None


def _link_new(path: Path, text: str) -> None:
    """A hard link, not a rename: a rename would replace a file that is there."""
    temporary = _write_aside(path, text)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def _write_aside(path: Path, text: str) -> Path:
    """A temporary file beside ``path``, mode 0600, on disk; none is left when it can't be."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _not_written(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} can't be written ({type(error).__name__})",
        hint="its folder must exist, be writable, and be on a file system with hard links",
    )


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder can't be opened, and needs no sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
