"""The engine's errors, in one tree whose branches say what the flow does next.

    AxiomError
    ├── Refuse            tell the sender no; nothing was accepted        (C-STORE failure, 4xx)
    │   └── OutOfSpace    no room below the watermark                     (A700, 507)
    ├── Hold              keep the instance; a person must look           (held, with this reason)
    ├── Retry             the peer or a part is away; try again later     (back-off)
    ├── Permanent         the peer said no for good                       (dead letter)
    ├── Invalid           what a person wrote is wrong; say where         (422, beside the field)
    ├── Missing           what was named is not there                     (404)
    ├── Conflict          another change came first                       (409, 412)
    │   └── InUse         something still needs it                        (409)
    └── Denied            who asks is not known, or may not               (401, 403)
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "AxiomError", "Conflict", "Denied", "Hold", "InUse", "Invalid", "Missing", "OutOfSpace", "Permanent", "Problem", "Refuse",
    "Retry",
]


class AxiomError(Exception):
    """Every error the engine raises on purpose. Its text is a sentence for the person who reads it."""


class Refuse(AxiomError):
    """What came in cannot be accepted. `status` is the DIMSE status to answer (PS3.7 C, PS3.4 B.2.3)."""

    def __init__(self, words: str, status: int = 0xC000) -> None:
        super().__init__(words)
        self.status = status


class OutOfSpace(Refuse):
    """The spool is below its watermark: A700 to a C-STORE, 507 to a STOW request."""

    def __init__(self, words: str) -> None:
        super().__init__(words, 0xA700)


class Hold(AxiomError):
    """The instance could not be decided or changed: it is kept with this reason, and a person must look.

    `waits_for` names the part that was away ("crosswalk_sources/mrn-db"): when it is back, the instance is released by itself.
    """

    def __init__(self, words: str, waits_for: str = "") -> None:
        super().__init__(words)
        self.waits_for = waits_for


class Retry(AxiomError):
    """The peer is away or busy. `code` is its own status ("0xA700", "503"); `after` the seconds it asked us to wait."""

    def __init__(self, words: str, code: str = "", after: float | None = None) -> None:
        super().__init__(words)
        self.code = code
        self.after = after


class Permanent(AxiomError):
    """The peer refused for good: sending the same again cannot help."""

    def __init__(self, words: str, code: str = "") -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where: `("rulesets", "main", "rules", "ct", "when", "all", 0, "value")`."""

    loc: tuple[str | int, ...]
    words: str


class Invalid(AxiomError):
    """What a person wrote does not hold. Carries every problem with its place, for showing beside the fields."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{'.'.join(map(str, p.loc))}: {p.words}" if p.loc else p.words for p in problems))


class Missing(AxiomError):
    """What was named is not there."""


class Conflict(AxiomError):
    """The change was made from a state that is no longer the live one: nothing was saved, look again."""


class InUse(Conflict):
    """It cannot go: `users` name what needs it, as places ("rulesets/main/rules/ct")."""

    def __init__(self, words: str, users: tuple[str, ...]) -> None:
        super().__init__(words)
        self.users = users


class Denied(AxiomError):
    """Who asks is not known (`known` false: sign in) or may not do this (`known` true). Says no more than that."""

    def __init__(self, words: str, *, known: bool = False, after: float | None = None) -> None:
        super().__init__(words)
        self.known = known
        self.after = after
        """Seconds until trying again makes sense (throttled or locked)."""
