"""A good token becomes its principal; time, size and shape are checked before anything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from vaultlayer.access.principal import Principal
from vaultlayer.access.tokens import MOST_CHARACTERS
from vaultlayer.errors import AccessDenied

Verify = Callable[[str], Principal]


def test_a_good_token_becomes_its_principal(issuer: Any, verify: Verify) -> None:
    """Every claim that means something is taken over."""
    expires = int(time.time()) + 60
    token = issuer.mint(
        exp=expires, tenant="acme", region="EU", amr=["pwd", "otp"], client_id="web", x=[1]
    )
    principal = verify(token)
    assert principal == Principal(
        "ada", ["support"], tenant="acme", region="EU", amr=("pwd", "otp"),
        iss="https://login.example.com/", client="web", expires=float(expires),
    )  # fmt: skip
    assert principal.claims["x"] == [1]


def test_a_token_without_roles_is_a_principal_without_roles(issuer: Any, verify: Verify) -> None:
    """It may do nothing, but it is somebody."""
    assert verify(issuer.mint(roles=None)).roles == frozenset()


def test_the_roles_claim_can_be_named(issuer: Any) -> None:
    """Then the default claim counts for nothing."""
    claim = "https://example.com/groups"
    verifier = issuer.verifier(key=issuer.folder / "ec.pem", roles_claim=claim)
    assert verifier.verify(issuer.mint(**{claim: ["auditor"]})).roles == frozenset({"auditor"})


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("rsa", "RS256"), ("rsa", "PS384"), ("ed", "EdDSA"), ("ec384", "ES384")],
)
def test_other_kinds_of_keys_work(issuer: Any, name: str, algorithm: str) -> None:
    """RSA, RSA-PSS, Ed25519 and the larger curve; the path may be text."""
    verifier = issuer.verifier(algorithm, key=str(issuer.folder / f"{name}.pem"))
    assert verifier.verify(issuer.mint(issuer.keys[name], algorithm)).sub == "ada"


def test_a_secret_works_only_for_hs256(issuer: Any) -> None:
    """A line end after the secret is not part of it."""
    verifier = issuer.verifier("HS256", secret_file=issuer.folder / "secret")
    assert verifier.verify(issuer.mint(issuer.secret, "HS256")).sub == "ada"
    for algorithm in ("HS384", "HS512"):
        long_enough = issuer.secret + b"-" * 64
        issuer.refused(verifier.verify, issuer.mint(long_enough, algorithm), "token_signature")
    issuer.refused(verifier.verify, issuer.mint(), "token_signature")


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
def test_the_usual_kinds_are_accepted(issuer: Any, verify: Verify, typ: str | None) -> None:
    """RFC 7519 tokens and RFC 9068 access tokens."""
    assert verify(issuer.mint(header={"typ": typ})).sub == "ada"


def test_leeway_is_zero_unless_given(issuer: Any, verify: Verify) -> None:
    """A second late is late; with leeway it is not."""
    late = issuer.mint(exp=int(time.time()) - 1, iat=None)
    issuer.refused(verify, late, "token_expired")
    lenient = issuer.verifier(key=issuer.folder / "ec.pem", leeway=30)
    assert lenient.verify(late).sub == "ada"
    later = issuer.mint(exp=int(time.time()) - 31, iat=None)
    issuer.refused(lenient.verify, later, "token_expired")


@pytest.mark.parametrize(
    "token",
    [
        None, b"", 7, [], "", ".", "..", "...", "a.b", "a.b.c", "é.é.é", "\x00.\x00.\x00", " ",
        "eyJhbGciOiJFUzI1NiJ9", "W10.e30.e30", "e30.e30.e30.e30.e30", "Bearer e30.e30.e30",
        "e30.e30.e30",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(verify: Verify, token: Any) -> None:
    """Any other thing than a compact JWS; an empty header names no algorithm."""
    with pytest.raises(AccessDenied) as caught:
        verify(token)
    expected = "token_signature" if token == "e30.e30.e30" else "token_malformed"
    assert caught.value.reason == expected


def test_a_token_as_bytes_is_refused(issuer: Any, verify: Verify) -> None:
    """Text only."""
    issuer.refused(verify, issuer.mint().encode(), "token_malformed")


def test_a_huge_token_is_refused_before_it_is_looked_at(
    issuer: Any, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Near the limit it still works; one character more, or a megabyte, and nothing is decoded."""
    roomy = (MOST_CHARACTERS - len(issuer.mint(x=""))) * 3 // 4
    near = issuer.mint(x="x" * (roomy - 8))
    assert MOST_CHARACTERS - 40 < len(near) <= MOST_CHARACTERS
    assert verify(near).sub == "ada"
    monkeypatch.setattr(jwt, "get_unverified_header", None)
    issuer.refused(verify, "x" * (MOST_CHARACTERS + 1), "token_malformed")
    issuer.refused(verify, issuer.mint(x="x" * 1_000_000), "token_malformed")
