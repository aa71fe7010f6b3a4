"""Crosswalks: what another table says a value is to be replaced by. Its sources are found by being here."""

from engine.component import import_kinds

import_kinds(__name__, __path__)
