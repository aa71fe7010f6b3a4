"""Writes Part 10 files into a folder tree whose names are made from tags.

Guarantee: confirmed when the file and its name are on disk (fsynced). A file appears whole or not at all. The same
instance delivered again is found and confirmed, not written twice; another file of the same name is never lost unless
`replace` says so. Files are reflinks or copies, never hard links: an edit there does not reach what we keep. No space,
missing permission and a folder that is away are tried again; names that the file system cannot take are refused. With an
index, a file's line is on disk before it is confirmed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from engine.destinations._index import Index, IndexForm, Row, index_name
from engine.destinations._names import Template, parse_template
from engine.destinations._placing import BusyError, OtherBytesError, Placed, Tree
from engine.destinations.base import Destination, Outgoing
from engine.dicom.paths import TagPathText
from engine.errors import Hold, Retry
from engine.model import Outcome, Receipt, Report, Tick

__all__ = ["Filesystem"]

_AT_ONCE = 16
"""Instances whose folders are fsynced together before they are reported."""
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

    @property
    def root(self) -> Path:
        """The folder, absolute."""
        return Path(self.path).expanduser().absolute()

    def deliver(self, outgoing: Sequence[Outgoing], report: Report, stop: threading.Event) -> None:
        template = parse_template(self.template)
        try:
            tree = Tree(self.root, int(self.mode, 8))
        except OSError as error:
            raise Retry(f"The folder {self.root} cannot be used: {_words(error)}", _code(error)) from error
        try:
            for start in range(0, len(outgoing), _AT_ONCE):
                if stop.is_set():
                    return
                self._deliver_some(tree, template, outgoing[start : start + _AT_ONCE], report, stop)
        finally:
            tree.close()

    def _deliver_some(
        self, tree: Tree, template: Template, some: Iterable[Outgoing], report: Report, stop: threading.Event
    ) -> None:
        """Place each, make the folders durable once, and then report: also when the disk ends it in the middle."""
        receipts: list[Receipt] = []
        written: list[tuple[Outgoing, Placed]] = []
        ended: Retry | None = None
        for one in some:
            if stop.is_set():
                break
            try:
                receipts.append(self._deliver_one(tree, template, one, written))
            except Retry as error:
                ended = error
                break
        try:
            tree.sync()
            if self.index != "none":
                self._note_down(tree, written)
        except OSError as error:
            raise Retry(f"The folder {self.root} could not be made durable: {_words(error)}", _code(error)) from error
        for receipt in receipts:
            report(receipt)
        if ended:
            raise ended

    def _note_down(self, tree: Tree, written: Sequence[tuple[Outgoing, Placed]]) -> None:
        """Into the index of each folder, and make it durable."""
        index = Index(self.index, ["bytes", *self.index_tags])
        folders: dict[tuple[str, ...], tuple[list[Row], list[Row]]] = {}
        for one, placed in written:
            *folder, name = placed.name.split("/")
            row: Row = {"file": name, "bytes": one.file.length, **{tag: one.tags.text(tag) for tag in self.index_tags}}
            folders.setdefault(tuple(folder), ([], []))[placed.was_there].append(row)
        for where, (new, repeated) in folders.items():
            index.append(tree.folder(where), new, repeated)
        tree.sync()

    def _deliver_one(
        self, tree: Tree, template: Template, one: Outgoing, written: list[tuple[Outgoing, Placed]]
    ) -> Receipt:
        begun = time.monotonic()
        try:
            parts = template.fill(one.tags.text)
            if parts[-1] == index_name(self.index):
                return Receipt(one.index, Outcome.REFUSED, "EEXIST", "Its name would be that of the folder's index.")
            placed = tree.place(parts, one.file, policy=self.collision)
            written.append((one, placed))
        except BusyError:
            return Receipt(one.index, Outcome.RETRY, "EAGAIN", "Another delivery is writing this file now.")
        except OtherBytesError:
            return Receipt(one.index, Outcome.REFUSED, "EEXIST", "Another file with other bytes has this name.")
        except Hold as error:
            return Receipt(one.index, Outcome.REFUSED, "", f"The name cannot be made from its tags: {error}")
        except EOFError as error:
            return Receipt(one.index, Outcome.REFUSED, "", f"What we keep of it is damaged: {error}")
        except OSError as error:
            if error.errno in _EVERYWHERE:
                raise Retry(f"Writing below {self.root}: {_words(error)}", _code(error)) from error
            outcome = Outcome.REFUSED if error.errno in _NEVER else Outcome.RETRY
            return Receipt(one.index, outcome, _code(error), _words(error))
        return Receipt(
            one.index,
            Outcome.CONFIRMED,
            words=self._note(placed),
            location=str(self.root / placed.name),
            seconds=time.monotonic() - begun,
            size=one.file.length,
        )

    @staticmethod
    def _note(placed: Placed) -> str:
        return "was there already, with the same bytes" if placed.was_there else ""

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
