"""The same in Starlette, FastAPI, Litestar and Flask: who asks, for what, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vaultlayer.access.context import CURRENT, PINNED

if TYPE_CHECKING:
    from httpx import Response

ADA = "Ada Lovelace"


def problem(answer: Response, status: int, reason: str) -> dict[str, Any]:
    """The answer is this refusal, in the form of RFC 9457, and tells nothing of the inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = answer.json()
    assert (told["status"], told["reason"]) == (status, reason)
    assert told["title"] and told["detail"] and told["type"] == "about:blank"
    assert told["request_id"] == answer.headers["x-request-id"]
    assert len(answer.headers.get_list("x-request-id")) == 1
    for inside in ("person.", "identity", "customer_service", "roles.csv", "sam"):
        assert inside not in answer.text
    return told


def test_a_token_reads_what_its_roles_may(site: Any) -> None:
    """Support sees a telephone number masked, a lead in full; the record says who, why and which
    request."""
    headers = site.signed_in("support") | {
        "X-Request-ID": "req-4711",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    seen = site.get("/people/1", headers)
    assert (seen.status_code, seen.json()) == (200, {"name": ADA, "phone": "***0193"})
    assert seen.headers["x-request-id"] == "req-4711"
    lead = site.get("/people/1/async", site.signed_in("support_lead", sub="lea"))
    assert lead.json() == {"name": ADA, "phone": "+44 20 7946 0193"}
    reads = site.events()
    assert {(r["actor"]["sub"], r["decision"]) for r in reads} == {
        ("sam", "allow"), ("sam", "mask"), ("lea", "allow"),
    }  # fmt: skip
    sams = next(r for r in reads if r["actor"]["sub"] == "sam")
    assert sams["request"] == "req-4711"
    assert sams["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert sams["reason"] == "ticket 1"
    assert sams["purpose"] == "customer_service"
    assert sams["actor"]["token"].startswith("sha256:")
    assert {r["request"] for r in reads} == {"req-4711", lead.headers["x-request-id"]}


def test_without_a_token(site: Any) -> None:
    """A route that opens nothing answers; one with a purpose asks for a token, without an error
    code (RFC 6750, section 3.1)."""
    assert site.get("/public").json() == {"open": True}
    asked = site.get("/people/1")
    problem(asked, 401, "token_missing")
    assert asked.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Bearer", "token_malformed"), ("Bearer ", "token_malformed"),
        ("Bearer a.b.c", "token_malformed"), ("Basic c2FtOnB3", "token_malformed"),
        ("bearer  {}x", "token_signature"), ("Bearer {} {}", "token_malformed"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/people/1", "/public"])
def test_a_bad_token_goes_nowhere(site: Any, path: str, header: str, reason: str) -> None:
    """Not even where none is needed."""
    token = site.token()
    if "x" in header:
        head, body, mac = token.split(".")
        header = header.removesuffix("x")
        token = f"{head}.{body}.{'A' * len(mac)}"
    refused = site.get(path, {"Authorization": header.format(token, token)})
    problem(refused, 401, reason)
    assert refused.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert site.events() == []


def test_an_expired_token_is_refused(site: Any) -> None:
    """By its own code, so that a client knows to renew it."""
    problem(site.get("/people/1", site.signed_in(exp=1)), 401, "token_expired")


def test_a_refusal_is_403_with_its_code(site: Any) -> None:
    """The rules' and the person's refusals alike; both are in the log under the request's id."""
    refused = site.get("/people/1", site.signed_in("marketer"))
    problem(refused, 403, "role")
    assert site.events()[0]["reason_code"] == "role"
    assert site.events()[0]["request"] == refused.headers["x-request-id"]
    problem(site.get("/people/1", site.signed_in("nobody")), 403, "role")


def test_an_odd_request_id_is_not_taken_over(site: Any) -> None:
    """A new one is made up."""
    for odd in ("a b", "x" * 129, "<script>", '";drop', ""):
        answer = site.get("/public", {"X-Request-ID": odd})
        assert answer.headers["x-request-id"] != odd
        assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
    ],
)
def test_an_odd_traceparent_is_left_out(site: Any, parent: str) -> None:
    """W3C Trace Context, section 3.2.2."""
    site.get("/people/1", site.signed_in() | {"traceparent": parent})
    assert "trace" not in site.events()[0]


def test_a_stream_is_read_within_its_access(site: Any) -> None:
    """Its values are opened one by one, while it is sent."""
    streamed = site.get("/stream", site.signed_in())
    assert (streamed.status_code, streamed.text) == (200, "Ada Lovelace\nGrace Hopper\n")
    assert sum(r["count"] for r in site.events()) == 2


def test_a_stream_that_is_refused_at_its_first_value_is_403(site: Any) -> None:
    """Nothing has been sent yet, so it can still be said."""
    problem(site.get("/offers", site.signed_in("marketer")), 403, "consent_missing")
    problem(site.get("/offers", site.signed_in("support")), 403, "role")


def test_a_route_that_forgot_its_purpose_fails(site: Any) -> None:
    """That is the application's error, not the caller's; no value comes out."""
    failed = site.get("/forgotten/1", site.signed_in())
    assert failed.status_code == 500
    assert ADA not in failed.text
    assert site.events() == []


def test_nothing_is_left_behind(site: Any) -> None:
    """No access, in a context or pinned, after requests of every outcome."""
    for path in ("/people/1", "/stream", "/offers", "/public", "/forgotten/1", "/nowhere"):
        for headers in (None, site.signed_in(), {"Authorization": "Bearer x"}):
            site.get(path, headers)
    assert CURRENT.get() is None
    assert PINNED == {}
    assert list(site.vault.accesses) == []


def test_a_background_task_opens_its_own_access(site: Any) -> None:
    """The request's is over when the answer has been sent, whatever the task still holds."""
    if site.is_wsgi:
        return  # WSGI has no background tasks
    assert site.get("/background", site.signed_in()).status_code == 200
    assert site.noted == ["refused", ADA]
    assert [(r["actor"]["sub"], r["reason"]) for r in site.events()] == [("mailer", "reminder")]
