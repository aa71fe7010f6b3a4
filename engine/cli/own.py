"""Asking our own processes whether they answer, over TLS where they speak it."""

from __future__ import annotations

import ssl
import urllib.request
from http.client import HTTPResponse

__all__ = ["ask_own"]


def ask_own(url: str, seconds: float) -> HTTPResponse:
    """GET of an address of our own settings. Its certificate is not looked at: nothing secret is said or believed, and it
    is made out to the name that browsers use, not to this machine's loopback.

    Raises what urllib does: URLError, HTTPError, OSError, ValueError.
    """
    context = None
    if url.startswith("https:"):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    answer: HTTPResponse = urllib.request.urlopen(url, timeout=seconds, context=context)  # noqa: S310  (our own address)
    return answer
