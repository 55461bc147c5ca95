"""News from process to process through PostgreSQL, on whatever machine they run.

A hint as `api.doorbell` is: it gets lost while a connection is, and behind a pooler that lends
connections for a transaction it is heard by nobody. Who listens polls as well.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable

import psycopg
from sqlalchemy import func
from sqlalchemy import select as select_sql

from api.database import Database
from api.errors import StoreUnavailable, TaskStoreError
from api.tasks import News

logger = logging.getLogger(__name__)

CHANNEL = "backdrop"
RECONNECT_S = 1.0
_CHECK_S = 30.0  # how often a silent connection is asked whether it still is one


class Notifier:
    """Rings at all who listen on a database.

    Args:
        database: on PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def ring(self, news: News) -> None:
        """Tell all listeners; never fails. Call it after the commit of what is new.

        In a transaction of its own: one that notifies holds a lock over its commit, and those of
        tasks are waited for by the disk.
        """
        try:
            with self._database.write() as connection:
                connection.execute(select_sql(func.pg_notify(CHANNEL, news.value)))
        except (StoreUnavailable, TaskStoreError) as cause:
            logger.info("news not told: %s", cause)

    def listen(self, heard: Callable[[frozenset[News]], None]) -> Callable[[], None]:
        """Call `heard` on a thread of its own whenever there is news; returns what ends that."""
        stopped, stop = os.pipe()
        thread = threading.Thread(
            target=self._hear, args=(stopped, heard), name="news", daemon=True
        )
        thread.start()

        def end() -> None:
            os.write(stop, b"\0")
            thread.join()
            os.close(stopped)
            os.close(stop)

        return end

    def _hear(self, stopped: int, heard: Callable[[frozenset[News]], None]) -> None:
        """Listen until `stopped` can be read, however often the connection is lost."""
        while True:
            try:
                with self._database.connect_alone() as connection:
                    if _hear_on(connection, stopped, heard):
                        return
            except (StoreUnavailable, TaskStoreError, psycopg.Error) as cause:
                logger.warning("no news of tasks, connecting again: %s", cause)
            if select.select([stopped], [], [], RECONNECT_S)[0]:
                return


def _hear_on(
    connection: psycopg.Connection, stopped: int, heard: Callable[[frozenset[News]], None]
) -> bool:
    """Pass on what one connection hears; True when `stopped`, raises when it is lost."""
    connection.autocommit = True
    connection.execute(f"LISTEN {CHANNEL}")
    heard(frozenset(News))  # anything may have happened before
    while True:
        readable, _, _ = select.select([stopped, connection.fileno()], [], [], _CHECK_S)
        if stopped in readable:
            return True
        if not readable:
            connection.execute("")
        payloads = {notify.payload for notify in connection.notifies(timeout=0)}
        news = frozenset(each for each in News if each.value in payloads)
        if news:
            heard(news)
