"""What the web adapters share: who sends a request, the accesses opened for it, and how a refusal
is answered (RFC 6750, RFC 9457).

No framework is imported here; asgi.py, fastapi.py, litestar.py, wsgi.py and flask.py are thin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vaultlayer import AccessDenied, AuditUnavailable, ConfigurationError, KeyUnavailable, NoAccess

if TYPE_CHECKING:
    from vaultlayer import Principal, Vault
    from vaultlayer.acting import Access

Refusal = AccessDenied | AuditUnavailable | KeyUnavailable
REFUSALS = (AccessDenied, AuditUnavailable, KeyUnavailable)
RETRY_AFTER = 30  # seconds

Headers = Sequence[tuple[str, str]]
KEY = "vaultlayer.visit"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:+/=-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-.*")


class Visit:
    """One request, until its answer has been sent: then its accesses end, whoever holds them.

    A background task that runs later opens an access of its own.
    """

    def __init__(self, vault: Vault, request_id: str = "", trace_id: str = "") -> None:
        self.vault, self.request_id, self.trace_id = vault, request_id, trace_id
        self.principal: Principal | None = None
        self.accesses: list[Access] = []
        self._over = False

    def open(self, purpose: str, *, reason: str = "", session: Any = None) -> Access:
        """An access of this request's principal, to be entered; it ends with the answer, or before.

        :raises AccessDenied: the request brought no token (``token_missing``).
        """
        if self._over:
            raise NoAccess(
                "the request has been answered, and its accesses with it",
                hint="what runs later opens an access of its own: vault.access(principal, ...)",
            )
        if self.principal is None:
            raise AccessDenied(
                "the request has no bearer token",
                hint="send the header Authorization: Bearer …",
                reason="token_missing",
            )
        access = self.vault.access(
            self.principal,
            purpose=purpose,
            reason=reason,
            session=session,
            request_id=self.request_id,
            trace_id=self.trace_id,
        )
        self.accesses.append(access)
        return access

    def end(self) -> None:
        """End every access; a second call does nothing."""
        self._over = True
        while self.accesses:
            self.accesses.pop().end()


def visit_of(request: Any) -> Visit:
    """The visit of a request: the framework's object, or its ASGI scope or WSGI environ."""
    holder = getattr(request, "scope", None) or getattr(request, "environ", request)
    visit = holder.get(KEY)
    if not isinstance(visit, Visit):
        raise ConfigurationError(
            "the request did not pass vaultlayer's middleware",
            hint="add it to the application: see docs/web.md",
        )
    return visit


def begin(vault: Vault, headers: Headers) -> Visit:
    """The visit of a request with these headers; their names are in lower case."""
    request_id, parent = _only(headers, "x-request-id"), _only(headers, "traceparent")
    trace = _TRACEPARENT.fullmatch(parent)
    known = request_id if _REQUEST_ID.fullmatch(request_id) else uuid4().hex
    return Visit(vault, known, trace[1] if trace else "")


def bearer(headers: Headers) -> str | None:
    """The bearer token; None without an ``Authorization`` header, and "" where that holds none:
    another scheme, or two of them."""
    given = [value for name, value in headers if name == "authorization"]
    if not given:
        return None
    scheme, _, token = given[0].partition(" ")
    return token.strip(" ") if len(given) == 1 and scheme.lower() == "bearer" else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. ``headers`` are names in lower case and values."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def answer(refusal: Refusal, request_id: str = "") -> Answer:
    """What a refused request is told: the reason's code, and nothing of models, rules or values.

    The full reason stands in the audit log under the same request id.
    """
    reason = getattr(refusal, "reason", refusal.code)
    status = _status(refusal, reason)
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _DETAIL[status],
        "reason": reason,
        "request_id": request_id,
    }
    body = json.dumps({name: value for name, value in problem.items() if value}).encode()
    headers = [
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        *_more_headers(status, reason),
    ]
    return Answer(int(status), headers, body)


def refusal_in(error: BaseException | None) -> Refusal | None:
    """The refusal that an unhandled error is, was raised from, or holds alone as a group."""
    while error is not None and not isinstance(error, REFUSALS):
        alone = isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1
        error = error.exceptions[0] if alone else error.__cause__  # type: ignore[attr-defined]
    return error


_DETAIL = {
    HTTPStatus.UNAUTHORIZED: "The request needs a valid access token.",
    HTTPStatus.FORBIDDEN: "The rules for personal data don't allow this request.",
    HTTPStatus.SERVICE_UNAVAILABLE: "A part that this request needs can't be reached now.",
}


def _only(headers: Headers, wanted: str) -> str:
    return next((value for name, value in headers if name == wanted), "")


def _status(refusal: Refusal, reason: str) -> HTTPStatus:
    if not isinstance(refusal, AccessDenied):
        return HTTPStatus.SERVICE_UNAVAILABLE
    by_token = reason.startswith(("token_", "step_up"))
    return HTTPStatus.UNAUTHORIZED if by_token else HTTPStatus.FORBIDDEN


def _more_headers(status: HTTPStatus, reason: str) -> list[tuple[str, str]]:
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        return [("retry-after", str(RETRY_AFTER))]
    if status is not HTTPStatus.UNAUTHORIZED:
        return []
    challenge = "Bearer"  # RFC 6750, section 3.1: a request without a token is told no error
    if reason.startswith("step_up"):
        challenge = 'Bearer error="insufficient_user_authentication"'  # RFC 9470, section 3
    elif reason != "token_missing":
        challenge = 'Bearer error="invalid_token"'
    return [("www-authenticate", challenge)]
