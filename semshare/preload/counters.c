// SPDX-License-Identifier: MIT
#include "counters.h"

#include <asm/stat.h>
#include <linux/fcntl.h>
#include <linux/mman.h>
#include <stddef.h>

#include "environment.h"
#include "kernel.h"
#include "preload.h"

#define PAGE	4096

/* Where nobody asked for statistics the same words are counted, for nobody: one path for both. */
static struct preload_counters private_counters;
static struct preload_counters *shared = &private_counters;

/* A page that a forked child finds zeroed: whether this process has been counted. */
static __u32 *counted;

static void *map(int fd, int flags)
{
	long at = kernel_call(SYS_mmap, 0, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	return at < 0 && at > -PAGE ? NULL : (void *)at;
}

/* A path that leads nowhere is no fault: `semshare exec` has ended, and a process that it left behind starts a program. */
void counters_setup(void)
{
	const char *path = environment_value(PRELOAD_STATS_VARIABLE);
	struct preload_counters *found;
	struct stat status;
	long fd;

	if (!path || !*path)
		return;
	fd = kernel_call4(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (kernel_call3(SYS_fstat, fd, &status, 0) == 0 && status.st_size >= PAGE) {
		found = map((int)fd, MAP_SHARED);
		if (found && found->magic == PRELOAD_COUNTERS_MAGIC) {
			counted = map(-1, MAP_PRIVATE | MAP_ANONYMOUS);
			if (counted)
				kernel_call3(SYS_madvise, counted, PAGE, MADV_WIPEONFORK);
			__atomic_store_n(&shared, found, __ATOMIC_RELEASE);
			count(&found->images, 1);
		} else if (found) {
			kernel_call3(SYS_munmap, found, PAGE, 0);
		}
	}
	kernel_call3(SYS_close, fd, 0, 0);
}

struct preload_counters *counters(void)
{
	return __atomic_load_n(&shared, __ATOMIC_ACQUIRE);
}

void count_process(void)
{
	__u32 *flag = counted;

	if (flag && !__atomic_load_n(flag, __ATOMIC_RELAXED) && !__atomic_exchange_n(flag, 1, __ATOMIC_RELAXED))
		count(&counters()->processes, 1);
}

_Static_assert(sizeof(struct preload_counters) <= PAGE, "one page holds the counters");
_Static_assert(sizeof(private_counters.routed) / sizeof(__u64) == PRELOAD_ENTRIES * PRELOAD_CALLS, "routed");
_Static_assert(sizeof(private_counters.commands) / sizeof(__u64) == PRELOAD_COMMANDS, "commands");
