"""Something happened: a study is delivered, a delivery is given up, images are held.

Guarantee: told at least once for each, in order of a channel; the same `id` again is the same event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine.alerts.base import Alert, Happening
from engine.component import Name

__all__ = ["Event"]

Kind = Literal["study_delivered", "delivery_dead", "instance_held"]


class Event(Alert):
    """Tells single events as they happen: it neither lasts nor ends."""

    label: ClassVar[str] = "Event"
    kind: Literal["event"] = "event"
    events: list[Kind] = Field(default=["delivery_dead"], min_length=1, examples=[["study_delivered"]])
    """`study_delivered`: the destination has confirmed all that one delivery holds (with `gather: study`, all of the study);
    `delivery_dead`: it refused images for good, or was given up; `instance_held`: images of a batch are held."""
    destinations: list[Name] = Field(default=[], examples=[["pacs"]])
    """For which destinations; none: all of them."""
    sources: list[Name] = Field(default=[], examples=[["modalities"]])
    """For `instance_held`: from which sources; none: all of them."""

    def hear(self, line: Mapping[str, Any]) -> Happening | None:
        if line["t"] == "delivery" and (not self.destinations or line["destination"] in self.destinations):
            return self._delivery(line)
        if line["t"] == "routed" and line["held"] and "instance_held" in self.events:
            if self.sources and line["source"] not in self.sources:
                return None
            words = f"Images held: {line['held']} of batch {line['batch']} from {line['source']}."
            details = {key: line[key] for key in ("batch", "source", "held", "revision")}
            return Happening("instance_held", words, details)
        return None

    def _delivery(self, line: Mapping[str, Any]) -> Happening | None:
        details = {key: line[key] for key in ("delivery", "batch", "destination", "rule", "instances")}
        if line["outcome"] == "done" and "study_delivered" in self.events:
            words = f"{line['destination']} has confirmed all {line['instances']} images of delivery {line['delivery']}."
            return Happening("study_delivered", words, details | {"studies": line["studies"], "seconds": line["seconds"]})
        if line["outcome"] == "dead" and "delivery_dead" in self.events:
            words = f"Delivery {line['delivery']} to {line['destination']} was refused ({line['code'] or 'given up'})."
            return Happening("delivery_dead", words, details | {"code": line["code"], "refused": line["refused"]})
        return None
