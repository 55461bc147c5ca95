"""Fair shares and limits of keys, deadlines of runs, and who is at work."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002_fair_queue"
down_revision = "0001_first"


def upgrade() -> None:
    """Add the columns and tables; whoever has unfinished tasks gets a share."""
    op.add_column("tasks", sa.Column("est_cost", sa.Float, nullable=False, server_default="0"))
    op.add_column("tasks", sa.Column("max_batch", sa.Integer))
    op.add_column("tasks", sa.Column("run_deadline", sa.Float))
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("vtime", sa.Float, nullable=False, server_default="0"),
        sa.Column("weight", sa.Float, nullable=False, server_default="1"),
        sa.Column("priority", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("max_running", sa.Integer),
    )
    _partial_index(
        "tasks_groups",
        "tasks",
        ["compat_key", sa.text("priority DESC"), "vtime", "seq"],
        where="state = 'queued'",
    )
    _partial_index("tenants_limited", "tenants", ["name"], where="max_running IS NOT NULL")
    op.create_table(
        "workers",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("loaded_models", sa.JSON, nullable=False),
        sa.Column("num_running", sa.Integer, nullable=False),
        sa.Column("draining", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("last_beat_at", sa.Float, nullable=False),
    )
    op.execute(
        "INSERT INTO tenants (name) SELECT DISTINCT tenant FROM tasks WHERE finished_at IS NULL"
    )


def _partial_index(
    name: str, table: str, columns: Sequence[str | sa.TextClause], *, where: str
) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
