"""A principal is exactly who it was made to be, and prints no claims."""

from __future__ import annotations

import dataclasses

import pytest

from vaultlayer.access.principal import Principal
from vaultlayer.errors import ConfigurationError


def test_roles_of_any_collection_become_a_frozenset() -> None:
    """Lists, sets and tuples of names are the same roles."""
    for given in (["a", "b"], {"a", "b"}, ("b", "a", "a")):
        assert Principal("ada", given).roles == frozenset({"a", "b"})


@pytest.mark.parametrize("roles", ["auditor", b"auditor", [1], [None], ["a", b"b"]])
def test_roles_that_are_not_names_are_refused(roles: object) -> None:
    """One string is not a collection of one-letter roles."""
    with pytest.raises(ConfigurationError, match="collection of names"):
        Principal("ada", roles)  # type: ignore[arg-type]


@pytest.mark.parametrize("sub", ["", None, 7])
def test_nobody_is_no_principal(sub: object) -> None:
    """A principal without a sub can't be made."""
    with pytest.raises(ConfigurationError, match="sub"):
        Principal(sub, [])  # type: ignore[arg-type]


def test_claims_are_neither_printed_nor_changed() -> None:
    """repr leaves the claims out; they are a copy that refuses assignment."""
    claims = {"email": "ada@example.com"}
    principal = Principal("ada", ["support"], claims=claims)
    claims["email"] = "eve@example.com"
    assert principal.claims["email"] == "ada@example.com"
    assert "example.com" not in repr(principal)
    with pytest.raises(TypeError):
        principal.claims["email"] = "x"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        principal.roles = frozenset()  # type: ignore[misc]


def test_equal_principals_are_one_key() -> None:
    """Principals compare and hash by who they are, not by their claims."""
    assert len({Principal("ada", ["a"], claims={"n": 1}), Principal("ada", ["a"])}) == 1
    assert Principal("ada", ["a"]) != Principal("ada", ["a"], tenant="t")
