"""Tokens that somebody forged, borrowed, kept or bent are refused (RFC 8725, section 2)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultlayer.access.principal import Principal
from vaultlayer.errors import AccessDenied

Verify = Callable[[str], Principal]
FOREIGN = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None, [], {}, 0])
def test_no_algorithm_is_no_signature(issuer: Any, verify: Verify, algorithm: object) -> None:
    """Whatever the key, and with or without something in the signature's place."""
    secret = issuer.verifier("HS256", secret_file=issuer.folder / "secret").verify
    for each in (verify, secret):
        unsigned = issuer.by_hand({"alg": algorithm, "typ": "JWT"})
        issuer.refused(each, unsigned, "token_signature")
        issuer.refused(each, unsigned + issuer.part(b"x" * 64), "token_signature")
    issuer.refused(verify, issuer.by_hand({"typ": "JWT"}), "token_signature")


@pytest.mark.parametrize(("name", "own"), [("ec", "ES256"), ("rsa", "RS256")])
def test_a_public_key_is_no_hmac_secret(issuer: Any, name: str, own: str) -> None:
    """RS to HS: signed with the bytes of the public key as a secret, in several spellings."""
    verifier = issuer.verifier(own, key=issuer.folder / f"{name}.pem")
    public = (issuer.folder / f"{name}.pem").read_bytes()
    for mac_key in (public, public.strip(), public.replace(b"\n", b"\r\n"), b""):
        for algorithm in ("HS256", "HS384", own):
            token = issuer.by_hand({"alg": algorithm, "typ": "JWT"}, mac_key)
            issuer.refused(verifier.verify, token, "token_signature")


def test_another_algorithm_of_the_same_key_is_refused(issuer: Any) -> None:
    """What isn't listed isn't accepted, though the key could verify it."""
    verifier = issuer.verifier("PS256", key=issuer.folder / "rsa.pem")
    for algorithm in ("RS256", "PS512"):
        token = issuer.mint(issuer.keys["rsa"], algorithm)
        issuer.refused(verifier.verify, token, "token_signature")


def test_a_foreign_or_broken_signature_is_refused(issuer: Any, verify: Verify) -> None:
    """Another key, another token's body, no signature, all zeros."""
    head, body, mac = issuer.mint().split(".")
    other_body = issuer.mint(sub="eve").split(".")[1]
    issuer.refused(verify, issuer.mint(FOREIGN), "token_signature")
    issuer.refused(verify, f"{head}.{other_body}.{mac}", "token_signature")
    issuer.refused(verify, f"{head}.{body}.", "token_signature")
    issuer.refused(verify, f"{head}.{body}.{issuer.part(bytes(64))}", "token_signature")


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
def test_a_key_brought_along_is_not_used(issuer: Any, verify: Verify, name: str) -> None:
    """The header's own key, or the address of one."""
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(FOREIGN.public_key()))
    brought = {"jwk": jwk, "x5c": ["AAAA"]}.get(name, "https://evil.example/keys")
    issuer.refused(verify, issuer.mint(FOREIGN, header={name: brought}), "token_signature")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exp": 1}, "token_expired"),
        ({"exp": -1}, "token_expired"),
        ({"exp": None}, "token_claims"),
        ({"exp": "9999999999"}, "token_claims"),
        ({"exp": True}, "token_expired"),
        ({"exp": 10**15}, "token_claims"),
        ({"exp": 10**400}, "token_claims"),
        ({"exp": 9_999_999_999.5}, "token_claims"),
        ({"exp": 1e300}, "token_claims"),
        ({"nbf": 1.5}, "token_claims"),
        ({"iat": 1.0}, "token_claims"),
        ({"exp": [9999999999]}, "token_malformed"),
        ({"nbf": 9_999_999_999}, "token_claims"),
        ({"nbf": "1"}, "token_claims"),
        ({"nbf": "soon"}, "token_malformed"),
        ({"iat": 9_999_999_999}, "token_claims"),
        ({"iat": False}, "token_claims"),
        ({"iss": None}, "token_claims"),
        ({"iss": "https://login.example.com"}, "token_claims"),
        ({"iss": "https://login.example.com//"}, "token_claims"),
        ({"iss": "login.example.com"}, "token_claims"),
        ({"iss": ["https://login.example.com/"]}, "token_claims"),
        ({"iss": ""}, "token_claims"),
        ({"aud": None}, "token_claims"),
        ({"aud": ""}, "token_claims"),
        ({"aud": "other-app"}, "token_claims"),
        ({"aud": "vaultlayer-app2"}, "token_claims"),
        ({"aud": ["vaultlayer-app"]}, "token_claims"),
        ({"aud": ["vaultlayer-app", "other-app"]}, "token_claims"),
        ({"aud": {"vaultlayer-app": 1}}, "token_claims"),
        ({"sub": None}, "token_claims"),
        ({"sub": ""}, "token_claims"),
        ({"sub": 7}, "token_claims"),
        ({"sub": "x" * 256}, "token_claims"),
        ({"sub": "ada\n"}, "token_claims"),
        ({"jti": 7}, "token_claims"),
        ({"roles": "support"}, "token_claims"),
        ({"roles": {"support": True}}, "token_claims"),
        ({"roles": ["support", 7]}, "token_claims"),
        ({"roles": ["a\x00b"]}, "token_claims"),
        ({"tenant": ""}, "token_claims"),
        ({"tenant": 7}, "token_claims"),
        ({"tenant": "a,b"}, "token_claims"),
        ({"region": ["EU"]}, "token_claims"),
        ({"amr": "pwd"}, "token_claims"),
        ({"client_id": 7}, "token_claims"),
    ],
)
def test_claims_that_are_not_for_us_are_refused(
    issuer: Any, verify: Verify, change: dict[str, Any], reason: str
) -> None:
    """Each alone, in a token that is good otherwise and rightly signed."""
    issuer.refused(verify, issuer.sign(issuer.claims(**change)), reason)


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"null", b"[]", b'"x"', b"7", b"{", b"\xff", b'{"exp": NaN}', b"[" * 6000,
        b'{"a":' * 2000, b'{"exp": 1' + b"0" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_signed_payload_that_is_no_object_is_malformed(
    issuer: Any, verify: Verify, payload: bytes
) -> None:
    """Not even the issuer may send these."""
    issuer.refused(verify, issuer.sign(payload), "token_malformed")


@pytest.mark.parametrize(
    "twin", ['"sub": "eve"', '"roles": ["privacy_officer"]', '"nested": {"a": 1, "a": 2}']
)
def test_a_claim_given_twice_is_malformed(issuer: Any, verify: Verify, twin: str) -> None:
    """Two parsers could take two different ones (RFC 7519, section 4)."""
    payload = json.dumps(issuer.claims()).removesuffix("}") + f", {twin}}}"
    issuer.refused(verify, issuer.sign(payload.encode()), "token_malformed")


@pytest.mark.parametrize(
    "header",
    [
        '{"alg": "none", "alg": "ES256"}',
        '{"alg": "ES256", "alg": "none"}',
        '{"alg": "ES256", "kid": "a", "kid": "b"}',
        '{"alg": "ES256", "typ": "JWT", "typ": "at+jwt"}',
        '{"alg": "ES256", "crit": ["b64"], "crit": []}',
        '{"alg": "ES256", "kid": NaN}',
        '["ES256"]',
        "null",
        "[" * 6000,
    ],
)
def test_a_header_that_two_parsers_would_read_in_two_ways_is_malformed(
    issuer: Any, verify: Verify, header: str
) -> None:
    """Rightly signed over those very bytes."""
    issuer.refused(verify, issuer.sign(issuer.claims(), header.encode()), "token_malformed")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("name", ["exp", "other"])
def test_numbers_that_are_not_json_are_malformed(
    issuer: Any, verify: Verify, name: str, constant: str
) -> None:
    """Python's parser knows them; a token that never expires must not come of it."""
    payload = json.dumps(issuer.claims(**{name: 0})).replace(
        f'"{name}": 0', f'"{name}": {constant}'
    )
    assert constant in payload
    issuer.refused(verify, issuer.sign(payload.encode()), "token_malformed")


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": 7}, {"typ": []}, {"typ": ""},
        {"crit": ["b64"], "b64": True}, {"crit": ["x"], "x": 1}, {"crit": []}, {"b64": True},
        {"b64": False}, {"kid": 7}, {"kid": ["a"]},
    ],
)  # fmt: skip
def test_other_kinds_of_tokens_are_malformed(
    issuer: Any, verify: Verify, header: dict[str, Any]
) -> None:
    """Signed with the right key, but for something else, or changing what the signature covers."""
    issuer.refused(verify, issuer.sign(issuer.claims(), header), "token_malformed")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_change_of_a_token_is_accepted(issuer: Any, verify: Verify, data: st.DataObject) -> None:
    """Any character replaced, dropped, doubled or added; a token has one spelling."""
    token = issuer.mint()
    at = data.draw(st.integers(0, len(token) - 1))
    by = data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=2))
    changed = token[:at] + by + token[at + 1 :]
    if changed == token:
        return
    with pytest.raises(AccessDenied) as caught:
        verify(changed)
    assert caught.value.reason.startswith("token_")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_refused_in_the_same_way(verify: Verify, text: str) -> None:
    """Never another exception."""
    with pytest.raises(AccessDenied):
        verify(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
CLAIMS = ("iss", "aud", "sub", "exp", "nbf", "iat", "jti", "roles", "tenant", "region", "amr")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(CLAIMS), JSON, max_size=3),
    st.dictionaries(st.sampled_from(["kid", "typ"]), JSON),
)
def test_odd_values_of_signed_claims_are_refused_or_sound(
    issuer: Any, verify: Verify, odd: dict[str, Any], header: dict[str, Any]
) -> None:
    """Never another exception, never a principal of another make."""
    try:
        principal = verify(issuer.sign({**issuer.claims(), **odd}, header))
    except AccessDenied as error:
        assert error.reason.startswith("token_")
        return
    assert principal.sub
    assert isinstance(principal.expires, float)
    assert all(isinstance(role, str) for role in principal.roles)
    assert principal.tenant is None or principal.tenant
