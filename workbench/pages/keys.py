"""API keys: for programs and notebooks. Each is shown once, and never worth more than its owner."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import streamlit as st

from workbench import parts, signin
from workbench.client import ApiError

ENDS = {"in 30 days": 30, "in 90 days": 90, "in a year": 365, "never": 0}


def state_of(key: Mapping[str, Any]) -> str:
    if key["revoked_at"]:
        return parts.chip("revoked", "idle")
    ends = parts.moment(key["expires_at"])
    if ends is not None and ends <= datetime.now(UTC):
        return parts.chip("over", "idle")
    return parts.chip("works", "good")


def line(key: Mapping[str, Any]) -> str:
    may = ", ".join(p.replace("_", " ") for p in key["permissions"]) or "all that its owner may"
    where = ", ".join(key["networks"]) or "anywhere"
    ends = f"ends {parts.ago(key['expires_at'])}" if key["expires_at"] else "has no end"
    used = f"used {parts.ago(key['used_at'])}" if key["used_at"] else "never used"
    under = f"{key['username']} · {may} · from {where}"
    left = (
        f'<b>{escape(key["name"])}</b> <span class="ax-quiet ax-mono">axm_{escape(key["prefix"])}_…</span>'
        f'<br><span class="ax-quiet ax-small">{escape(under)}</span>'
    )
    return parts.row(left, f'<span class="ax-quiet ax-small">{escape(f"{used}, {ends}")}</span>', state_of(key))


def make(mine: list[str]) -> None:
    with st.popover("Make a key", icon=":material/key:"), st.form("make-key", border=False):
        name = st.text_input("What is it for?", placeholder="nightly report")
        may = st.multiselect(
            "It may", mine, placeholder="all that I may", format_func=lambda p: p.replace("_", " "),
            help="Nothing chosen: all that you may. It never may more than you.",
        )  # fmt: skip
        example, words = "10.1.0.0/16, 192.168.4.7", "Networks or addresses; empty: anywhere."
        networks = st.text_input("Only from", placeholder=example, help=words)
        ends = st.selectbox("It ends", list(ENDS))
        if not st.form_submit_button("Make it", type="primary"):
            return
        body: dict[str, Any] = {
            "name": name, "permissions": may, "networks": [n.strip() for n in networks.split(",") if n.strip()],
        }  # fmt: skip
        if days := ENDS[ends]:
            body["expires_at"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        try:
            st.session_state["key-once"] = signin.client().post("/keys", body)["key"]
        except ApiError as e:
            parts.say(e)
            return
    st.rerun()


def show_once() -> None:
    if "key-once" not in st.session_state:
        return
    with st.container(border=True):
        st.markdown("**This is the key.** It is shown this once: put it where it is needed now.")
        st.code(st.session_state["key-once"], language=None)
        if st.button("I have put it away", type="primary"):
            del st.session_state["key-once"]
            st.rerun()


def page() -> None:
    parts.title("API keys", "For programs and notebooks. A key may what its owner may, or less.")
    client = signin.client()
    keys = client.get("/keys")
    show_once()
    make(sorted(client.user.get("permissions", [])))
    if not keys:
        parts.empty("No key yet", "A program that uses the API, or a notebook elsewhere, needs one.")
    for key in sorted(keys, key=lambda k: (bool(k["revoked_at"]), k["created_at"])):
        left, button = st.columns([7, 1], vertical_alignment="center")
        left.html(line(key))
        if key["revoked_at"]:
            continue
        with button:
            question = f"Revoke **{parts.md(key['name'])}**? What uses it stops working at once."
            if parts.confirm("Revoke", question, f"revoke-{key['prefix']}", "Revoke it"):
                client.request("DELETE", f"/keys/{key['prefix']}")
                st.toast("The key is worth nothing any more.", icon=":material/check:")
                st.rerun()


page()
