"""What happened: the flow picture, the search over instances, one image's whole story. From history; the spool adds now."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from engine.errors import Missing
from engine.history import questions

if TYPE_CHECKING:
    from engine.configuration import Configuration
    from engine.operations import Operations

__all__ = ["flow_picture", "instance", "instances"]


def flow_picture(ops: Operations, minutes: int) -> dict[str, Any]:
    """`nodes`, `edges`, `per_minute` and `totals` of the last minutes; what is configured is there with a count of 0 too."""
    since = datetime.now(UTC) - timedelta(minutes=minutes)
    counts = questions.flow_counts(ops.history, since)
    configuration = ops.store.live().configuration
    nodes: dict[str, dict[str, Any]] = {}

    def node(type_: str, name: str, /, **more: Any) -> str:
        node_id = f"{type_}:{name}"
        nodes.setdefault(node_id, {"id": node_id, "type": type_, "name": name, "count": 0, "state": "gone"})
        nodes[node_id].update(more)
        return node_id

    for source in configuration.sources:
        node("source", source.name, kind=source.kind, state="live" if source.enabled else "off")
    for ruleset in configuration.ordered_rulesets():
        for rule in sorted(ruleset.rules, key=lambda r: r.priority):
            node("rule", f"{ruleset.name}/{rule.name}", state=str(rule.state))
    for destination in configuration.destinations:
        state = "live" if destination.enabled else "off"
        backlog = len(ops.spool.outbox.entries(destination.name))
        dead = len(ops.spool.outbox.dead(destination.name))
        node("destination", destination.name, kind=destination.kind, state=state, waiting=backlog, dead=dead)
    for row in counts["sources"]:
        node("source", row["source"], count=row["received"], held=row["held"], unmatched=row["unmatched"])
    edges = [
        {"from": node("source", r["source"]), "to": node("rule", r["rule"]), "count": r["count"]}
        | ({"state": "shadow"} if r["state"] == "shadow" else {})
        for r in counts["source_rule"]
    ]
    edges += [
        {
            "from": node("rule", r["rule"]),
            "to": node("destination", r["destination"]),
            "count": r["confirmed"],
            "retried": r["retried"],
            "refused": r["refused"],
        }
        for r in counts["rule_destination"]
    ]
    drawn = {(edge["from"], edge["to"]) for edge in edges}
    edges += [edge for edge in _configured(configuration) if (edge["from"], edge["to"]) not in drawn]
    for edge in edges:
        nodes[edge["to"]]["count"] += edge["count"]
    totals = counts["totals"] | {
        "waiting": sum(n.get("waiting", 0) for n in nodes.values()),
        "dead": sum(n.get("dead", 0) for n in nodes.values()),
    }
    return {
        "since": since.isoformat(),
        "minutes": minutes,
        "nodes": list(nodes.values()),
        "edges": edges,
        "totals": totals,
        "per_minute": counts["per_minute"],
    }


def _configured(configuration: Configuration) -> Iterator[dict[str, Any]]:
    """The ways that live rules name, also while nothing has gone: so one sees whose images a destination waits with."""
    for ruleset in configuration.ordered_rulesets():
        for rule in ruleset.rules:
            if rule.state == "live":
                for name in rule.destinations:
                    way = {"from": f"rule:{ruleset.name}/{rule.name}", "to": f"destination:{name}"}
                    yield way | {"count": 0, "retried": 0, "refused": 0}


def instances(ops: Operations, text: str, limit: int, *, mask: bool) -> list[dict[str, Any]]:
    return questions.instances(ops.history, text, limit, mask=mask)


def instance(ops: Operations, sop_instance_uid: str, *, mask: bool) -> dict[str, Any]:
    story = questions.instance_story(ops.history, sop_instance_uid, mask=mask)
    if not story["receptions"]:
        raise Missing(
            f"The history knows no instance {sop_instance_uid}. If it came in the last seconds, look again in a moment; "
            "if not, it was never received here under this UID."
        )
    return story
