"""Puts Part 10 files into a bucket of Google Cloud Storage, under names made from tags.

Guarantee: confirmed when Cloud Storage has the object and its CRC32C is that of the bytes read here. An object appears
whole or not at all. The same bytes under the same name are a success, and are not sent again when they are many; other
bytes of that name are never lost unless `replace` says so (each upload carries the generation that it expects there).
Large files are uploaded resumably and go on where they stopped. 408, 429, 5xx and broken connections are tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings
from engine.connection.probe import NotApplicable, Step, reach, try_steps
from engine.connection.tls import TlsClient
from engine.destinations._names import parse_template
from engine.destinations._upload import SMALL, ArrivedChanged, Bucket, Found, OtherGeneration, crc32c_of
from engine.destinations.base import Destination, Outgoing
from engine.dicom.content import Content
from engine.dicom.paths import TagPathText
from engine.errors import Hold, Permanent
from engine.model import Outcome, Receipt, Report, Tick
from engine.security.secret_references import SecretReference

__all__ = ["Gcs"]

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
LONGEST_NAME = 1024
"""Bytes of an object's name in UTF-8."""
_TRIES = 5
"""How often the object of the name may change under our hands before it is left for later."""
_CREATE, _GET, _DELETE = "storage.objects.create", "storage.objects.get", "storage.objects.delete"


class Gcs(Destination):
    """A bucket of Google Cloud Storage."""

    label: ClassVar[str] = "Google Cloud Storage"
    kind: Literal["gcs"] = "gcs"

    bucket: str = Field(
        min_length=3, max_length=222, pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$", examples=["radiology-archive"]
    )
    """The bucket."""
    template: str = Field(
        default="{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm",
        min_length=1,
        max_length=500,
        examples=["dicom/{StudyDate}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"],
    )
    """The object's name. A tag path in braces becomes the tag's value as it leaves, made safe: odd characters replaced,
    long values cut, each with a short hash; an empty value becomes `unknown`."""
    collision: Literal["keep_both", "replace", "refuse"] = "keep_both"
    """When another object has the name. With the same bytes it is a success; else: keep both (the newer one gets a
    number, `name.1.dcm`), replace the older one, or refuse the newer one."""
    metadata: dict[str, TagPathText] = Field(
        default={}, max_length=50, examples=[{"modality": "Modality", "study": "StudyInstanceUID"}]
    )
    """Custom metadata of the object: keys, and the tags whose values they get. Who may list the bucket can read them."""
    storage_class: Literal["", "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE"] = ""
    """The object's storage class; empty: the bucket's."""
    service_account: SecretReference | None = Field(default=None, examples=["file:/run/secrets/google.json"])
    """Where the JSON key of a service account is that may create and read objects there; none: this machine's own
    identity (application default credentials)."""
    http: HttpSettings = HttpSettings()
    """Time limits and proxy."""
    endpoint: str = Field(
        default="https://storage.googleapis.com", max_length=500, pattern=r"^https?://[^\s@/?#]+$",
        examples=["https://storage.googleapis.com"],
    )  # fmt: skip
    """Cloud Storage's address: another one for a private endpoint, or an emulator."""
    anonymous: bool = False
    """Without a sign-in: for emulators."""

    @field_validator("template")
    @classmethod
    def _readable(cls, text: str) -> str:
        parse_template(text)
        return text

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        if not outgoing or stop.is_set():
            return
        with self._client() as client:
            bucket = Bucket(client, self.bucket, stop)
            for one in outgoing:
                if stop.is_set():
                    return
                report(self._deliver(bucket, one))

    def check(self) -> list[Tick]:
        way = reach(self.endpoint, self.http, TlsClient())
        return try_steps([*way, Step("authenticated", self._sign_in), Step("write right", self._rights)])

    def _deliver(self, bucket: Bucket, one: Outgoing) -> Receipt:
        began = time.monotonic()
        try:
            name = "/".join(parse_template(self.template).fill(one.tags.text))
            if len(name.encode()) > LONGEST_NAME:
                raise _NotMade(f"The name is longer than {LONGEST_NAME} bytes: shorten the template.")
            name, was_there = self._place(bucket, name, one)
        except _NotMade as error:
            return Receipt(one.index, error.outcome, error.code, str(error))
        except ArrivedChanged:
            return Receipt(one.index, Outcome.RETRY, "crc32c", "Cloud Storage got other bytes than were sent; they were deleted.")
        except Hold as error:
            return Receipt(one.index, Outcome.REFUSED, "", f"The name cannot be made from its tags: {error}")
        except (EOFError, FileNotFoundError) as error:
            return Receipt(one.index, Outcome.REFUSED, "", f"The spool cannot give all its bytes: {error}")
        except Permanent as error:
            if error.code not in ("400", "413"):
                raise
            return Receipt(one.index, Outcome.REFUSED, error.code, str(error))
        words = "was there already, with the same bytes" if was_there else ""
        place, seconds = f"gs://{self.bucket}/{name}", time.monotonic() - began
        return Receipt(one.index, Outcome.CONFIRMED, "200", words, place, seconds, one.file.length)

    def _place(self, bucket: Bucket, name: str, one: Outgoing) -> tuple[str, bool]:
        """Put the object under its name, or the first free one with a number: that name, and whether it was there."""
        content = one.file
        crc, about = crc32c_of(content), self._about(one)
        for candidate in _names(name):
            over, known = 0, content.length > SMALL
            for _ in range(_TRIES):
                found = bucket.find(candidate) if known else None
                if found and _same(found, crc, content):
                    return candidate, True
                if found and self.collision == "keep_both":
                    break
                if found and self.collision == "refuse":
                    raise _NotMade("Another object with other bytes has this name.", "412")
                over = found.generation if found else 0
                try:
                    bucket.put(candidate, content, about, crc, over=over)
                except OtherGeneration:
                    known = True
                    continue
                return candidate, False
            else:
                words = "The object of this name changes again and again: others write it too."
                raise _NotMade(words, "412", Outcome.RETRY)
        raise _NotMade("A thousand objects have this name already.", "412")

    def _about(self, one: Outgoing) -> dict[str, object]:
        custom = {key: value for key, path in self.metadata.items() if (value := one.tags.text(path))}
        about: dict[str, object] = {"metadata": custom} if custom else {}
        return about | ({"storageClass": self.storage_class} if self.storage_class else {})

    def _client(self) -> HttpClient:
        google = Authentication(method="google", service_account=self.service_account, scope=SCOPE)
        return HttpClient(self.endpoint, None if self.anonymous else google, self.http)

    def _sign_in(self) -> str:
        if self.anonymous:
            raise NotApplicable("without a sign-in, as configured")
        with self._client() as client:
            return client.sign_in()

    def _rights(self) -> str:
        wanted = (_CREATE, _GET, _DELETE)
        with self._client() as client:
            try:
                have = Bucket(client, self.bucket, threading.Event()).may(wanted)
            except Permanent as error:
                if self.anonymous and error.code in ("400", "404", "405", "501"):
                    raise NotApplicable(f"this server does not tell rights ({error.code})") from error
                raise
        if _CREATE not in have:
            raise Permanent(f"We may not create objects in {self.bucket}: give the identity {_CREATE}.")
        missing = [p for p in wanted if p not in have]
        if missing and self.collision == "replace":
            raise Permanent(f"Replacing needs {' and '.join(missing)} too.")
        return f"may create objects; has no {' and '.join(missing)}" if missing else "may create, read and delete objects"


class _NotMade(Exception):
    """This object is not made, for good or for now."""

    def __init__(self, words: str, code: str = "", outcome: Outcome = Outcome.REFUSED) -> None:
        super().__init__(words)
        self.code = code
        self.outcome = outcome


def _names(name: str) -> Iterator[str]:
    """The name, and those with a number before the extension."""
    yield name
    folder, slash, last = name.rpartition("/")
    stem, dot, end = last.rpartition(".") if "." in last.strip(".") else (last, "", "")
    for number in range(1, 1001):
        yield f"{folder}{slash}{stem}.{number}{dot}{end}"


def _same(found: Found, crc: str, content: Content) -> bool:
    return (found.crc32c, found.size) == (crc, content.length)
