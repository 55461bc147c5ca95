"""What the database itself notes of every state change, by triggers that the service knows not of."""

from __future__ import annotations

import hashlib

from sqlalchemy import text

from api.blobs import BlobStore
from api.schema import task_outputs, tasks
from api.store import SqlTaskStore
from scripts.chaos_run.verdict import Move, Row

_TABLE = "chaos_moves"
_SQLITE = (
    f"CREATE TABLE IF NOT EXISTS {_TABLE} (id INTEGER PRIMARY KEY, uid TEXT, old TEXT, new TEXT)",
    f"""CREATE TRIGGER IF NOT EXISTS chaos_move AFTER UPDATE OF state ON tasks BEGIN
        INSERT INTO {_TABLE} (uid, old, new) VALUES (NEW.uid, OLD.state, NEW.state); END""",
    f"""CREATE TRIGGER IF NOT EXISTS chaos_output AFTER INSERT ON task_outputs BEGIN
        INSERT INTO {_TABLE} (uid, old, new)
        VALUES (NEW.task_uid, '', 'output ' || NEW.image_index); END""",
)
_POSTGRESQL = (
    f"CREATE TABLE IF NOT EXISTS {_TABLE} (id BIGSERIAL PRIMARY KEY, uid TEXT, old TEXT, new TEXT)",
    f"""CREATE OR REPLACE FUNCTION chaos_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO {_TABLE} (uid, old, new) VALUES (NEW.uid, OLD.state, NEW.state);
        RETURN NULL; END $$""",
    "CREATE OR REPLACE TRIGGER chaos_move AFTER UPDATE OF state ON tasks"
    " FOR EACH ROW EXECUTE FUNCTION chaos_move()",
    f"""CREATE OR REPLACE FUNCTION chaos_output() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO {_TABLE} (uid, old, new)
        VALUES (NEW.task_uid, '', 'output ' || NEW.image_index); RETURN NULL; END $$""",
    "CREATE OR REPLACE TRIGGER chaos_output AFTER INSERT ON task_outputs"
    " FOR EACH ROW EXECUTE FUNCTION chaos_output()",
)


def station(store: SqlTaskStore) -> None:
    """Makes the triggers, unless they are there."""
    database = store.database
    with database.write() as connection:
        for statement in _POSTGRESQL if database.is_postgresql else _SQLITE:
            connection.exec_driver_sql(statement)


def moves_of(store: SqlTaskStore) -> list[Move]:
    """All that was noted, in order."""
    with store.database.read() as connection:
        found = connection.execute(text(f"SELECT uid, old, new FROM {_TABLE} ORDER BY id"))
        return [Move(uid, old, new) for uid, old, new in found]


def rows_of(store: SqlTaskStore) -> dict[str, Row]:
    """Every task in the store, by uid."""
    c, o = tasks.c, task_outputs.c
    with store.database.read() as connection:
        outputs: dict[str, list[tuple[str, str]]] = {}
        of_outputs = task_outputs.select().order_by(o.task_uid, o.image_index)
        for each in connection.execute(of_outputs):
            outputs.setdefault(each.task_uid, []).append((each.blob_key, each.sha256))
        of_tasks = tasks.select().with_only_columns(
            c.uid, c.tenant, c.state, c.num_images, c.max_attempts
        )
        return {
            uid: Row(owner, state.value, num_images, starts, tuple(outputs.get(uid, ())))
            for uid, owner, state, num_images, starts in connection.execute(of_tasks)
        }


def digests_of(blobs: BlobStore) -> dict[str, str]:
    """SHA-256 of every result image in the blob store, by key."""
    return {key: hashlib.sha256(blobs.get(key)).hexdigest() for key in blobs.keys("out")}
