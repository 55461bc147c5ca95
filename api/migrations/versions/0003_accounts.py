"""Accounts of keys, the end of keys, and idempotency keys of tasks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_accounts"
down_revision = "0002_fair_queue"


def upgrade() -> None:
    """Add the columns and the table; tasks that are there hold no points."""
    op.create_table(
        "accounts",
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("total_points", sa.BigInteger),
        sa.Column("reserved_points", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("used_points", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("expires_at", sa.Float),
        sa.Column("max_queued", sa.Integer),
    )
    op.add_column("api_keys", sa.Column("revoked_at", sa.Float))
    op.add_column("tasks", sa.Column("points_held", sa.Boolean))
    op.add_column("tasks", sa.Column("idempotency_key", sa.Text))
    op.add_column("tasks", sa.Column("request_digest", sa.Text))
    op.create_index(
        "tasks_unsettled",
        "tasks",
        ["seq"],
        sqlite_where=sa.text("points_held = 1 AND finished_at IS NOT NULL"),
        postgresql_where=sa.text("points_held AND finished_at IS NOT NULL"),
    )
    op.create_index(
        "tasks_idempotency",
        "tasks",
        ["tenant", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
