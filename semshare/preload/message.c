// SPDX-License-Identifier: MIT
/*
 * Lines to standard error.  A program may have closed it and given its number
 * to a file of its own, in which no line of ours is to stand; nor shall one
 * stop the program or kill it, where nobody reads.
 */
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>
#include <stdbool.h>

#include "kernel.h"
#include "preload.h"

#define STANDARD_ERROR	2

static struct stat at_start;
static bool open_at_start;

void message_setup(void)
{
	open_at_start = kernel_call3(SYS_fstat, STANDARD_ERROR, &at_start, 0) == 0;
}

void message_write(const char *line)
{
	struct pollfd ready = { .fd = STANDARD_ERROR, .events = POLLOUT };
	const sigset_t background = 1UL << (SIGTTOU - 1);
	sigset_t before;
	struct stat now;
	long length = 0;

	if (!open_at_start || kernel_call3(SYS_fstat, STANDARD_ERROR, &now, 0) ||
	    now.st_dev != at_start.st_dev || now.st_ino != at_start.st_ino)
		return;
	if (kernel_call3(SYS_poll, &ready, 1, 0) != 1 || ready.revents != POLLOUT)
		return;
	while (line[length])
		length++;
	/* A terminal may stop who writes to it from the background. */
	kernel_call4(SYS_rt_sigprocmask, SIG_BLOCK, &background, &before, sizeof(before));
	kernel_call3(SYS_write, STANDARD_ERROR, line, length);
	kernel_call4(SYS_rt_sigprocmask, SIG_SETMASK, &before, 0, sizeof(before));
}
