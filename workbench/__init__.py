"""The workbench: pages for people, and `connect()` for notebooks. It reaches the engine over HTTP only."""

from __future__ import annotations

from workbench.notebook import Workbench, connect, offline_charts

__all__ = ["Workbench", "connect", "offline_charts"]
