"""The configuration, as revisions: one is live, each save makes the next, none is ever lost.

What is saved is always the whole document, validated by `load_configuration`: the engine never meets a configuration
that does not hold. Savers do not overwrite each other: whoever saves on an old state is told (Conflict).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from engine.component import import_site_kinds
from engine.configuration import FAMILIES, Configuration, load_configuration
from engine.errors import Conflict, InUse, Invalid, Missing, Problem
from engine.security.outward import use_outward
from engine.settings import Settings
from engine.store import revisions as rows
from engine.store.activations import Activations
from engine.store.audit import Audit, append
from engine.store.backfills import Backfills
from engine.store.browser_routes import BrowserRoutes
from engine.store.database import Database
from engine.store.diff import Diff, diff_documents
from engine.store.identities import Identities
from engine.store.keys import Keys
from engine.store.migration import migrate_database
from engine.store.ordering import move
from engine.store.people import People, refuse_no_admin
from engine.store.polls import Polls
from engine.store.revisions import Revision
from engine.store.roles import Roles
from engine.store.secrets import Secrets
from engine.store.usage import used_by
from engine.store.yaml_text import YamlText, dump_yaml, read_yaml

__all__ = ["Applied", "Live", "Store"]

Document = dict[str, Any]
TRIES = 50  # an edit of one item is made again on the newest state when another save came first


class Live(NamedTuple):
    """The revision that the engine works by."""

    revision: int
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class Applied:
    """What an `apply` did, or would do."""

    revision: int
    """The live revision now."""
    dry_run: bool
    diff: Diff

    def as_json(self) -> dict[str, Any]:
        return {"revision": self.revision, "dry_run": self.dry_run, "changed": bool(self.diff), **self.diff.as_json()}


class Store:
    """The configuration store. One per process; threads share it. Brings its tables up to date when it is opened.

    What the configuration names is from then on resolved (`stored:`) and reached (`allowed_hosts`) in this process as it says.
    """

    def __init__(self, settings: Settings) -> None:
        import_site_kinds(filter(None, settings.components.split(",")))  # a document that names one is to be read
        self.database = Database(settings.database)
        migrate_database(self.database)
        self.people = People(self.database, timedelta(minutes=settings.idle_minutes))
        self.roles = Roles(self.database, refuse_no_admin)
        self.identities = Identities(self.database)
        self.keys = Keys(self.database)
        self.audit = Audit(self.database)
        self.polls = Polls(self.database)
        self.backfills = Backfills(self.database)
        self.browser_routes = BrowserRoutes(self.database)
        self.secrets = Secrets(self.database, settings)
        use_outward(settings.allowed_hosts)
        self.activations = Activations(self.database)
        self._lock = threading.Lock()
        self._live: Live | None = None

    def close(self) -> None:
        self.database.close()

    # --- reading

    def live_revision(self) -> int:
        """The live revision's number: one small read, fit to be asked every second. 0: nothing was saved yet."""
        with self.database.read() as connection:
            return rows.pointer(connection).revision

    def live(self) -> Live:
        """The live configuration; read and validated again only when another revision went live."""
        number = self.live_revision()
        with self._lock:
            if self._live is None or self._live.revision != number:
                self._live = Live(number, load_configuration(self.revision(number).document))
            return self._live

    def revision(self, number: int) -> Revision:
        """Raises Missing when there is none of that number; 0 is the empty configuration."""
        with self.database.read() as connection:
            return rows.load(connection, number)

    def revisions(self, limit: int = 50, *, before: int | None = None) -> list[Revision]:
        """The newest first, without their documents (`revision` has them); `before` pages on."""
        with self.database.read() as connection:
            return rows.newest(connection, limit, before)

    def configuration_of(self, number: int) -> Configuration:
        """The configuration of a revision, as a claimed batch needs it."""
        live = self._live
        if live is not None and live.revision == number:
            return live.configuration
        return load_configuration(self.revision(number).document)

    def document(self, number: int | None = None) -> tuple[int, Document]:
        """The live document (or a revision's), a copy that may be edited, and its number."""
        with self.database.read() as connection:
            revision = rows.load(connection, rows.pointer(connection).revision if number is None else number)
        return revision.id, {**copy.deepcopy(dict(rows.EMPTY)), **copy.deepcopy(dict(revision.document))}

    def item(self, family: str, name: str) -> Document:
        """One item of the live document. Raises Missing."""
        return dict(_find(self.document()[1], family, name))

    def used_by(self, family: str, name: str) -> list[str]:
        """What would miss it: `["rulesets/main/rules/ct"]`. Raises Missing when it is not there itself."""
        document = self.document()[1]
        _find(document, family, name)
        return used_by(document, family, name)

    def diff(self, before: int, after: int) -> Diff:
        """What changed from one revision to another."""
        return diff_documents(self.revision(before).document, self.revision(after).document)

    def export_yaml(self, number: int | None = None) -> str:
        """The live configuration (or a revision's) as YAML that `apply` takes."""
        return dump_yaml(self.revision(self.live_revision() if number is None else number).document)

    # --- changing

    def save(
        self, document: Mapping[str, Any], *, author: str, reason: str = "", expected: int | None = None,
        label: str = "", address: str = "", action: str = "save",
    ) -> int:
        """Make the document live as a new revision; its number is returned. An equal document makes none.

        `expected` is the revision that the document was made from. Raises Invalid (every problem with its place), and
        Conflict when another revision is live meanwhile.
        """
        checked = load_configuration(document).document()
        with self.database.write() as connection:
            return rows.save(
                connection, checked, author=author, reason=reason, label=label, expected=expected, address=address,
                action=action,
            )  # fmt: skip

    def add_item(
        self, family: str, item: Mapping[str, Any], *, author: str, reason: str = "", address: str = ""
    ) -> int:
        """Add an item. Raises Conflict when its name is taken, Invalid when it does not hold."""
        name = str(item.get("name", ""))

        def edit(document: Document) -> None:
            items = _family(document, family)
            if any(i["name"] == name for i in items):
                raise Conflict(f"There is already a {_one(family)} called {name}.")
            items.append(dict(item))

        return self._edit(edit, author, reason or f"added {family}/{name}", address, "add", None, None)

    def put_item(
        self, family: str, name: str, item: Mapping[str, Any], *, author: str, reason: str = "",
        expected: int | None = None, address: str = "",
    ) -> int:
        """Add the item or put it in the place of the one of that name. Raises Invalid; Conflict as `save` does, when
        *this item* changed since `expected` (what others saved beside it does not matter)."""
        if item.get("name", name) != name:
            words = f"The name cannot be changed from {name}: deliveries and history go by it. Add a new one instead."
            raise Invalid([Problem((family, name, "name"), words)])

        def edit(document: Document) -> None:
            items = _family(document, family)
            at = next((i for i, old in enumerate(items) if old["name"] == name), len(items))
            items[at : at + 1] = [{**item, "name": name}]

        return self._edit(edit, author, reason or f"saved {family}/{name}", address, "save", expected, (family, name))

    def patch_item(
        self, family: str, name: str, patch: Mapping[str, Any], *, author: str, reason: str = "",
        expected: int | None = None, address: str = "",
    ) -> int:
        """Change some fields (JSON merge patch, RFC 7396: null is "back to the default"). Raises as `put_item`."""
        if patch.get("name", name) != name:
            return self.put_item(family, name, patch, author=author)  # raises with the reason

        def edit(document: Document) -> None:
            found = _find(document, family, name)
            merged = _merge(found, patch)
            found.clear()
            found.update(merged)

        return self._edit(edit, author, reason or f"changed {family}/{name}", address, "save", expected, (family, name))

    def delete_item(
        self, family: str, name: str, *, author: str, reason: str = "", expected: int | None = None, address: str = ""
    ) -> int:
        """Take an item out. Raises InUse while something names it, Missing, Conflict as `put_item`."""

        def edit(document: Document) -> None:
            _family(document, family).remove(_find(document, family, name))
            if users := used_by(document, family, name):
                raise InUse(f"The {_one(family)} {name} is used by {', '.join(users)}.", tuple(users))

        reason = reason or f"deleted {family}/{name}"
        return self._edit(edit, author, reason, address, "delete", expected, (family, name))

    def move_rule(
        self, ruleset: str, rule: str, *, author: str, before: str | None = None, after: str | None = None,
        reason: str = "", expected: int | None = None, address: str = "",
    ) -> int:
        """Put a rule before or after another one of its ruleset (neither: behind all). Raises Missing; Conflict as `put_item`."""

        def edit(document: Document) -> None:
            move(_find(document, "rulesets", ruleset).setdefault("rules", []), rule, before, after)

        place = f"before {before}" if before else f"after {after}" if after else "to the end"
        reason = reason or f"moved rulesets/{ruleset}/rules/{rule} {place}"
        return self._edit(edit, author, reason, address, "save", expected, ("rulesets", ruleset))

    def rollback(
        self, number: int, *, author: str, reason: str = "", expected: int | None = None, address: str = ""
    ) -> int:
        """Make an earlier revision's document live again, as a new revision. Raises Missing, Invalid, Conflict."""
        return self.save(
            self.revision(number).document, author=author, reason=reason or f"back to revision {number}",
            expected=expected, address=address, action="rollback",
        )

    def label(self, number: int, label: str, *, author: str, address: str = "") -> None:
        """Give a revision a name. Raises Missing."""
        with self.database.write() as connection:
            rows.set_label(connection, number, label)
            append(
                connection, who=author, action="label", family="configuration", revision=number, address=address,
                detail={"label": label},
            )

    def apply(
        self, text: str | Mapping[str, Any], *, author: str, dry_run: bool = False, reason: str = "",
        expected: int | None = None, address: str = "",
    ) -> Applied:
        """Make the families that the text (YAML, or plain data) names equal to it; the others stay. All or nothing.

        Raises Invalid with the lines of what does not hold, Conflict when another save comes between.
        """
        source = read_yaml(text) if isinstance(text, str) else YamlText(text, {})
        wanted = source.data
        try:
            _known_families(wanted)
            revision, document = self.document()
            after = load_configuration({**document, **wanted}).document()
        except Invalid as e:
            raise Invalid(source.located(e.problems)) from e
        diff = diff_documents(document, after)
        if not dry_run:
            expected = revision if expected is None else expected
            revision = self.save(
                after, author=author, reason=reason or "applied", expected=expected, address=address, action="apply"
            )
        return Applied(revision, dry_run, diff)

    # --- within

    def _edit(
        self, edit: Callable[[Document], None], author: str, reason: str, address: str, action: str,
        expected: int | None, guarded: tuple[str, str] | None,
    ) -> int:
        for attempt in range(TRIES):
            revision, document = self.document()
            if expected is not None and guarded is not None and expected != revision:
                self._refuse_changed(document, expected, *guarded)
            edit(document)
            try:
                return self.save(
                    document, author=author, reason=reason, expected=revision, address=address, action=action
                )
            except Conflict:
                if attempt == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _refuse_changed(self, document: Document, expected: int, family: str, name: str) -> None:
        try:
            before = self.document(expected)[1]
        except Missing as e:
            raise Conflict(f"There is no revision {expected} that this change could be made from.") from e
        if _get(before, family, name) != _get(document, family, name):
            raise Conflict(
                f"The {_one(family)} {name} was changed after you read it (revision {expected}). "
                "Load it again and repeat your change."
            )


def _one(family: str) -> str:
    return family.removesuffix("s")


def _family(document: Document, family: str) -> list[Document]:
    if family not in FAMILIES:
        raise Missing(f"There is no family called {family}; there are {', '.join(FAMILIES)}.")
    items: list[Document] = document[family]
    return items


def _get(document: Document, family: str, name: str) -> Document | None:
    return next((i for i in _family(document, family) if i["name"] == name), None)


def _find(document: Document, family: str, name: str) -> Document:
    if (found := _get(document, family, name)) is None:
        raise Missing(f"There is no {_one(family)} called {name}.")
    return found


def _merge(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    out = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge(out.get(key), value)
    return out


def _known_families(wanted: Mapping[str, Any]) -> None:
    unknown = [key for key in wanted if key not in FAMILIES]
    if unknown:
        known = ", ".join(FAMILIES)
        raise Invalid([Problem((key,), f"There is no family called {key}; there are {known}.") for key in unknown])
