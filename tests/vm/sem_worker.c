// SPDX-License-Identifier: MIT
/*
 * The workers of sem_player.c: processes that make one call each time they are asked to, as a user and with memory that
 * the request names, down the path to the kernel that the program was told, and hand back what came of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <semshare/route.h>
#include <semshare/test.h>

#include "sem_player.h"

static const struct path paths[] = {
	{ "system-call", BY_SYSTEM_CALL, 0, false },
	{ "system-call-as-kthread", BY_SYSTEM_CALL, 0, true },
	{ "route", BY_ROUTE, SEMSHARE_ROUTE_CALLER, false },
	{ "route-kthread", BY_ROUTE, SEMSHARE_ROUTE_KTHREAD, true },
	{ "test-process", BY_TEST_MODULE, SEMSHARE_TEST_PROCESS, false },
	{ "test-kthread", BY_TEST_MODULE, SEMSHARE_TEST_KTHREAD, true },
};

const struct path *path;
static int device = -1;
struct shared *shared;

void futex_wait(int *word, int value, long nanoseconds)
{
	struct timespec limit = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
}

void futex_wake(int *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* Three pages: one to write, one that is not there, one to read only. */
struct arena { uint8_t *base; };

static struct arena data_arena, timeout_arena;

static void arena_make(struct arena *arena)
{
	arena->base = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena->base == MAP_FAILED || mprotect(arena->base + PAGE, PAGE, PROT_NONE) ||
	    mprotect(arena->base + 2 * PAGE, PAGE, PROT_READ))
		die("memory");
}

static uint8_t *arena_put(struct arena *arena, enum memory memory, const void *data, size_t size)
{
	uint8_t *read_only = arena->base + 2 * PAGE;
	uint8_t *at;

	switch (memory) {
	case GOOD:
		at = arena->base;
		break;
	case UNALIGNED:
		at = arena->base + 1;
		break;
	case AT_END:
		at = arena->base + PAGE - size;
		break;
	case READ_ONLY:
		mprotect(read_only, PAGE, PROT_READ | PROT_WRITE);
		memcpy(read_only, data, size);
		mprotect(read_only, PAGE, PROT_READ);
		return read_only;
	case NONE:
		return NULL;
	case ACROSS_END:
		at = arena->base + PAGE - size / 2;
		memcpy(at, data, size / 2);
		return at;
	case UNMAPPED:
		return arena->base + PAGE;
	case NOT_CANONICAL:
		return (uint8_t *)0x800000000000;
	default:
		return (uint8_t *)0xffffffff81000000;
	}
	memcpy(at, data, size);
	return at;
}

static bool is_readable(enum memory memory)
{
	return memory <= READ_ONLY;
}

static long error_or(long result)
{
	return result < 0 ? -errno : result;
}

static long by_test_module(const struct request *request, uint8_t *at)
{
	struct semshare_test_call call = {
		/* The caller's own namespace: no kernel thread is in it. */
		.context = request->call == SEMGET ? SEMSHARE_TEST_PROCESS : path->context,
		.ns = SEMSHARE_TEST_NS_CURRENT,
		.id = request->id,
		.number = request->number,
		.command = request->command,
		.value = (int)request->value,
		.buffer = (uintptr_t)at,
		.size = at ? request->size : 0,
	};

	switch (request->call) {
	case SEMGET:
		call.function = SEMSHARE_TEST_SEMGET;
		call.buffer = 0;
		break;
	case SEMOP:
		call.function = SEMSHARE_TEST_SEMOP;
		break;
	case SEMTIMEDOP:
		call.function = SEMSHARE_TEST_SEMTIMEDOP;
		call.timed = request->timeout != 0;
		call.timeout_sec = timeouts[request->timeout].sec;
		call.timeout_nsec = timeouts[request->timeout].nsec;
		break;
	default:
		call.function = SEMSHARE_TEST_SEMCTL;
		break;
	}
	if (ioctl(device, SEMSHARE_TEST_IOC_CALL, &call)) {
		fprintf(stderr, "sem_player: the test module itself refused: %s\n", strerror(errno));
		return -10000 - errno;
	}
	return call.overrun ? -20000 : call.result;
}

static long by_route(const struct request *request, uint8_t *at, uint8_t *timeout)
{
	switch (request->call) {
	case SEMGET: {
		struct semshare_route_semget call = {
			.key = request->id, .nsems = request->number, .flags = request->command,
		};

		return error_or(ioctl(device, SEMSHARE_ROUTE_SEMGET, &call));
	}
	case SEMOP:
	case SEMTIMEDOP: {
		struct semshare_route_semtimedop call = {
			.semid = request->id, .nsops = request->number, .sops = (uintptr_t)at,
			.timeout = (uintptr_t)timeout, .context = path->context,
		};

		return error_or(ioctl(device, SEMSHARE_ROUTE_SEMTIMEDOP, &call));
	}
	default: {
		struct semshare_route_semctl call = {
			.semid = request->id, .semnum = request->number, .cmd = request->command,
			.context = path->context,
			.arg = request->size ? (uintptr_t)at : request->value,
		};

		return error_or(ioctl(device, SEMSHARE_ROUTE_SEMCTL, &call));
	}
	}
}

/* What the module does before it refuses undo in a kernel thread is what the system call does in any case. */
static bool is_refused_undo(const struct request *request)
{
	const struct sembuf *sops = (const struct sembuf *)request->data;

	if (!path->kthread || request->number < 1 || request->number > 500 || !is_readable(request->memory) ||
	    (request->timeout && request->timeout_memory != NONE && !is_readable(request->timeout_memory)))
		return false;
	for (int i = 0; i < request->number; i++)
		if (sops[i].sem_flg & SEM_UNDO)
			return true;
	return false;
}

static long by_system_call(const struct request *request, uint8_t *at, uint8_t *timeout)
{
	switch (request->call) {
	case SEMGET:
		return error_or(syscall(SYS_semget, request->id, request->number, request->command));
	case SEMOP:
		if (is_refused_undo(request))
			return -EOPNOTSUPP;
		return error_or(syscall(SYS_semop, request->id, at, request->number));
	case SEMTIMEDOP:
		if (is_refused_undo(request))
			return -EOPNOTSUPP;
		return error_or(syscall(SYS_semtimedop, request->id, at, request->number, timeout));
	default:
		return error_or(syscall(SYS_semctl, request->id, request->number, request->command,
					request->size ? (unsigned long)at : request->value));
	}
}

static void become(uid_t uid, gid_t gid)
{
	/* The effective ids alone: root comes back. */
	if ((uid ? syscall(SYS_setresgid, -1, gid, -1) || syscall(SYS_setresuid, -1, uid, -1) :
		   syscall(SYS_setresuid, -1, uid, -1) || syscall(SYS_setresgid, -1, gid, -1)))
		die("setresuid");
}

static long carry_out(struct mailbox *mailbox)
{
	const struct request *request = &mailbox->request;
	const struct timeout *timeout = &timeouts[request->timeout];
	struct timespec limit = { .tv_sec = timeout->sec, .tv_nsec = timeout->nsec };
	uint8_t *at = NULL, *timeout_at = NULL;
	long result;

	if (request->call == LEAVE)
		_exit(0);
	if (request->call == UNSHARE_UNDO)
		return error_or(unshare(CLONE_SYSVSEM));
	if (request->size)
		at = arena_put(&data_arena, request->memory, request->data, request->size);
	if (request->timeout)
		timeout_at = arena_put(&timeout_arena, request->timeout_memory, &limit, sizeof(limit));
	if (users[request->user].uid)
		become(users[request->user].uid, users[request->user].gid);
	switch (path->how) {
	case BY_SYSTEM_CALL:
		result = by_system_call(request, at, timeout_at);
		break;
	case BY_ROUTE:
		result = by_route(request, at, timeout_at);
		break;
	default:
		result = by_test_module(request, at);
		break;
	}
	if (users[request->user].uid)
		become(0, 0);
	if (at && is_writable(request->memory))
		memcpy(mailbox->data, at, request->size);
	return result;
}

static void nothing(int number)
{
	(void)number;
}

void work(int number)
{
	struct mailbox *mailbox = &shared->mailbox[number];
	struct sigaction action = { .sa_handler = nothing };
	const struct sched_param normal = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "sem_worker");
	sched_setscheduler(0, SCHED_OTHER, &normal);
	sigaction(SIGUSR1, &action, NULL);
	action.sa_flags = SA_RESTART;
	sigaction(SIGUSR2, &action, NULL);
	arena_make(&data_arena);
	arena_make(&timeout_arena);
	for (;;) {
		int state;

		while ((state = __atomic_load_n(&mailbox->state, __ATOMIC_ACQUIRE)) != ASKED)
			futex_wait(&mailbox->state, state, 1000000000L);
		mailbox->result = carry_out(mailbox);
		__atomic_store_n(&mailbox->state, ANSWERED, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&shared->answers, 1, __ATOMIC_SEQ_CST);
		futex_wake(&shared->answers);
	}
}

bool take_path(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(paths[i].name, name))
			path = &paths[i];
	return path;
}

void prepare_to_work(void)
{
	if (path->how != BY_SYSTEM_CALL) {
		device = open(path->how == BY_ROUTE ? SEMSHARE_ROUTE_DEVICE : SEMSHARE_TEST_DEVICE,
			      O_RDWR | O_CLOEXEC);
		if (device < 0)
			die("the device");
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
}
