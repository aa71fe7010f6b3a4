"""What Prometheus reads: one table of all metrics, and the collector that fills it from the node's state and counters.

Counters of images are added up from the spool's journal, so that no restart loses them; those of requests are this
process's own. Labels are names of the configuration: never a value of an image or of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.spool.totals import LATENCY_SECONDS, Totals

if TYPE_CHECKING:
    from engine.operations import Operations

__all__ = ["METRICS", "ApiMetrics", "Row", "node_metrics"]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric: its kind (`gauge`, `counter`, `histogram`), what it says, its labels."""

    kind: str
    words: str
    labels: tuple[str, ...] = ()


LISTENER, DESTINATION, SOURCE = ("listener",), ("destination",), ("source",)

METRICS: dict[str, Row] = {
    "axiom_info": Row("gauge", "1, with the node's name and the version.", ("node", "version")),
    "axiom_engine_up": Row("gauge", "1 while the engine of this node runs."),
    "axiom_revision": Row("gauge", "The live revision of the configuration."),
    "axiom_listener_up": Row("gauge", "1 while the listener listens.", LISTENER),
    "axiom_listener_enabled": Row("gauge", "1 when it is switched on.", LISTENER),
    "axiom_listener_associations": Row("gauge", "Associations that are open now.", LISTENER),
    "axiom_listener_instances": Row("gauge", "Images that it took since its process began.", LISTENER),
    "axiom_listener_refusals": Row("gauge", "Associations that it refused since its process began.", LISTENER),
    "axiom_queue_depth": Row("gauge", "Wake-ups that wait.", ("queue",)),
    "axiom_queue_age_seconds": Row("gauge", "How long the first of them has waited.", ("queue",)),
    "axiom_redis_up": Row("gauge", "1 when Redis answers."),
    "axiom_workers": Row("gauge", "Worker processes, by what they do.", ("queue",)),
    "axiom_spool_batches": Row("gauge", "Batches by where they stand.", ("state",)),
    "axiom_spool_gathering": Row("gauge", "Series and studies that are being gathered."),
    "axiom_held_images": Row("gauge", "Images that wait for a person: rules could not decide or change them."),
    "axiom_unmatched_images": Row("gauge", "Images that no rule matched, still kept."),
    "axiom_disk_free_bytes": Row("gauge", "Room on the spool's disk."),
    "axiom_disk_watermark_bytes": Row("gauge", "Below this, receiving stops."),
    "axiom_accepting": Row("gauge", "1 while there is room to receive."),
    "axiom_destination_enabled": Row("gauge", "1 when it is not paused.", DESTINATION),
    "axiom_destination_waiting": Row("gauge", "Deliveries that wait.", DESTINATION),
    "axiom_destination_sending": Row("gauge", "Deliveries under way.", DESTINATION),
    "axiom_destination_dead": Row("gauge", "Deliveries with refused images: they wait for a person.", DESTINATION),
    "axiom_destination_oldest_seconds": Row("gauge", "Age of the oldest delivery that waits.", DESTINATION),
    "axiom_images_received_total": Row("counter", "Images received, counted when their batch is complete.", SOURCE),
    "axiom_received_bytes_total": Row("counter", "Their bytes.", SOURCE),
    "axiom_last_received_timestamp_seconds": Row("gauge", "When a batch was last complete.", SOURCE),
    "axiom_images_held_total": Row("counter", "Images that were held.", SOURCE),
    "axiom_images_unmatched_total": Row("counter", "Images that no rule matched.", SOURCE),
    "axiom_images_delivered_total": Row("counter", "Images that the destination confirmed.", DESTINATION),
    "axiom_delivered_bytes_total": Row("counter", "Bytes sent of them.", DESTINATION),
    "axiom_images_refused_total": Row("counter", "Images that the destination refused for good.", DESTINATION),
    "axiom_delivery_attempts_total": Row(
        "counter", "Attempts at deliveries, by how they ended: `done`, `retry`, `dead`.", ("destination", "outcome")
    ),
    "axiom_delivery_latency_seconds": Row(
        "histogram", "From the beginning of a batch to the confirmation of all that one delivery holds.", DESTINATION
    ),
    "axiom_certificate_valid_until_seconds": Row("gauge", "When a certificate in use ends.", ("where", "subject")),
    "axiom_crosswalk_rows": Row("gauge", "Rows of a map's copy.", ("map",)),
    "axiom_crosswalk_synced_timestamp_seconds": Row("gauge", "When a map's table was last copied.", ("map",)),
    "axiom_crosswalk_failed": Row("gauge", "1 when the last copy failed.", ("map",)),
    "axiom_poller_found": Row("gauge", "Studies that a poller has found.", SOURCE),
    "axiom_poller_queued": Row("gauge", "Studies that wait to be fetched.", SOURCE),
    "axiom_poller_fetched": Row("gauge", "Studies that it has fetched.", SOURCE),
    "axiom_poller_failed": Row("gauge", "Studies that it could not fetch.", SOURCE),
    "axiom_alerts_firing": Row("gauge", "What an alert finds amiss now.", ("alert",)),
    "axiom_alert_messages_waiting": Row("gauge", "Messages of alerts that are not taken yet.", ("channel",)),
    "axiom_api_requests_total": Row(
        "counter", "Requests to this API process. `route` is a pattern, never an address.", ("method", "route", "status")
    ),
    "axiom_api_request_seconds": Row("histogram", "How long they took.", ("method", "route")),
}

Value = tuple[str, tuple[str, ...], float]
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUESTS, SECONDS = "axiom_api_requests_total", "axiom_api_request_seconds"


class ApiMetrics:
    """One API process's registry: its own requests and memory, and the node's state at each look."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(REQUESTS, METRICS[REQUESTS].words, METRICS[REQUESTS].labels, registry=self.registry)
        self._seconds = Histogram(SECONDS, METRICS[SECONDS].words, METRICS[SECONDS].labels, registry=self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Node(read))

    def count(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """A request was answered. `seconds` is None for what stays open as long as its reader likes."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(method, route).observe(seconds)


class _Node(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()


def node_metrics(operations: Operations) -> list[Metric]:
    """The node's metrics as they are now. Raises Retry when the store is away."""
    status = operations.status()
    totals = Totals.load(operations.settings.monitor / "totals.json")
    totals.follow(operations.spool.journal)
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    values = [*_state(status), *_crosswalks(operations.crosswalk_status()), *_sums(totals)]
    for name, labels, value in values:
        row = METRICS[name]
        if name not in families:
            make = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
            families[name] = make(name, row.words, labels=row.labels)
        families[name].add_metric(labels, value)
    return [*families.values(), _latency(totals)]


def _state(status: Mapping[str, Any]) -> Iterator[Value]:
    yield "axiom_info", (status["node"], status["version"]), 1
    yield "axiom_engine_up", (), status["engine"]["running"]
    yield "axiom_revision", (), status["revision"]
    yield "axiom_redis_up", (), not status["redis"]
    for one in status["listeners"]:
        name = (one["name"],)
        yield "axiom_listener_up", name, one["state"] == "listening"
        yield "axiom_listener_enabled", name, one["enabled"]
        yield "axiom_listener_associations", name, one["associations"]
        yield "axiom_listener_instances", name, one["instances"]
        yield "axiom_listener_refusals", name, one["refused"]
    for queue in status["queues"]:
        yield "axiom_queue_depth", (queue["name"],), queue["depth"]
        yield "axiom_queue_age_seconds", (queue["name"],), queue["age_seconds"]
    yield from _spool(status)
    for one in status["destinations"]:
        for key in ("enabled", "waiting", "sending", "dead", "oldest_seconds"):
            yield f"axiom_destination_{key}", (one["name"],), one[key]
    for one in status.get("pollers", ()):
        for key in ("found", "queued", "fetched", "failed"):
            if isinstance(one.get(key), int | float):
                yield f"axiom_poller_{key}", (one["name"],), one[key]
    for (where, subject), until in _ends(status.get("certificates", ())).items():
        yield "axiom_certificate_valid_until_seconds", (where, subject), until
    alerts = status["alerts"]
    for name, count in alerts["by_alert"].items():
        yield "axiom_alerts_firing", (name,), count
    for name, count in alerts["messages"].items():
        yield "axiom_alert_messages_waiting", (name,), count


def _spool(status: Mapping[str, Any]) -> Iterator[Value]:
    spool = status["spool"]
    for state in ("receiving", "ready", "routing", "routed", "kept", "held", "unmatched"):
        yield "axiom_spool_batches", (state,), spool[state]
    workers: dict[str, int] = {}
    for one in status["workers"]:
        queue = one["queue"].removeprefix(f"axiom.{status['node']}.")
        workers[queue] = workers.get(queue, 0) + 1
    for queue, count in workers.items():
        yield "axiom_workers", (queue,), count
    yield "axiom_spool_gathering", (), status["gathering"]
    yield "axiom_held_images", (), status["held"]
    yield "axiom_unmatched_images", (), status["unmatched"]
    yield "axiom_disk_free_bytes", (), spool["free_bytes"]
    yield "axiom_disk_watermark_bytes", (), spool["watermark_bytes"]
    yield "axiom_accepting", (), spool["accepting"]


def _ends(certificates: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], float]:
    """Of several certificates of one name (a chain renewed in place) the first to end."""
    out: dict[tuple[str, str], float] = {}
    for one in certificates:
        if one.get("valid_until"):
            key = str(one.get("where", "")), str(one.get("subject", ""))
            ends = datetime.fromisoformat(str(one["valid_until"])).timestamp()
            out[key] = min(ends, out.get(key, ends))
    return out


def _crosswalks(status: Mapping[str, Any]) -> Iterator[Value]:
    for one in status["maps"]:
        name = (one["name"],)
        yield "axiom_crosswalk_rows", name, float(one.get("rows") or 0)
        yield "axiom_crosswalk_failed", name, one.get("state") == "failed"
        if one.get("state") == "done" and one.get("finished_at"):
            yield "axiom_crosswalk_synced_timestamp_seconds", name, float(one["finished_at"])


def _sums(totals: Totals) -> Iterator[Value]:
    sums_of: dict[str, Mapping[str, float]] = {
        "axiom_images_received_total": totals.received, "axiom_received_bytes_total": totals.received_bytes,
        "axiom_last_received_timestamp_seconds": totals.received_at, "axiom_images_held_total": totals.held,
        "axiom_images_unmatched_total": totals.unmatched, "axiom_images_delivered_total": totals.delivered,
        "axiom_delivered_bytes_total": totals.delivered_bytes, "axiom_images_refused_total": totals.refused,
    }  # fmt: skip
    for name, sums in sums_of.items():
        for one, value in sums.items():
            yield name, (one,), value
    for key, value in totals.attempts.items():
        destination, _, outcome = key.partition("/")
        yield "axiom_delivery_attempts_total", (destination, outcome), value


def _latency(totals: Totals) -> Metric:
    name = "axiom_delivery_latency_seconds"
    family = HistogramMetricFamily(name, METRICS[name].words, labels=METRICS[name].labels)
    bounds = [*map(str, LATENCY_SECONDS), "+Inf"]
    for destination, one in totals.latency.items():
        buckets = list(zip(bounds, map(float, accumulate(one.counts)), strict=True))
        family.add_metric([destination], buckets, one.seconds)
    return family
