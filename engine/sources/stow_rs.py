"""Takes images over the web: STOW-RS (PS3.18 10.5) at the API's `POST /api/v1/dicomweb/studies`.

Guarantee: an instance is named as stored only once it is on disk (fsynced). Part 10 files are kept byte for byte. It is no
process of its own but a door of the API: who comes signs in with a key or a token that has the permission `store`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from engine.connection.multipart import MultipartError, boundary_of, media_type, read_parts
from engine.dicom.store_response import CANNOT_UNDERSTAND, StoreResponse
from engine.errors import Refuse
from engine.model import Association, Intake, Tick
from engine.sources._addresses import IpRange, within
from engine.sources._stow import BrokenOff, Reception
from engine.sources._stow_metadata import Described
from engine.sources.base import Source

__all__ = ["BrokenOff", "StowRs", "not_taken"]

DICOM, JSON = "application/dicom", "application/dicom+json"


class StowRs(Source):
    """A STOW-RS server: viewers, gateways, scripts and other archives send images to it over HTTP."""

    label: ClassVar[str] = "STOW-RS (DICOMweb)"
    kind: Literal["stow_rs"] = "stow_rs"

    users: list[str] = Field(default=[], max_length=1000, examples=[["gateway", "ada/nightly"]])
    """Only these are let in: a user's name (with any of their keys), or `user/key name` for one key; empty: all who may store."""
    ip_ranges: list[IpRange] = Field(default=[], examples=[["10.1.0.0/16", "fd00::/8"]])
    """Only senders at these addresses are let in (IPv4 or IPv6, single or CIDR); empty: all."""
    max_instance_mb: int = Field(default=16_384, ge=1, le=1_048_576)
    """The largest instance that is taken, in MB."""
    max_request_mb: int | None = Field(default=None, ge=1)
    """The longest request that is taken, in MB; empty: any."""
    max_requests: int = Field(default=16, ge=1, le=200)
    """Requests at the same time; one more is answered 503, to be tried again."""
    network_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that a sender may be silent within a request before it is broken off (408)."""

    def lets_in(self, user: str, address: str) -> bool:
        """Whether this source is for a sender: `user` as in `Association.user`, `address` as a plain one."""
        named = not self.users or user in self.users or user.partition("/")[0] in self.users
        return named and (not self.ip_ranges or within(address, self.ip_ranges))

    def receive(
        self, chunks: Iterable[bytes], content_type: str, study: str, association: Association, intake: Intake,
        scratch: Path,
    ) -> StoreResponse:
        """Store what a request brings, as it comes; when this returns, what the answer names as stored is on disk.

        chunks: the body; content_type: the request's, which `not_taken` has nothing against; study: the only study taken
        ("": any); scratch: a folder on disk for bulk data that waits for its instance.
        Raises BrokenOff (also out of `chunks`) or MultipartError when nothing was stored of a request that broke off.
        """
        reception = Reception(intake, association, study=study, largest=self.max_instance_mb << 20)
        try:
            if media_type(content_type)[0] == DICOM:
                reception.part10(chunks)
            else:
                _receive_parts(reception, chunks, content_type, scratch)
        except (BrokenOff, MultipartError) as e:
            reception.commit()
            if not reception.response.stored:
                raise
            reception.failed(e)
        finally:
            reception.seal()
        return reception.response

    def check(self) -> list[Tick]:
        return [Tick("address", None, "POST /api/v1/dicomweb/studies of this API; nothing else has to be reached")]


def _receive_parts(reception: Reception, chunks: Iterable[bytes], content_type: str, scratch: Path) -> None:
    described = Described(reception, scratch) if media_type(content_type)[1].get("type", "").lower() == JSON else None
    count = 0
    try:
        for count, part in enumerate(read_parts(chunks, content_type), 1):  # noqa: B007  (counted, looked at below)
            if part.content_type in (DICOM, "") and described is None:
                reception.part10(part)
            elif described is None:
                words = f"a part of type {part.content_type}; only {DICOM} is taken in this request"
                reception.failed(Refuse(words, CANNOT_UNDERSTAND))
            elif part.content_type == JSON:
                described.metadata(part)
            else:
                described.bulk(part)
        if described is not None:
            described.finish()
    finally:
        if described is not None:
            described.close()
    if not count:
        raise BrokenOff("The request holds no part, so nothing was stored.")


def not_taken(content_type: str, content_encoding: str) -> str:
    """Why a request of this type is not taken, in words; "" when it is. Raises MultipartError for one without a boundary."""
    kind, parameters = media_type(content_type)
    if content_encoding.strip().lower() not in ("", "identity"):
        return f"Content-Encoding {content_encoding} is not taken: send the body as it is."
    if kind == DICOM:
        return ""
    inner = parameters.get("type", "").lower()
    if kind != "multipart/related" or inner not in ("", DICOM, JSON):
        return (
            f'Send multipart/related; type="{DICOM}" (or type="{JSON}" with bulk data), or one instance as {DICOM}; '
            f"this is {f'{kind}, type {inner}' if inner else kind or 'of no type'}."
        )
    boundary_of(content_type)
    return ""
