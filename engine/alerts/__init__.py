"""Alerts: what shall be told to people without their looking. Each kind is one file."""

from engine.component import import_kinds

import_kinds(__name__, __path__)
