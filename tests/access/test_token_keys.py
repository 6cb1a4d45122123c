"""A key file holds public keys that fit the algorithms, or it is refused when it is read."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from vaultlayer.access import token_keys
from vaultlayer.access.tokens import TokenVerifier
from vaultlayer.errors import AccessDenied, ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

EC, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
EC_K = ec.generate_private_key(ec.SECP256K1())
RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)


def public_pem(private: Any) -> bytes:
    public: bytes = private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return public


def private_pem(private: Any) -> bytes:
    secret: bytes = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret


def jwk(private: Any, kid: str | None, secret: bool = False, **more: Any) -> dict[str, Any]:
    algorithm = (
        jwt.algorithms.RSAAlgorithm if private in (RSA, WEAK_RSA) else jwt.algorithms.ECAlgorithm
    )
    made: dict[str, Any] = json.loads(algorithm.to_jwk(private if secret else private.public_key()))
    made.pop("key_ops", None)
    return {**made, **({"kid": kid} if kid is not None else {}), **more}


def key_set(where: Path, *keys: Any) -> Path:
    file = where / "jwks.json"
    file.write_text(json.dumps({"keys": list(keys)}))
    return file


def refusal(**settings: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        token_keys.read(**settings)
    assert caught.value.hint
    return str(caught.value)


def token(private: Any, alg: str = "ES256", **header: Any) -> str:
    claims = {"iss": "i", "aud": "a", "sub": "ada", "exp": int(time.time()) + 60}
    return jwt.encode(claims, private, alg, headers=header)


def reason(verifier: TokenVerifier, given: str) -> str:
    with pytest.raises(AccessDenied) as caught:
        verifier.verify(given)
    return caught.value.reason


def test_a_key_set_chooses_by_kid_alone(tmp_path: Path) -> None:
    """The named key verifies, not whichever happens to fit."""
    file = key_set(tmp_path, jwk(EC, "one"), jwk(OTHER, "two"), jwk(RSA, "three", alg="RS256"))
    verifier = TokenVerifier("i", "a", ["ES256", "RS256", "PS256"], jwks=file)
    assert verifier.verify(token(EC, kid="one")).sub == "ada"
    assert verifier.verify(token(OTHER, kid="two")).sub == "ada"
    assert verifier.verify(token(RSA, "RS256", kid="three")).sub == "ada"
    assert reason(verifier, token(EC, kid="two")) == "token_signature"
    assert reason(verifier, token(RSA, "PS256", kid="three")) == "token_signature"  # alg of the key
    assert reason(verifier, token(EC)) == "token_signature"


@pytest.mark.parametrize(
    "kid",
    ["", "One", "one ", "four", "../../../etc/passwd", "/dev/null", "one' OR '1'='1", "one\x00",
     "${jndi:ldap://x}", "x" * 5000, "http://evil.example/key"],
)  # fmt: skip
def test_an_unknown_kid_finds_nothing(tmp_path: Path, kid: str) -> None:
    """It is compared, never opened, fetched or queried."""
    verifier = TokenVerifier("i", "a", ["ES256"], jwks=key_set(tmp_path, jwk(EC, "one")))
    assert reason(verifier, token(EC, kid=kid)) == "token_signature"


def test_a_single_key_ignores_the_kid(tmp_path: Path) -> None:
    """There is nothing to choose."""
    (tmp_path / "k.pem").write_bytes(public_pem(EC))
    verifier = TokenVerifier("i", "a", ["ES256"], key=tmp_path / "k.pem")
    assert verifier.verify(token(EC, kid="whatever")).sub == "ada"


def test_keys_that_are_none_of_ours_are_left_out(tmp_path: Path) -> None:
    """For encryption, of another algorithm or kind, without kid, broken."""
    file = key_set(
        tmp_path,
        jwk(EC, "one"), jwk(OTHER, "enc", use="enc"), jwk(OTHER, None),
        jwk(OTHER, "384", alg="ES384"), jwk(EC_K, "k1"), jwk(WEAK_RSA, "weak"),
        jwk(RSA, "rsa", alg="RSA-OAEP"),
        {"kty": "XYZ", "kid": "x"}, {"kty": "EC", "kid": "y", "crv": "P-256"}, {}, 7, None,
        {"kty": "RSA", "kid": "z", "n": 7, "e": []}, {"kty": ["EC"], "kid": "q"},
        jwk(OTHER, "odd", alg=["ES256"]),
    )  # fmt: skip
    find = token_keys.read(["ES256", "RS256"], jwks=file)
    assert find("one") is not None
    others = ("enc", None, "384", "k1", "weak", "rsa", "x", "y", "z", "q", "odd")
    assert [kid for kid in others if find(kid) is not None] == []


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [jwk(EC, None)],
        [jwk(EC, "one", use="enc")],
        [jwk(EC, "one"), jwk(OTHER, "one")],
        [jwk(EC, "one"), {"kty": "oct", "kid": "s", "k": "c2VjcmV0"}],
        [jwk(EC, "one"), jwk(OTHER, "two", secret=True)],
    ],
)
def test_a_key_set_with_a_secret_a_twin_or_nothing_is_refused(
    tmp_path: Path, keys: list[Any]
) -> None:
    """A secret key in a public place is a leak; two keys of one name are a guess."""
    message = refusal(algorithms=["ES256"], jwks=key_set(tmp_path, *keys))
    assert all(str(key.get("d", "no d")) not in message for key in keys)
    assert "c2VjcmV0" not in message


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"keys": {}}', b"\xff", b"[" * 10**5]
)
def test_a_file_that_is_no_key_set_is_refused(tmp_path: Path, content: bytes) -> None:
    """In any other form than {"keys": [...]}."""
    (tmp_path / "jwks.json").write_bytes(content)
    assert "usable key" in refusal(algorithms=["ES256"], jwks=tmp_path / "jwks.json")


@pytest.mark.parametrize(
    ("content", "algorithms"),
    [
        (public_pem(EC), ["RS256"]),
        (public_pem(EC), ["ES384"]),
        (public_pem(RSA), ["ES256"]),
        (public_pem(WEAK_RSA), ["RS256"]),
        (public_pem(EC_K), ["ES256"]),
        (private_pem(EC), ["ES256"]),
        (b"", ["ES256"]),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", ["ES256"]),
        (b"x" * 40, ["ES256"]),
    ],
)
def test_a_key_that_does_not_fit_is_refused(
    tmp_path: Path, content: bytes, algorithms: list[str]
) -> None:
    """Wrong kind, wrong curve, too short, private, or no key."""
    (tmp_path / "k.pem").write_bytes(content)
    message = refusal(algorithms=algorithms, key=tmp_path / "k.pem")
    assert "PRIVATE" not in message


@pytest.mark.parametrize(
    "content", [b"", b"Qwertz", b"x" * 31, b"x" * 31 + b"\n", public_pem(RSA), private_pem(EC)]
)
def test_a_short_or_public_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """Less than 32 bytes without the line end, or a key that others know."""
    (tmp_path / "secret").write_bytes(content)
    message = refusal(algorithms=["HS256"], secret_file=tmp_path / "secret")
    assert "Qwertz" not in message
    assert "xxx" not in message


@pytest.mark.parametrize(
    "algorithms",
    [
        [], "ES256", ["none"], ["ES256", "none"], ["HS256"], ["RS256", "HS256"], ["HS512"],
        ["ES256K"], ["es256"], [""],
    ],
)  # fmt: skip
def test_algorithms_that_do_not_go_with_a_public_key_are_refused(
    tmp_path: Path, algorithms: Any
) -> None:
    """Above all no HMAC beside a public key."""
    (tmp_path / "k").write_bytes(public_pem(EC))
    for kind in ("key", "jwks"):
        assert "algorithms" in refusal(algorithms=algorithms, **{kind: tmp_path / "k"})


@pytest.mark.parametrize("algorithms", [["ES256"], ["HS256", "RS256"], ["HS384"], ["none"], []])
def test_a_secret_goes_with_hs256_alone(tmp_path: Path, algorithms: list[str]) -> None:
    """No public algorithm beside a secret."""
    (tmp_path / "k").write_bytes(b"x" * 64)
    assert "algorithms" in refusal(algorithms=algorithms, secret_file=tmp_path / "k")


def test_exactly_one_file_is_named(tmp_path: Path) -> None:
    """None, two, a missing one, a folder."""
    assert "exactly one" in refusal(algorithms=["ES256"])
    assert "exactly one" in refusal(algorithms=["ES256"], key=tmp_path / "a", jwks=tmp_path / "b")
    assert "exactly one" in refusal(algorithms=["ES256"], key=7)
    for file in (tmp_path / "none", tmp_path):
        assert "can't be read" in refusal(algorithms=["ES256"], key=file)


@pytest.mark.parametrize(
    "change",
    [{"issuer": ""}, {"audience": ""}, {"audience": ["a"]}, {"issuer": None}, {"roles_claim": ""},
     {"leeway": -1}, {"leeway": 301}, {"leeway": float("nan")}],
)  # fmt: skip
def test_a_verifier_without_issuer_audience_or_with_odd_leeway_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    """There are no defaults for whom to trust."""
    (tmp_path / "k.pem").write_bytes(public_pem(EC))
    given = {"issuer": "i", "audience": "a", "algorithms": ["ES256"], "key": tmp_path / "k.pem"}
    TokenVerifier(**given)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        TokenVerifier(**{**given, **change})


def test_a_verification_key_prints_no_secret(tmp_path: Path) -> None:
    """Also in a list or a log."""
    (tmp_path / "k").write_bytes(b"not to be printed, forty bytes of secret!")
    key = token_keys.read(["HS256"], secret_file=tmp_path / "k")(None)
    assert repr(key) == "VerificationKey(HS256)"
