"""Previews of images that are being painted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_previews"
down_revision = "0004_webhooks"


def upgrade() -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("previews", sa.JSON))
