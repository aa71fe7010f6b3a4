"""A header as a pydicom Dataset, for those who work with pydicom: notebooks, checks, tests."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from engine.errors import Hold

if TYPE_CHECKING:
    from pydicom import Dataset

    from engine.dicom.header import Header

__all__ = ["dataset_of"]


def dataset_of(header: Header) -> Dataset:
    """The data set without group 7FE0 and with its file meta. Raises Hold when pydicom cannot read it."""
    import pydicom

    root = header.root
    parts = [root.source.read(e[1], e[4]) for tag, e in root.index.items() if tag >> 16 != 0x7FE0]
    try:
        dataset = pydicom.dcmread(BytesIO(header.head), force=True)
        body = pydicom.filereader.read_dataset(
            BytesIO(b"".join(parts)), not root.form.explicit, root.form.order == "<"
        )
    except Exception as e:  # pydicom raises what it likes on odd bytes
        raise Hold(f"pydicom cannot read the header: {e}.") from e
    dataset.update(body)
    return dataset
