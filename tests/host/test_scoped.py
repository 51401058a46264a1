# SPDX-License-Identifier: MIT
"""kmod_semshare/include/semshare/scoped.h: the blocks of kernel code that have a lock. Compiled here, as it needs
nothing of the kernel.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "kmod_semshare" / "include"

LOCK = """
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <semshare/scoped.h>

struct lock { int held, take, give; };

static int __attribute__((__warn_unused_result__)) take(struct lock *lock, long timeout, bool *suspect)
{
	if (suspect)
		*suspect = timeout == 7;
	if (!lock->take)
		lock->held++;
	return lock->take;
}

static int __attribute__((__warn_unused_result__)) give(struct lock *lock)
{
	lock->held--;
	return lock->give;
}

SEMSHARE_DEFINE_SCOPE(mutex, struct lock, take, give)
#define semshare_scoped_mutex(handle, timeout, suspect, err, fail) \\
	semshare_scoped(mutex, handle, timeout, suspect, err, fail)
"""

# Named as the macro's own words are.
PROGRAM = """
static int turn(struct lock *lock, int mutex)
{
	bool suspect;
	int err;

	semshare_scoped_mutex(lock, 7, &suspect, err, return err) {
		printf("held %d suspect %d\\n", lock->held, suspect);
		if (mutex == 1)
			return 100;
		if (mutex == 2)
			break;
		if (mutex == 3)
			err = -7;
		if (mutex == 4)
			goto out;
	}
	return err;
out:
	return 200;
}

static int twice(struct lock *outer, struct lock *inner)
{
	int err, other;

	if (outer != inner)
		semshare_scoped_mutex(outer, 0, NULL, err, return err)
			semshare_scoped_mutex(inner, 0, NULL, other, return other)
				printf("both %d %d\\n", outer->held, inner->held);
	else
		return -1;
	return err;
}

int main(void)
{
	struct lock good = { 0 }, taken = { .take = -11 }, broken = { .give = -71 }, other = { 0 };

	printf("%d\\n", turn(&good, 0));
	printf("%d\\n", turn(&taken, 0));
	printf("%d\\n", turn(&broken, 0));
	printf("%d\\n", turn(&good, 1));
	printf("%d\\n", turn(&good, 2));
	printf("%d\\n", turn(&broken, 3));
	printf("%d\\n", turn(&good, 4));
	printf("%d\\n", twice(&good, &other));
	printf("%d\\n", twice(&good, &taken));
	printf("left %d %d %d %d\\n", good.held, taken.held, broken.held, other.held);
	return 0;
}
"""

PRINTS = """\
held 1 suspect 1
0
-11
held 1 suspect 1
-71
held 1 suspect 1
100
held 1 suspect 1
0
held 1 suspect 1
-7
held 1 suspect 1
200
both 1 1
0
-11
left 0 0 0 0
"""


def compiled(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "scoped.c").write_text(LOCK + source)
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", INCLUDE, "-o", "scoped", "scoped.c"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)


def test_block_has_the_lock_and_gives_it_back_however_it_is_left(tmp_path: Path) -> None:
    built = compiled(tmp_path, PROGRAM)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "scoped"], capture_output=True, text=True, check=True).stdout == PRINTS


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("lock, 0, NULL, err, ", "say what is done when the lock is not taken"),
        ("lock, 0, NULL, err", "requires 5 arguments"),
        ("lock, 0, NULL, , return 1", "error"),
    ],
)
def test_what_is_done_without_the_lock_cannot_be_left_out(tmp_path: Path, arguments: str, error: str) -> None:
    block = f"semshare_scoped_mutex({arguments}) {{ lock->held = 5; }}"
    body = f"int f(struct lock *lock) {{ int err; {block} return err; }}"
    built = compiled(tmp_path, f"{body}\nint main(void) {{ return 0; }}\n")
    assert built.returncode != 0 and error in built.stderr


def test_answer_of_a_lock_cannot_be_ignored(tmp_path: Path) -> None:
    built = compiled(tmp_path, "int main(void) { struct lock lock = { 0 }; take(&lock, 0, NULL); return 0; }\n")
    assert built.returncode != 0 and "ignoring return value" in built.stderr
