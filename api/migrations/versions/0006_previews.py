"""Previews of images that are being painted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_previews"
down_revision = "0005_key_rates"


def upgrade() -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("previews", sa.JSON))
