"""Who may do what: roles are made of permissions, and this is the one place that knows which."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from engine.errors import Denied

__all__ = ["ROLES", "Permission", "allow", "permissions_of"]


class Permission(StrEnum):
    """What can be allowed, in the words of the pages."""

    VIEW = "view"
    """See the configuration, the state and what flows; identifiers of patients are masked."""
    EDIT = "edit"
    """Change the configuration."""
    OPERATE = "operate"
    """Retry, discard and replay."""
    BROWSE = "browse"
    """Search instances and query the history."""
    SEE_PATIENT_DATA = "see_patient_data"
    """See who the patients are."""
    STORE = "store"
    """Send images in: STOW-RS and uploads."""
    ADMINISTER = "administer"
    """People, keys and the audit."""


ROLES: dict[str, frozenset[Permission]] = {
    "Admin": frozenset(Permission),
    "User": frozenset({Permission.VIEW, Permission.OPERATE, Permission.BROWSE}),
    "Sender": frozenset({Permission.STORE}),
}
"""The roles that every installation has; a Sender is a machine that may send images in, and nothing else. Admins make others
(`engine.store.roles`)."""


def permissions_of(role: str, made: Iterable[str] | None = None) -> frozenset[Permission]:
    """What a role may: one of ours, else what was `made` for it; an unknown role, and a right of another version, is nothing."""
    known = {p.value for p in Permission}
    return ROLES.get(role) or frozenset(Permission(p) for p in made or () if p in known)


def allow(held: Iterable[Permission], needed: Permission) -> None:
    """Raises Denied unless `needed` is among what the person holds."""
    if needed not in held:
        what = needed.value.replace("_", " ")
        raise Denied(f"This needs the permission to {what}, which you do not have.", known=True)
