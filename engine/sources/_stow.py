"""A store request's instances on their way into the spool, one after the other as they stream (PS3.18 10.5).

Part 10 bytes are kept as they came. An instance counts, and is named in the answer as stored, once it is on disk.
"""

from __future__ import annotations

import collections
import errno
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from engine.connection.multipart import MultipartError
from engine.dicom.header import DEFLATED, Header
from engine.dicom.meta import Meta
from engine.dicom.network.uids import is_storage, is_uid
from engine.dicom.store_response import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    NO_ROOM,
    NOT_STORAGE,
    PROCESSING_FAILURE,
    Failed,
    Stored,
    StoreResponse,
)
from engine.durable import write_all
from engine.errors import AxiomError, Hold, OutOfSpace, Refuse
from engine.model import Association, Incoming, Intake, OpenBatch

__all__ = ["BrokenOff", "Reception", "TooLarge"]

log = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HEAD = 132  # preamble and DICM
_FIRST = 4096  # bytes looked at before the spool is asked: file meta is shorter in all but odd files
_FLUSH_EVERY = 64 << 20
"""Bytes after which a huge instance is written to disk, so that its commit does not have to do it all."""
_AT_ONCE = 16
"""Instances that are made durable together: as many files are open."""
_LOOKED_AT = 1 << 18
"""How much of a deflated data set is inflated to find who it is: all of it could be any amount."""


class BrokenOff(AxiomError):
    """The body ended, stalled or grew too long before it was whole. `status` is the HTTP status to answer."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


class TooLarge(Refuse):
    """An instance that is larger than the source takes."""


class Identity(NamedTuple):
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_uid: str = ""


class Reception:
    """One request: `part10` for each instance, `seal` at the end, `response` says what became of them. One thread uses it."""

    def __init__(self, intake: Intake, association: Association, *, study: str, largest: int) -> None:
        """`study`: the only study that is taken ("": any); `largest`: bytes of an instance."""
        self.response = StoreResponse()
        self._intake = intake
        self._association = association
        self._study = study
        self._largest = largest
        self._batch: OpenBatch | None = None
        self._written: list[tuple[Incoming, Identity]] = []

    def part10(self, chunks: Iterable[bytes]) -> None:
        """Store one Part 10 file. What is wrong with it goes into the response.

        Raises what breaks the request off (BrokenOff, MultipartError), the unfinished instance thrown away.
        """
        stream = iter(chunks)
        first = _first(stream)
        identity, incoming = _by_meta(first), None
        try:
            if first[128:_HEAD] != b"DICM":
                raise Refuse("no DICOM file: DICM does not stand at byte 128", CANNOT_UNDERSTAND)
            incoming = self._open().receive(first[:_HEAD])
            size = self._write(incoming.fd, first[_HEAD:], stream)
            identity = identify(incoming.file)
            self._check(identity)
        except (BrokenOff, MultipartError):
            self._discard(incoming)
            raise
        except Exception as e:  # noqa: BLE001  (whatever it is, the sender must hear a failure)
            self._discard(incoming)
            _drain(stream)
            self.failed(e, identity)
            return
        self._written.append((incoming, identity))
        assert self._batch is not None  # _open made it
        full = self._batch.count + len(self._written) >= self._intake.max_instances
        if full or size >= _FLUSH_EVERY or len(self._written) >= _AT_ONCE:
            self.commit()
        if full:
            self.seal()

    def commit(self) -> None:
        """Make durable what was written; from then on it counts. Several at once: no answer waits for one alone."""
        if not self._written or self._batch is None:
            return
        written, self._written = self._written, []
        try:
            errors = self._batch.commit_all([incoming for incoming, _ in written])
        except OSError as e:
            errors = [e] * len(written)
        for (_, identity), error in zip(written, errors, strict=True):
            if error is None:
                self.response.stored.append(Stored(identity.sop_class_uid, identity.sop_instance_uid))
            else:
                self.failed(error, identity)

    def failed(self, error: Exception, identity: Identity = Identity()) -> None:  # noqa: B008  (a tuple: frozen)
        """Put down that something was not stored."""
        reason, words, status = _reason(error)
        a = self._association
        log.log(
            logging.ERROR if reason == PROCESSING_FAILURE else logging.WARNING,
            "%s: not stored, from %s at %s: %s", a.source, a.user, a.source_ip, words,
            exc_info=error if reason == PROCESSING_FAILURE else None,
        )  # fmt: skip
        self.response.failed.append(Failed(reason, words, identity.sop_class_uid, identity.sop_instance_uid, status))

    def seal(self) -> None:
        """Commit, and hand on what was stored, if anything."""
        self.commit()
        if self._batch is not None:
            batch, self._batch = self._batch, None
            batch.seal()

    def _open(self) -> OpenBatch:
        if self._batch is None:
            self._batch = self._intake.open(self._association)
        return self._batch

    def _write(self, fd: int, first: bytes, stream: Iterator[bytes]) -> int:
        """How many bytes the instance has."""
        write_all(fd, first)
        size = flushed = _HEAD + len(first)
        for chunk in stream:
            size += len(chunk)
            if size > self._largest:
                raise TooLarge(f"larger than this source takes ({self._largest >> 20} MB)", CANNOT_UNDERSTAND)
            write_all(fd, chunk)
            if size - flushed >= _FLUSH_EVERY:
                os.fdatasync(fd)
                flushed = size
        return size

    def _check(self, identity: Identity) -> None:
        if not is_storage(identity.sop_class_uid):
            raise Refuse("its SOP Class UID is not valid, or not for storage", NOT_STORAGE)
        if not is_uid(identity.sop_instance_uid):
            raise Refuse("its SOP Instance UID is not valid", CANNOT_UNDERSTAND)
        if self._study and identity.study_uid != self._study:
            raise Refuse("belongs to another study than the request's", DOES_NOT_MATCH)

    def _discard(self, incoming: Incoming | None) -> None:
        try:
            if incoming is not None:
                incoming.discard()
        except OSError as e:  # it was not committed, so it does not count; the spool clears it away when it seals
            log.warning("%s could not clear away a broken transfer: %s", self._association.source, e)


def identify(file: Path) -> Identity:
    """Who a Part 10 file is. Raises Hold in words that name the place for what is broken or cut off."""
    with file.open("rb") as f:
        meta = Meta(f.read(_FIRST))
    if meta.text(0x00020010) in DEFLATED:
        return _identify_deflated(file, meta)
    header = Header.read(file)
    return Identity(header.sop_class_uid, header.sop_instance_uid, header.text("StudyInstanceUID"))


def _identify_deflated(file: Path, meta: Meta) -> Identity:
    from pydicom.filereader import read_dataset

    with file.open("rb") as f:
        f.seek(meta.end)
        try:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(f.read(_LOOKED_AT), _LOOKED_AT)
            found = read_dataset(BytesIO(data), False, True, stop_when=lambda tag, *_: int(tag) > 0x0020000D)
            study, sop_class, sop = (str(found.get(k) or "") for k in ("StudyInstanceUID", "SOPClassUID", "SOPInstanceUID"))
        except Exception as e:
            raise Hold("Its deflated data set cannot be read.") from e
    return Identity(meta.text(0x00020002) or sop_class, meta.text(0x00020003) or sop, study)


def _by_meta(first: bytes) -> Identity:
    """What the file meta alone says: for an answer about an instance that gets no further."""
    try:
        meta = Meta(first)
        return Identity(*(meta.text(tag) if is_uid(meta.text(tag)) else "" for tag in (0x00020002, 0x00020003)))
    except Exception:  # noqa: BLE001  (what is wrong with it is said by whoever reads it whole)
        return Identity()


def _reason(error: Exception) -> tuple[int, str, int]:
    """Failure reason, words and HTTP status."""
    if isinstance(error, OutOfSpace) or (isinstance(error, OSError) and error.errno in _FULL):
        return NO_ROOM, "no room: the spool is below its watermark, try later", 507
    if isinstance(error, TooLarge):
        return error.status, str(error), 413
    if isinstance(error, Refuse):
        return error.status, str(error), 409
    if isinstance(error, Hold | MultipartError | BrokenOff):
        return CANNOT_UNDERSTAND, str(error), 409
    return PROCESSING_FAILURE, f"could not be stored: {type(error).__name__}", 409


def _first(stream: Iterator[bytes]) -> bytes:
    first = b""
    while len(first) < _FIRST and (chunk := next(stream, None)) is not None:
        first += chunk
    return first


def _drain(stream: Iterator[bytes]) -> None:
    collections.deque(stream, maxlen=0)
