"""How much of its request rate each key has used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_key_rates"
down_revision = "0004_webhooks"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "key_rates",
        sa.Column("public_key", sa.Text, primary_key=True),
        sa.Column("full_at", sa.Float, nullable=False),
    )
