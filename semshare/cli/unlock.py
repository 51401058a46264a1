# SPDX-License-Identifier: MIT
"""`semshare unlock`: free a lock whose holder died and had not asked the kernel to give it back."""

from __future__ import annotations

import click

from semshare import IPC_NOWAIT, SemaphoreSet, WouldBlock, key_of
from semshare._abi import lib
from semshare.cli import inventory, sets
from semshare.cli.group import Failure
from semshare.cli.sets import SetInfo
from semshare.named_set import with_article


@click.command("unlock", short_help="Free a lock whose holder is dead.")
@click.argument("name", required=False)
@click.option("--semid", type=click.IntRange(0), help="The set, instead of a name.")
@click.option("--number", type=click.IntRange(0), help="Which lock of a pool.")
@click.option("--force", is_flag=True, help="Even if the holder lives, or nobody knows who it is.")
def command(name: str | None, semid: int | None, number: int | None, force: bool) -> None:
    """Free the lock NAME, one of a pool, or the lock of a ring, if its holder is dead and used no SEM_UNDO.

    What it guards may be half written: check that first.
    """
    if (name is None) == (semid is None):
        raise click.UsageError("give a name or --semid")
    if name is not None:
        try:
            key_of(name)
        except ValueError as error:
            raise Failure(str(error)) from error
    found = next((each for each in inventory.take().sets if each.name == name or each.semid == semid), None)
    if found is None and semid is None:
        raise Failure(f"{name}: there is no lock and no ring of that name; semshare ls shows all, or give --semid")
    taken = SemaphoreSet(semid=found.semid if found is not None else semid)
    what = f"set {taken.semid}" if name is None else f"{name} (set {taken.semid})"
    number = _checked(found, number, taken.count, what)
    if taken.count > 1 and number:
        what += f", lock {number}"
    if (value := taken.value(number)) != 0:
        raise Failure(f"{what}: its lock is not taken (semaphore {number} is {value}); there is nothing to free")
    holder = sets.holder_of(taken, number)
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
        if taken.pid(number) != holder.pid:
            raise Failure(f"{what}: it was taken by another process just now; look again: semshare ls")
    try:
        # Only if it is still 0: both operations or none. Two of us at once do not make it 2.
        taken.operate([(number, 0, IPC_NOWAIT), (number, 1, IPC_NOWAIT)])
    except WouldBlock as error:
        raise Failure(f"{what}: somebody has freed it meanwhile; there is nothing left to do") from error
    click.echo(f"freed {what}, which process {holder.pid} held" if holder.pid else f"freed {what}")


def _checked(found: SetInfo | None, number: int | None, count: int, what: str) -> int:
    """Which semaphore it is, if that is a lock."""
    if found is not None and found.kind in (*sets.OWNERLESS, lib.SEMSHARE_SET_RWLOCK):
        look = f"semshare inspect {found.name or f'--semid {found.semid}'}"
        if found.kind == lib.SEMSHARE_SET_RWLOCK:
            raise Failure(
                f"{what}: it is a read/write lock, which cannot be freed this way: who reads or writes gives that back "
                f"when it ends, however it does; {look} shows who that is"
            )
        raise Failure(f"{what}: it is {with_article(found.use)}, which nobody holds; {look} shows its state")
    if found is not None and found.kind == lib.SEMSHARE_SET_POOL:
        if number is None:
            raise Failure(f"{what}: it is a pool of {count} locks; say which: --number 0 to {count - 1}")
    elif found is not None and number:
        raise Failure(f"{what}: it is no pool; its lock is the only one")
    if (number or 0) >= count:
        raise Failure(f"{what}: there is no lock {number}: it has {count}, from 0 on")
    return number or 0
