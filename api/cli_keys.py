"""`backdrop keys`: key pairs and accounts of callers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from api import keys_command
from api.cli_options import AsJson, DataDir, naming_what_failed, settings_of
from api.tasks import Account

MAX_TOP_UP = 10**12

keys_app = typer.Typer(help="Key pairs of callers.", no_args_is_help=True)

PublicKey = Annotated[str, typer.Argument(metavar="PUBLIC_KEY")]
Expires = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="From this time (UTC) on it gets no new tasks; default never.",
    ),
]


@keys_app.command("add")
def add_key(
    data_dir: DataDir = None,
    label: Annotated[str, typer.Option(help="A note on whose it is.")] = "",
    credit: Annotated[
        int | None,
        typer.Option(
            "--credits", min=0, max=MAX_TOP_UP, help="What it may use; default unlimited."
        ),
    ] = None,
    expires: Expires = None,
    max_queued: Annotated[
        int | None, typer.Option(min=1, help="So many of its tasks may wait at once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key pair and print it; the private half is never shown again."""
    account = Account(total_points=credit, expires_at=_unix_s(expires), max_queued=max_queued)
    settings = settings_of(data_dir=data_dir)
    with naming_what_failed(settings):
        keys_command.add_key(settings, label=label, account=account, as_json=as_json)


@keys_app.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all keys, their credits and what they have used."""
    settings = settings_of(data_dir=data_dir)
    with naming_what_failed(settings):
        keys_command.list_keys(settings, as_json=as_json)


@keys_app.command("revoke")
def revoke_key(public_key: PublicKey, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Refuse a key from now on, for good; tasks it has running end normally."""
    settings = settings_of(data_dir=data_dir)
    with naming_what_failed(settings):
        keys_command.revoke_key(settings, public_key, as_json=as_json)


@keys_app.command("topup")
def top_up_key(
    public_key: PublicKey,
    credit: Annotated[int, typer.Argument(metavar="CREDITS", min=1, max=MAX_TOP_UP)],
    expires: Expires = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Grant a key more credits."""
    settings = settings_of(data_dir=data_dir)
    with naming_what_failed(settings):
        keys_command.top_up_key(
            settings, public_key, credit, expires_at=_unix_s(expires), as_json=as_json
        )


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.replace(tzinfo=UTC).timestamp()
