"""The people, roles and keys of the fake API: enough to be looked at. What the pages do is tried on the real API."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

__all__ = ["RIGHTS", "add_routes"]

RIGHTS = ["administer", "browse", "edit", "operate", "see_patient_data", "view"]
NOW = "2026-11-20T08:00:00+00:00"


def _user(username: str, name: str, role: str, **more: Any) -> dict[str, Any]:
    return {
        "username": username, "name": name, "email": f"{username}@hospital.example", "role": role, "active": True,
        "pending": False, "must_change_password": False, "locked_until": None, "created_at": NOW, "signed_in_at": NOW,
    } | more  # fmt: skip


USERS = [
    _user("ada", "Ada Lovelace", "Admin"), _user("grace", "Grace Hopper", "Night shift"),
    _user("new", "Newcomer <b>", "User", active=False, pending=True, signed_in_at=None),
]  # fmt: skip
ROLES = [
    {"name": "Admin", "description": "Everything.", "permissions": RIGHTS, "seeded": True, "users": 1},
    {"name": "User", "description": "", "permissions": ["browse", "operate", "view"], "seeded": True, "users": 1},
    {"name": "Night shift", "description": "", "permissions": ["operate", "view"], "seeded": False, "users": 1},
]
KEYS = [
    {"prefix": "a1b2c3d4e5f6", "username": "ada", "name": "nightly report", "permissions": ["browse"],
     "networks": ["10.1.0.0/16"], "created_at": NOW, "expires_at": None, "used_at": NOW, "revoked_at": None},
]  # fmt: skip


def add_routes(app: FastAPI, state: Any) -> None:
    secrets: list[str] = []

    @app.post("/api/v1/secrets")
    def keep(body: dict[str, str]) -> dict[str, str]:
        secrets.append(body["value"])
        state.did.append(("secret", body["value"]))
        return {"reference": f"stored:{len(secrets):032x}"}

    app.get("/api/v1/users")(lambda: USERS)
    app.get("/api/v1/roles")(lambda: ROLES)
    app.get("/api/v1/keys")(lambda: [] if state.is_empty else KEYS)
