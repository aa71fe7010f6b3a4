"""A double of Google's Cloud Healthcare API for one DICOM store: Google's paths, tokens, limits and error bodies, in front
of a real Orthanc, which does the DICOMweb behind it.

It is a double: what it says was taken from Google's public documents and from issues in which users show answers; no
request of these tests ever reached Google. Where the documents leave a form open (defaults of `limit`), it is a guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pydicom

from tests.doubles.google_tokens import GoogleTokens, google_error
from tests.doubles.server import Answer, Asked, serve
from tests.peers import orthanc

__all__ = ["STORE", "GoogleHealthcare", "google_healthcare"]

STORE = "projects/p/locations/europe-west3/datasets/d/dicomStores/s"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"
SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"
LIMITS = {"studies": 5000, "series": 5000, "instances": 50_000}
DEFAULTS = {"studies": 100, "series": 100, "instances": 1000}
LARGEST_OFFSET = 1_000_000
EXISTS = (
    "An instance already exists in this DICOM Store with the same Study/Series/SOPInstance UID, but the DICOM files "
    "differ (checksum mismatch)."
)


class GoogleHealthcare:
    """The store. `url` is what stands in the place of https://healthcare.googleapis.com."""

    def __init__(self, orthanc_url: str, tokens: GoogleTokens) -> None:
        self.tokens = tokens
        self.url = ""
        self.asked: list[Asked] = []
        self.next: list[Answer] = []
        """Answers to be given first, before any real one (after the token is checked)."""
        self._orthanc = orthanc_url
        self._client = httpx.Client(timeout=60, trust_env=False)
        self._digests: dict[str, str] = {}

    @property
    def dicom_web(self) -> str:
        return f"{self.url}/v1/{STORE}/dicomWeb"

    def quota_exceeded(self, times: int = 1, retry_after: str = "") -> None:
        """The next requests get 429."""
        words = "Quota exceeded for quota metric 'DICOMweb operations' and limit 'per minute per region'."
        headers = {"Retry-After": retry_after} if retry_after else {}
        self.next += [google_error(429, "RESOURCE_EXHAUSTED", words, headers)] * times

    def answer(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            return self.tokens.answer(asked)
        self.asked.append(asked)
        refused = self.tokens.refuse(asked, SCOPE, CLOUD)
        if refused:
            return refused
        if self.next:
            return self.next.pop(0)
        prefix = f"/v1/{STORE}/dicomWeb/"
        if not asked.path.startswith(prefix):
            return google_error(404, "NOT_FOUND", f"DICOM store {asked.path} not found.")
        path = asked.path.removeprefix(prefix)
        if asked.method == "POST" and re.fullmatch(r"studies(/[0-9.]+)?", path):
            return self._store(asked)
        if asked.method == "DELETE":
            return self._delete(path)
        if asked.method != "GET":
            return google_error(400, "INVALID_ARGUMENT", "Unsupported method.")
        if path.rpartition("/")[2] in LIMITS:
            return self._search(asked, path)
        return self._retrieve(asked, path)

    def _search(self, asked: Asked, path: str) -> Answer:
        level = path.rpartition("/")[2]
        limit, offset = int(asked.param("limit", str(DEFAULTS[level]))), int(asked.param("offset", "0"))
        if limit > LIMITS[level] or limit < 1:
            return google_error(400, "INVALID_ARGUMENT", f"limit must be between 1 and {LIMITS[level]}")
        if offset > LARGEST_OFFSET:
            return google_error(400, "INVALID_ARGUMENT", f"offset must not exceed {LARGEST_OFFSET}")
        query = [(k, v) for k, values in asked.query.items() if k not in ("limit", "offset") for v in values]
        query += [("limit", str(limit)), ("offset", str(offset))]
        said = self._ask("GET", path, params=query, headers={"Accept": "application/dicom+json"})
        if said.status_code == 200 and said.json() == []:
            return Answer(204)
        return self._pass_on(said)

    def _retrieve(self, asked: Asked, path: str) -> Answer:
        accept = asked.headers.get("Accept", "*/*")
        if path.endswith("/metadata"):
            return self._pass_on(self._ask("GET", path, headers={"Accept": "application/dicom+json"}))
        syntax = (re.findall(r"transfer-syntax=\"?([0-9.*]+)", accept) or ["1.2.840.10008.1.2.1"])[0]
        wanted = f'multipart/related; type="application/dicom"; transfer-syntax={syntax}'
        said = self._ask("GET", path, headers={"Accept": wanted})
        if said.status_code == 200 and accept.startswith("application/dicom"):
            [part] = _parts(said.headers["Content-Type"], said.content)
            return Answer(200, part, {"Content-Type": "application/dicom"})
        return self._pass_on(said)

    def _delete(self, path: str) -> Answer:
        uids = path.split("/")[1::2]
        found = self._client.post(f"{self._orthanc}/tools/lookup", content=uids[-1]).json()
        if not found:
            return google_error(404, "NOT_FOUND", "The instance does not exist.")
        self._client.delete(f"{self._orthanc}{found[0]['Path']}").raise_for_status()
        self._digests = {k: v for k, v in self._digests.items() if not k.startswith("/".join(uids))}
        return Answer(200, b"{}", {"Content-Type": "application/json"})

    def _store(self, asked: Asked) -> Answer:
        kind = asked.headers.get("Content-Type", "")
        if kind.startswith("application/dicom"):
            parts = [asked.body]
        elif kind.startswith("multipart/related"):
            parts = _parts(kind, asked.body)
        else:
            return google_error(415, "INVALID_ARGUMENT", f"unsupported content type {kind}")
        if not parts:
            return google_error(400, "INVALID_ARGUMENT", "The request holds no DICOM instance.")
        done: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for part in parts:
            self._store_one(part, done, failed)
        status = 200 if not failed else 202 if done else 409
        answer = {"00081190": _element("UR", f"{self.dicom_web}/studies")}
        answer |= {"00081199": _element("SQ", *done)} if done else {}
        answer |= {"00081198": _element("SQ", *failed)} if failed else {}
        if "json" in asked.headers.get("Accept", ""):
            return Answer(status, json.dumps(answer).encode(), {"Content-Type": "application/dicom+json"})
        return Answer(status, _as_xml(answer).encode(), {"Content-Type": "application/dicom+xml"})

    def _store_one(self, part: bytes, done: list[dict[str, Any]], failed: list[dict[str, Any]]) -> None:
        try:
            data = pydicom.dcmread(io.BytesIO(part))
            uids = [str(data[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
            reference = {"00081150": _element("UI", str(data.SOPClassUID)), "00081155": _element("UI", uids[2])}
        except Exception as error:
            failed.append(_failure({}, f"the DICOM instance is invalid: {type(error).__name__}"))
            return
        name, digest = "/".join(uids), hashlib.sha256(part).hexdigest()
        known = self._digests.get(name)
        if known and known != digest:
            failed.append(_failure(reference, EXISTS))
            return
        if not known:
            said = self._client.post(f"{self._orthanc}/instances", content=part)
            if said.status_code != 200:
                failed.append(_failure(reference, "the DICOM instance is invalid"))
                return
            self._digests[name] = digest
        study, series, instance = uids
        url = f"{self.dicom_web}/studies/{study}/series/{series}/instances/{instance}"
        done.append(reference | {"00081190": _element("UR", url)})

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._client.request(method, f"{self._orthanc}/dicom-web/{path}", **more)

    def _pass_on(self, said: httpx.Response) -> Answer:
        if said.status_code >= 400:
            status = {404: "NOT_FOUND", 400: "INVALID_ARGUMENT"}.get(said.status_code, "INTERNAL")
            return google_error(said.status_code, status, said.json().get("Message", "Internal error encountered."))
        body = said.content.replace(f"{self._orthanc}/dicom-web".encode(), self.dicom_web.encode())
        return Answer(said.status_code, body, {"Content-Type": said.headers.get("Content-Type", "")})


@contextmanager
def google_healthcare(folder: Path, *, lasts: int = 3600, over: str = "") -> Iterator[GoogleHealthcare]:
    """The double, over an Orthanc of its own, or one that runs (`over`: its URL). `lasts`: seconds of a token's life."""
    tokens = GoogleTokens(lasts=lasts)
    with contextlib.ExitStack() as stack:
        url = over or stack.enter_context(orthanc(folder / "behind"))[1]
        double = GoogleHealthcare(url, tokens)
        double.url = stack.enter_context(serve(double.answer))
        tokens.url = f"{double.url}/token"
        yield double


def _element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def _failure(reference: dict[str, Any], detail: str) -> dict[str, Any]:
    """Processing failure (272) for all that goes wrong, and the reason in an element of Google's own."""
    return reference | {"00081197": _element("US", 272), "00090097": {"vr": "LT", "Value": [detail]}}


def _parts(content_type: str, body: bytes) -> list[bytes]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()  # type: ignore[index]
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]
    return [part.split(b"\r\n\r\n", 1)[1] for part in parts]


def _as_xml(data: dict[str, Any]) -> str:
    space = 'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM"'
    return f'<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel {space}>{_xml(data)}</NativeDicomModel>'


def _xml(data: dict[str, Any]) -> str:
    out = ""
    for tag, element in data.items():
        creator = ' privateCreator="GOOGLE" keyword="FailureDetail"' if tag == "00090097" else ""
        out += f'<DicomAttribute tag="{tag}" vr="{element["vr"]}"{creator}>'
        for number, value in enumerate(element["Value"], 1):
            if isinstance(value, dict):
                out += f'<Item number="{number}">{_xml(value)}</Item>'
            else:
                out += f'<Value number="{number}">{value}</Value>'
        out += "</DicomAttribute>"
    return out
