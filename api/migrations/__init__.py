"""The tables' history: one revision after the other, from the first schema on (Alembic).

A file in `versions/` is named as its revision, NNNN_what; the numbers give the order. Revisions only
add: tables, and columns that are nullable or have a server default. So processes of the version
before keep working on the new tables until they are replaced, and nothing waits for a downgrade.
"""

from __future__ import annotations

import threading
from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from api.errors import TaskStoreError

REVISIONS = sorted(path.stem for path in Path(__file__).parent.glob("versions/[0-9]*.py"))
HEAD = REVISIONS[-1]

_VERSION = table("alembic_version", column("version_num"))
_one_thread = threading.Lock()  # Alembic's `op` and `context` are globals


def is_current(connection: Connection) -> bool:
    """Whether the tables are those of this program; cheap, and loads no Alembic.

    Raises:
        TaskStoreError: a later version of this program made them.
    """
    if not inspect(connection).has_table(_VERSION.name):
        return False
    revision = connection.execute(select(_VERSION.c.version_num)).scalar()
    if revision is not None and revision not in REVISIONS:
        raise TaskStoreError(
            f"the task store is at revision {revision}, this program knows {HEAD}: upgrade it"
        )
    return bool(revision == HEAD)


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the tables to `revision` within the transaction of `connection`.

    No other process may do so at the same time: the caller holds a lock.
    """
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "api:migrations")
    with _one_thread:
        command.upgrade(config, revision)
