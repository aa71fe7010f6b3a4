"""dcmjs-dimse, a DICOM toolkit of the JavaScript world, from the npm registry: as a sender, and as a node that receives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.dicom.file_meta import encode_head
from engine.process import Child
from tests.peers import CI, accepts, free_port, need, wait_until

__all__ = ["VERSION", "Receiver", "installed", "receiver", "store"]

VERSION = "0.3.3"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SCRIPT = Path(__file__).with_suffix(".cjs")


def installed() -> Path:
    """The folder with it, `node_modules`: of this person's cache, installed at the first call.

    Without node, npm or the registry the test is skipped, or fails in CI.
    """
    need("node")
    npm = need("npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axiom-flow-tests"
    modules = cache / f"dcmjs-dimse-{VERSION}" / "node_modules"
    if _is_whole(modules):
        return modules
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        argv = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, f"dcmjs-dimse@{VERSION}"]
        # Node knows only the authorities that came with it; the machine's own may be needed on the way to the registry.
        env = {"NODE_EXTRA_CA_CERTS": str(AUTHORITIES)} if AUTHORITIES.is_file() else {}
        done = subprocess.run(argv, env=env | os.environ, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
        if done.returncode or not _is_whole(Path(folder) / "node_modules"):
            words = f"dcmjs-dimse {VERSION} could not be installed from the npm registry: {done.stderr[-500:]}"
            pytest.fail(words) if CI else pytest.skip(words)
        shutil.rmtree(modules.parent, ignore_errors=True)
        Path(folder).rename(modules.parent)
        Path(folder).mkdir()
    return modules


def _is_whole(modules: Path) -> bool:
    package = modules / "dcmjs-dimse" / "package.json"
    return package.is_file() and json.loads(package.read_text())["version"] == VERSION


def store(modules: Path, files: Sequence[Path], port: int, *, called: str = "AXIOM") -> None:
    """Send files over one association. Compressed ones go in their own transfer syntax, others as implicit VR; it writes
    all data sets anew, text in UTF-8. Raises AssertionError when one is not answered with success."""
    done = subprocess.run(
        [need("node"), SCRIPT, "store", str(port), called, *map(str, files)],
        env=os.environ | {"NODE_PATH": str(modules)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    statuses = [line.rpartition(" ")[2] for line in done.stdout.splitlines()]
    assert (done.returncode, statuses) == (0, ["0"] * len(files)), done.stdout + done.stderr


@dataclass
class Receiver:
    """A running one."""

    port: int
    folder: Path

    def arrived(self) -> dict[str, bytes]:
        """SOP Instance UID -> a Part 10 file of what it was told, and the data set as received."""
        found = {}
        for path in self.folder.glob("*.dcm"):
            sop_class, uid, syntax, _ = path.name.split("_")
            found[uid] = encode_head(sop_class, uid, syntax) + path.read_bytes()
        return found


@contextmanager
def receiver(modules: Path, folder: Path) -> Iterator[Receiver]:
    """A storage provider that keeps data sets bit for bit, in any transfer syntax that is proposed first."""
    folder.mkdir(parents=True)
    port = free_port()
    child = Child(
        "dcmjs", [need("node"), SCRIPT, "receive", str(port), str(folder)], env=os.environ | {"NODE_PATH": str(modules)},
        log=folder.parent / f"{folder.name}.dcmjs.log", restart=False, on_parent_death=signal.SIGKILL,
    )  # fmt: skip
    child.start()
    try:
        wait_until(lambda: accepts(port), 60, "dcmjs-dimse")
        yield Receiver(port, folder)
    finally:
        child.ask_to_stop(signal.SIGTERM)
        child.stop(15)
