// SPDX-License-Identifier: MIT
#include <linux/errno.h>
#include <semshare/route.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "environment.h"
#include "kernel.h"
#include "preload.h"

/* A descriptor that another thread of the program closes or replaces at each try is not to be had. */
#define TRIES	8

#define NOT_ROUTED_LINE \
	"semshare: exec: " SEMSHARE_ROUTE_DEVICE " cannot be had by this process (all descriptors in use, a root without " \
	"/dev, the module gone?): its calls are made as system calls\n"
#define NO_UNDO_LINE \
	"semshare: exec: EOPNOTSUPP: a kernel thread cannot make an operation with SEM_UNDO, which is undone when a process " \
	"ends: run this program without --context kthread (if it uses no SEM_UNDO, this kernel lacks a function: semshare " \
	"doctor)\n"
#define UNSUPPORTED_LINE \
	"semshare: exec: EOPNOTSUPP: the module does not find a function that this call needs in this kernel: semshare doctor\n"

struct sembuf;
struct timespec;

/* As a system call and as an ioctl. */
struct call {
	int kind;
	int entry;
	long number;
	long a, b, c, d;
	unsigned int request;
	void *argument;
};

static __u32 context;
static __u32 not_routed_told;

/*
 * In a constructor, or before, when another library's constructor calls; twice at the same time does no harm.  Who calls
 * before the C library has the environment, as sanitizers do, is served without, and it is looked for again.
 */
void preload_setup(void)
{
	static bool ready;
	const char *wanted;

	if (__atomic_load_n(&ready, __ATOMIC_ACQUIRE))
		return;
	lookup_setup();
	if (!environ)
		return;
	message_setup();
	wanted = environment_value(PRELOAD_CONTEXT_VARIABLE);
	context = wanted && text_equal(wanted, "kthread") ? SEMSHARE_ROUTE_KTHREAD : SEMSHARE_ROUTE_CALLER;
	counters_setup();
	__atomic_store_n(&ready, true, __ATOMIC_RELEASE);
}

__attribute__((constructor)) static void construct(void)
{
	preload_setup();
	device_descriptor();
}

static void count_routed(const struct call *call, __s64 more)
{
	count(&counters()->routed[call->entry * PRELOAD_CALLS + call->kind], more);
	if (call->kind == PRELOAD_SEMCTL) {
		unsigned int command = (unsigned int)call->c;

		count(&counters()->commands[command < PRELOAD_COMMANDS - 1 ? command : PRELOAD_COMMANDS - 1], more);
	}
}

static bool first_time(__u32 *told)
{
	return !__atomic_load_n(told, __ATOMIC_RELAXED) && !__atomic_exchange_n(told, 1, __ATOMIC_RELAXED);
}

static long routed(const struct call *call, bool *was)
{
	for (int try = 0; try < TRIES; try++) {
		int fd = device_descriptor();
		long result;

		if (fd < 0)
			break;
		/* Before the call: who is killed in it has made it. */
		count_routed(call, 1);
		result = kernel_call3(SYS_ioctl, fd, call->request, call->argument);
		/* No call on semaphores answers either: the descriptor is not what it was a moment ago. */
		if (result != -EBADF && result != -ENOTTY) {
			*was = true;
			return result;
		}
		count_routed(call, -1);
	}
	*was = false;
	return 0;
}

static long carry_out(const struct call *call)
{
	bool was;
	long result;

	count_process();
	result = routed(call, &was);
	if (!was) {
		count(&counters()->not_routed[call->kind], 1);
		if (first_time(&not_routed_told))
			message_write(NOT_ROUTED_LINE);
		return kernel_call4(call->number, call->a, call->b, call->c, call->d);
	}
	if (result < 0) {
		count(&counters()->failed[call->kind], 1);
		if (result == -EOPNOTSUPP) {
			count(&counters()->unsupported, 1);
			if (first_time(&counters()->unsupported_told))
				message_write(context == SEMSHARE_ROUTE_KTHREAD ? NO_UNDO_LINE : UNSUPPORTED_LINE);
		}
	}
	return result;
}

extern int *__errno_location(void);

static long answer(long result)
{
	if (result < 0) {
		*__errno_location() = (int)-result;
		return -1;
	}
	return result;
}

/* ------------------------------------------------------------- the four calls */

/* Arguments are cut to the width that the system calls take them in, and pointers are never looked through. */

static long do_semget(int entry, int key, int nsems, int flags)
{
	struct semshare_route_semget argument = { .key = key, .nsems = nsems, .flags = flags };
	struct call call = {
		.kind = PRELOAD_SEMGET, .entry = entry, .number = SYS_semget,
		.a = key, .b = nsems, .c = flags,
		.request = SEMSHARE_ROUTE_SEMGET, .argument = &argument,
	};

	return answer(carry_out(&call));
}

static long do_semtimedop(int kind, int entry, int semid, unsigned long sops, unsigned int nsops, unsigned long timeout)
{
	struct semshare_route_semtimedop argument = {
		.semid = semid, .nsops = nsops, .sops = sops, .timeout = timeout, .context = context,
	};
	struct call call = {
		.kind = kind, .entry = entry, .number = SYS_semtimedop,
		.a = semid, .b = (long)sops, .c = nsops, .d = (long)timeout,
		.request = SEMSHARE_ROUTE_SEMTIMEDOP, .argument = &argument,
	};

	return answer(carry_out(&call));
}

static long do_semctl(int entry, int semid, int semnum, int command, unsigned long arg)
{
	struct semshare_route_semctl argument = {
		.semid = semid, .semnum = semnum, .cmd = command, .context = context, .arg = arg,
	};
	struct call call = {
		.kind = PRELOAD_SEMCTL, .entry = entry, .number = SYS_semctl,
		.a = semid, .b = semnum, .c = command, .d = (long)arg,
		.request = SEMSHARE_ROUTE_SEMCTL, .argument = &argument,
	};

	return answer(carry_out(&call));
}

/* Each entry sees to it that the library is set up: another one's constructor may be the first to call. */

EXPORTED int semget(int key, int nsems, int flags)
{
	preload_setup();
	return (int)do_semget(PRELOAD_BY_LIBC, key, nsems, flags);
}

EXPORTED int semop(int semid, struct sembuf *sops, size_t nsops)
{
	preload_setup();
	return (int)do_semtimedop(PRELOAD_SEMOP, PRELOAD_BY_LIBC, semid, (unsigned long)sops, (unsigned int)nsops, 0);
}

EXPORTED int semtimedop(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	preload_setup();
	return (int)do_semtimedop(PRELOAD_SEMTIMEDOP, PRELOAD_BY_LIBC, semid, (unsigned long)sops, (unsigned int)nsops,
				  (unsigned long)timeout);
}

/* The fourth argument is a word whichever member of the union it is, and ignored where a command has none. */
EXPORTED int semctl(int semid, int semnum, int command, ...)
{
	unsigned long arg;
	va_list list;

	va_start(list, command);
	arg = va_arg(list, unsigned long);
	va_end(list);
	preload_setup();
	return (int)do_semctl(PRELOAD_BY_LIBC, semid, semnum, command, arg);
}

/* syscall() for one of the four numbers: stubs.c sees to it that no other comes here. */
long syscall_of_semaphores(long number, long a, long b, long c, long d);
long syscall_of_semaphores(long number, long a, long b, long c, long d)
{
	preload_setup();
	switch ((int)number) {
	case SYS_semget:
		return do_semget(PRELOAD_BY_SYSCALL, (int)a, (int)b, (int)c);
	case SYS_semop:
		return do_semtimedop(PRELOAD_SEMOP, PRELOAD_BY_SYSCALL, (int)a, (unsigned long)b, (unsigned int)c, 0);
	case SYS_semtimedop:
		return do_semtimedop(PRELOAD_SEMTIMEDOP, PRELOAD_BY_SYSCALL, (int)a, (unsigned long)b, (unsigned int)c,
				     (unsigned long)d);
	default:
		return do_semctl(PRELOAD_BY_SYSCALL, (int)a, (int)b, (int)c, (unsigned long)d);
	}
}
