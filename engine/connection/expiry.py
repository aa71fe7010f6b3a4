"""Which certificates end, and when: of every TLS setting in a configuration, said in good time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel

from engine.connection.tls import TlsClient, TlsServer
from engine.errors import Retry
from engine.settings import Settings

__all__ = ["Expiry", "look", "users_of"]


@dataclass(frozen=True, slots=True)
class Expiry:
    """One certificate that a source or destination uses, or why it cannot be read."""

    where: str
    """ "sources/modalities", "API"."""
    reference: str = ""
    subject: str = ""
    valid_until: str = ""
    """ISO 8601, UTC."""
    days: int | None = None
    """Whole days that are left, negative when it has ended; None when it could not be read."""
    words: str = ""
    """What to do, "" when nothing is to be done."""


def users_of(parts: Iterable[tuple[str, Iterable[BaseModel]]], settings: Settings) -> list[tuple[str, BaseModel]]:
    """What is switched on in the families ("sources" and the like) with its place, and the API, for `look`."""
    users = [
        (f"{family}/{getattr(one, 'name', '')}", one) for family, some in parts for one in some if getattr(one, "enabled", True)
    ]
    if settings.tls_certificate:
        users.append(("API", TlsServer(certificate=settings.tls_certificate, private_key=settings.tls_key or None)))
    return users


def look(users: Iterable[tuple[str, BaseModel]], warn_days: int, now: datetime | None = None) -> list[Expiry]:
    """Every certificate that these use, each once, those that end first before the others.

    `users` are pairs of a place ("sources/modalities") and its model; a certificate that ends within `warn_days`, or has
    ended, has words. References are read here and now: this takes as long as a Secret Manager takes.
    """
    now = now or datetime.now(UTC)
    found = {}
    for where, model in users:
        for tls in _settings_of(model):
            for one in _of(where, tls, warn_days, now):
                found[one.where, one.reference, one.subject, one.valid_until] = one
    return sorted(found.values(), key=lambda one: (one.days is not None, one.days or 0, one.where))


def _of(where: str, tls: TlsClient | TlsServer, warn_days: int, now: datetime) -> Iterator[Expiry]:
    try:
        certificates = tls.certificates()
    except Retry as e:
        yield Expiry(where, words=str(e))
        return
    for one in certificates:
        days = (one.valid_until - now).days
        until = one.valid_until.astimezone(UTC)
        words = ""
        if one.valid_until <= now:
            words = f"has ended on {until:%Y-%m-%d}: put a new one in its place, it is used at once"
        elif days < warn_days:
            words = f"ends on {until:%Y-%m-%d}, in {days} days: put a new one in its place, it is used at once"
        yield Expiry(where, one.reference, one.subject, until.isoformat(timespec="seconds"), days, words)


def _settings_of(model: BaseModel) -> Iterator[TlsClient | TlsServer]:
    if isinstance(model, TlsClient | TlsServer):
        yield model
        return
    for name in type(model).model_fields:
        value = getattr(model, name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, BaseModel):
                yield from _settings_of(one)
