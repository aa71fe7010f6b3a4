"""Which DICOM store in Google Cloud: what its source and its destination have in common."""

from __future__ import annotations

from pydantic import Field

from engine.component import ConfigModel
from engine.connection.credentials import Authentication
from engine.connection.http import HttpClient, HttpSettings
from engine.security.secret_references import SecretReference

__all__ = ["GoogleDicomStore"]

SCOPE = "https://www.googleapis.com/auth/cloud-healthcare"


class GoogleDicomStore(ConfigModel):
    """A DICOM store of the Cloud Healthcare API, by its place in Google Cloud."""

    project: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9.:-]+$", examples=["radiology-prod"])
    """The Google Cloud project."""
    location: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$", examples=["europe-west3"])
    """The region of the dataset."""
    dataset: str = Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+$", examples=["imaging"])
    """The dataset."""
    dicom_store: str = Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.-]+$", examples=["archive"])
    """The DICOM store in it."""
    service_account: SecretReference | None = Field(default=None, examples=["file:/run/secrets/google.json"])
    """Where the JSON key of a service account is that may do so there; none: this machine's own identity (application
    default credentials)."""
    endpoint: str = Field(
        default="https://healthcare.googleapis.com", max_length=500, pattern=r"^https?://[^\s@/?#]+$",
        examples=["https://healthcare.googleapis.com"],
    )  # fmt: skip
    """Google's address: another one for a private endpoint, or for trying things out."""
    http: HttpSettings = HttpSettings()
    """Time limits and proxy."""

    @property
    def base(self) -> str:
        """The store's DICOMweb root."""
        place = f"projects/{self.project}/locations/{self.location}/datasets/{self.dataset}/dicomStores/{self.dicom_store}"
        return f"{self.endpoint}/v1/{place}/dicomWeb"

    def client(self) -> HttpClient:
        """A client of it, signed in as `service_account` says."""
        signed = Authentication(method="google", service_account=self.service_account, scope=SCOPE)
        return HttpClient(self.base, signed, self.http)
