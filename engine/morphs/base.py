"""What every kind of morph is: one change of a tag."""

from __future__ import annotations

from engine.component import Component

__all__ = ["Morph"]


class Morph(Component, family="morph"):
    """One change of a tag. Checked against the VR when saved and when run; an error at run time holds the instance."""
