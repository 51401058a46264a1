// SPDX-License-Identifier: MIT
/*
 * The descriptor is the program's as much as ours: it may close it, by number
 * or with all others, put a file of its own in its place, or have no room for
 * it.  So ask before each call what the number is, and never close a number
 * that has been in the program's sight for longer than it takes to move it.
 */
#include <asm/stat.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/resource.h>
#include <linux/stat.h>
#include <semshare/route.h>
#include <stdbool.h>

#include "kernel.h"
#include "preload.h"

/* High enough to be in nobody's way, low enough to not make the kernel's table of descriptors long. */
#define HIGH	1000

static int known = -1;			/* the descriptor */
static unsigned long known_rdev;	/* the device it is open on */

static bool is_device(int fd, unsigned long *rdev)
{
	struct stat status;

	if (kernel_call3(SYS_fstat, fd, &status, 0) || !S_ISCHR(status.st_mode))
		return false;
	*rdev = status.st_rdev;
	return true;
}

static int high_number(void)
{
	struct rlimit64 limit;

	if (kernel_call4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit) || limit.rlim_cur > HIGH)
		return HIGH;
	/* Leave some above it: somebody else may have had the same idea. */
	return limit.rlim_cur > 64 ? (int)limit.rlim_cur - 16 : (int)limit.rlim_cur - 1;
}

/* The descriptor that is known no longer names the device: @lost, or -1. */
static int open_again(int lost)
{
	unsigned long rdev;
	long fd, high;

	fd = kernel_call4(SYS_openat, AT_FDCWD, SEMSHARE_ROUTE_DEVICE,
			  O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (!is_device((int)fd, &rdev)) {
		kernel_call3(SYS_close, fd, 0, 0);
		return -1;
	}
	/*
	 * If it can be had, the number that was lost: a child of vfork() has a table of its own and our memory, so
	 * what it notes is the parent's descriptor as well.
	 */
	high = lost >= 0 ? kernel_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, lost) : -EINVAL;
	/* Or none as high is allowed any more. */
	if (high < 0)
		high = kernel_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, high_number());
	if (high >= 0) {
		kernel_call3(SYS_close, fd, 0, 0);
		fd = high;
	}
	__atomic_store_n(&known_rdev, rdev, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&known, &lost, (int)fd, false, __ATOMIC_RELEASE, __ATOMIC_ACQUIRE)) {
		/* Another thread was faster. */
		kernel_call3(SYS_close, fd, 0, 0);
		return lost;
	}
	return (int)fd;
}

/* A descriptor of the device, or -1. It may be gone when the caller comes to use it. */
int device_descriptor(void)
{
	int fd = __atomic_load_n(&known, __ATOMIC_ACQUIRE);
	unsigned long rdev;

	if (fd >= 0 && is_device(fd, &rdev) && rdev == __atomic_load_n(&known_rdev, __ATOMIC_RELAXED))
		return fd;
	return open_again(fd);
}
