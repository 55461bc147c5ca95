"""Tables of the task store as the last revision in `api.migrations` leaves them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    false,
    text,
)

from api.tasks import TaskStatus

metadata = MetaData()

# SQLite numbers rows by itself only in a column of exactly this type.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")
_Status = Enum(
    TaskStatus,
    name="task_status",
    native_enum=False,
    create_constraint=True,
    length=16,
    values_callable=lambda statuses: [status.value for status in statuses],
)

# Times are Unix seconds by the database's clock. New columns come as nullable ones, so that
# workers of the version before can drain during an upgrade.
tasks = Table(
    "tasks",
    metadata,
    Column("seq", _RowNumber, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("state", _Status, nullable=False),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("vtime", Float, nullable=False, server_default="0"),
    Column("model_key", Text, nullable=False),
    Column("compat_key", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("num_images", Integer, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("crashes", Integer, nullable=False, server_default="0"),
    Column("solo", Boolean, nullable=False, server_default=false()),
    Column("not_before", Float),
    Column("queue_deadline", Float),
    Column("owner", Text),
    Column("token", Integer, nullable=False, server_default="0"),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("progress", Float, nullable=False, server_default="0"),
    Column("stage", Text, nullable=False, server_default=""),
    Column("error_code", Integer, nullable=False, server_default="0"),
    Column("error_text", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("images_expire_at", Float),
    Column("images_purged", Boolean, nullable=False, server_default=false()),
    Column("record_expires_at", Float),
    Column("est_cost", Float, nullable=False, server_default="0"),
    Column("max_batch", Integer),  # how many tasks may share the device with it, itself included
    Column("run_deadline", Float),  # of the start that is under way
    Column("points_held", Boolean),  # on the account; null where none were ever reserved
    Column("idempotency_key", Text),
    Column("request_digest", Text),  # of a request that has an idempotency key
    # Of a task that runs, by image_index, PNG files as Base64; whatever ends the run clears it.
    Column("previews", JSON(none_as_null=True)),
)


def _partial_index(name: str, *columns: ColumnElement[Any], where: str) -> None:
    Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


_c = tasks.c
_partial_index("tasks_queued", _c.priority.desc(), _c.vtime, _c.seq, where="state = 'queued'")
_partial_index(
    "tasks_groups", _c.compat_key, _c.priority.desc(), _c.vtime, _c.seq, where="state = 'queued'"
)
_partial_index("tasks_waiting", _c.queue_deadline, where="state = 'queued'")
_partial_index("tasks_running", _c.lease_until, where="state = 'running'")
_partial_index("tasks_unfinished", _c.tenant, _c.seq, where="finished_at IS NULL")
_partial_index("tasks_images", _c.images_expire_at, where="images_expire_at IS NOT NULL")
_partial_index("tasks_records", _c.record_expires_at, where="record_expires_at IS NOT NULL")

Index(
    "tasks_unsettled",
    _c.seq,
    sqlite_where=text("points_held = 1 AND finished_at IS NOT NULL"),
    postgresql_where=text("points_held AND finished_at IS NOT NULL"),
)
Index(
    "tasks_idempotency",
    _c.tenant,
    _c.idempotency_key,
    unique=True,
    sqlite_where=text("idempotency_key IS NOT NULL"),
    postgresql_where=text("idempotency_key IS NOT NULL"),
)

task_outputs = Table(
    "task_outputs",
    metadata,
    Column("task_uid", Text, ForeignKey(tasks.c.uid), primary_key=True),
    Column("image_index", Integer, primary_key=True),
    Column("blob_key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("mime", Text, nullable=False),
    Column("width_px", Integer, nullable=False),
    Column("height_px", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
)

webhooks = Table(  # still to be called
    "webhooks",
    metadata,
    Column("task_uid", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("due_at", Float, nullable=False),
    Index("webhooks_due", "due_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("public_key", Text, primary_key=True),
    Column("private_key", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("revoked_at", Float),
)

# Also of keys that stand in the settings alone, hence not columns of api_keys. A key without a row
# has used nothing so far and may use all it likes.
accounts = Table(
    "accounts",
    metadata,
    Column("public_key", Text, primary_key=True),
    Column("total_points", BigInteger),
    Column("reserved_points", BigInteger, nullable=False, server_default="0"),
    Column("used_points", BigInteger, nullable=False, server_default="0"),
    Column("expires_at", Float),
    Column("max_queued", Integer),
)

key_rates = Table(  # a token bucket for each key, while max_requests_per_s is set
    "key_rates",
    metadata,
    Column("public_key", Text, primary_key=True),
    Column("full_at", Float, nullable=False),  # Unix seconds
)

# Also of keys that stand in the settings alone. Who never put a task may have no row.
tenants = Table(
    "tenants",
    metadata,
    Column("name", Text, primary_key=True),
    Column("vtime", Float, nullable=False, server_default="0"),  # where its next task may start
    Column("weight", Float, nullable=False, server_default="1"),
    Column("priority", SmallInteger, nullable=False, server_default="0"),
    Column("max_running", Integer),
)

_partial_index("tenants_limited", tenants.c.name, where="max_running IS NOT NULL")

workers = Table(
    "workers",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("loaded_models", JSON, nullable=False),
    Column("num_running", Integer, nullable=False),
    Column("draining", Boolean, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("last_beat_at", Float, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
