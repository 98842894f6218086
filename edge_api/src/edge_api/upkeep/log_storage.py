"""The size of the tables with task logs, for Prometheus.

Every replica looks it up, since it costs next to nothing; not at each scrape, since a lock on the tables (by a
migration, or by `VACUUM FULL`) would then delay all metrics.
"""

import asyncio
import logging
from typing import Final, NoReturn

from edge_api.database.pool import Database
from edge_api.errors import DatabaseAwayError, DatabaseRefusedError
from edge_api.metrics import Metrics
from edge_store.jobs import logs

PERIOD_S: Final = 300.0

log = logging.getLogger(__name__)


class LogStorage:
    """Keeps the gauge."""

    def __init__(self, database: Database, metrics: Metrics) -> None:
        self._database = database
        self._metrics = metrics

    async def run(self) -> NoReturn:
        """Look up the size forever."""
        while True:
            try:
                [size] = await self._database.rows(logs.storage())
            except (DatabaseAwayError, DatabaseRefusedError) as error:
                log.warning("the size of the stored logs is not known: %s", error)
            else:
                self._metrics.log_storage.set(size.bytes)
            await asyncio.sleep(PERIOD_S)
