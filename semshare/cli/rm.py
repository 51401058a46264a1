# SPDX-License-Identifier: MIT
"""`semshare rm`: remove areas, with what they hold, and locks by name, or what killed processes left."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

import click

from semshare import Area, AreaInfo, NotFound, Removed, SemaphoreSet, device, key_of, segment, shm, stale
from semshare._abi import ffi, lib
from semshare.area import list_areas
from semshare.cli import age
from semshare.cli.group import Failure
from semshare.named_set import NOUNS, signed_key
from semshare.stale import Stale

NOT_THERE: Final = "there is no area, ring or lock of that name; semshare ls shows all"


def _key(_: click.Context, parameter: click.Parameter, given: str | None) -> int | None:
    """A key as Python writes numbers."""
    if given is None:
        return None
    with contextlib.suppress(ValueError):
        if 0 < (key := int(given, 0)) < 1 << 32:
            return key
    raise click.BadParameter(f"{given!r} is no key: 1 to 0xffffffff", param=parameter)


@click.command("rm", short_help="Remove areas, what they hold, and locks.")
@click.argument("names", metavar="NAME...", nargs=-1)
@click.option("--key", callback=_key, help="A lock that was made by its key, instead of names.")
@click.option("--stale", "only_stale", is_flag=True, help="Remove what nobody uses any more: all of it, or NAMEs only.")
@click.option("--yes", is_flag=True, help="With --stale: do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def command(names: tuple[str, ...], key: int | None, only_stale: bool, yes: bool, dry_run: bool) -> None:
    """Remove areas, with what they hold, and locks of all kinds by NAME, or with --stale what killed processes left.

    Only objects of this package are removed. Who still uses a named one keeps its memory; its lock is gone.

    With --stale each is shown with its age and why it looks stale, and then you are asked. A named lock that nobody has
    open is meant to wait for those who open it next: without its NAME it is only listed, as perhaps unused.
    """
    if key is not None:
        if names or only_stale:
            raise click.UsageError("--key stands alone")
        if not _remove_lock(None, key, dry_run):
            raise Failure(f"there is no lock with key {key:#x}; semshare ls shows all")
        return
    if not names and not only_stale:
        raise click.UsageError("give names, or --stale")
    if yes and not only_stale:
        raise click.UsageError("--yes goes with --stale")
    if only_stale:
        _remove_stale(names, yes, dry_run)
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


def _remove_stale(names: tuple[str, ...], yes: bool, dry_run: bool) -> None:
    missing = [name for name in names if not _is_there(name)]
    for name in missing:
        Failure(f"{name}: {NOT_THERE}").show()
    found = stale.find(names or None)
    wanted = [each for each in found if each.certain or names]
    unsure = [each for each in found if each not in wanted]
    if unsure:
        click.echo(
            f"perhaps unused, and kept for those who open them next; by name they go: semshare rm {unsure[0].name}"
        )
        _show(unsure)
        click.echo()
    if not wanted and len(missing) < max(len(names), 1):
        click.echo("nothing is stale")
    if not wanted or dry_run:
        for each in wanted:
            _say(each.kind, each.name, each.detail, dry_run)
        if missing:
            raise SystemExit(1)
        return
    click.echo("stale:")
    _show(wanted)
    if not yes:
        _ask(wanted)
    left = [each for each in wanted if not _removed(each)]
    for each in left:
        Failure(f"{each.kind} {each.name} was left: it is in use now, or another user's ({each.detail})").show()
    if left or missing:
        raise SystemExit(1)


def _is_there(name: str) -> bool:
    """Whether there is anything of that name, whoever may look at it."""
    try:
        key = key_of(name)
    except ValueError as error:
        raise Failure(str(error)) from error
    signed = signed_key(key)
    return (
        lib.semget(signed, 0, 0) >= 0
        or lib.shmget(signed, 0, 0) >= 0
        or any(os.path.lexists(path) for path in (shm.path_of(name), *shm.bell_paths(name)))
        or any(info.name == name for info in list_areas())
    )


def _removed(each: Stale) -> bool:
    if not each.remove():
        return False
    _say(each.kind, each.name, each.detail, False)
    return True


def _ask(wanted: list[Stale]) -> None:
    """Let somebody at the terminal say yes, or end."""
    if not sys.stdin.isatty():
        raise Failure(
            "nothing was removed: there is nobody to ask, as standard input is no terminal; without asking: --yes"
        )
    what = f"{wanted[0].kind} {wanted[0].name}" if len(wanted) == 1 else f"all {len(wanted)} that are stale"
    if not click.confirm(f"remove {what}?", default=False):
        raise Failure("nothing was removed")


def _show(found: list[Stale]) -> None:
    for each in found:
        click.echo(f"{each.kind} {each.name}, {age.text(each.age)}: {each.why} ({each.detail})")


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
        raise Failure(f"{name}: {NOT_THERE}") from error


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


def _remove_lock(name: str | None, key: int, dry_run: bool) -> bool:
    """Remove the bare lock, of any kind, of that name or key, if there is one; it is known by its companion segment."""
    what = f"lock {name!r}" if name is not None else f"lock with key {key:#x}"
    signed = signed_key(key)
    shmid = lib.shmget(signed, 0, 0)
    companion = segment.attach(shmid, readonly=True) if shmid >= 0 else None
    if companion is None or companion.magic != lib.SEMSHARE_LOCK_MAGIC:
        if companion is not None:
            companion.close()
        if lib.semget(signed, 0, 0) >= 0 and not any(info.key == key for info in list_areas()):
            raise Failure(
                f"{what}: there is a set with its key {key:#x}, but nothing that tells it is ours; if you know "
                f"what it is: ipcrm -S {key:#x}"
            )
        return False
    stored, semid, kind = companion.name, companion.semid, NOUNS.get(companion.kind, "set")
    companion.close()
    if name is not None and stored not in ("", name):
        raise Failure(
            f"{what}: there is none; its key {key:#x} is that of {kind} {stored!r}, which has to be removed by its "
            "own name"
        )
    if not dry_run:
        # The set first: killed in between, the segment is left, and tells what it was.
        with contextlib.suppress(Removed):
            taken = SemaphoreSet(semid=semid)
            if taken.key & 0xFFFFFFFF == key:
                taken.remove()
        lib.shmctl(shmid, lib.IPC_RMID, ffi.NULL)
    _say(kind, name or stored or f"{key:#x}", f"set {semid}, segment {shmid}", dry_run)
    return True
