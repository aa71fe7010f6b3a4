"""What was polled: the pollers and who holds them, each study seen, back-fills."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _moment(name: str, *, nullable: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _count(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Integer, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "pollers",
        sa.Column("source", sa.String(63), primary_key=True),
        sa.Column("holder", sa.String(128), nullable=False),
        _moment("beat"),
        _moment("next_at"),
        _moment("not_before"),
        _count("failures"),
        _moment("asked_at"),
        _count("found"),
        _count("queued"),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("activity", sa.JSON, nullable=False),
    )
    op.create_table(
        "polled",
        sa.Column("source", sa.String(63), primary_key=True),
        sa.Column("study", sa.String(64), primary_key=True),
        sa.Column("series", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        _count("instances", nullable=True),
        _count("fetched_instances", nullable=True),
        _count("received"),
        _moment("first_seen", nullable=False),
        _moment("changed_at", nullable=False),
        _moment("fetched_at"),
        _moment("next_at", nullable=False),
        _count("attempts"),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("backfill", sa.String(32), nullable=False),
        sa.Column("attributes", sa.JSON, nullable=False),
    )
    op.create_index("ix_polled_due", "polled", ["source", "state", "next_at"])
    op.create_index("ix_polled_backfill", "polled", ["backfill"])
    op.create_table(
        "backfills",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("source", sa.String(63), nullable=False, index=True),
        sa.Column("first_day", sa.Date, nullable=False),
        sa.Column("last_day", sa.Date, nullable=False),
        sa.Column("next_day", sa.Date, nullable=False),
        sa.Column("again", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        _count("found"),
        _count("already"),
        _count("fetched"),
        _count("failed"),
        sa.Column("error", sa.Text, nullable=False),
        _moment("created_at", nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        _moment("ended_at"),
    )
