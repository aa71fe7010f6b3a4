"""People: who may come in, as what; and the roles that admins make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

import streamlit as st

from workbench import parts, signin
from workbench.client import ApiError

RIGHTS = {
    "view": "See the configuration and what flows",
    "edit": "Change the configuration",
    "operate": "Retry, discard and replay",
    "browse": "Search images and query the history",
    "store": "Send images in over the API",
    "see_patient_data": "See who the patients are",
    "administer": "People, keys and the audit",
}


def right(name: str) -> str:
    return RIGHTS.get(name, name.replace("_", " "))


def act(work: Callable[[], Any], done: str) -> None:
    """Do it; say that it was done, or why not."""
    try:
        work()
    except ApiError as e:
        parts.say(e)
        return
    st.toast(done, icon=":material/check:")
    st.rerun()


def once(secret: str, words: str) -> None:
    st.session_state["people-once"] = (secret, words)


def show_once() -> None:
    """A password that was just made: on this page until it is put away, and nowhere else."""
    if "people-once" not in st.session_state:
        return
    secret, words = st.session_state["people-once"]
    with st.container(border=True):
        st.markdown(words)
        st.code(secret, language=None)
        if st.button("I have noted it", type="primary"):
            del st.session_state["people-once"]
            st.rerun()


def state_of(user: Mapping[str, Any]) -> str:
    if user["pending"]:
        return parts.chip("waits for you", "wait")
    if not user["active"]:
        return parts.chip("may not sign in", "idle")
    if user["locked_until"]:
        return parts.chip("locked", "bad")
    if user["must_change_password"]:
        return parts.chip("first password", "plain")
    return parts.chip("may sign in", "good")


def line(user: Mapping[str, Any]) -> str:
    under = " · ".join(filter(None, (user["username"], user["email"], user["role"])))
    seen = f"here {parts.ago(user['signed_in_at'])}" if user["signed_in_at"] else "never here yet"
    left = f'<b>{escape(user["name"])}</b><br><span class="ax-quiet ax-small">{escape(under)}</span>'
    return parts.row(left, f'<span class="ax-quiet ax-small">{escape(seen)}</span>', state_of(user))


def add_person(roles: list[str]) -> None:
    with st.popover("Add a person", icon=":material/person_add:"), st.form("add-person", border=False):
        username = st.text_input("Username")
        name = st.text_input("Name")
        email = st.text_input("E-mail", help="Who signs in with Google is known by it.")
        role = st.selectbox("Role", roles, index=roles.index("User"))
        if not st.form_submit_button("Add", type="primary"):
            return

        def make() -> None:
            body = {"username": username, "name": name, "email": email, "role": role}
            made = signin.client().post("/users", body)
            once(made["one_time_password"], f"**{parts.md(made['name'])}** signs in once with this password:")

        act(make, f"{username} was added.")


def edit(user: Mapping[str, Any], roles: list[str]) -> None:
    client, name = signin.client(), user["username"]
    path = f"/users/{quote(name, safe='')}"

    def change(done: str, **what: Any) -> None:
        act(lambda: client.request("PATCH", path, json=what), done)

    if user["pending"]:
        st.write("Came by Google and has no account yet. Choose a role and let them in.")
    with st.form(f"edit-{name}", border=False):
        new_name = st.text_input("Name", user["name"])
        email = st.text_input("E-mail", user["email"])
        role = st.selectbox("Role", roles, index=roles.index(user["role"]) if user["role"] in roles else 0)
        if st.form_submit_button("Let them in" if user["pending"] else "Save", type="primary"):
            entry = {"active": True} if user["pending"] else {}
            change(f"{name} was saved.", name=new_name, email=email, role=role, **entry)
    if not user["active"]:
        if not user["pending"] and st.button("Let them sign in again", key=f"on-{name}", icon=":material/login:"):
            change(f"{name} may sign in.", active=True)
        return
    if user["locked_until"] and st.button("Unlock", key=f"unlock-{name}", icon=":material/lock_open:"):
        change(f"{name} may try again.", unlock=True)
    if st.button("Sign out everywhere", key=f"out-{name}", icon=":material/logout:"):
        act(lambda: client.post(f"{path}/sign-out", {}), f"{name} is signed out everywhere.")
    if st.button("New one-time password", key=f"new-{name}", icon=":material/password:"):

        def reset() -> None:
            made = client.post(f"{path}/password", {})["one_time_password"]
            once(made, f"**{parts.md(name)}** signs in once with this password; the old one is over:")

        act(reset, f"{name} has a new password.")
    if st.button("May not sign in any more", key=f"off-{name}", icon=":material/block:"):
        change(f"{name} may not sign in any more.", active=False)


def people(users: list[dict[str, Any]], roles: list[str]) -> None:
    add_person(roles)
    for user in sorted(users, key=lambda u: (not u["pending"], not u["active"], u["username"])):
        left, button = st.columns([7, 1], vertical_alignment="center")
        left.html(line(user))
        with button, st.popover("Edit", key=f"person-{user['username']}"):
            edit(user, roles)


def role_form(key: str, role: Mapping[str, Any], known: list[str]) -> dict[str, Any] | None:
    with st.form(key, border=False):
        name = st.text_input("Name", role["name"], disabled=bool(role["name"]))
        description = st.text_input("What it is for", role["description"])
        held = [p for p in known if st.checkbox(right(p), p in role["permissions"], key=f"{key}-{p}")]
        if st.form_submit_button("Save", type="primary"):
            return {"name": name, "description": description, "permissions": held}
    return None


def role_line(role: Mapping[str, Any]) -> str:
    what = ", ".join(right(p).lower() for p in role["permissions"]) or "nothing"
    left = f'<b>{escape(role["name"])}</b><br><span class="ax-quiet ax-small">{escape(what)}</span>'
    count = parts.plural(role["users"], "person", "people")
    return parts.row(left, f'<span class="ax-quiet ax-small">{escape(count)}</span>')


def roles_view(roles: list[dict[str, Any]]) -> None:
    client = signin.client()
    known = sorted({p for role in roles for p in role["permissions"]}, key=lambda p: [*RIGHTS, p].index(p))
    with st.popover("Make a role", icon=":material/add:"):
        empty = {"name": "", "description": "", "permissions": ["view"]}
        if body := role_form("new-role", empty, known):
            act(lambda: client.post("/roles", body), f"The role {body['name']} was made.")
    for role in roles:
        left, button = st.columns([7, 1], vertical_alignment="center")
        left.html(role_line(role))
        if role["seeded"]:
            button.html('<span class="ax-quiet ax-small">always there</span>')
            continue
        path = f"/roles/{quote(role['name'], safe='')}"
        with button, st.popover("Edit", key=f"role-{role['name']}"):
            if body := role_form(f"edit-role-{role['name']}", role, known):
                del body["name"]
                act(lambda: client.request("PATCH", path, json=body), f"The role {role['name']} was saved.")  # noqa: B023
            if st.button("Delete", key=f"delete-role-{role['name']}", disabled=role["users"] > 0):
                act(lambda: client.request("DELETE", path), f"The role {role['name']} was deleted.")  # noqa: B023


def page() -> None:
    parts.title("People", "Who may come in, and as what. A change of role or of sign-in ends their sessions at once.")
    client = signin.client()
    users, roles = client.get("/users"), client.get("/roles")
    show_once()
    waiting = sum(u["pending"] for u in users)
    view = st.segmented_control(
        "View", ["people", "roles"], required=True, default="people", key="people-view", label_visibility="collapsed",
        format_func=lambda v: f"People  {len(users)}" if v == "people" else f"Roles  {len(roles)}",
    )  # fmt: skip
    if waiting:
        words = "person who came by Google waits" if waiting == 1 else "people who came by Google wait"
        st.info(f"{waiting} {words} for you.")
    if view == "roles":
        roles_view(roles)
    else:
        people(users, [r["name"] for r in roles])


page()
