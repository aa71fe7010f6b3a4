"""An OpenID issuer on a free port, with real keys and signatures, that stands in Google's place."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.peers import free_port

__all__ = ["CLIENT_ID", "Issuer", "issuer"]

CLIENT_ID = "4711.apps.example"


class Issuer:
    """Signs ID tokens with its newest key; publishes those that it says it publishes."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.jwks_url = f"{self.url}/jwks"
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.published: list[str] = []
        self.asked = 0
        self.person: dict[str, Any] = {}
        """What is said of the person who comes by the browser, other than `claims` says by itself."""
        self.codes: dict[str, str] = {}
        self.rotate("k1")

    def rotate(self, kid: str, *, publish: bool = True) -> None:
        self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if publish:
            self.published = [*self.published[-1:], kid]

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url, "aud": CLIENT_ID, "azp": CLIENT_ID, "sub": "1001", "email": "ada@hospital.example",
            "email_verified": True, "hd": "hospital.example", "name": "Ada", "iat": now, "exp": now + 3600,
        } | changed  # fmt: skip
        return {k: v for k, v in claims.items() if v is not None}

    def token(self, *, kid: str = "", **changed: Any) -> str:
        kid = kid or self.published[-1]
        return jwt.encode(self.claims(**changed), self.keys[kid], algorithm="RS256", headers={"kid": kid})

    def public_pem(self) -> bytes:
        key = self.keys[self.published[-1]].public_key()
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url, "authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token",
            "jwks_uri": self.jwks_url, "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }  # fmt: skip

    def jwks(self) -> dict[str, Any]:
        rsa_algorithm = jwt.algorithms.RSAAlgorithm
        named = [(kid, rsa_algorithm.to_jwk(self.keys[kid].public_key(), as_dict=True)) for kid in self.published]
        return {"keys": [key | {"kid": kid, "alg": "RS256", "use": "sig"} for kid, key in named]}


def encode(part: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@contextmanager
def issuer() -> Iterator[Issuer]:
    port = free_port()
    made = Issuer(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            if asked.path == "/auth":
                given = {k: v[0] for k, v in parse_qs(asked.query).items()}
                code = secrets.token_hex(8)
                made.codes[code] = given.get("nonce", "")
                self.send_response(302)
                back = urlencode({"code": code, "state": given["state"]})
                self.send_header("Location", f"{given['redirect_uri']}?{back}")
                self.end_headers()
            elif asked.path == "/jwks":
                made.asked += 1
                self.tell(made.jwks())
            else:
                self.tell(made.discovery())

        def do_POST(self) -> None:
            body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            nonce = made.codes.pop(body["code"][0])
            token = made.token(nonce=nonce, **made.person)
            self.tell({"access_token": "x", "token_type": "Bearer", "expires_in": 3600, "id_token": token})

        def tell(self, what: Any) -> None:
            body = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Silent: the tests' output is for failures."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
