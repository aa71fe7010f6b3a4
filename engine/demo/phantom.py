"""Pixels that look like something: ellipses and gradients, seeded, so that the same call gives the same bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["abdomen", "chest_radiograph", "head", "ultrasound"]

Plane = NDArray[np.float32]


def _grid(rows: int, columns: int) -> tuple[Plane, Plane]:
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    return y.astype(np.float32), x.astype(np.float32)


def _ellipse(y: Plane, x: Plane, cy: float, cx: float, ry: float, rx: float, turn: float = 0.0) -> NDArray[np.bool_]:
    c, s = np.cos(turn), np.sin(turn)
    u, v = (x - cx) * c + (y - cy) * s, (y - cy) * c - (x - cx) * s
    inside: NDArray[np.bool_] = (u / max(rx, 1e-3)) ** 2 + (v / max(ry, 1e-3)) ** 2 <= 1
    return inside


def abdomen(rows: int, columns: int, z: float, seed: int) -> Plane:
    """A CT slice in Hounsfield units; `z` goes from 0 (chest) to 1 (pelvis)."""
    y, x = _grid(rows, columns)
    noise = np.random.default_rng(seed).normal(0, 12, (rows, columns)).astype(np.float32)
    out = np.full((rows, columns), -1000, np.float32)
    out[_ellipse(y, x, 0, 0, 0.68 + 0.04 * z, 0.88)] = -90  # fat
    out[_ellipse(y, x, 0, 0, 0.61, 0.80)] = 45  # muscle
    lung = max(0.0, 0.55 - z) / 0.55
    for side in (-1, 1):
        out[_ellipse(y, x, -0.05, 0.40 * side, 0.45 * lung, 0.28 * lung, 0.2 * side)] = -820
        if z > 0.45:
            out[_ellipse(y, x, 0.18, 0.36 * side, 0.16, 0.12, 0.5 * side)] = 110  # kidneys
    if z > 0.3:
        out[_ellipse(y, x, -0.12, -0.38, 0.34, 0.30 * (1 - 0.5 * z), 0.3)] = 95  # liver
    out[_ellipse(y, x, -0.14, 0.06, 0.22 * lung, 0.18 * lung, 0.6)] = 60  # heart
    out[_ellipse(y, x, 0.20, 0.05, 0.06, 0.06)] = 160  # aorta
    out[_ellipse(y, x, 0.42, 0.0, 0.12, 0.11)] = 420  # spine
    out[_ellipse(y, x, 0.42, 0.0, 0.05, 0.05)] = 30
    return out + noise


def head(rows: int, columns: int, z: float, seed: int, *, t2: bool = False) -> Plane:
    """An MR slice of a head, 0 to about 1000; `t2` makes fluid bright instead of dark."""
    y, x = _grid(rows, columns)
    size = float(np.sqrt(max(0.05, 1 - (1.6 * (z - 0.5)) ** 2)))
    skin, skull, grey, white, fluid = (0.85, 0.10, 0.55, 0.70, 0.95) if t2 else (0.90, 0.08, 0.55, 0.75, 0.15)
    out = np.zeros((rows, columns), np.float32)
    out[_ellipse(y, x, 0, 0, 0.90 * size, 0.70 * size)] = skin
    out[_ellipse(y, x, 0, 0, 0.84 * size, 0.64 * size)] = skull
    out[_ellipse(y, x, 0, 0, 0.78 * size, 0.58 * size)] = grey
    out[_ellipse(y, x, 0, 0, 0.66 * size, 0.46 * size)] = white
    for side in (-1, 1):
        out[_ellipse(y, x, -0.05, 0.13 * side, 0.30 * size, 0.07 * size, 0.25 * side)] = fluid
        out[_ellipse(y, x, 0.10, 0.24 * side, 0.12 * size, 0.08 * size)] = grey
    out[np.abs(x) < 0.008] *= 0.6
    coil = 1 - 0.25 * x + 0.15 * y
    noise = np.abs(np.random.default_rng(seed).normal(0, 0.02, (rows, columns))).astype(np.float32)
    return (out * coil + noise) * 900


def chest_radiograph(rows: int, columns: int, seed: int, *, lateral: bool = False) -> Plane:
    """A chest radiograph, 0 (dark) to 1: what absorbs is bright."""
    y, x = _grid(rows, columns)
    body = np.clip(1 - (x / 0.92) ** 4 - (np.maximum(y, 0) / 2) ** 2, 0, 1) * 0.55
    lungs = [(0.0, 0.05, 0.62, 0.42, 0.0)] if lateral else [(-0.08, s * 0.40, 0.60, 0.27, 0.12 * s) for s in (-1, 1)]
    for cy, cx, ry, rx, turn in lungs:
        body -= 0.38 * _ellipse(y, x, cy, cx, ry, rx, turn) * np.clip(1.1 - np.abs(y + 0.1), 0, 1)
    body += 0.16 * _ellipse(y, x, 0.18, 0.10, 0.34, 0.26, 0.5)  # heart
    body += 0.14 * (np.abs(x - (0.55 if lateral else 0.0)) < 0.07)  # spine
    body += 0.28 * (y > 0.52 + 0.25 * (np.abs(x) - 0.4) ** 2) * (np.abs(x) < 0.9)  # diaphragm
    if not lateral:
        body += 0.07 * (np.sin(18 * (y + 0.35 * x**2)) > 0.72) * (np.abs(x) < 0.72)  # ribs
    noise = np.random.default_rng(seed).normal(0, 0.012, (rows, columns)).astype(np.float32)
    return np.asarray(np.clip(body + 0.12 + noise, 0, 1), np.float32)


def ultrasound(rows: int, columns: int, beat: float, seed: int) -> Plane:
    """One frame of a sector scan, 0 to 255; `beat` (0 to 1) is the place in the heart's cycle."""
    row, column = np.mgrid[0 : 1 : rows * 1j, -0.75 : 0.75 : columns * 1j]
    depth, angle = np.hypot(row, column), np.arctan2(column, row)
    sector = (np.abs(angle) < 0.65) & (depth > 0.05) & (depth < 0.97)
    speckle = np.random.default_rng(seed).rayleigh(0.33, (rows, columns))
    squeeze = 1 - 0.28 * np.sin(np.pi * beat) ** 2
    wall = ((row - 0.52) / (0.25 * squeeze + 0.06)) ** 2 + (column / (0.17 * squeeze + 0.06)) ** 2 < 1
    chamber = ((row - 0.52) / (0.25 * squeeze)) ** 2 + (column / (0.17 * squeeze)) ** 2 < 1
    tissue = np.where(chamber, 0.06, np.where(wall, 0.95, 0.45)) * speckle * (1.15 - 0.5 * depth)
    return np.asarray(np.clip(tissue * sector * 255, 0, 255), np.float32)
