"""A good token becomes its principal; time, size and shape are checked before anything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from vaultlayer.access.principal import Principal
from vaultlayer.access.token_form import MOST_CHARACTERS
from vaultlayer.access.tokens import Issuers, TokenVerifier, verifier
from vaultlayer.errors import AccessDenied, ConfigurationError
from vaultlayer.settings import Settings

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
    token = issuer.mint(header={"typ": typ}, client_id="web", jti="1")
    assert verify(token).sub == "ada"


@pytest.mark.parametrize("lost", ["client_id", "iat", "jti"])
def test_an_access_token_has_all_that_rfc_9068_wants(
    issuer: Any, verify: Verify, lost: str
) -> None:
    """Section 2.2; without the type those claims may be missing."""
    claims = {"client_id": "web", "jti": "1", lost: None}
    issuer.refused(verify, issuer.mint(header={"typ": "at+jwt"}, **claims), "token_claims")
    assert verify(issuer.mint(**claims)).sub == "ada"


def test_access_tokens_alone_can_be_asked_for(issuer: Any) -> None:
    """Then an ID token of the same issuer for the same audience is of no use."""
    strict = issuer.verifier(key=issuer.folder / "ec.pem", typ="at+jwt").verify
    whole = {"client_id": "web", "jti": "1"}
    assert strict(issuer.mint(header={"typ": "at+jwt"}, **whole)).client == "web"
    for typ in ("JWT", None):
        issuer.refused(strict, issuer.mint(header={"typ": typ}, **whole), "token_malformed")


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


@pytest.mark.parametrize("by", [b"=", b"==", b" ", b"\n"])
def test_a_token_has_one_spelling(issuer: Any, verify: Verify, by: bytes) -> None:
    """No padding, no white space, no stray bits after the last byte."""
    token = issuer.mint()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = token[:-1] + letters[letters.index(token[-1]) ^ 1]
    for other in (token + by.decode(), stray, token.replace(".", f"{by.decode()}.", 1)):
        issuer.refused(verify, other, "token_malformed")


def test_roles_can_be_translated(issuer: Any) -> None:
    """What isn't in the table gives no role; a path leads into objects."""
    verifier = issuer.verifier(
        key=issuer.folder / "ec.pem",
        roles_claim=["realm_access", "roles"],
        roles={"Support Staff": "support", "Boss": "support_lead"},
    )
    said = {"roles": ["Support Staff", "privacy_officer", "support_lead"]}
    principal = verifier.verify(issuer.mint(realm_access=said, roles=["auditor"]))
    assert principal.roles == frozenset({"support"})
    assert verifier.verify(issuer.mint(realm_access=[])).roles == frozenset()


def test_an_issuer_can_be_kept_to_its_tenant_and_region(issuer: Any) -> None:
    """Whatever its tokens claim; or they are read from claims of other names."""
    key = {"key": issuer.folder / "ec.pem"}
    own = issuer.verifier(**key, tenant="acme", region="EU")
    told = own.verify(issuer.mint(tenant="globex", region="US"))
    assert (told.tenant, told.region) == ("acme", "EU")
    named = issuer.verifier(**key, tenant_claim="https://x.example/org", region_claim="zone")
    told = named.verify(issuer.mint(**{"https://x.example/org": "globex", "zone": "US"}))
    assert (told.tenant, told.region) == ("globex", "US")
    assert named.verify(issuer.mint(tenant="acme")).tenant is None


@pytest.mark.parametrize(
    "odd",
    [
        {"roles_claim": ""}, {"roles_claim": []}, {"roles_claim": [7]}, {"tenant_claim": 7},
        {"roles": ["support"]}, {"roles": {"a": "b,c"}}, {"roles": {"a": 7}}, {"tenant": ""},
        {"region": "E U"}, {"typ": "JWT"}, {"leeway": True}, {"leeway": "1"},
    ],
)  # fmt: skip
def test_an_odd_mapping_is_refused(issuer: Any, odd: dict[str, Any]) -> None:
    """When the settings are read, not at the first login."""
    with pytest.raises(ConfigurationError) as caught:
        issuer.verifier(key=issuer.folder / "ec.pem", **odd)
    assert caught.value.hint


def test_several_issuers_each_with_its_own_keys(issuer: Any, tmp_path: Path) -> None:
    """A token is held against the issuer it names, and no other one's key verifies it."""
    other = {"issuer": "https://other.example", "audience": "app2", "algorithms": ["RS256"]}
    first = {"issuer": issuer.name, "audience": issuer.audience, "algorithms": ["ES256"]}
    both = verifier(
        [{**first, "key": "ec.pem"}, {**other, "key": "rsa.pem", "tenant": "other"}], issuer.folder
    )
    theirs = {"iss": "https://other.example", "aud": "app2"}
    assert both.verify(issuer.mint()).tenant is None
    principal = both.verify(issuer.mint(issuer.keys["rsa"], "RS256", **theirs))
    assert (principal.iss, principal.tenant) == ("https://other.example", "other")
    assert both.ready(issuer.mint())
    for token, reason in [
        (issuer.mint(**theirs), "token_signature"),
        (issuer.mint(issuer.keys["rsa"], "RS256"), "token_signature"),
        (issuer.mint(issuer.keys["rsa"], "RS256", iss="https://other.example"), "token_claims"),
        (issuer.mint(iss="https://login.example.com"), "token_claims"),
        (issuer.sign(issuer.claims(iss=["https://other.example"])), "token_claims"),
        (issuer.mint(iss=None), "token_claims"),
        ("a.b.c", "token_malformed"),
    ]:
        issuer.refused(both.verify, token, reason)
    with pytest.raises(ConfigurationError):
        verifier([{**first, "key": "ec.pem"}, {**first, "key": "ec.pem"}], issuer.folder)


def test_settings_name_one_issuer_or_several(issuer: Any, tmp_path: Path) -> None:
    """[tokens], or [[tokens]] for each; a misspelt key is refused in any of them."""
    rest = """
        [vault]
        policies = "policies"
        [keys]
        provider = "memory:"
        [audit]
        directory = "audit"
    """
    file = tmp_path / "vaultlayer.toml"
    table = "[[tokens]]\nissuer = 'https://{}'\naudience = 'a'\nalgorithms = ['ES256']\nkey = 'k'\n"
    file.write_text(rest + table.format("one") + table.format("two"))
    (tmp_path / "k").write_bytes((issuer.folder / "ec.pem").read_bytes())
    loaded = Settings.load(file)
    assert isinstance(verifier(loaded.tokens, loaded.folder), Issuers)
    file.write_text(rest + table.format("one") + "[tokens.roles]\n'Staff x' = 'support'\n")
    loaded = Settings.load(file)
    assert isinstance(verifier(loaded.tokens, loaded.folder), TokenVerifier)
    file.write_text(rest)
    with pytest.raises(ConfigurationError):
        verifier(Settings.load(file).tokens, tmp_path).verify(issuer.mint())
    for odd in (table.format("one") + "isuer = 'x'", "tokens = 7\n", "tokens = [7]\n"):
        file.write_text(odd + rest if odd.startswith("tokens") else rest + odd)
        with pytest.raises(ConfigurationError):
            Settings.load(file)
