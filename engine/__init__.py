"""Axiom Flow's engine: receives DICOM instances, decides by rules, changes tags, delivers, explains. Headless."""

__version__ = "0.1.0"
