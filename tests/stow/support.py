"""Store requests as tests make them, and an API with a spool behind it."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson

from engine.connection.multipart import MultipartWriter
from engine.dicom.content import Content
from engine.settings import Settings
from engine.spool.batch import read_batch_file
from engine.spool.spool import Spool
from tests.api.site import Site
from tests.peers import wait_until

__all__ = ["Door", "comment", "failed", "multipart", "other", "stored", "uids"]


def multipart(bodies: Iterable[bytes], part_type: str = "application/dicom") -> tuple[bytes, str]:
    """A request's body and its Content-Type."""
    writer = MultipartWriter([({}, Content((body,))) for body in bodies], part_type)
    return b"".join(writer), writer.content_type


def stored(answer: dict[str, Any]) -> list[str]:
    """The SOP Instance UIDs that an answer names as stored."""
    return uids(answer, "00081199")


def failed(answer: dict[str, Any]) -> dict[str, int]:
    """SOP Instance UID -> reason."""
    items = answer.get("00081198", {}).get("Value", [])
    return {item["00081155"]["Value"][0]: item["00081197"]["Value"][0] for item in items}


def other(answer: dict[str, Any]) -> list[int]:
    """The reasons of what has no UID."""
    return [item["00081197"]["Value"][0] for item in answer.get("0008119A", {}).get("Value", [])]


def comment(answer: dict[str, Any]) -> str:
    """The first failure in words."""
    items = answer.get("00081198", answer.get("0008119A", {}))["Value"]
    return str(items[0]["00000902"]["Value"][0])


def uids(answer: dict[str, Any], tag: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.get(tag, {}).get("Value", [])]


class Door:
    """The API of a node whose engine says that it runs, but routes nothing: what comes in stays where it can be seen."""

    def __init__(self, site: Site, settings: Settings) -> None:
        self.site = site
        self.settings = settings
        self.url = f"{site.url}/api/v1/dicomweb/studies"
        self.spool = Spool(settings.spool, node=settings.instance_id)
        self.spool.make()
        self.key = self.make_key("gateway", "nightly")
        self._usual = settings.model_dump()
        self.clear()

    def clear(self) -> None:
        """As at the start: nothing received, one source, the settings as they were."""
        wait_until(lambda: not list((self.settings.spool / "receiving").iterdir()), 60, "nothing being received")
        for folder in self.spool.batches("ready"):
            shutil.rmtree(folder)
        self.set(**self._usual)
        self.beat()
        self.configure({"name": "web", "kind": "stow_rs"})

    def set(self, **values: Any) -> None:
        """Change settings, which the process reads at its start alone, without another start."""
        for name, value in values.items():
            object.__setattr__(self.settings, name, value)

    def beat(self, ago: float = 0.0) -> None:
        self.settings.run_dir.mkdir(parents=True, exist_ok=True)
        data = {"beat": time.time() + 3600 - ago, "workers": []}
        (self.settings.run_dir / "engine.json").write_bytes(orjson.dumps(data))

    def make_key(self, username: str, name: str, role: str = "Sender", **more: Any) -> str:
        self.site.person(username, role)
        return self.site.store.keys.create(username, name, who="test", **more)[0]

    def configure(self, *sources: dict[str, Any]) -> None:
        self.site.store.apply({"sources": list(sources)}, author="test")

    def post(
        self, content: bytes | Iterator[bytes], content_type: str, *, study: str = "", key: str = "", accept: str = "",
        **headers: str,
    ) -> httpx.Response:
        return httpx.post(
            f"{self.url}/{study}" if study else self.url, content=content, timeout=60, trust_env=False,
            headers={"Authorization": f"Bearer {key or self.key}", "Content-Type": content_type}
            | ({"Accept": accept} if accept else {}) | {k.replace("_", "-"): v for k, v in headers.items()},
        )  # fmt: skip

    def send(self, *bodies: bytes, **more: Any) -> httpx.Response:
        return self.post(*multipart(bodies), **more)

    @contextmanager
    def raw(self, *headers: str) -> Iterator[socket.socket]:
        """A connection on which a request has begun."""
        with socket.create_connection(("127.0.0.1", self.settings.api_port), 60) as s:
            lines = ["POST /api/v1/dicomweb/studies HTTP/1.1", "Host: x", f"Authorization: Bearer {self.key}", *headers]
            s.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            yield s

    def received(self) -> list[bytes]:
        """The bytes of what was handed to routing, in order."""
        return [f.read_bytes() for folder in self.spool.batches("ready") for f in sorted(folder.glob("*.dcm"))]

    def associations(self) -> list[Any]:
        return [read_batch_file(folder).association for folder in self.spool.batches("ready")]

    def receiving(self) -> list[Path]:
        return list((self.settings.spool / "receiving").rglob("*.part"))
