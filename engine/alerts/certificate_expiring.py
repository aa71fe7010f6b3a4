"""A certificate ends soon.

Guarantee: told for each certificate in use on this node that ends within so many days, or has ended.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Facts, Finding

__all__ = ["CertificateExpiring"]


class CertificateExpiring(Alert):
    """A certificate that a source or destination uses ends within some days."""

    label: ClassVar[str] = "Certificate expiring"
    kind: Literal["certificate_expiring"] = "certificate_expiring"
    days: float = Field(default=21.0, gt=0, le=366)
    """How many days before its end it is told."""

    def look(self, facts: Facts) -> list[Finding]:
        found = []
        for one in facts.certificates:
            days = (one.valid_until - facts.now).total_seconds() / 86_400
            if days >= self.days:
                continue
            when = f"ends on {one.valid_until:%Y-%m-%d}" if days > 0 else f"has ended on {one.valid_until:%Y-%m-%d}"
            found.append(
                Finding(
                    f"{one.where}/{one.subject}", f"The certificate {one.subject} of {one.where} {when}.",
                    "Put a new one in its place: it is used at once.", one.where.partition("/")[0],
                )
            )  # fmt: skip
        return found
