"""Brings the tables up to date. Safe when several processes start at once: they stand in the writers' line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from engine.errors import AxiomError
from engine.settings import Settings
from engine.store.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "current", "migrate"]

HEAD = "0004"
"""The newest step: known without loading Alembic, so that a process of an up-to-date store starts at once."""


def migrate(settings: Settings) -> bool:
    """Run the missing steps, all or nothing; true when there were any. Raises AxiomError for a newer store."""
    database = Database(settings.database)
    try:
        return migrate_database(database)
    finally:
        database.close()


def migrate_database(database: Database) -> bool:
    with database.read() as connection:
        if current(connection) == HEAD:
            return False
    with database.write() as connection:
        before = current(connection)
        if before == HEAD:  # another process was quicker
            return False
        from alembic import command

        config = _config(connection)
        if before is not None:
            _refuse_newer(config, before)
        command.upgrade(config, "head")
        return True


def current(connection: Connection) -> str | None:
    """The step that the store stands at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _refuse_newer(config: Config, before: str) -> None:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory.from_config(config).get_revision(before)
    except CommandError as e:
        raise AxiomError(
            f"The configuration store was used by a newer version of Axiom Flow (its tables are at step {before}, "
            f"this version knows {HEAD}). Install that version again, or restore a backup."
        ) from e
