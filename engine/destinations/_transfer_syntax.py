"""In which transfer syntax an instance leaves: as it came, decompressed, or compressed without loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.component import ConfigModel
from engine.dicom.codecs import (
    BIG_ENDIAN,
    EXPLICIT_LITTLE,
    HTJ2K_LOSSLESS,
    IMPLICIT_LITTLE,
    JPEG_2000_LOSSLESS,
    JPEG_LS_LOSSLESS,
    LOSSY,
    READABLE,
    RLE,
)

__all__ = ["TransferSyntaxPolicy"]

_TARGETS = {
    "jpeg_2000_lossless": JPEG_2000_LOSSLESS,
    "jpeg_ls_lossless": JPEG_LS_LOSSLESS,
    "rle_lossless": RLE,
    "htj2k_lossless": HTJ2K_LOSSLESS,
}


class TransferSyntaxPolicy(ConfigModel):
    """How images are written for a peer. Whatever is chosen, every sample and every UID stays the same."""

    send: Literal[
        "as_received", "decompress", "jpeg_2000_lossless", "jpeg_ls_lossless", "rle_lossless", "htj2k_lossless"
    ] = Field(default="as_received", examples=["decompress"])
    """`as_received`: the bytes that came. `decompress`: Explicit VR Little Endian (or Implicit, if the peer takes that
    alone). The others compress; what is lossy already, or holds no image, stays as it came."""
    otherwise: Literal["as_received", "refuse"] = "as_received"
    """What happens to an image that cannot be written so, or that the peer does not take so: it goes as it came, or it is
    refused and waits among the dead letters."""
    fall_back: bool = True
    """Whether an image is decompressed when the peer takes it in no other way. Off: it is refused."""

    def targets(self, received: str) -> list[str]:
        """The transfer syntaxes that are asked for instead of the one received, the preferred first."""
        if received not in READABLE or received == BIG_ENDIAN or self.send == "as_received":
            return []
        if self.send == "decompress":
            return [] if received in (EXPLICIT_LITTLE, IMPLICIT_LITTLE) else [EXPLICIT_LITTLE, IMPLICIT_LITTLE]
        target = _TARGETS[self.send]
        return [] if received in LOSSY or received == target else [target]

    def candidates(self, received: str) -> list[str]:
        """All in which an instance may leave, in the order in which they are tried."""
        falls_back = self.fall_back and received in READABLE and received not in (IMPLICIT_LITTLE, BIG_ENDIAN)
        fallback = [EXPLICIT_LITTLE, IMPLICIT_LITTLE] if falls_back else []
        return list(dict.fromkeys([*self.targets(received), received, *fallback]))
