# SPDX-License-Identifier: MIT
"""`semshare unlock`: free a lock whose holder died and had not asked the kernel to give it back."""

from __future__ import annotations

import click

from semshare import IPC_NOWAIT, SemaphoreSet, WouldBlock, key_of
from semshare.cli import inventory
from semshare.cli.group import Failure


@click.command("unlock", short_help="Free a lock whose holder is dead.")
@click.argument("name", required=False)
@click.option("--semid", type=click.IntRange(0), help="The set, instead of a name.")
@click.option("--force", is_flag=True, help="Even if the holder lives, or nobody knows who it is.")
def command(name: str | None, semid: int | None, force: bool) -> None:
    """Free the lock NAME, or the lock of a ring, if its holder is dead and used no SEM_UNDO.

    What it guards may be half written: check that first.
    """
    if (name is None) == (semid is None):
        raise click.UsageError("give a name or --semid")
    if semid is None:
        assert name is not None
        semid = _semid_of(name)
    taken = SemaphoreSet(semid=semid)
    what = f"set {semid}" if name is None else f"{name} (set {semid})"
    if (value := taken.value(0)) != 0:
        raise Failure(f"{what}: its lock is not taken (semaphore 0 is {value}); there is nothing to free")
    holder = inventory.holder_of(taken)
    if not force:
        if holder.alive is None:
            raise Failure(
                f"{what}: nobody can tell from here who holds it: a kernel thread, or a process of another pid "
                "namespace; if you know that it is dead: --force"
            )
        if holder.alive:
            raise Failure(
                f"{what}: process {holder.pid} holds it and is alive; end it first, or if another one took it: --force"
            )
        if taken.pid(0) != holder.pid:
            raise Failure(f"{what}: it was taken by another process just now; look again: semshare ls")
    try:
        # Only if it is still 0: both operations or none. Two of us at once do not make it 2.
        taken.operate([(0, 0, IPC_NOWAIT), (0, 1, IPC_NOWAIT)])
    except WouldBlock as error:
        raise Failure(f"{what}: somebody has freed it meanwhile; there is nothing left to do") from error
    click.echo(f"freed {what}, which process {holder.pid} held" if holder.pid else f"freed {what}")


def _semid_of(name: str) -> int:
    try:
        key_of(name)
    except ValueError as error:
        raise Failure(str(error)) from error
    for each in inventory.take().sets:
        if each.name == name:
            return each.semid
    raise Failure(f"{name}: there is no lock and no ring of that name; semshare ls shows all, or give --semid")
