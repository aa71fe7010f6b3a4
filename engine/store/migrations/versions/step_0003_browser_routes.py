"""What people chose in the data browser to be fetched and routed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "browser_routes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("source", sa.String(63), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
    )
