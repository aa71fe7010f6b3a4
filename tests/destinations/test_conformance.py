"""What every kind of destination owes: one body for all of them, also for those that a site brings."""

from __future__ import annotations

import inspect
import os
import sys
import textwrap
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import engine.component
from engine.component import import_site_kinds, kinds, rebuild
from engine.configuration import Configuration, load_configuration
from engine.described import description
from engine.destinations.base import Destination
from engine.fields import describe
from engine.model import Outcome, Tick
from tests.destinations.emulator import emulator
from tests.destinations.support import deliver, instances
from tests.doubles import google_healthcare as google
from tests.peers import orthanc, storescp

Ready = Callable[[Path], AbstractContextManager[dict[str, Any]]]
"""Makes ready what a kind delivers to, and gives the fields of a destination that reaches it."""


@contextmanager
def nothing(folder: Path) -> Iterator[dict[str, Any]]:
    yield {}


@contextmanager
def filesystem(folder: Path) -> Iterator[dict[str, Any]]:
    yield {"path": str(folder / "out")}


@contextmanager
def dimse(folder: Path) -> Iterator[dict[str, Any]]:
    with storescp(folder / "scp", ae_title="PACS") as peer:
        yield {"host": "127.0.0.1", "port": peer.port, "ae_title": "PACS"}


@contextmanager
def stow_rs(folder: Path) -> Iterator[dict[str, Any]]:
    with orthanc(folder / "orthanc") as (_, url):
        yield {"url": f"{url}/dicom-web"}


@contextmanager
def google_healthcare(folder: Path) -> Iterator[dict[str, Any]]:
    with google.google_healthcare(folder / "google") as double:
        key = double.tokens.key_file(folder)
        yield dict(zip(("project", "location", "dataset", "dicom_store"), google.STORE.split("/")[1::2], strict=True)) | {
            "endpoint": double.url, "service_account": f"file:{key}",
        }


@contextmanager
def gcs(folder: Path) -> Iterator[dict[str, Any]]:
    with emulator("conformance") as url:
        yield {"bucket": "conformance", "endpoint": url, "anonymous": True}


READY: dict[str, Ready] = {
    "nothing": nothing, "filesystem": filesystem, "dimse": dimse, "stow_rs": stow_rs,
    "google_healthcare": google_healthcare, "gcs": gcs,
}
"""Kinds that can be delivered to here; the others are held to what a configuration must be."""


import_site_kinds(filter(None, os.environ.get("AXIOM_COMPONENTS", "").split(",")))  # a site tries its own by these tests


def kind_of(name: str) -> type[Destination]:
    cls = kinds("destination")[name]
    assert issubclass(cls, Destination)
    return cls


def examples(cls: type[Destination]) -> dict[str, Any]:
    """The fields that must be given, each by its first example."""
    given: dict[str, Any] = {"name": "example", "kind": cls.model_fields["kind"].default}
    for name, field in cls.model_fields.items():
        if field.is_required() and name != "name":
            assert field.examples, f"{name} must be given, so it needs an example"
            given[name] = field.examples[0]
    return given


def conforms(cls: type[Destination]) -> None:
    """The part that needs no peer."""
    kind = cls.model_fields["kind"].default
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    assert "Guarantee:" in module, "the module's docstring tells what is guaranteed when it confirms"
    assert (inspect.getdoc(cls) or "") != (inspect.getdoc(Destination) or "")
    assert cls.__name__ in getattr(inspect.getmodule(cls), "__all__", []), f"{cls.__name__} stands in its file's __all__"
    for name, field in cls.model_fields.items():
        assert name in ("kind", "name", "enabled") or description(cls, name), f"the field {name} is not described"
        for example in field.examples or []:
            made = cls.model_validate(examples(cls) | {name: example})
            assert made is not None
    one = cls.model_validate(examples(cls))
    for mode in ("python", "json"):
        assert cls.model_validate(one.model_dump(mode=mode)) == one
    assert cls.model_validate_json(one.model_dump_json()) == one
    document = load_configuration({"destinations": [examples(cls)]}).document()
    assert load_configuration(document).document() == document
    assert load_configuration(document).destinations == [one]
    assert cls.model_json_schema()["properties"]["kind"]["const"] == kind
    assert kind in str(Configuration.model_json_schema())
    asked = [spec.name for spec in describe(cls)]
    assert set(asked) == set(cls.model_fields) - {"kind"}
    ticks = one.check()
    assert ticks, "check() tells of at least one thing that it has tried"
    for tick in ticks:
        assert isinstance(tick, Tick)
        assert tick.name
        assert tick.ok is not False or tick.words, "what is not well says why"


def delivers(cls: type[Destination], fields: dict[str, Any], folder: Path) -> None:
    """The part with a peer: each once, again the same, nothing when stopped."""
    destination = cls.model_validate({"name": "here", "kind": cls.model_fields["kind"].default} | fields)
    assert [t for t in destination.check() if t.ok is False] == []
    some = instances(folder / "spool", 20)
    for _ in range(2):
        receipts = deliver(destination, some)
        assert Counter(r.index for r in receipts) == Counter(range(20))
        assert {r.outcome for r in receipts} == {Outcome.CONFIRMED}, receipts
    assert deliver(destination, []) == []
    stop = threading.Event()
    stop.set()
    assert deliver(destination, some, stop) == []


@pytest.mark.parametrize("kind", kinds("destination"))
def test_a_kind_is_described_checked_and_survives_being_saved(kind: str) -> None:
    conforms(kind_of(kind))


@pytest.mark.parametrize("kind", [k for k in kinds("destination") if k in READY])
def test_a_kind_delivers_each_once_and_the_same_again(kind: str, tmp_path: Path) -> None:
    with READY[kind](tmp_path) as fields:
        delivers(kind_of(kind), fields, tmp_path)


SITE = '''
"""Appends to a list of names: a site's own kind.

Guarantee: confirmed when the name is in the list.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from engine.destinations.base import Destination, Outgoing
from engine.model import Outcome, Receipt, Report, Tick

__all__ = ["NameList"]


class NameList(Destination):
    """A text file of UIDs."""

    label: ClassVar[str] = "List of names"
    kind: Literal["KIND"] = "KIND"
    file: str = Field(examples=["names.txt"])
    """The text file."""

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        for one in outgoing:
            if stop.is_set():
                return
            with Path(self.file).open("a") as file:
                file.write(one.sop_instance_uid + "\\n")
            report(Receipt(one.index, Outcome.CONFIRMED))

    def check(self) -> list[Tick]:
        return [Tick("file", True, self.file)]
'''


@pytest.fixture
def site_kind(tmp_path: Path) -> Iterator[str]:
    """A new kind in a new file, brought as a site brings its own, and taken away again."""
    kind = f"name_list_{uuid.uuid4().hex[:8]}"
    file = tmp_path / f"{kind}.py"
    file.write_text(textwrap.dedent(SITE).replace("KIND", kind))
    import_site_kinds([str(file)])
    yield kind
    del engine.component._registry["destination"][kind]
    engine.component._state["dirty"] = True
    del sys.modules[f"axiom_site_{kind}"]
    rebuild()


def test_a_new_file_is_a_new_kind_everywhere(site_kind: str, tmp_path: Path) -> None:
    assert site_kind in kinds("destination")
    conforms(kind_of(site_kind))
    delivers(kind_of(site_kind), {"file": str(tmp_path / "names.txt")}, tmp_path)
    [made] = load_configuration({"destinations": [{"name": "a", "kind": site_kind, "file": "x"}]}).destinations
    assert type(made).__name__ == "NameList"
    schema = Configuration.model_json_schema()
    assert schema["$defs"]["NameList"]["properties"]["file"]["description"] == "The text file."
    assert [spec.type for spec in describe(type(made)) if spec.name == "file"] == ["text"]
