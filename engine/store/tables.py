"""The tables of the configuration store. A change here needs a migration beside it (tests compare the two)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    false,
)

__all__ = [
    "Utc", "activations", "api_keys", "audit", "backfills", "browser_routes", "identities", "live", "metadata", "polled",
    "pollers", "refresh_tokens", "revisions", "roles", "secrets", "sessions", "used_tokens", "users",
]


class Utc(TypeDecorator[datetime]):
    """A moment: always aware, always UTC (SQLite forgets the zone, PostgreSQL keeps it)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without its time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # counted by the writer: no gaps
    Column("created_at", Utc, nullable=False),
    Column("author", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("label", String(128), nullable=False),
    Column("document", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
)

live = Table(
    "live",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, ForeignKey("revisions.id"), nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

users = Table(
    "users",
    metadata,
    Column("username", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("email", String(254), nullable=False),
    Column("role", String(64), nullable=False),
    Column("password", String(72), nullable=False),  # a bcrypt hash; empty: no sign-in by password
    Column("must_change_password", Boolean, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("failed_attempts", Integer, nullable=False),
    Column("locked_until", Utc),
    Column("generation", Integer, nullable=False),  # counted up to sign out everywhere
    Column("created_at", Utc, nullable=False),
    Column("signed_in_at", Utc),
    Column("pending", Boolean, nullable=False, server_default=false()),  # came by Google, waits for an admin
)

roles = Table(
    "roles",  # those that admins made; Admin and User are in engine.security.roles
    metadata,
    Column("name", String(64), primary_key=True),
    Column("description", String(500), nullable=False),
    Column("permissions", JSON, nullable=False),
    Column("created_at", Utc, nullable=False),
)

identities = Table(
    "identities",  # who they are elsewhere
    metadata,
    Column("issuer", String(255), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("username", String(64), ForeignKey("users.username", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", Utc, nullable=False),
)

used_tokens = Table(
    "used_tokens",  # of another issuer: each is good for one sign-in
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("expires_at", Utc, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sealed", Text, nullable=False),  # under AXIOM_SECRET_KEY
    Column("created_at", Utc, nullable=False),
    Column("created_by", String(128), nullable=False),
)

activations = Table(
    "activations",  # revisions that become live at a time
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, ForeignKey("revisions.id"), nullable=False),
    Column("at", Utc, nullable=False, index=True),
    Column("who", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("ended_at", Utc),
    Column("outcome", String(500), nullable=False),  # a sentence, once it has ended
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("username", String(64), ForeignKey("users.username", ondelete="CASCADE"), nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc, nullable=False),
    Column("revoked_at", Utc),
    Column("address", String(64), nullable=False),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("session", String(32), ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Utc, nullable=False),
    Column("used_at", Utc),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("prefix", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("username", String(64), ForeignKey("users.username", ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("permissions", JSON, nullable=False),  # a list; none of them beyond what the user's role gives
    Column("networks", JSON, nullable=False),  # CIDR texts; empty: from anywhere
    Column("created_at", Utc, nullable=False),
    Column("expires_at", Utc),
    Column("used_at", Utc),
    Column("revoked_at", Utc),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # counted by the writer: a gap is a missing row
    Column("at", Utc, nullable=False, index=True),
    Column("who", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("family", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("revision", Integer),
    Column("address", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
)

pollers = Table(
    "pollers",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("holder", String(128), nullable=False),  # who polls it right now: node, process; empty: nobody
    Column("beat", Utc),  # when the holder last said that it lives
    Column("next_at", Utc),  # when it is asked next; none: now
    Column("not_before", Utc),  # the peer is away, or asked for a pause
    Column("failures", Integer, nullable=False),  # in a row
    Column("asked_at", Utc),  # the last whole query
    Column("found", Integer, nullable=False),  # of the last query
    Column("queued", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("activity", JSON, nullable=False),  # what the holder does just now, for people
)

polled = Table(
    "polled",
    metadata,
    Column("source", String(63), primary_key=True),
    Column("study", String(64), primary_key=True),
    Column("series", String(64), primary_key=True),  # empty where whole studies are fetched
    Column("instance", String(64), primary_key=True),
    Column("state", String(16), nullable=False),  # waiting, fetched, failed, unmatched
    Column("instances", Integer),  # as the peer counted last
    Column("fetched_instances", Integer),  # how many there were when it was fetched
    Column("received", Integer, nullable=False),
    Column("first_seen", Utc, nullable=False),
    Column("changed_at", Utc, nullable=False),
    Column("fetched_at", Utc),
    Column("next_at", Utc, nullable=False),  # when it is fetched, or tried again
    Column("attempts", Integer, nullable=False),
    Column("words", Text, nullable=False),
    Column("backfill", String(32), nullable=False),  # which back-fill found it; empty: a poll
    Column("attributes", JSON, nullable=False),  # to fetch it by, and to show it by while it is not; then forgotten
    Index("ix_polled_due", "source", "state", "next_at"),
    Index("ix_polled_backfill", "backfill"),
)

backfills = Table(
    "backfills",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("source", String(63), nullable=False, index=True),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
    Column("next_day", Date, nullable=False),  # the next to be asked for; behind last_day: all are
    Column("again", Boolean, nullable=False),  # also what was fetched before
    Column("state", String(16), nullable=False),  # running, paused, cancelled, done
    Column("found", Integer, nullable=False),
    Column("already", Integer, nullable=False),  # found, and fetched before
    Column("fetched", Integer, nullable=False),  # counted when it ends; before, from the table of what was polled
    Column("failed", Integer, nullable=False),
    Column("error", Text, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("created_by", String(128), nullable=False),
    Column("ended_at", Utc),
)

browser_routes = Table(
    "browser_routes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("source", String(63), nullable=False),
    Column("created_at", Utc, nullable=False, index=True),
    Column("created_by", String(128), nullable=False),
    Column("items", JSON, nullable=False),  # a list of [study, series, instance]: the keys of what was chosen, in `polled`
)
