"""A server that follows the REST references of Google Cloud KMS and Azure Managed HSM.

``python cloud_server.py PORT``: plain HTTP at 127.0.0.1, keys in memory. It knows the calls that
the adapters make, checks what is sent as the services do, and answers in their forms. Written
from the references, not from the adapters; no part of it has been compared with a real service.
Some keys are known by their names: ``garbled-…``, ``unchecked``, ``purge-protected``.
"""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import google_crc32c
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Refused(Exception):
    def __init__(self, code, status, message):
        super().__init__(message)
        self.code, self.status = code, status


class Google:
    """projects/*/locations/*/keyRings/*/cryptoKeys/*: symmetric keys with versions."""

    def __init__(self):
        self.keys = {}

    def answer(self, method, path, query, body):
        name, _, verb = path.removeprefix("/v1/").partition(":")
        if method == "POST" and name.endswith("/cryptoKeys") and not verb:
            return self.create(name, query["cryptoKeyId"], body)
        key_name, _, rest = name.partition("/cryptoKeyVersions")
        key = self.keys.get(key_name)
        if key is None:
            raise Refused(404, None, f"CryptoKey {key_name} not found.")
        if rest:
            return self.version(key, rest.strip("/"), verb)
        if "/cryptoKeyVersions" in name:
            if method == "POST":
                return self.show(key, self.add(key))
            return {"cryptoKeyVersions": [self.show(key, number) for number in key["versions"]]}
        if verb == "updatePrimaryVersion":
            key["primary"] = int(body["cryptoKeyVersionId"])
        elif verb == "encrypt":
            return self.encrypt(key, body)
        elif verb == "decrypt":
            return self.decrypt(key, body)
        return {"name": key_name, "purpose": "ENCRYPT_DECRYPT",
                "primary": self.show(key, key["primary"])}  # fmt: skip

    def create(self, ring, key_id, body):
        name = f"{ring}/{key_id}"
        if name in self.keys:
            raise Refused(409, None, f"CryptoKey {name} already exists.")
        if body.get("purpose") not in ("ENCRYPT_DECRYPT", 1):  # the client numbers its enums
            raise Refused(400, None, "purpose")
        key = self.keys[name] = {"name": name, "versions": {}, "primary": 1}
        self.add(key)
        return {"name": name, "purpose": "ENCRYPT_DECRYPT", "primary": self.show(key, 1)}

    def add(self, key):
        number = len(key["versions"]) + 1
        key["versions"][number] = {"key": os.urandom(32), "state": "ENABLED", "gone": None}
        return number

    def show(self, key, number):
        version = key["versions"][number]
        shown = {
            "name": f"{key['name']}/cryptoKeyVersions/{number}",
            "state": version["state"],
            "protectionLevel": "SOFTWARE",
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
        }
        return shown | ({"destroyTime": version["gone"]} if version["gone"] else {})

    def version(self, key, number, verb):
        if not number.isdigit() or int(number) not in key["versions"]:
            raise Refused(404, None, "CryptoKeyVersion not found.")
        version = key["versions"][int(number)]
        if verb == "destroy":
            if version["state"] != "ENABLED":
                raise Refused(400, "FAILED_PRECONDITION", "state")
            gone = datetime.now(UTC) + timedelta(days=30)
            version["state"] = "DESTROY_SCHEDULED"
            version["gone"] = gone.isoformat().replace("+00:00", "Z")
        return self.show(key, int(number))

    def encrypt(self, key, body):
        plaintext, aad = (
            self.data(body, "plaintext"),
            self.data(body, "additionalAuthenticatedData"),
        )
        number = key["primary"]
        nonce = os.urandom(12)
        sealed = AESGCM(key["versions"][number]["key"]).encrypt(nonce, plaintext, aad)
        ciphertext = bytes((10, number)) + nonce + sealed
        changed = _changed(ciphertext) if "garbled-going" in key["name"] else ciphertext
        checked = "plaintextCrc32c" in body and "unchecked" not in key["name"]
        return {
            "name": f"{key['name']}/cryptoKeyVersions/{number}",
            "ciphertext": base64.b64encode(changed).decode(),
            "ciphertextCrc32c": str(google_crc32c.value(ciphertext)),
            "verifiedPlaintextCrc32c": checked,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
            "protectionLevel": "SOFTWARE",
        }

    def decrypt(self, key, body):
        ciphertext = self.data(body, "ciphertext")
        aad = self.data(body, "additionalAuthenticatedData")
        version = key["versions"].get(ciphertext[1]) if len(ciphertext) > 29 else None
        if version is None or ciphertext[0] != 10:
            raise Refused(400, None, "Decryption failed: the ciphertext is invalid.")
        if version["state"] != "ENABLED":
            raise Refused(400, "FAILED_PRECONDITION", "The version is not enabled.")
        try:
            plaintext = AESGCM(version["key"]).decrypt(ciphertext[2:14], ciphertext[14:], aad)
        except InvalidTag:
            raise Refused(400, None, "Decryption failed: verify that 'name' refers to the correct"
                          " CryptoKey.") from None  # fmt: skip
        changed = _changed(plaintext) if "garbled-coming" in key["name"] else plaintext
        return {
            "plaintext": base64.b64encode(changed).decode(),
            "plaintextCrc32c": str(google_crc32c.value(plaintext)),
            "usedPrimary": ciphertext[1] == key["primary"],
            "protectionLevel": "SOFTWARE",
        }

    def data(self, body, field):
        data = base64.b64decode(body.get(field, ""), validate=True)
        checksum = body.get(f"{field}Crc32c")
        if checksum is not None and int(checksum) != google_crc32c.value(data):
            raise Refused(400, None, f"The checksum in field {field}_crc32c did not match.")
        return data

    def error(self, refused):
        known = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 409: "ALREADY_EXISTS"}
        status = refused.status or known[refused.code]
        return {"error": {"code": refused.code, "message": str(refused), "status": status}}


class Azure:
    """/keys and /deletedkeys of a Managed HSM: oct-HSM keys, A256GCM."""

    def __init__(self):
        self.keys = {}
        self.deleted = {}

    def answer(self, method, path, host, body):
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["keys"]:
                return {"value": [self.item(key, host) for key in self.keys.values()]}
            case "POST", ["keys", name, "create"]:
                return self.create(name, host, body)
            case "POST", ["keys", name, *_, ("encrypt" | "decrypt") as verb]:
                return getattr(self, verb)(self.key(self.keys, name), host, body)
            case "GET", ["keys", name, *_]:
                return self.show(self.key(self.keys, name), host)
            case "DELETE", ["keys", name]:
                return self.delete(name, host)
            case "GET", ["deletedkeys", name]:
                return self.deleted_key(self.key(self.deleted, name), host)
            case "DELETE", ["deletedkeys", name]:
                self.key(self.deleted, name)
                if "purge-protected" in name:
                    raise Refused(403, "Forbidden", "Operation purge is not allowed.")
                del self.deleted[name]
                return None
        raise Refused(404, "NotFound", path)

    def key(self, among, name):
        if name not in among:
            raise Refused(404, "KeyNotFound", f"A key with name {name} was not found.")
        return among[name]

    def create(self, name, host, body):
        if not re.fullmatch("[0-9A-Za-z-]{1,127}", name) or body["kty"] != "oct-HSM":
            raise Refused(400, "BadParameter", "kty or name")
        if body["key_size"] != 256 or name in self.deleted:
            raise Refused(409 if name in self.deleted else 400, "Conflict", "key_size or deleted")
        self.keys[name] = {"name": name, "version": secrets.token_hex(16), "secret": os.urandom(32),
                           "ops": body.get("key_ops", []), "created": int(time.time())}  # fmt: skip
        return self.show(self.keys[name], host)

    def attributes(self, key):
        return {"enabled": True, "created": key["created"], "updated": key["created"],
                "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}  # fmt: skip

    def kid(self, key, host):
        return f"https://{host}/keys/{key['name']}/{key['version']}"

    def item(self, key, host):
        return {"kid": f"https://{host}/keys/{key['name']}", "attributes": self.attributes(key)}

    def show(self, key, host):
        shown = {"kid": self.kid(key, host), "kty": "oct-HSM", "key_ops": key["ops"]}
        return {"key": shown, "attributes": self.attributes(key)}

    def encrypt(self, key, host, body):
        self.check(key, "encrypt", body)
        nonce = os.urandom(12)
        sealed = AESGCM(key["secret"]).encrypt(
            nonce, _url(body["value"]), _url(body.get("aad", ""))
        )
        return {"kid": self.kid(key, host), "value": _unurl(sealed[:-16]), "iv": _unurl(nonce),
                "tag": _unurl(sealed[-16:]), "aad": body.get("aad")}  # fmt: skip

    def decrypt(self, key, host, body):
        self.check(key, "decrypt", body)
        try:
            sealed = _url(body["value"]) + _url(body["tag"])
            plain = AESGCM(key["secret"]).decrypt(
                _url(body["iv"]), sealed, _url(body.get("aad", ""))
            )
        except (InvalidTag, ValueError):
            raise Refused(400, "BadParameter", "The parameter is incorrect.") from None
        return {"kid": self.kid(key, host), "value": _unurl(plain)}

    def check(self, key, verb, body):
        if verb not in key["ops"] or body["alg"] != "A256GCM":
            raise Refused(403, "Forbidden", "Operation is not permitted on this key.")

    def delete(self, name, host):
        key = self.deleted[name] = self.key(self.keys, name)
        del self.keys[name]
        return self.deleted_key(key, host)

    def deleted_key(self, key, host):
        now = int(time.time())
        return self.show(key, host) | {
            "recoveryId": f"https://{host}/deletedkeys/{key['name']}",
            "deletedDate": now,
            "scheduledPurgeDate": now + 90 * 86400,
        }

    def error(self, refused):
        return {"error": {"code": refused.status, "message": str(refused)}}


def _changed(data):
    """As it is after a bit was lost on the way."""
    return data[:-1] + bytes([data[-1] ^ 1])


def _url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _unurl(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    google, azure = Google(), Azure()

    def do(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        path, _, text = self.path.partition("?")
        query = dict(pair.partition("=")[::2] for pair in text.split("&"))
        service = self.google if path.startswith("/v1/") else self.azure
        try:
            if service is self.google:
                self.reply(200, service.answer(self.command, path, query, body))
            elif "Authorization" not in self.headers:
                self.challenge()
            else:
                host = self.headers["Host"]
                answer = service.answer(self.command, path, host, body)
                self.reply(200 if answer is not None else 204, answer)
        except Refused as refused:
            self.reply(refused.code, service.error(refused))

    do_GET = do_POST = do_DELETE = do_PATCH = do  # noqa: N815 - the library names them

    def challenge(self):
        where = 'authorization="https://login.microsoftonline.com/t"'
        what = 'resource="https://managedhsm.azure.net"'
        self.reply(401, {}, {"WWW-Authenticate": f"Bearer {where}, {what}"})

    def reply(self, code, answer, headers=None):
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
