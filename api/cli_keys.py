"""`backdrop keys`: key pairs and accounts of callers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from api import keys_command
from api.cli_options import AsJson, DataDir, UsageFault, naming_what_failed, settings_of
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


@keys_app.command("share")
def share_key(
    public_key: PublicKey,
    weight: Annotated[
        float | None, typer.Option(help="Beside other keys that wait; 1 if never set.")
    ] = None,
    priority: Annotated[
        int | None, typer.Option(min=-1000, max=1000, help="Before all of lower ones; else 0.")
    ] = None,
    max_running: Annotated[
        int | None, typer.Option(min=0, help="So many tasks at once; 0 for the service's limit.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set what is given of a key's share of the workers, then print it."""
    settings = settings_of(data_dir=data_dir)
    given = {"weight": weight, "priority": priority}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if max_running is not None:
        changes["max_running"] = max_running or None
    with naming_what_failed(settings):
        try:
            keys_command.share_key(settings, public_key, changes, as_json=as_json)
        except ValueError as exc:
            raise UsageFault(str(exc)) from exc


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.replace(tzinfo=UTC).timestamp()
