"""The configuration store: revisions, people, audit; SQLite or PostgreSQL."""

from engine.store.migration import migrate
from engine.store.store import Applied, Live, Store

__all__ = ["Applied", "Live", "Store", "migrate"]
