"""The kinds of this family; each is one file, found by being here."""

from engine.component import import_kinds

import_kinds(__name__, __path__)
