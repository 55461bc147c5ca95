"""PostgreSQL as the database of the service: many machines, by URL (psycopg 3).

Nothing here outlives a transaction on the server but LISTEN, and no statement is prepared there, so
that a pooler may stand between which lends a server connection for each transaction.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Connection, Engine, Float, create_engine, event, func, literal_column

from api.sqlite import BUSY_TIMEOUT_S

# Of the statement, not of the transaction, and unlike clock_timestamp() an index can be asked by it.
NOW = literal_column("CAST(EXTRACT(EPOCH FROM statement_timestamp()) AS double precision)", Float)
greatest = func.greatest
UNSYNCED = "SET LOCAL synchronous_commit = off"
SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # of reads

_UPGRADE_LOCK = 0x6261_636B_6472_6F70  # "backdrop"
# A server that is gone without a word is noticed within these; what the URL says wins.
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "backdrop",
}
# What the planner thinks of the queue's length is minutes old, and it may be 10 or 10,000: where it
# takes it for short it would read all of it and sort. Every query here has an index of its own.
_PLANS = dict.fromkeys(("enable_seqscan", "enable_bitmapscan"), "off")
# No transaction waits for anything but the database: one that does stands in a frozen process, and
# the rows it holds would stay with it.
IDLE_TIMEOUT_S = 5.0


def postgresql_engine(url: URL) -> Engine:
    """An engine on the database of `url`.

    Raises:
        ValueError: psycopg is not installed, or another driver is asked for.
    """
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ValueError(f"no support for {url.drivername}: write postgresql://")
    try:
        engine = create_engine(
            url.set(drivername="postgresql+psycopg"),
            connect_args={
                **{name: value for name, value in _CONNECT.items() if name not in url.query},
                "prepare_threshold": None,
            },
            hide_parameters=True,  # else tracebacks would show keys and prompts
            pool_pre_ping=True,  # the server may have been restarted meanwhile
            pool_size=5,
            max_overflow=11,
            pool_timeout=BUSY_TIMEOUT_S,
        )
    except ImportError as cause:
        raise ValueError(
            f"PostgreSQL needs psycopg, which cannot be used: {cause}; "
            "install it by `pip install 'backdrop[postgres]'`"
        ) from cause
    event.listen(engine, "connect", _prepare)
    return engine


def lock_for_upgrade(connection: Connection) -> None:
    """Wait until no other process changes the tables; until the transaction ends none will."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.execute(func.pg_advisory_xact_lock(_UPGRADE_LOCK).select())


def _prepare(connection: Any, _record: object) -> None:
    settings = {
        "lock_timeout": f"{BUSY_TIMEOUT_S}s",
        "statement_timeout": f"{2 * BUSY_TIMEOUT_S}s",
        "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S}s",
        **_PLANS,
    }
    calls = ", ".join("set_config(%s, %s, false)" for _ in settings)
    connection.execute(f"SELECT {calls}", [each for pair in settings.items() for each in pair])
    connection.commit()
