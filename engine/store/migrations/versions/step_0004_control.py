"""Roles made by admins, people who come from elsewhere, stored secrets, revisions that become live at a time."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _moment(name: str, *, nullable: bool = True, index: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, index=index)


def upgrade() -> None:
    op.add_column("users", sa.Column("pending", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "roles",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("description", sa.String(500), nullable=False),
        sa.Column("permissions", sa.JSON, nullable=False),
        _moment("created_at", nullable=False),
    )
    op.create_table(
        "identities",
        sa.Column("issuer", sa.String(255), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column(
            "username", sa.String(64), sa.ForeignKey("users.username", ondelete="CASCADE"), nullable=False, index=True
        ),
        _moment("created_at", nullable=False),
    )
    op.create_table(
        "used_tokens",
        sa.Column("digest", sa.String(64), primary_key=True),
        _moment("expires_at", nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        _moment("created_at", nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_table(
        "activations",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer, sa.ForeignKey("revisions.id"), nullable=False),
        _moment("at", nullable=False, index=True),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        _moment("created_at", nullable=False),
        _moment("ended_at"),
        sa.Column("outcome", sa.String(500), nullable=False),
    )
