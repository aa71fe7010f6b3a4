"""One worker process for one queue: `python -m engine.jobs.worker STAGE [--burst]`. Started by the supervisor.

Fork workers with short heartbeats; one queue each, since only then RQ's dequeue cannot lose a job; a job that is cut off
is forgotten by Redis and found again in the spool.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

import redis
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from engine.jobs.context import Context, current
from engine.jobs.queues import connect, queue_name
from engine.log import setup_logging
from engine.process import die_with_parent

__all__ = ["NodeWorker", "main"]


class NodeWorker(Worker):  # type: ignore[misc]
    """RQ's fork worker that outlives a Redis that goes away for a while, and forks warm."""

    context: Context

    def subscribe(self) -> None:
        """Take no commands over Redis: their thread would run while a job is forked, with whatever lock it holds then."""

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        return 15  # RQ's own default for jobs without a limit is minutes: too long for a status page

    def maintain_heartbeats(self, job: Job, execution: object) -> None:
        """While a job runs, Redis may be away: a listener must not end for that."""
        try:
            super().maintain_heartbeats(job, execution)
        except redis.exceptions.RedisError as e:
            self.log.warning("no heartbeat: Redis is away (%s)", e)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Bring the configuration up to date first: the forked job inherits it, validated and compiled."""
        try:
            self.context.decider()
        except Exception:
            self.log.exception("the live configuration could not be read before the job; the job reads it itself")
        super().fork_work_horse(job, queue)


def main(argv: list[str]) -> int:
    """Work a stage's queue until told to end (SIGTERM waits for the running job) or, with --burst, until it is empty."""
    die_with_parent(signal.SIGKILL)  # not SIGTERM: that waits for the job, and a listener's never ends
    context = current()
    setup_logging(context.settings.log_format, context.settings.log_level, process=f"{argv[0]} worker")
    stage, burst = argv[0], "--burst" in argv
    worker = NodeWorker(
        [queue_name(context.settings, stage)],
        name=f"{queue_name(context.settings, stage)}.{os.getpid()}",
        connection=connect(context.settings),
        serializer=JSONSerializer,
        worker_ttl=20,
        maintenance_interval=5,
        job_monitoring_interval=5,
        log_job_description=False,
    )
    worker.context = context
    if stage in ("route", "deliver", "poll"):
        import_module("pydicom")  # what a job would import is imported once, before the forks
    context.decider()
    worker.work(burst=burst, logging_level="WARNING")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
