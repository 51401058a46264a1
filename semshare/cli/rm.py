# SPDX-License-Identifier: MIT
"""`semshare rm`: remove areas, with what they hold, and locks by name, or what killed processes left."""

from __future__ import annotations

import click

from semshare import Area, AreaInfo, Lock, NotFound, device, key_of, segment, shm
from semshare._abi import ffi, lib
from semshare.area import list_areas
from semshare.cli.group import Failure


@click.command("rm", short_help="Remove areas, what they hold, and locks.")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--stale", is_flag=True, help="Remove what nobody uses any more: all of it, or NAMEs only.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def command(names: tuple[str, ...], stale: bool, dry_run: bool) -> None:
    """Remove areas, with what they hold, and locks by NAME, or with --stale those that killed processes left behind.

    Only objects of this package are removed. Who still uses a named one keeps its memory; its lock is gone.
    """
    if not names and not stale:
        raise click.UsageError("give names, or --stale")
    if stale:
        _remove_stale(names, dry_run)
        return
    failed = False
    for name in names:
        try:
            _remove(name, dry_run)
        except (ValueError, OSError, Failure) as error:
            (error if isinstance(error, Failure) else Failure(str(error))).show()
            failed = True
    if failed:
        raise SystemExit(1)


def _remove_stale(names: tuple[str, ...], dry_run: bool) -> None:
    found = shm.remove_stale(names or None, dry_run=dry_run)
    for each in found:
        _say(each.kind, each.name, each.detail, dry_run)
    if not found:
        click.echo("nothing is stale")


def _say(kind: str, name: str, detail: str, dry_run: bool) -> None:
    click.echo(f"{'would remove' if dry_run else 'removed'} {kind} {name} ({detail})")


def _remove(name: str, dry_run: bool) -> None:
    key = key_of(name)  # which checks the name
    areas = [info for info in list_areas() if info.name == name and not info.unlinked]
    for info in areas:
        _remove_area(info, dry_run)
    if _remove_lock(name, key, dry_run) or areas:
        return
    try:
        # Not listed, it may be a file that is no area, or one that this user may not look at: then this says so.
        Area(name, readonly=True).close()
    except NotFound as error:
        raise Failure(f"{name}: there is no area, ring or lock of that name; semshare ls shows all") from error


def _remove_area(info: AreaInfo, dry_run: bool) -> None:
    detail = info.backend
    if info.owns_set and info.semid is not None:
        detail += f", with set {info.semid}"
    if not dry_run:
        if info.backend == "module":
            with device.Device() as opened:
                opened.unlink(info.name)
            users = (info.handles or 0) + (info.maps or 0) + info.kernel_users
            detail += ", when its last user lets go of it" if users else ""
        else:
            try:
                with Area(info.name, readonly=True, backend="posix") as area:
                    area.unlink()
            except NotFound as error:
                raise Failure(
                    f"area {info.name!r}: its creator died before it was complete; remove it: semshare rm --stale"
                ) from error
    _say("area", info.name, detail, dry_run)


def _remove_lock(name: str, key: int, dry_run: bool) -> bool:
    """Remove the bare lock of that name, if there is one; it is known by its companion segment."""
    shmid = lib.shmget(key, 0, 0)
    companion = segment.attach(shmid) if shmid >= 0 else None
    if companion is None:
        if lib.semget(key, 0, 0) >= 0 and not any(info.key == key for info in list_areas()):
            raise Failure(
                f"lock {name!r}: there is a set with its key {key:#x}, but nothing that tells it is ours; if you know "
                f"what it is: ipcrm -S {key:#x}"
            )
        return False
    try:
        if companion.magic != lib.SEMSHARE_LOCK_MAGIC:
            return False
        if companion.name != name:
            raise Failure(
                f"lock {name!r}: there is none; its key {key:#x} is that of lock {companion.name!r}, which has to be "
                "removed by its own name"
            )
        semid = companion.semid
    finally:
        companion.close()
    if not dry_run:
        try:
            lock = Lock(name, create=False)
            lock.unlink()
            lock.close()
        except NotFound:
            # Its set is gone already, by ipcrm perhaps.
            lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)
    _say("lock", name, f"set {semid}, segment {shmid}", dry_run)
    return True
