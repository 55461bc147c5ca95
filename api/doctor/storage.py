"""Checks of models, data folder, task store and port."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from api.doctor.finding import Finding, fail, ok, warn
from api.postgresql import postgresql_engine
from api.server import listen
from api.settings import Settings
from api.sqlite import SAFE_SQLITE, sqlite_module
from engine.errors import RegistryError, first_line
from engine.registry import load_registry

GIB = 2**30
MAX_CLOCK_DIFFERENCE_S = 2.0
SLOW_SYNC_S = 0.1
# SQLite's locks do not hold on these.
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "fuse.s3fs", "lustre"}
)
_VOLATILE_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


def check_models(settings: Settings) -> Iterator[Finding]:
    """models.yaml and the files that it names."""
    check = f"models ({settings.models})"
    try:
        registry = load_registry(settings.models)
    except RegistryError as exc:
        advice = "mend the file; docs/models.md tells what an entry holds"
        yield fail(check, "; ".join(str(exc).splitlines()), advice)
        return
    for name, trouble in registry.unusable.items():
        yield fail(f"model {name!r}", trouble, "backdrop models pull, or backdrop models check")
    usable = len(registry.models) + len(registry.sub_models) - len(registry.unusable)
    yield ok(check, f"{usable} usable, default {registry.default_model!r}")


def check_data_dir(settings: Settings) -> Iterator[Finding]:
    """The data folder takes files, and keeps them through a power cut."""
    folder = settings.data_dir.absolute()
    check = f"data folder ({folder})"
    exists = folder.is_dir()
    place = folder if exists else _existing(folder)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fsync(file.fileno())
            sync_s = time.perf_counter() - started
            file_time = Path(file.name).stat().st_mtime
    except OSError as exc:
        advice = f"make it writable for user {os.getuid()}, or set BACKDROP_DATA_DIR"
        yield fail(check, f"{place}: {exc.strerror or exc}", advice)
        return
    yield _file_system(check, folder, place, sync_s)
    if exists and folder.stat().st_mode & 0o077:
        advice = f"chmod 700 {folder}: it holds private keys and customers' images"
        yield warn(check, "other users of this machine may look into it", advice)
    if abs(file_time - time.time()) > MAX_CLOCK_DIFFERENCE_S:
        advice = "synchronize the clocks of both machines"
        yield warn(check, "its file server's clock differs from this machine's", advice)
    yield _space(place, settings)


def _file_system(check: str, folder: Path, place: Path, sync_s: float) -> Finding:
    kind = _file_system_kind(place)
    made = "" if folder == place else ", made at the first start"
    detail = f"{kind or 'unknown file system'}, a sync takes {sync_s * 1000:.1f} ms{made}"
    if kind in _NETWORK_FILE_SYSTEMS:
        return fail(check, detail, "put it on a local disk: SQLite's locks do not hold here")
    if kind in _VOLATILE_FILE_SYSTEMS:
        return warn(check, detail, "put it on a disk: here tasks are lost at a restart")
    if sync_s > SLOW_SYNC_S:
        return warn(check, detail, "a faster disk would accept tasks sooner")
    return ok(check, detail)


def _space(place: Path, settings: Settings) -> Finding:
    free = shutil.disk_usage(place).free
    floor = settings.min_free_disk_bytes
    detail = f"{free / GIB:.1f} GiB free, new tasks are refused below {floor / GIB:.1f}"
    if free < floor:
        return fail("disk", detail, "free some space, or lower BACKDROP_MIN_FREE_DISK_BYTES")
    if free < 4 * floor:
        return warn("disk", detail, "free some space soon")
    return ok("disk", detail)


def check_store(settings: Settings) -> Iterator[Finding]:
    """The task store: the database of `database_url`, else SQLite and its file."""
    if settings.database_url is None:
        yield from check_sqlite(settings)
    else:
        yield check_database(settings.database_url.get_secret_value())


def check_database(url: str) -> Finding:
    """Whether the server of `url` answers; nothing is made or changed there."""
    check, advice = "task store", "start the server, or correct BACKDROP_DATABASE_URL"
    try:
        engine = postgresql_engine(make_url(url))
    except ArgumentError:  # which may show the URL, password and all
        return fail(check, "not a URL of a database", advice)
    except ValueError as exc:
        return fail(check, str(exc), advice)
    check = f"task store ({engine.url.render_as_string(hide_password=True)})"
    try:
        with engine.connect() as connection:
            version = connection.execute(text("SHOW server_version")).scalar_one()
    except SQLAlchemyError as exc:
        return fail(check, first_line(exc), advice)
    finally:
        engine.dispose()
    return ok(check, f"PostgreSQL {version}")


def check_sqlite(settings: Settings) -> Iterator[Finding]:
    """The SQLite in use, and the task store's file if there is one."""
    module = sqlite_module()
    detail = f"{module.sqlite_version} from {module.__name__}"
    if module.sqlite_version_info < SAFE_SQLITE:
        advice = "pip install pysqlite3, or a Python with SQLite 3.51.3 or later"
        detail += ", which may damage a file that several processes write"
        yield warn("sqlite", detail, advice)
    else:
        yield ok("sqlite", detail)
    file = settings.data_dir.absolute() / "backdrop.sqlite3"
    if not file.is_file():
        return
    check = f"task store ({file})"
    advice = "restore a backup, or move the file away to start anew"
    try:
        connection = module.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except module.Error as exc:
        yield fail(check, str(exc), advice)
        return
    yield ok(check, "sound") if result == "ok" else fail(check, result, advice)


def check_port(settings: Settings) -> Finding:
    """The address can be listened on."""
    check = f"address {settings.host}:{settings.port}"
    try:
        listen(settings.host, settings.port).close()
    except OSError as exc:
        advice = "a server is running here already, or choose another --port or --host"
        return warn(check, exc.strerror or str(exc), advice)
    return ok(check, "free")


def _existing(folder: Path) -> Path:
    """The nearest folder above that exists."""
    return next(parent for parent in folder.parents if parent.exists())


def _file_system_kind(folder: Path) -> str:
    """Of the mount that holds `folder`, as in /proc/mounts; empty where that is not to be had."""
    mounts = Path("/proc/mounts")
    if not mounts.is_file():
        return ""
    best, kind = "", ""
    resolved = str(folder.resolve())
    for line in mounts.read_text().splitlines():
        _, point, found, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        inside = resolved == point or resolved.startswith(f"{point.rstrip('/')}/")
        if inside and len(point) >= len(best):
            best, kind = point, found
    return kind
