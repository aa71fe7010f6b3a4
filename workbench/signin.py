"""Who is looking: sign-in, the first password change, sign-out. Why it is built so: docs/decisions/0003-sign-in.md.

A page asks `client()` and gets the signed-in person's Client. Their tokens stay in this process; the browser holds an
opaque HttpOnly ticket, so that a reload does not sign out.
"""

from __future__ import annotations

import os
import time

import streamlit as st

from workbench.brand import mark
from workbench.client import ApiError, Client, SignedOut
from workbench.sessions import COOKIE, sessions

__all__ = ["client", "expire", "gate", "idle", "keep_cookie", "may", "sign_out"]

COOKIE_JS = """
const done = new Set();
export default function({ data }) {
  const id = data.code || "end";
  if (done.has(id)) return;
  done.add(id);
  const body = data.code ? JSON.stringify({ code: data.code }) : undefined;
  fetch("/session", { method: data.code ? "POST" : "DELETE", credentials: "same-origin",
                      headers: { "Content-Type": "application/json" }, body }).catch(() => undefined);
}
"""


def api_url() -> str:
    """`AXIOM_API_URL`, else this machine's `AXIOM_API_PORT`."""
    return os.environ.get("AXIOM_API_URL") or f"http://127.0.0.1:{os.environ.get('AXIOM_API_PORT', '8001')}"


def client() -> Client:
    """The signed-in person's connection. Only to be called behind `gate`."""
    found = st.session_state.get("client")
    if not isinstance(found, Client):
        raise SignedOut("You are not signed in.", 401)
    return found


def may(permission: str) -> bool:
    """Whether the signed-in person has it, as far as is known here: for what a page offers, not for what is allowed."""
    return permission in client().user.get("permissions", ())


def gate() -> None:
    """Let only signed-in people pass: everybody else sees the sign-in, and the run ends here."""
    if "client" not in st.session_state and not st.session_state.get("signed_out"):
        ticket = st.context.cookies.get(COOKIE)
        found = sessions.find(ticket) if isinstance(ticket, str) else None
        if found is not None:
            st.session_state["client"] = found
    if "client" not in st.session_state:
        _back_from_google()
        _front_door()
        st.stop()
    if idle():
        expire()
        st.rerun()
    st.session_state["active"] = time.monotonic()
    if client().must_change_password:
        _new_password()
        st.stop()


def idle() -> bool:
    """Whether the person has not touched anything for longer than AXIOM_IDLE_MINUTES: parts of a page that draw themselves
    anew do not count."""
    seconds = float(os.environ.get("AXIOM_IDLE_MINUTES") or 720) * 60
    return time.monotonic() - st.session_state.get("active", time.monotonic()) > seconds


def keep_cookie() -> None:
    """Let the browser fetch its ticket after a sign-in. Draws nothing."""
    if code := st.session_state.get("handover"):
        _cookie({"code": code})


def sign_out() -> None:
    """End the sign-in here, at the API and in the browser."""
    found = st.session_state.get("client")
    if isinstance(found, Client):
        found.logout()
        sessions.forget(found)
    st.session_state.clear()
    st.session_state["signed_out"] = True
    if _google_user():
        st.logout()  # else the button would bring back the same account without asking


def expire() -> None:
    """The API no longer knows this sign-in: back to the door, with a word why."""
    sign_out()
    st.session_state["door_words"] = "Your sign-in has ended. Please sign in again."


def _cookie(data: dict[str, str]) -> None:
    st.components.v2.component("axiom_session", js=COOKIE_JS)(data=data, key="axiom_session")


def _front_door() -> None:
    if st.session_state.get("signed_out"):
        _cookie({"code": ""})
    with _middle():
        st.html(f'<div class="ax-door">{mark(60)}<h1>Axiom Flow</h1><p>DICOM routing</p></div>')
        with st.form("sign-in"):
            username = st.text_input("Username", autocomplete="username")
            password = st.text_input("Password", type="password", autocomplete="current-password")
            if st.form_submit_button("Sign in", type="primary", width="stretch"):
                _sign_in(username, password)
        if _google_is_set_up() and st.button("Sign in with Google", width="stretch"):
            st.session_state.pop("door_words", None)
            st.login("google")
        if words := st.session_state.get("door_words"):
            st.info(words)


def _google_user() -> bool:
    return bool(getattr(st.user, "is_logged_in", False))


def _google_is_set_up() -> bool:
    """Both ends: Streamlit's own OpenID client here, and the API."""
    if "google-set-up" not in st.session_state:
        try:
            st.session_state["google-set-up"] = "google" in st.secrets.get("auth", {}) and Client(api_url()).has_google()
        except (FileNotFoundError, ApiError):  # no secrets here; an API that is away is told where it matters
            return False
    return bool(st.session_state["google-set-up"])


def _back_from_google() -> None:
    """Streamlit holds an ID token that nobody has shown to the API yet: it is good for one sign-in there."""
    token = str(st.user.tokens.get("id", "")) if _google_user() else ""
    if not token or not sessions.first_seen(token):
        return
    new = Client(api_url())
    try:
        new.login_google(token)
    except ApiError as e:
        st.session_state["door_words"] = str(e)
        return
    _enter(new)


def _sign_in(username: str, password: str) -> None:
    if not username.strip() or not password:
        st.error("Please give both, your username and your password.")
        return
    new = Client(api_url())
    try:
        new.login(username.strip(), password)
    except SignedOut:
        st.error("This username and password do not go together.")
        return
    except ApiError as e:
        st.error(str(e))
        return
    if new.must_change_password:
        st.session_state["first-password"] = password  # asked for a second time only after a reload
    _enter(new)


def _enter(new: Client) -> None:
    for key in ("signed_out", "door_words"):
        st.session_state.pop(key, None)
    st.session_state["client"] = new
    st.session_state["handover"] = sessions.hand_over(sessions.open(new))
    st.rerun()


def _new_password() -> None:
    with _middle():
        st.subheader("Choose your own password")
        st.caption("The one you signed in with was for the first time only.")
        with st.form("new-password"):
            old = st.session_state.get("first-password") or st.text_input(
                "The password you signed in with", type="password", autocomplete="current-password"
            )
            new = st.text_input("New password", type="password", autocomplete="new-password")
            again = st.text_input("New password, once more", type="password", autocomplete="new-password")
            if st.form_submit_button("Save and go on", type="primary", width="stretch"):
                _change(old, new, again)
        if st.button("Sign out", type="tertiary"):
            sign_out()
            st.rerun()


def _change(old: str, new: str, again: str) -> None:
    if new != again:
        st.error("The two new passwords differ.")
        return
    person = client()
    try:
        person.change_password(old, new)
    except ApiError as e:
        st.error("; ".join(p.words for p in e.problems) or str(e))
        return
    st.session_state.pop("first-password", None)
    sessions.forget(person)  # whatever was signed in by the old password ends
    _enter(person)


def _middle() -> st.delta_generator.DeltaGenerator:
    return st.columns([1, 1.2, 1])[1]
