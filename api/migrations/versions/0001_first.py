"""The first schema. A store that was made before there were revisions is taken over as it is."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001_first"
down_revision = None

# SQLite numbers rows by itself only in a column of exactly this type.
_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_STATES = ("queued", "running", "succeeded", "failed", "canceled", "expired")


def upgrade() -> None:
    """Make the tables, or find them made."""
    # Programs that know no revisions read this number, and leave a store alone that has 2.
    meta = sa.table("meta", sa.column("name"), sa.column("value"))
    if sa.inspect(op.get_bind()).has_table("tasks"):
        op.execute(meta.update().where(meta.c.name == "schema_version").values(value="2"))
        return
    _make_tasks()
    _make_outputs()
    op.create_table(
        "api_keys",
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("private_key", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.execute(meta.insert().values(name="schema_version", value="2"))


def _make_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("seq", _ROW_NUMBER, primary_key=True),
        sa.Column("uid", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("vtime", sa.Float, nullable=False, server_default="0"),
        sa.Column("model_key", sa.Text, nullable=False),
        sa.Column("compat_key", sa.Text, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("inputs", sa.JSON, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("num_images", sa.Integer, nullable=False),
        sa.Column("points", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("solo", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("not_before", sa.Float),
        sa.Column("queue_deadline", sa.Float),
        sa.Column("owner", sa.Text),
        sa.Column("token", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lease_until", sa.Float),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("progress", sa.Float, nullable=False, server_default="0"),
        sa.Column("stage", sa.Text, nullable=False, server_default=""),
        sa.Column("error_code", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error_text", sa.Text, nullable=False, server_default=""),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("images_expire_at", sa.Float),
        sa.Column("images_purged", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("record_expires_at", sa.Float),
        sa.CheckConstraint(sa.column("state").in_(_STATES), name="task_status"),
    )
    _partial_index(
        "tasks_queued", [sa.text("priority DESC"), "vtime", "seq"], where="state = 'queued'"
    )
    _partial_index("tasks_waiting", ["queue_deadline"], where="state = 'queued'")
    _partial_index("tasks_running", ["lease_until"], where="state = 'running'")
    _partial_index("tasks_unfinished", ["tenant", "seq"], where="finished_at IS NULL")
    _partial_index("tasks_images", ["images_expire_at"], where="images_expire_at IS NOT NULL")
    _partial_index("tasks_records", ["record_expires_at"], where="record_expires_at IS NOT NULL")


def _make_outputs() -> None:
    op.create_table(
        "task_outputs",
        sa.Column("task_uid", sa.Text, sa.ForeignKey("tasks.uid"), primary_key=True),
        sa.Column("image_index", sa.Integer, primary_key=True),
        sa.Column("blob_key", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("mime", sa.Text, nullable=False),
        sa.Column("width_px", sa.Integer, nullable=False),
        sa.Column("height_px", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
    )


def _partial_index(name: str, columns: Sequence[str | sa.TextClause], *, where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "tasks", columns, sqlite_where=condition, postgresql_where=condition)
