"""Writes Part 10 files into a folder tree whose names are made from tags.

Guarantee: confirmed when the file and its name are on disk (fsynced). A file appears whole or not at all. The same
instance delivered again is found and confirmed, not written twice; another file of the same name is never lost unless
`replace` says so. Files are reflinks or copies, never hard links: an edit there does not reach what we keep. No space,
missing permission and a folder that is away are tried again; names that the file system cannot take are refused. With an
index, a file's line is on disk before it is confirmed; with a DICOMDIR, that is.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice, takewhile
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from engine.destinations._dicomdir import file_id, renew
from engine.destinations._index import Index, IndexForm, Row, index_name
from engine.destinations._names import parse_template
from engine.destinations._placing import BusyError, OtherBytesError, Placed, Tree
from engine.destinations._zip import Entry, crc32_of, distinct, zip_of
from engine.destinations.base import Destination, Outgoing
from engine.dicom.content import Content
from engine.dicom.paths import TagPathText
from engine.errors import Hold, Retry
from engine.model import Outcome, Receipt, Report, Tick

__all__ = ["Filesystem"]

_AT_ONCE = 16
"""Instances whose folders are fsynced together before they are reported."""
_SET_DEPTH = 3
"""The parts of a File ID."""
_EVERYWHERE = {
    errno.ENOSPC: "There is no space left",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "It is mounted read-only",
    errno.EIO: "The disk reports an error",
    errno.ESTALE: "The network share is gone",
}
"""What the next instance would meet too: the delivery stops and is tried again."""
_HERE = {
    errno.EACCES: "We may not write there: give the engine's user permission",
    errno.EPERM: "We may not write there: give the engine's user permission",
    errno.ENOTDIR: "A file or a link stands where a folder should be (links are not followed)",
    errno.ELOOP: "A link stands where the file should be (links are not followed)",
    errno.EISDIR: "A folder stands where the file should be",
}
"""What an administrator can repair for this one."""
_NEVER = {
    errno.ENAMETOOLONG: "The name is too long for the file system: shorten the template",
    errno.EILSEQ: "The file system does not take this name's characters",
    errno.EINVAL: "The file system does not take this name",
    errno.EFBIG: "The file is larger than the file system takes",
}


class Filesystem(Destination):
    """A folder: local, or a network share that is mounted."""

    label: ClassVar[str] = "Folder"
    kind: Literal["filesystem"] = "filesystem"

    path: str = Field(min_length=1, max_length=1024, pattern=r"^[^\x00]+$", examples=["./archive", "/srv/dicom"])
    """The folder; made when it is not there. A relative one is taken from where the engine was started."""
    template: str = Field(
        default="{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm",
        min_length=1,
        max_length=500,
        examples=["{PatientID}/{StudyDate}-{Modality}/{SOPInstanceUID}.dcm"],
    )
    """Folders and file name below it. A tag path in braces becomes the tag's value as it leaves, made safe: odd
    characters replaced, long values cut, each with a short hash; an empty value becomes `unknown`."""
    collision: Literal["keep_both", "replace", "refuse"] = "keep_both"
    """When another file has the name. With the same bytes it is a success; else: keep both (the newer one gets a
    number, `name.1.dcm`), replace the older one, or refuse the newer one."""
    mode: str = Field(default="640", pattern=r"^[0-7]{3}$", examples=["640", "644"])
    """Permissions of the files, octal; folders can be entered by those who may read."""

    zip: bool = False
    """ZIP archives: what would stand in one folder goes into one archive of the folder's name (`.../<study>.zip` with the
    default template), at the end of a delivery and not compressed. Let the rule gather by study for one archive a study; a
    later delivery makes another one (`name.1.zip`)."""
    dicomdir: bool = False
    """File-sets (PS3.10): what would stand in one folder stands in `DICOM/<series>/<instance>` below it, in files with names
    that are legal on any medium, with a DICOMDIR beside. That is written whole at the end of a delivery, before its images count
    as delivered; let the rule gather by study to have it written once. The template's file name is not used."""
    index: IndexForm = "none"
    """An index of what was written, in each folder that holds files: a line a file in `_index.jsonl` or `_index.csv`, with
    when, name, size and the tags below. Whoever may read the folder can read it."""
    index_tags: list[TagPathText] = Field(
        default=["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "Modality"],
        max_length=50,
        examples=[["StudyInstanceUID", "SOPInstanceUID"]],
    )
    """The tags whose values stand in the index, as they leave."""

    @field_validator("template")
    @classmethod
    def _template_is_sound(cls, text: str) -> str:
        parse_template(text)
        return text

    @model_validator(mode="after")
    def _archives_are_sound(self) -> Self:
        if self.zip and len(parse_template(self.template).parts) < 2:
            raise ValueError("An archive is called as the folder it stands for: give the template a folder.")
        if self.zip and self.collision == "replace":
            raise ValueError("With `zip`, replacing would lose the images of an earlier delivery: keep both, or refuse.")
        if self.dicomdir and len(parse_template(self.template).parts) < 2:
            raise ValueError("A DICOMDIR stands in a folder of its own: give the template a folder.")
        if self.dicomdir and (self.zip or self.collision == "replace"):
            raise ValueError("With `dicomdir` there is no `zip`, and no replacing: keep both, or refuse.")
        return self

    @property
    def root(self) -> Path:
        """The folder, absolute."""
        return Path(self.path).expanduser().absolute()

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        try:
            tree = Tree(self.root, int(self.mode, 8))
        except OSError as error:
            raise Retry(f"The folder {self.root} cannot be used: {_words(error)}", _code(error)) from error
        try:
            units = self._units(outgoing, report, stop)
            if self.dicomdir:
                sets = sorted(units, key=_root)  # by reading all names before the first is written
                for _, one_set in groupby(sets, key=_root):
                    self._deliver_some(tree, takewhile(lambda _: not stop.is_set(), one_set), report)
                return
            while self._deliver_some(tree, islice(units, 1 if self.zip else _AT_ONCE), report):
                pass
        finally:
            tree.close()

    def _deliver_some(self, tree: Tree, some: Iterable[_Unit], report: Report) -> bool:
        """Place each, make the folders durable once, and then report: also when the disk ends it in the middle. Whether
        there was anything."""
        receipts: list[list[Receipt]] = []
        written: list[tuple[_Unit, Placed]] = []
        ended: Retry | None = None
        for unit in some:
            try:
                receipts.append(self._deliver_unit(tree, unit, written))
                if self.dicomdir and len(receipts) % _AT_ONCE == 0:
                    tree.sync()  # lets go of the folders, of which a study may have many
            except Retry as error:
                ended = error
                break
            except OSError as error:
                raise Retry(*self._not_durable(error)) from error
        try:
            tree.sync()
            if self.index != "none":
                self._note_down(tree, written)
            if self.dicomdir and written:
                receipts = self._list(tree, written, receipts)
        except OSError as error:
            raise Retry(*self._not_durable(error)) from error
        for of_one_file in receipts:
            report(*of_one_file)
        if ended:
            raise ended
        return bool(receipts)

    def _not_durable(self, error: OSError) -> tuple[str, str]:
        return f"The folder {self.root} could not be made durable: {_words(error)}", _code(error)

    def _units(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> Iterator[_Unit]:
        """What becomes a file each, until `stop`: an instance, or the archive of all that would stand in one folder. What
        has no name, or cannot be read for an archive, is reported as refused."""
        template = parse_template(self.template)
        archives: dict[tuple[str, ...], list[tuple[Outgoing, str, int]]] = {}
        for one in outgoing:
            if stop.is_set():
                return
            try:
                parts = template.fill(one.tags.text)
                crc32 = crc32_of(one.file) if self.zip else 0
            except Hold as error:
                report(Receipt(one.index, Outcome.REFUSED, "", f"The name cannot be made from its tags: {error}"))
            except (EOFError, FileNotFoundError) as error:
                report(_damaged(one, error))
            else:
                if self.dicomdir:
                    yield _Unit((*parts[:-1], *_file_id(one)), one.file, (one,), ("",))
                elif self.zip:
                    archives.setdefault(parts[:-1], []).append((one, parts[-1], crc32))
                else:
                    yield _Unit(parts, one.file, (one,), ("",))
        for folder, found in archives.items():
            if stop.is_set():
                return
            entries = distinct(Entry(name, one.file, crc) for one, name, crc in found)
            parts = (*folder[:-1], f"{folder[-1]}.zip")
            yield _Unit(parts, zip_of(entries), tuple(one for one, _, _ in found), tuple(f"/{e.name}" for e in entries))

    def _note_down(self, tree: Tree, written: Sequence[tuple[_Unit, Placed]]) -> None:
        """Into the index of each folder, and make it durable."""
        index = Index(self.index, ["bytes", *self.index_tags])
        folders: dict[tuple[str, ...], tuple[list[Row], list[Row]]] = {}
        for unit, placed in written:
            parts = placed.name.split("/")
            folder, name = parts[: -self._depth], "/".join(parts[-self._depth :])
            rows = folders.setdefault(tuple(folder), ([], []))[placed.was_there]
            for one, inside in zip(unit.members, unit.inside, strict=True):
                tags = {tag: one.tags.text(tag) for tag in self.index_tags}
                rows.append({"file": name + inside, "bytes": one.file.length, **tags})
        for where, (new, repeated) in folders.items():
            index.append(tree.folder(where), new, repeated)
        tree.sync()

    @property
    def _depth(self) -> int:
        """How many parts of a path come after the folder that the template says."""
        return _SET_DEPTH if self.dicomdir else 1

    def _list(
        self, tree: Tree, written: Sequence[tuple[_Unit, Placed]], receipts: list[list[Receipt]]
    ) -> list[list[Receipt]]:
        """Bring the DICOMDIR up to date, durably. The receipts, with words for what no directory can be told of."""
        root = _root(written[0][0])
        unlisted = {"/".join((*root, *one)) for one in renew(tree, root)}
        tree.sync()
        places = {str(self.root / name) for name in unlisted}
        words = "it is not in the DICOMDIR: its header cannot be read"
        return [
            [replace(r, words=f"{r.words}; {words}" if r.words else words) if r.location in places else r for r in of_one_file]
            for of_one_file in receipts
        ]

    def _deliver_unit(self, tree: Tree, unit: _Unit, written: list[tuple[_Unit, Placed]]) -> list[Receipt]:
        """The receipts of its instances, which fare alike and are told of together: else a crash between them would have the
        rest of an archive's images delivered again, in another archive."""
        begun = time.monotonic()
        try:
            placed = self._place(tree, unit)
        except _NotPlaced as error:
            return [Receipt(one.index, *error.args) for one in unit.members]
        written.append((unit, placed))
        words = "was there already, with the same bytes" if placed.was_there else ""
        place, seconds = str(self.root / placed.name), time.monotonic() - begun
        return [
            Receipt(one.index, Outcome.CONFIRMED, "", words, place + inside, seconds, one.file.length)
            for one, inside in zip(unit.members, unit.inside, strict=True)
        ]

    def _place(self, tree: Tree, unit: _Unit) -> Placed:
        """Raises _NotPlaced for what concerns it alone, Retry for what the next one would meet too."""
        if unit.parts[-1] == index_name(self.index):
            raise _NotPlaced(Outcome.REFUSED, "EEXIST", "Its name would be that of the folder's index.")
        try:
            if self.dicomdir:
                return self._place_in_set(tree, unit)
            return tree.place(unit.parts, unit.content, policy=self.collision)
        except BusyError as error:
            raise _NotPlaced(Outcome.RETRY, "EAGAIN", "Another delivery is writing this file now.") from error
        except OtherBytesError as error:
            raise _NotPlaced(Outcome.REFUSED, "EEXIST", "Another file with other bytes has this name.") from error
        except EOFError as error:
            raise _NotPlaced(Outcome.REFUSED, "", f"What we keep of it is damaged: {error}") from error
        except OSError as error:
            if error.errno in _EVERYWHERE:
                raise Retry(f"Writing below {self.root}: {_words(error)}", _code(error)) from error
            outcome = Outcome.REFUSED if error.errno in _NEVER else Outcome.RETRY
            raise _NotPlaced(outcome, _code(error), _words(error)) from error

    def _place_in_set(self, tree: Tree, unit: _Unit) -> Placed:
        """As `_place`, with another legal name for what has other bytes."""
        number = 0
        while True:
            try:
                return tree.place((*_root(unit), *_file_id(unit.members[0], number)), unit.content, policy="refuse")
            except OtherBytesError:
                if self.collision == "refuse":
                    raise
                number += 1

    def check(self) -> list[Tick]:
        """Whether the folder is there or can be made, takes a file (written, fsynced, renamed), and has room."""
        folder = self.root
        try:
            made = folder.is_dir()
            while not folder.exists() and folder != folder.parent:
                folder = folder.parent
            if not folder.is_dir():
                return [Tick("folder", False, f"{folder} is a file, not a folder.")]
            ticks = [Tick("folder", True, str(folder) if made else f"{self.root} will be made below {folder}")]
            ticks.append(_try_writing(folder))
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return [Tick("folder", False, f"{folder}: {_words(error)}")]
        ticks.append(Tick("free space", free >= 1 << 30, f"{free / 1e9:.1f} GB"))
        return ticks


class _Unit(NamedTuple):
    """What becomes one file: where, what, the instances in it, and what each is called inside ("" for the file itself)."""

    parts: tuple[str, ...]
    content: Content
    members: tuple[Outgoing, ...]
    inside: tuple[str, ...]


def _root(unit: _Unit) -> tuple[str, ...]:
    """The folder of its file-set."""
    return unit.parts[:-_SET_DEPTH]


def _file_id(one: Outgoing, number: int = 0) -> tuple[str, ...]:
    return file_id(one.tags.text("SeriesInstanceUID"), one.sop_instance_uid, number)


class _NotPlaced(Exception):
    """It has no file: outcome, code and words of its receipts."""


def _damaged(one: Outgoing, error: OSError | EOFError) -> Receipt:
    words = f"What we keep of it is damaged: {error.strerror if isinstance(error, OSError) else error}"
    return Receipt(one.index, Outcome.REFUSED, "", words)


def _try_writing(folder: Path) -> Tick:
    """A real write: permissions, mounts and quotas are best asked by doing."""
    trial = folder / f".axiom-check-{secrets.token_hex(6)}"
    renamed = trial.with_suffix(".renamed")
    try:
        with trial.open("xb") as file:
            file.write(b"axiom")
            file.flush()
            os.fsync(file.fileno())
        trial.rename(renamed)
    except OSError as error:
        return Tick("writable", False, f"{folder}: {_words(error)}")
    finally:
        trial.unlink(missing_ok=True)
        renamed.unlink(missing_ok=True)
    return Tick("writable", True, "a trial file was written, renamed and removed")


def _words(error: OSError) -> str:
    """What went wrong, without the path: it may hold a patient's name, and words go to logs."""
    number = error.errno or 0
    known = _EVERYWHERE.get(number) or _HERE.get(number) or _NEVER.get(number)
    return f"{known or os.strerror(number)}."


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")
