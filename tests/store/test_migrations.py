from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

import engine.store.migration as migration
from engine.errors import AxiomError, Retry
from engine.settings import Settings
from engine.store import Store, migrate
from engine.store.database import Database
from engine.store.migration import HEAD, current
from engine.store.tables import metadata


def test_an_empty_database_is_brought_up_once(settings: Settings) -> None:
    assert migrate(settings) is True
    assert migrate(settings) is False
    database = Database(settings.database)
    with database.read() as connection:
        assert current(connection) == HEAD
    database.close()


def test_the_steps_make_the_tables_that_the_code_names(store: Store) -> None:
    with store.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_the_known_newest_step_is_the_newest_there_is() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migration.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_several_processes_start_at_once(settings: Settings) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.settings import Settings; from engine.store import Store;"
        "s = Store(Settings(home=Path(sys.argv[1]), database_url=sys.argv[2]));"
        "print(s.save({'destinations': [{'name': 'pacs', 'kind': 'nothing'}]}, author='p'))"
    )
    argv = [sys.executable, "-c", code, str(settings.home), settings.database_url]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [(*p.communicate(timeout=120), p.returncode) for p in running]
    assert [(out.strip(), code) for out, _, code in ended] == [("1", 0)] * 4, ended


def test_a_newer_store_is_refused_in_words(settings: Settings, store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(AxiomError, match=r"newer version .* step 9999"):
        migrate(settings)


def test_a_store_that_is_away_is_a_sentence_without_its_password(home: Path, free_port: int) -> None:
    url = f"postgresql://axiom:s3cret-canary@127.0.0.1:{free_port}/axiom"
    with pytest.raises(Retry) as caught:
        Store(Settings(home=home, database_url=url))
    assert "configuration store at postgresql://axiom:***@127.0.0.1" in str(caught.value)
    assert "s3cret-canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://x/y", "SQLite and PostgreSQL"),
        ("sqlite://", "needs a SQLite file"),
        ("sqlite:////proc/none/axiom.db", "cannot be made"),
    ],
)
def test_what_is_no_store_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(AxiomError, match=words):
        Database(url)


def test_the_database_file_is_its_owners_alone(home: Path) -> None:
    Store(Settings(home=home)).close()
    assert (home / "axiom.db").stat().st_mode & 0o077 == 0
