"""6. What happened: written as Parquet by every process, read with DuckDB by anyone, without locks between them.

`Recorder` writes; `seal`, `compact` and `retire` are called by one process every few seconds, minutes and hours;
`Reader` answers SQL over `views.sql`; `questions` holds what pages and commands ask.
"""

from engine.history.compaction import compact, retire
from engine.history.reader import Reader, is_truncated
from engine.history.recorder import Recorder
from engine.history.sealing import seal

__all__ = ["Reader", "Recorder", "compact", "is_truncated", "retire", "seal"]
