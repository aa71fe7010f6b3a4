"""The way through, as plain functions: route a batch, deliver a delivery. No queue, no clock of its own, no globals.

route:   ready batch -> read headers -> decide -> change -> plan (the decision) -> history, boxes, outbox
gathered: a gathering whose time has come -> one batch with one delivery
deliver: outbox entry -> the plan's bytes -> destination -> ledger -> history
"""

from engine.flow.decider import Decider
from engine.flow.deliver import deliver, next_due
from engine.flow.gathered import deliver_gathered
from engine.flow.route import route

__all__ = ["Decider", "deliver", "deliver_gathered", "next_due", "route"]
