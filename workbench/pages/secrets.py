"""Stored secrets: which were typed in and are kept, what needs them, and those that nothing needs any more."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import streamlit as st

from workbench import parts, signin


def line(secret: Mapping[str, Any]) -> str:
    """What may be known of it: not what it is."""
    head = ", ".join(secret["places"]) or "nothing uses it"
    under = f"{secret['reference']} · typed in by {secret['created_by']}, {parts.ago(secret['created_at'])}"
    if not secret["used"] and secret["last_revision"]:
        under += f" · last named in revision {secret['last_revision']}"
    chip = parts.chip("in use", "good") if secret["used"] else parts.chip("not used", "idle")
    return parts.row(f'<b>{escape(head)}</b><br><span class="ax-quiet ax-small">{escape(under)}</span>', "", chip)


def question(secret: Mapping[str, Any]) -> str:
    if secret["last_revision"]:
        return f"Forget it for good? Who goes back to revision **{secret['last_revision']}** has to type it in again."
    return "Forget it for good? No revision ever named it."


def page() -> None:
    parts.title(
        "Stored secrets",
        "Typed into a form, kept encrypted, never shown again. One that nothing names any more stays until somebody removes it.",
    )
    client = signin.client()
    found = client.get("/secrets")
    if not found:
        parts.empty("No secret is kept", "References such as env:NAME and file:PATH name secrets that are kept elsewhere.")
    for secret in sorted(found, key=lambda s: (s["used"], s["created_at"])):
        words, button = st.columns([7, 1], vertical_alignment="center")
        words.html(line(secret))
        key = secret["reference"].removeprefix("stored:")
        with button:
            if not secret["used"] and parts.confirm("Remove", question(secret), f"forget-{key}", "Forget it"):
                client.request("DELETE", f"/secrets/{key}")
                st.toast("The secret is forgotten.", icon=":material/check:")
                st.rerun()


page()
