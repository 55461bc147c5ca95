"""Webhooks that are still to be called."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_webhooks"
down_revision = "0003_accounts"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "webhooks",
        sa.Column("task_uid", sa.Text, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("due_at", sa.Float, nullable=False),
    )
    op.create_index("webhooks_due", "webhooks", ["due_at"])
