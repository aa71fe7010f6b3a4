"""An OpenID issuer on a free port, with real keys and signatures, that stands in Google's place."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
            made.asked += 1
            body = json.dumps(made.jwks()).encode()
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
