"""The mark of Axiom Flow, as SVG text: no file to ship, no request to make."""

from __future__ import annotations

import base64

__all__ = ["ICON", "mark"]

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32" fill="none" stroke-width="3" stroke-linecap="round">'
    '<rect width="32" height="32" rx="8" fill="#1f766c"/><path d="M6 16h6c5 0 4-8 9-8h5" stroke="#fff"/>'
    '<path d="M12 16c5 0 4 8 9 8h5" stroke="#9fdcd2"/></svg>'
)


def mark(pixels: int) -> str:
    """The mark as an HTML image (Streamlit takes bare SVG out of HTML)."""
    data = base64.b64encode(ICON.encode()).decode()
    return f'<img alt="" width="{pixels}" height="{pixels}" src="data:image/svg+xml;base64,{data}">'
