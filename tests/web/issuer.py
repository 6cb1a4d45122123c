"""An OpenID provider of Authlib's for the tests, a process of its own: python issuer.py PORT.

It issues access tokens after RFC 9068 to clients (client_credentials), publishes its keys, and
replaces them on ``POST /rotate``. A client's secret is its own name.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")  # a process of its own: not ours to judge

from authlib.integrations.flask_oauth2 import AuthorizationServer  # noqa: E402
from authlib.oauth2.rfc6749 import ClientCredentialsGrant, ClientMixin  # noqa: E402
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator  # noqa: E402
from flask import Flask, jsonify  # noqa: E402
from joserfc.jwk import ECKey, KeySet  # noqa: E402

port = int(sys.argv[1])
address = f"http://127.0.0.1:{port}"
keys: list[Any] = []


def rotate() -> None:
    keys[:] = [ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True)]


class Client(ClientMixin):
    """Anybody who gives a name, with the name for a secret and for a role."""

    def __init__(self, name: str) -> None:
        self.name = name

    def get_client_id(self) -> str:
        return self.name

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_client_secret(self, secret: str) -> bool:
        return secret == self.name

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "client_credentials"


class Tokens(JWTBearerTokenGenerator):
    def get_jwks(self) -> Any:
        return KeySet(keys)

    def get_audiences(self, client: Client, user: object, scope: str) -> str:
        return "app"

    def get_extra_claims(self, client: Client, *_: object) -> dict[str, Any]:
        return {"realm_access": {"roles": [client.name]}, "org": "acme"}


app = Flask(__name__)
server = AuthorizationServer(app, query_client=Client, save_token=lambda *_: None)
server.register_grant(ClientCredentialsGrant)
server.register_token_generator("default", Tokens(issuer=address, alg="ES256"))
rotate()


@app.get("/.well-known/openid-configuration")
def discovery() -> Any:
    return jsonify(issuer=address, jwks_uri=f"{address}/keys", token_endpoint=f"{address}/token")


@app.get("/keys")
def published() -> Any:
    return jsonify(KeySet(keys).as_dict(private=False))


@app.post("/token")
def token() -> Any:
    return server.create_token_response()


@app.post("/rotate")
def new_keys() -> Any:
    rotate()
    return jsonify(rotated=True)


if __name__ == "__main__":
    app.run("127.0.0.1", port, threaded=True)
