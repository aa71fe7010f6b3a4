"""Putting a file into a folder tree so that it is whole or not there, and never outside of the tree.

Folders are opened one below the other without following links, and files are named relative to them, so that no link
or rename in the tree can lead elsewhere. A file is written beside its place as `.<name>.part`, fsynced, and then named.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.dicom.content import Content, Slice
from engine.durable import write_all

__all__ = ["BusyError", "OtherBytesError", "Placed", "Tree"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FICLONE = 0x40049409
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.ETXTBSY}
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class BusyError(Exception):
    """Another delivery is writing this very file now."""


class OtherBytesError(Exception):
    """Another file has the name, and may not be replaced."""


class Placed(NamedTuple):
    """Where a file is, relative to the root, and whether it was there before with the same bytes."""

    name: str
    was_there: bool


class Tree:
    """A folder and what is below it, open for a while: `sync` makes what was placed durable, `close` lets go.

    `mode` holds the permissions of files; folders can be entered by those who may read.
    """

    def __init__(self, root: Path, mode: int) -> None:
        root.mkdir(mode=_folder_mode(mode), parents=True, exist_ok=True)
        self._mode = mode
        self._open: dict[tuple[str, ...], int] = {(): os.open(root, _FOLDER)}
        self._touched: set[tuple[str, ...]] = set()

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()

    def sync(self) -> None:
        """Make the names of everything placed so far durable (the bytes are), and let go of the folders below."""
        for folder in sorted(self._touched, key=len):
            os.fsync(self._open[folder])
        self._touched.clear()
        for folder in [f for f in self._open if f]:
            os.close(self._open.pop(folder))

    def folder(self, parts: Sequence[str]) -> int:
        """A folder of the tree, open until the next `sync` or `close`; made when it is not there. Raises OSError."""
        return self._folder(tuple(parts))

    def place(self, parts: Sequence[str], content: Content, *, policy: str) -> Placed:
        """Put the content there. Where a file is already: with the same bytes nothing is done, else by `policy`,
        `keep_both` (a number before the extension), `replace` or `refuse`.

        Raises BusyError, OtherBytesError, OSError as the file system says, EOFError when a piece is shorter than said.
        """
        *folders, name = parts
        where = tuple(folders)
        fd = self._folder(where)
        self._touched.add(where)
        stem, dot, end = name.rpartition(".") if "." in name.strip(".") else (name, "", "")
        number = 0
        while True:
            candidate = name if number == 0 else f"{stem}.{number}{dot}{end}"
            found = _existing(fd, candidate)
            if found is not None:
                with os.fdopen(found, "rb", buffering=0) as file:
                    if _same(file.fileno(), content):
                        _remove_stale(fd, f".{candidate}.part")
                        return Placed("/".join((*where, candidate)), True)
                if policy == "refuse":
                    raise OtherBytesError
                if policy == "keep_both":
                    number += 1
                    continue
            if self._put(fd, candidate, content, replace=policy == "replace"):
                return Placed("/".join((*where, candidate)), False)
            # The name was taken meanwhile: look at what has it, it may be the same image.

    def _folder(self, where: tuple[str, ...]) -> int:
        fd = self._open.get(where)
        if fd is None:
            parent = self._folder(where[:-1])
            try:
                fd = os.open(where[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):  # another delivery made it just now
                    os.mkdir(where[-1], _folder_mode(self._mode), dir_fd=parent)
                self._touched.add(where[:-1])
                fd = os.open(where[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
            self._open[where] = fd
        return fd

    def _put(self, folder: int, name: str, content: Content, *, replace: bool) -> bool:
        """Write and name the file; false when the name was taken meanwhile."""
        part = f".{name}.part"
        fd = _open_part(folder, part)
        try:
            try:
                os.fchmod(fd, self._mode)
                _write(fd, content)
                os.fsync(fd)
                if replace:
                    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
                    return True
                return _name(folder, part, name)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=folder)
                raise
        finally:
            os.close(fd)


def _folder_mode(mode: int) -> int:
    return mode | 0o700 | (mode & 0o444) >> 2


def _existing(folder: int, name: str) -> int | None:
    """The file of that name, open; None when there is none. A link or folder of that name raises OSError."""
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None


def _same(fd: int, content: Content) -> bool:
    if os.fstat(fd).st_size != content.length:
        return False
    at = 0
    for chunk in content.chunks():
        if os.pread(fd, len(chunk), at) != chunk:
            return False
        at += len(chunk)
    return True


def _open_part(folder: int, part: str) -> int:
    """A new temporary file, locked. What a crashed run left is removed (not emptied: it may be linked to its place)."""
    while True:
        try:
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
            ours = True
        except FileExistsError:
            try:
                fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
            except FileNotFoundError:
                continue
            ours = False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, folder, part):
                if ours:
                    return fd
                os.unlink(part, dir_fd=folder)
        except BlockingIOError as error:
            os.close(fd)
            raise BusyError from error
        os.close(fd)


def _remove_stale(folder: int, part: str) -> None:
    """Of a file that is there: what a crash left between its naming and the end of its temporary name."""
    try:
        fd = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(fd, folder, part):
            os.unlink(part, dir_fd=folder)
    except BlockingIOError:
        pass  # another delivery is writing under it now
    finally:
        os.close(fd)


def _is_at(fd: int, folder: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _name(folder: int, part: str, name: str) -> bool:
    """Give the temporary file its name unless that is taken."""
    try:
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        os.unlink(part, dir_fd=folder)
        return False
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        found = _existing(folder, name)  # FAT and some shares have no links: looking first is the best they can do
        if found is not None:
            os.close(found)
            os.unlink(part, dir_fd=folder)
            return False
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return True
    os.unlink(part, dir_fd=folder)
    return True


def _write(fd: int, content: Content) -> None:
    """The content's bytes: a reflink of the received file where it is unchanged and the file system can, else a copy."""
    if _clone(fd, content):
        return
    for piece in content.pieces:
        if isinstance(piece, Slice):
            _copy(fd, piece)
        else:
            write_all(fd, piece)


def _clone(fd: int, content: Content) -> bool:
    match content.pieces:
        case (bytes() as head, Slice(path, offset, length)) if offset == len(head):
            pass
        case _:
            return False
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(source).st_size != offset + length or os.pread(source, offset, 0) != head:
            return False
        fcntl.ioctl(fd, _FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
        return False
    finally:
        os.close(source)
    return True


def _copy(fd: int, piece: Slice) -> None:
    """In the kernel where it can (`copy_file_range` shares blocks by itself where they align), else through memory."""
    source = os.open(piece.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at, end = piece.offset, piece.offset + piece.length
        in_kernel = hasattr(os, "copy_file_range")
        while at < end:
            try:
                done = os.copy_file_range(source, fd, end - at, at) if in_kernel else 0
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                done, in_kernel = 0, False
            if not done:  # not possible, or (some file systems) nothing said: the ordinary way tells which
                chunk = os.pread(source, min(1 << 20, end - at), at)
                if not chunk:
                    raise EOFError(f"{piece.path.name} ends before its slice does ({end - at} bytes are missing)")
                write_all(fd, chunk)
                done = len(chunk)
            at += done
    finally:
        os.close(source)
