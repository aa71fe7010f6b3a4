"""Channels: the ways by which alerts reach people and other systems. Each kind is one file."""

from engine.component import import_kinds

import_kinds(__name__, __path__)
