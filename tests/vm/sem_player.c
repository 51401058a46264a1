// SPDX-License-Identifier: MIT
/*
 * Plays sequences of semaphore operations, by several processes, down one path to the kernel, and writes what happened
 * so that the same sequence played down another path gives the same text, to the letter, if the kernel did the same.
 *
 *	sem_player PATH EPOCH
 *
 * PATH is one of those in paths[].  Each player has an IPC namespace of its own and removes what it made after each
 * sequence, so that all players' namespaces are alike at the start of each.  Nothing in the text depends on a chance: ids are given as the
 * number of the set, pids as the number of the worker, and times as the number of the step, because the player sets the
 * machine's clock to EPOCH + 1000 s * step before each.  (So only one player plays at a time.)
 *
 * In: a 32-bit length and so many bytes: a profile byte, then records (struct record).  Every sequence of bytes means
 * something, and smaller bytes mean simpler things.  Out: a 32-bit length and the text.  A length of 0 asks for the
 * counts: how often each call gave each answer.
 *
 * A step ends when all that it set going has come to rest: its worker has answered or sleeps in the kernel, which the
 * counts of waiters tell (GETNCNT, GETZCNT), and so has every sleeper that it woke.  So the order of things is the same
 * each time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <semshare/route.h>
#include <semshare/test.h>

#define WORKERS		5
#define SLOTS		3
#define MAX_SETS	128	/* made in one sequence */
#define MAX_NSEMS	25	/* semmsl */
#define MAX_SOPS	501
#define MAX_STEPS	256
#define PAGE		4096
#define STEP_SECONDS	1000	/* a step never takes as long */
#define PATIENCE	120	/* seconds until what does not come to rest counts as hung */
#define LIMITS		"25 40 500 3\n"	/* semmsl, semmns, semopm, semmni: small enough to be met */
#define KEY		0x5e5d0000
#define SEMVMX		32767

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

enum how { BY_SYSTEM_CALL, BY_ROUTE, BY_TEST_MODULE };

/**
 * struct path - a way to the kernel
 * @name: what the program is told
 * @how: by what
 * @context: of the module: SEMSHARE_ROUTE_*, SEMSHARE_TEST_*
 * @kthread: a kernel thread does it; for BY_SYSTEM_CALL: play what a kernel thread would have done.  The differences
 *	are these and no others: SEM_UNDO is refused, and a kernel thread is who changed a semaphore
 */
struct path {
	const char *name;
	enum how how;
	unsigned int context;
	bool kthread;
};

static const struct path paths[] = {
	{ "system-call", BY_SYSTEM_CALL, 0, false },
	{ "system-call-as-kthread", BY_SYSTEM_CALL, 0, true },
	{ "route", BY_ROUTE, SEMSHARE_ROUTE_CALLER, false },
	{ "route-kthread", BY_ROUTE, SEMSHARE_ROUTE_KTHREAD, true },
	{ "test-process", BY_TEST_MODULE, SEMSHARE_TEST_PROCESS, false },
	{ "test-kthread", BY_TEST_MODULE, SEMSHARE_TEST_KTHREAD, true },
};

static const struct path *path;
static int device = -1;
static time_t epoch;

/* ------------------------------------------------------------------ the script */

/* Profile: what the test module cannot do: it copies its buffers itself, and its kernel threads may do everything. */
#define PROFILE_PLAIN		1	/* root only, and no bad pointers but NULL */
#define PROFILE_RARE_UNDO	2	/* for kernel threads, which only refuse it */

/**
 * struct record - one step
 * @kind: see kinds[]
 * @worker: who does it
 * @set: to which set
 * @user: as whom
 * @b: the rest, as the step needs it
 */
struct record {
	uint8_t kind;
	uint8_t worker;
	uint8_t set;
	uint8_t user;
	uint8_t b[16];
};

enum kind {
	NOTHING, OPERATE, ONE, SET_ONE, ALL, STATUS, CHANGE, REMOVE, GET, INFO, UNKNOWN, LARGE, UNSHARE, SIGNAL, KILL, EXIT,
};

/* How many of 256 records are of each kind. */
static const struct { enum kind kind; int weight; } kinds[] = {
	{ NOTHING, 4 }, { OPERATE, 130 }, { ONE, 14 }, { SET_ONE, 12 }, { ALL, 16 }, { STATUS, 10 }, { CHANGE, 9 },
	{ REMOVE, 7 }, { GET, 8 }, { INFO, 12 }, { UNKNOWN, 3 }, { LARGE, 6 }, { UNSHARE, 3 }, { SIGNAL, 12 }, { KILL, 5 },
	{ EXIT, 5 },
};

/* Where the memory lies whose address a call is given. */
enum memory { GOOD, UNALIGNED, AT_END, READ_ONLY, NONE, ACROSS_END, UNMAPPED, NOT_CANONICAL, OF_KERNEL };

static const char *const memory_names[] = {
	"", " in odd memory", " at the end of a page", " in read-only memory", " at NULL", " across the end of memory",
	" in no memory", " at no possible address", " at the kernel's address",
};

/* Timeouts that count as "it sleeps" and "it does not sleep for long". */
static const struct timeout {
	const char *name;
	bool sleeps;
	long sec;
	long nsec;
} timeouts[] = {
	{ "none", true, 0, 0 },
	{ "an hour", true, 3600, 0 },
	{ "1 ms", false, 0, 1000000 },
	{ "0", false, 0, 0 },
	{ "1 ns", false, 0, 1 },
	{ "as long as no clock counts", true, LONG_MAX, 999999999 },
	{ "-1 s", false, -1, 0 },
	{ "-1 ns", false, 0, -1 },
	{ "1000000000 ns", false, 0, 1000000000 },
};

static const struct { uid_t uid; gid_t gid; } users[] = {
	{ 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 1000, 1000 }, { 1001, 1000 }, { 1002, 1002 },
};

/* ------------------------------------------------------------------ the worker */

enum call { SEMGET, SEMOP, SEMTIMEDOP, SEMCTL, LEAVE, UNSHARE_UNDO, CALLS };

/**
 * struct request - a call that a worker is to make
 * @call: which
 * @user: as whom, an index into users[]
 * @id: semid; SEMGET: key
 * @number: nsems, nsops or semnum
 * @command: flags or cmd
 * @value: SETVAL, and commands that are none: the argument
 * @memory: where @data is put or comes from
 * @timeout: index into timeouts[]
 * @timeout_memory: where it lies
 * @size: bytes of @data
 * @data: what goes in
 */
struct request {
	enum call call;
	unsigned int user;
	int id;
	int number;
	int command;
	unsigned long value;
	enum memory memory;
	unsigned int timeout;
	enum memory timeout_memory;
	unsigned int size;
	uint8_t data[MAX_SOPS * sizeof(struct sembuf)];
};

enum state { IDLE, ASKED, ANSWERED };

/* What a worker shares with the player. */
struct mailbox {
	int state;		/* enum state; a futex */
	struct request request;
	long result;		/* not negative, or minus errno */
	uint8_t data[PAGE];	/* what came out */
};

static struct shared {
	int answers;		/* counts answers of all workers; a futex */
	struct mailbox mailbox[WORKERS];
} *shared;

static void die(const char *what)
{
	fprintf(stderr, "sem_player: %s: %s\n", what, strerror(errno));
	exit(3);
}

static void futex_wait(int *word, int value, long nanoseconds)
{
	struct timespec limit = { .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000 };

	syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0);
}

static void futex_wake(int *word)
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

static bool is_writable(enum memory memory)
{
	return memory < READ_ONLY;
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

static void work(int number)
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

/* ------------------------------------------------------------------ the text */

static char text[1 << 20];
static size_t text_length;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_length += vsnprintf(text + text_length, sizeof(text) - text_length, format, arguments);
	va_end(arguments);
	if (text_length >= sizeof(text))
		text_length = sizeof(text) - 1;
}

static const char *const call_names[] = { "semget", "semop", "semtimedop", "semctl", "exit", "unshare" };

static const char *command_name(int command)
{
	static char number[16];

	switch (command) {
	case IPC_RMID: return "IPC_RMID";
	case IPC_SET: return "IPC_SET";
	case IPC_STAT: return "IPC_STAT";
	case IPC_INFO: return "IPC_INFO";
	case GETPID: return "GETPID";
	case GETVAL: return "GETVAL";
	case GETALL: return "GETALL";
	case GETNCNT: return "GETNCNT";
	case GETZCNT: return "GETZCNT";
	case SETVAL: return "SETVAL";
	case SETALL: return "SETALL";
	case SEM_STAT: return "SEM_STAT";
	case SEM_INFO: return "SEM_INFO";
	case SEM_STAT_ANY: return "SEM_STAT_ANY";
	}
	snprintf(number, sizeof(number), "%d", command);
	return number;
}

/* How often each call gave each answer, [slept in between][0: none, else errno]. */
#define ERRORS 140
#define COMMANDS 22
static unsigned long counts[CALLS + COMMANDS + 1][2][ERRORS];
static unsigned long steps_done, sequences_done;

static void count(const struct request *request, long result, bool slept)
{
	int row = request->call;

	if (row == SEMCTL)
		row = CALLS + (request->command >= 0 && request->command < COMMANDS ? request->command : COMMANDS);
	counts[row][slept][result < 0 && result > -ERRORS ? -result : 0]++;
}

static void say_counts(void)
{
	say("sequences %lu\nsteps %lu\n", sequences_done, steps_done);
	for (unsigned int row = 0; row < ARRAY_SIZE(counts); row++)
		for (int slept = 0; slept < 2; slept++)
			for (int error = 0; error < ERRORS; error++)
				if (counts[row][slept][error])
					say("%s%s %s%s %lu\n", row < CALLS ? "" : "semctl:",
					    row < CALLS ? call_names[row] : command_name(row - CALLS),
					    slept ? "slept:" : "", error ? strerrorname_np(error) : "ok",
					    counts[row][slept][error]);
}

/* ------------------------------------------------------------------ the player */

/**
 * struct worker - a process
 * @pid: of it
 * @life: how many died before it in this sequence
 * @sleeps: the set it sleeps in, or -1
 */
static struct worker {
	pid_t pid;
	int life;
	int sleeps;
} worker[WORKERS];

/* Every process that lived in this sequence, by its pid. */
static struct { pid_t pid; int number; int life; } lived[WORKERS + MAX_STEPS];
static int lived_count;

/* Every set that was made in this sequence. */
static struct set {
	int id;
	int nsems;
	bool gone;
	char was[4096];		/* the last text about it */
} sets[MAX_SETS];
static int set_count;
static int slot[SLOTS];		/* the newest set of each slot, or -1 */
static int step;

static void start(int number)
{
	struct mailbox *mailbox = &shared->mailbox[number];
	pid_t pid;

	mailbox->state = IDLE;
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		work(number);
		_exit(0);
	}
	worker[number].pid = pid;
	worker[number].sleeps = -1;
	lived[lived_count].pid = pid;
	lived[lived_count].number = number;
	lived[lived_count++].life = worker[number].life;
}

static void say_pid(pid_t pid)
{
	int i;

	if (!pid) {
		say("-");
		return;
	}
	for (i = 0; i < lived_count && lived[i].pid != pid; i++)
		;
	if (path->kthread && path->how == BY_SYSTEM_CALL && i < lived_count)
		say("k");
	else if (i < lived_count)
		say("w%d%.*s", lived[i].number, lived[i].life, "'''''''''");
	else if (path->kthread)
		say("k");
	else
		say("?%d", pid);
}

static void say_time(time_t time)
{
	if (!time)
		say("never");
	else
		say("@%ld", (time - epoch) / STEP_SECONDS);
}

static int set_by_id(int id)
{
	for (int i = set_count - 1; i >= 0; i--)
		if (sets[i].id == id)
			return i;
	return -1;
}

static void say_id(int id)
{
	int set = set_by_id(id);

	if (set >= 0)
		say("set %d", set);
	else if (id >= 32768 && set_by_id(id - 32768) >= 0)
		say("an id like set %d's", set_by_id(id - 32768));
	else
		say("id %d", id);
}

static void say_ds(const struct semid_ds *ds)
{
	say("%lu semaphores, key %x, mode %o, owner %u:%u, made by %u:%u, operated %s", ds->sem_nsems,
	    ds->sem_perm.__key, ds->sem_perm.mode, ds->sem_perm.uid, ds->sem_perm.gid, ds->sem_perm.cuid,
	    ds->sem_perm.cgid, "");
	say_time(ds->sem_otime);
	say(", changed ");
	say_time(ds->sem_ctime);
}

static int waiters(int set)
{
	int sum = 0;

	for (int i = 0; i < sets[set].nsems; i++) {
		int increase = semctl(sets[set].id, i, GETNCNT), zero = semctl(sets[set].id, i, GETZCNT);

		if (increase < 0 || zero < 0)
			return 0;	/* removed: all are awake */
		sum += increase + zero;
	}
	return sum;
}

static int sleepers(int set)
{
	int sum = 0;

	for (int i = 0; i < WORKERS; i++)
		sum += worker[i].sleeps == set;
	return sum;
}

/* The state of a set as the system calls see it, if it is not what it was. */
static void say_set(int number)
{
	struct set *set = &sets[number];
	unsigned short values[MAX_NSEMS];
	struct semid_ds ds;
	size_t began = text_length;

	if (set->gone)
		return;
	say("    set %d: ", number);
	if (semctl(set->id, 0, IPC_STAT, &ds) || semctl(set->id, 0, GETALL, values)) {
		set->gone = true;
		say("gone (%s)\n", strerrorname_np(errno));
		return;
	}
	say_ds(&ds);
	for (int i = 0; i < set->nsems; i++) {
		int increase = semctl(set->id, i, GETNCNT), zero = semctl(set->id, i, GETZCNT);

		say(" [%d ", values[i]);
		say_pid(semctl(set->id, i, GETPID));
		if (increase || zero)
			say(" n%d z%d", increase, zero);
		say("]");
	}
	say("\n");
	if (!strncmp(set->was, text + began, sizeof(set->was) - 1))
		text_length = began;
	else
		snprintf(set->was, sizeof(set->was), "%s", text + began);
}

static void say_result(const struct mailbox *mailbox)
{
	const struct request *request = &mailbox->request;
	long result = mailbox->result;
	int set;

	if (result < 0) {
		const char *name = strerrorname_np(-result);

		say("%s", name ? name : result == -20000 ? "it wrote behind the buffer" : "an error that is none");
		return;
	}
	if (request->call == SEMGET) {
		say("an id");	/* which one it is, is said when the set is known */
		return;
	}
	if (request->call != SEMCTL) {
		say("%ld", result);
		return;
	}
	switch (request->command) {
	case GETPID:
		say_pid(result);
		break;
	case SEM_STAT:
	case SEM_STAT_ANY:
		say_id(result);
		break;
	default:
		say("%ld", result);
	}
	if (!is_writable(request->memory))
		return;
	switch (request->command) {
	case GETALL:
		set = set_by_id(request->id);
		for (int i = 0; set >= 0 && i < sets[set].nsems; i++)
			say("%s%u", i ? "," : ": ", ((const unsigned short *)mailbox->data)[i]);
		break;
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		say(": ");
		say_ds((const struct semid_ds *)mailbox->data);
		break;
	case IPC_INFO:
	case SEM_INFO:
		say(":");
		for (unsigned int i = 0; i < sizeof(struct seminfo) / sizeof(int); i++)
			say(" %d", ((const int *)mailbox->data)[i]);
		break;
	}
}

static void say_hung(int number)
{
	char name[64], status[4096] = "";
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stack", worker[number].pid);
	fd = open(name, O_RDONLY);
	if (fd >= 0 && read(fd, status, sizeof(status) - 1) < 0)
		status[0] = 0;
	say("HUNG: worker %d\n%s\n", number, status);
}

/* A moment, or less if a worker answers; false after a very long time. */
static bool rest_a_moment(int answers, long *rested)
{
	long moment = *rested < 10000000 ? 1000000 : 10000000;

	futex_wait(&shared->answers, answers, moment);
	*rested += moment;
	return *rested < PATIENCE * 1000000000L;
}

static bool has_answered(int number)
{
	return __atomic_load_n(&shared->mailbox[number].state, __ATOMIC_ACQUIRE) == ANSWERED;
}

/* Wait until a worker has answered, or sleeps in a set: false. */
static bool await(int number, int set)
{
	long rested = 0;

	for (;;) {
		int answers = __atomic_load_n(&shared->answers, __ATOMIC_SEQ_CST);

		if (has_answered(number))
			return true;
		if (set >= 0 && waiters(set) == sleepers(set) + 1)
			return false;
		if (!rest_a_moment(answers, &rested)) {
			say_hung(number);
			return false;
		}
	}
}

/* Whoever the step woke has something to say. */
static void settle(void)
{
	long rested = 0;

	for (int set = 0; set < set_count; set++) {
		int asleep = sleepers(set);
		int awake = asleep ? asleep - waiters(set) : 0;

		while (awake) {
			int answers = __atomic_load_n(&shared->answers, __ATOMIC_SEQ_CST), answered = 0;

			for (int i = 0; i < WORKERS; i++)
				answered += worker[i].sleeps == set && has_answered(i);
			if (answered == awake)
				break;
			if (!rest_a_moment(answers, &rested)) {
				for (int i = 0; i < WORKERS; i++)
					if (worker[i].sleeps == set)
						say_hung(i);
				break;
			}
		}
	}
	for (int i = 0; i < WORKERS; i++) {
		if (worker[i].sleeps < 0 || !has_answered(i))
			continue;
		say("    w%d's %s ends: ", i, call_names[shared->mailbox[i].request.call]);
		say_result(&shared->mailbox[i]);
		say("\n");
		count(&shared->mailbox[i].request, shared->mailbox[i].result, true);
		worker[i].sleeps = -1;
		shared->mailbox[i].state = IDLE;
	}
}

static void ask(int number)
{
	struct mailbox *mailbox = &shared->mailbox[number];

	__atomic_store_n(&mailbox->state, ASKED, __ATOMIC_SEQ_CST);
	futex_wake(&mailbox->state);
}

/* Have a worker make its call; -EINPROGRESS if it sleeps now. */
static long play(int number, bool may_sleep)
{
	struct mailbox *mailbox = &shared->mailbox[number];
	int set = may_sleep ? set_by_id(mailbox->request.id) : -1;

	ask(number);
	if (!await(number, set)) {
		worker[number].sleeps = set;
		say(" sleeps\n");
		return -EINPROGRESS;
	}
	mailbox->state = IDLE;
	say(" = ");
	say_result(mailbox);
	say("\n");
	count(&mailbox->request, mailbox->result, false);
	return mailbox->result;
}

/* ------------------------------------------------------------------ the steps */

static const struct record *record;
static bool plain, rare_undo;

static unsigned int pick(unsigned int byte, unsigned int options)
{
	return byte % options;
}

/* Most of the memory is good. */
static enum memory pick_memory(uint8_t byte)
{
	if (byte < 232)
		return GOOD;
	if (plain)
		return byte < 248 ? GOOD : NONE;
	return 1 + (byte - 232) % OF_KERNEL;
}

static int pick_set(uint8_t byte)
{
	int set = slot[byte % 16 < 10 ? 0 : byte % 16 < 13 ? 1 : 2];

	if (byte & 16 && set >= 0)
		return set;		/* be it removed */
	for (int i = 0; i < SLOTS && (set < 0 || sets[set].gone); i++)
		set = slot[i];
	return set;
}

/* Most ids are those of a set that was made, and some of those have been removed. */
static int pick_id(uint8_t byte, int set)
{
	if (byte < 232)
		return set >= 0 ? sets[set].id : 0x01234567;
	if (byte < 238)
		return -1;
	if (byte < 244)
		return INT_MAX;
	if (byte < 248)
		return INT_MIN;
	return set >= 0 ? sets[set].id + 32768 : 0;
}

static int pick_semnum(uint8_t byte, int set)
{
	static const int others[] = { -1, 65535, 65536, INT_MAX };
	int nsems = set >= 0 ? sets[set].nsems : 1;

	if (byte < 240)
		return byte % nsems;
	return byte < 248 ? nsems : others[byte % ARRAY_SIZE(others)];
}

static int pick_value(uint8_t byte)
{
	static const int others[] = { SEMVMX, SEMVMX - 1, SEMVMX + 1, -1, 65535, INT_MIN };

	return byte < 224 ? byte % 6 : others[byte % ARRAY_SIZE(others)];
}

static bool is_anyone_asleep(void)
{
	for (int i = 0; i < WORKERS; i++)
		if (worker[i].sleeps >= 0)
			return true;
	return false;
}

static short pick_change(uint8_t byte)
{
	static const short usual[] = { 0, 1, -1, 2, -2, 1, -1, 3, -3, 0 };
	static const short with_sleepers[] = { 1, 0, 2, -1, 1, 0, 3, -2, 1, 2 };
	static const short others[] = { SEMVMX, -SEMVMX, SEMVMX - 1, -SEMVMX - 1, 100, -100, 16384, -16384 };

	if (byte >= 236)
		return others[byte % ARRAY_SIZE(others)];
	return (is_anyone_asleep() ? with_sleepers : usual)[byte % ARRAY_SIZE(usual)];
}

static short pick_flags(uint8_t byte)
{
	static const short flags[] = { 0, 0, 0, IPC_NOWAIT, SEM_UNDO, 0, SEM_UNDO, SEM_UNDO | IPC_NOWAIT };
	short picked = byte < 244 ? flags[byte % ARRAY_SIZE(flags)] : byte & 1 ? 0x7fff : 0x07ff;

	return rare_undo && byte >= 24 ? picked & ~SEM_UNDO : picked;
}

static int pick_mode(uint8_t byte)
{
	static const int modes[] = { 0600, 0666, 0640, 0620, 0602, 0604, 0644, 0000, 0060, 0006, 0777, 0666 };

	return modes[byte % ARRAY_SIZE(modes)];
}

/* A worker that does not sleep, from this number on; -1: all sleep. */
static int pick_worker(uint8_t byte)
{
	for (int i = 0; i < WORKERS; i++)
		if (worker[(byte + i) % WORKERS].sleeps < 0)
			return (byte + i) % WORKERS;
	return -1;
}

static struct request *prepare(int number, enum call call)
{
	struct request *request = &shared->mailbox[number].request;

	memset(request, 0, offsetof(struct request, data));
	request->call = call;
	request->user = plain ? 0 : pick(record->user, ARRAY_SIZE(users));
	say("%d: w%d", step, number);
	if (users[request->user].uid)
		say(" as %u:%u", users[request->user].uid, users[request->user].gid);
	say(" %s", call_names[call]);
	return request;
}

static void make_set(int number, int in_slot, int key, int nsems, int flags)
{
	struct request *request = prepare(number, SEMGET);
	long result;

	request->id = key;
	request->number = nsems;
	request->command = flags;
	say("(%x, %d, %o)", key, nsems, flags);
	result = play(number, false);
	if (result < 0)
		return;
	if (set_by_id(result) < 0 && set_count < MAX_SETS) {
		struct semid_ds ds;

		/* It may be there by its key already, of another size. */
		sets[set_count].id = result;
		sets[set_count].nsems = semctl(result, 0, IPC_STAT, &ds) ? 1 : ds.sem_nsems;
		sets[set_count].gone = false;
		sets[set_count].was[0] = 0;
		set_count++;
	}
	slot[in_slot] = set_by_id(result);
	say("    it is set %d\n", slot[in_slot]);
}

static void step_get(int number)
{
	static const int flags[] = { IPC_CREAT, IPC_CREAT | IPC_EXCL, 0, IPC_CREAT, IPC_EXCL, 02000000 | IPC_CREAT };
	static const int nsems[] = { 1, 2, 3, 4, 5, 8, 12, 20, 0, 25, 26, -1 };
	int in_slot = record->set % SLOTS;
	int key = record->b[0] % 4 ? KEY + in_slot : IPC_PRIVATE;

	make_set(number, in_slot, key, nsems[pick(record->b[1], ARRAY_SIZE(nsems))],
		 flags[pick(record->b[2], ARRAY_SIZE(flags))] | pick_mode(record->b[3]));
}

static void say_sops(const struct sembuf *sops, int said, long nsops)
{
	say("[");
	for (int i = 0; i < said; i++) {
		say("%s(%u, %d", i ? ", " : "", sops[i].sem_num, sops[i].sem_op);
		if (sops[i].sem_flg & IPC_NOWAIT)
			say(", NOWAIT");
		if (sops[i].sem_flg & SEM_UNDO)
			say(", UNDO");
		if (sops[i].sem_flg & ~(IPC_NOWAIT | SEM_UNDO))
			say(", %x", sops[i].sem_flg & 0xffff);
		say(")");
	}
	say("%s]", said < nsops ? ", ..." : "");
	if (said != nsops)
		say(" x %ld", nsops);
}

static void operate(int number, int set, struct request *request, int said)
{
	const struct timeout *timeout = &timeouts[request->timeout];

	request->id = pick_id(record->set, set);
	request->memory = pick_memory(record->b[2]);
	request->timeout_memory = pick_memory(record->b[3]);
	if (plain)
		request->timeout_memory = GOOD;
	say("(");
	say_id(request->id);
	say(", ");
	say_sops((const struct sembuf *)request->data, said, request->number);
	say("%s", memory_names[request->memory]);
	if (request->call == SEMTIMEDOP)
		say(", timeout: %s%s", timeout->name, memory_names[request->timeout_memory]);
	say(")");
	play(number, timeout->sleeps || request->timeout_memory == NONE);
}

static void step_operate(int number)
{
	static const unsigned char counts_of_ops[] = { 1, 2, 1, 3, 1, 2, 4, 1 };
	static const unsigned char usual_timeouts[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4 };
	int set = pick_set(record->set);
	int nsops = counts_of_ops[pick(record->b[0], ARRAY_SIZE(counts_of_ops))];
	unsigned int timeout = record->b[1] < 224 ? usual_timeouts[pick(record->b[1], ARRAY_SIZE(usual_timeouts))] :
						   pick(record->b[1], ARRAY_SIZE(timeouts));
	struct request *request = prepare(number, timeout ? SEMTIMEDOP : SEMOP);
	struct sembuf *sops = (struct sembuf *)request->data;

	for (int i = 0; i < nsops; i++) {
		sops[i].sem_num = pick_semnum(record->b[4 + 3 * i], set);
		sops[i].sem_op = pick_change(record->b[5 + 3 * i]);
		sops[i].sem_flg = pick_flags(record->b[6 + 3 * i]);
	}
	request->timeout = timeout;
	request->number = nsops;
	request->size = nsops * sizeof(*sops);
	operate(number, set, request, nsops);
}

/* As many operations as there may be, and more; the same few over and over. */
static void step_large(int number)
{
	static const int counts_of_ops[] = { 0, 500, 501, 499, 100, 65536, INT_MAX, -1, INT_MIN };
	int nsops = counts_of_ops[pick(record->b[0], ARRAY_SIZE(counts_of_ops))];
	int there = nsops < 0 || nsops > MAX_SOPS ? MAX_SOPS : nsops ? nsops : 1;
	int set = pick_set(record->set);
	struct request *request = prepare(number, SEMOP);
	struct sembuf *sops = (struct sembuf *)request->data;

	for (int i = 0; i < there; i++) {
		sops[i].sem_num = pick_semnum(record->b[4 + 3 * (i % 4)], set);
		sops[i].sem_op = pick_change(record->b[5 + 3 * (i % 4)]);
		sops[i].sem_flg = pick_flags(record->b[6 + 3 * (i % 4)]);
	}
	/* A V for each P of before, and the last one decides. */
	for (int i = 1; record->b[1] % 2 && i < there - 1; i += 2) {
		sops[i] = sops[i - 1];
		sops[i].sem_op = -sops[i - 1].sem_op;
	}
	request->number = nsops;
	request->size = there * sizeof(*sops);
	operate(number, set, request, there < 5 ? there : 5);
}

static struct request *prepare_command(int number, int set, int command)
{
	struct request *request = prepare(number, SEMCTL);

	request->command = command;
	request->id = pick_id(record->set, set);
	request->memory = pick_memory(record->b[2]);
	say(" %s(", command_name(command));
	if (command == SEM_STAT || command == SEM_STAT_ANY) {
		say("index ");
		if (record->set < 248 && request->id >= 0) {
			request->id %= 32768;
			say("%d", request->id);
			return request;
		}
	}
	say_id(request->id);
	return request;
}

static void step_one(int number)
{
	static const int commands[] = { GETVAL, GETPID, GETNCNT, GETZCNT };
	int set = pick_set(record->set);
	struct request *request = prepare_command(number, set, commands[pick(record->b[0], ARRAY_SIZE(commands))]);

	request->number = pick_semnum(record->b[1], set);
	say(", %d)", request->number);
	play(number, false);
}

static void step_set_one(int number)
{
	int set = pick_set(record->set);
	struct request *request = prepare_command(number, set, SETVAL);

	request->number = pick_semnum(record->b[1], set);
	request->value = (unsigned int)pick_value(record->b[0]);
	/* The system call looks at half of the word. */
	if (record->b[3] >= 128)
		request->value |= 0xdeadbeef00000000;
	say(", %d, %lx)", request->number, request->value);
	play(number, false);
}

static void step_all(int number)
{
	int set = pick_set(record->set);
	struct request *request = prepare_command(number, set, record->b[0] % 2 ? SETALL : GETALL);
	unsigned short *values = (unsigned short *)request->data;

	/* As many as a set has at most: the id may be one of another set. */
	request->size = MAX_NSEMS * sizeof(*values);
	memset(request->data, 0, request->size);
	/* ACROSS_END: half of these are there; of a small set, all. */
	if (request->command == SETALL) {
		for (int i = 0; i < MAX_NSEMS; i++) {
			values[i] = record->b[3] < 200 ? record->b[4 + i % 12] % 6 : pick_value(record->b[4 + i % 12]);
			say("%s%u", i ? "," : ": ", values[i]);
		}
	}
	say("%s)", memory_names[request->memory]);
	play(number, false);
}

static void step_status(int number)
{
	static const int commands[] = { IPC_STAT, SEM_STAT, SEM_STAT_ANY };
	int command = commands[pick(record->b[0], ARRAY_SIZE(commands))];
	struct request *request = prepare_command(number, pick_set(record->set), command);

	request->size = sizeof(struct semid_ds);
	memset(request->data, 0xee, request->size);
	say("%s)", memory_names[request->memory]);
	play(number, false);
}

static void step_change(int number)
{
	static const unsigned int owners[] = { 0, 1000, 1001, 1002, 0x7fffffff, 0xffffffff };
	struct request *request = prepare_command(number, pick_set(record->set), IPC_SET);
	struct semid_ds *ds = (struct semid_ds *)request->data;

	request->size = sizeof(*ds);
	memset(request->data, 0xee, request->size);
	ds->sem_perm.uid = owners[pick(record->b[4], ARRAY_SIZE(owners))];
	ds->sem_perm.gid = owners[pick(record->b[5], ARRAY_SIZE(owners))];
	ds->sem_perm.mode = pick_mode(record->b[6]) | (record->b[7] > 200 ? 07000 : 0);
	say(", %d:%d, mode %o%s)", ds->sem_perm.uid, ds->sem_perm.gid, ds->sem_perm.mode,
	    memory_names[request->memory]);
	play(number, false);
}

static void step_remove(int number)
{
	prepare_command(number, pick_set(record->set), IPC_RMID);
	say(")");
	play(number, false);
}

static void step_info(int number)
{
	struct request *request = prepare_command(number, pick_set(record->set), record->b[0] % 2 ? SEM_INFO : IPC_INFO);

	request->size = sizeof(struct seminfo);
	memset(request->data, 0xee, request->size);
	say("%s)", memory_names[request->memory]);
	play(number, false);
}

static void step_unknown(int number)
{
	static const int commands[] = { 4, 10, 21, -1, INT_MAX, INT_MIN, GETVAL | 0x100, IPC_STAT | 0x100, 5, 99 };
	int set = pick_set(record->set);
	struct request *request = prepare_command(number, set, commands[pick(record->b[0], ARRAY_SIZE(commands))]);

	request->number = pick_semnum(record->b[1], set);
	request->value = record->b[4];
	say(", %d, %lx)", request->number, request->value);
	play(number, false);
}

/* One that sleeps is told to stop sleeping. */
static void step_signal(void)
{
	static const int signals[] = { SIGUSR1, SIGUSR2, SIGSTOP };
	int number = -1, which = signals[pick(record->b[0], ARRAY_SIZE(signals))];

	for (int i = 0; i < WORKERS && number < 0; i++)
		if (worker[(record->worker + i) % WORKERS].sleeps >= 0)
			number = (record->worker + i) % WORKERS;
	if (number < 0)
		return;
	say("%d: signal %s to w%d\n", step, sigabbrev_np(which), number);
	kill(worker[number].pid, which);
	if (which == SIGSTOP) {
		if (waitpid(worker[number].pid, NULL, WUNTRACED) != worker[number].pid)
			die("waitpid");
		kill(worker[number].pid, SIGCONT);
	}
	await(number, -1);
}

/* Dead, and what it was to undo is undone, when waitpid() returns. */
static void bury(int number)
{
	if (waitpid(worker[number].pid, NULL, 0) != worker[number].pid)
		die("waitpid");
	worker[number].life++;
	worker[number].sleeps = -1;
	shared->mailbox[number].state = IDLE;
}

static void step_kill(int number)
{
	say("%d: w%d is killed%s\n", step, number, worker[number].sleeps >= 0 ? " asleep" : "");
	counts[LEAVE][worker[number].sleeps >= 0][EINTR]++;	/* the one way to end a process early */
	kill(worker[number].pid, SIGKILL);
	bury(number);
	settle();
	start(number);
}

static void step_exit(int number)
{
	prepare(number, LEAVE);
	say("\n");
	counts[LEAVE][0][0]++;
	ask(number);
	bury(number);
	settle();
	start(number);
}

static void step_unshare(int number)
{
	prepare(number, UNSHARE_UNDO)->user = 0;
	play(number, false);
}

/* The first step of all: a set to play with. */
static void begin(void)
{
	static const int nsems[] = { 1, 2, 3, 2, 1, 4, 3, 5, 2, 8, 13, 20 };
	static const struct record simple;
	const uint8_t *values_of;
	struct request *request;
	unsigned short *values;
	int size = nsems[pick(record->b[0], ARRAY_SIZE(nsems))];

	make_set(0, 0, record->b[1] % 2 ? KEY : IPC_PRIVATE, size, IPC_CREAT | (plain ? 0600 : pick_mode(record->b[2])));
	if (slot[0] < 0)
		return;
	values_of = record->b + 4;
	record = &simple;
	request = prepare_command(0, slot[0], SETALL);
	values = (unsigned short *)request->data;
	request->size = size * sizeof(*values);
	for (int i = 0; i < size; i++) {
		values[i] = values_of[i % 12] % 4;
		say(", %d", values[i]);
	}
	say(")");
	play(0, false);
}

static enum kind pick_kind(uint8_t byte)
{
	unsigned int i = 0;

	while (byte >= kinds[i].weight)
		byte -= kinds[i++].weight;
	if (kinds[i].kind != OPERATE)
		return kinds[i].kind;
	for (int set = 0; set < set_count; set++)
		if (!sets[set].gone)
			return OPERATE;
	return GET;
}

static void step_once(void)
{
	enum kind kind = pick_kind(record->kind);
	int number = pick_worker(record->worker);

	if (kind == SIGNAL)
		return step_signal();
	if (kind == KILL)
		return step_kill(record->worker % WORKERS);
	if (number < 0)
		return;
	switch (kind) {
	case OPERATE: return step_operate(number);
	case LARGE: return step_large(number);
	case GET: return step_get(number);
	case ONE: return step_one(number);
	case SET_ONE: return step_set_one(number);
	case ALL: return step_all(number);
	case STATUS: return step_status(number);
	case CHANGE: return step_change(number);
	case REMOVE: return step_remove(number);
	case INFO: return step_info(number);
	case UNKNOWN: return step_unknown(number);
	case EXIT: return step_exit(number);
	case UNSHARE: return step_unshare(number);
	default: return;
	}
}

/* Sets the clock, so that what a step does has the step's own time. */
static void set_clock(void)
{
	struct timespec now = { .tv_sec = epoch + STEP_SECONDS * (time_t)step };

	if (clock_settime(CLOCK_REALTIME, &now))
		die("clock_settime");
}

static void come_to_rest(void)
{
	settle();
	for (int i = 0; i < set_count; i++)
		say_set(i);
}

/* Indexes are given out round and round: each sequence begins when the first has just been given out. */
static void begin_at_the_first_index(void)
{
	int id;

	do {
		id = semget(IPC_PRIVATE, 1, 0600);
		if (id < 0 || semctl(id, 0, IPC_RMID))
			die("semget");
	} while (id % 32768);
}

static void play_sequence(const uint8_t *script, size_t size)
{
	plain = size && script[0] & PROFILE_PLAIN;
	rare_undo = size && script[0] & PROFILE_RARE_UNDO;
	lived_count = 0;
	set_count = 0;
	for (int i = 0; i < SLOTS; i++)
		slot[i] = -1;
	for (int i = 0; i < WORKERS; i++) {
		worker[i].life = 0;
		lived[lived_count].pid = worker[i].pid;
		lived[lived_count].number = i;
		lived[lived_count++].life = 0;
	}
	begin_at_the_first_index();
	for (step = 0; step < MAX_STEPS && 1 + (step + 1) * sizeof(*record) <= size; step++) {
		record = (const struct record *)(script + 1 + step * sizeof(*record));
		set_clock();
		if (step)
			step_once();
		else
			begin();
		come_to_rest();
		steps_done++;
	}
	say("%d: the end\n", step);
	for (int i = 0; i < set_count; i++)
		semctl(sets[i].id, 0, IPC_RMID);
	come_to_rest();
	sequences_done++;
}

/* ------------------------------------------------------------------ the program */

static bool read_all(void *to, size_t size)
{
	return fread(to, 1, size, stdin) == size;
}

static void prepare_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWIPC))
		die("unshare");
	fd = open("/proc/sys/kernel/sem", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, LIMITS, strlen(LIMITS)) < 0)
		die("/proc/sys/kernel/sem");
	close(fd);
}

/*
 * Player and workers take turns: to wake one another is cheap where they are, dear elsewhere if that is emulated.  And
 * the player makes way for the workers, so that most often there is nothing left to wait for when it has its turn.
 */
static void stay_behind_on_one_processor(void)
{
	const struct sched_param none = { 0 };
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here) || sched_setscheduler(0, SCHED_IDLE, &none))
		die("the scheduler");
}

int main(int argc, char **argv)
{
	static uint8_t script[1 + MAX_STEPS * sizeof(struct record)];
	uint32_t size;

	if (argc != 3) {
		fputs("usage: sem_player PATH EPOCH\n", stderr);
		return 2;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++)
		if (!strcmp(paths[i].name, argv[1]))
			path = &paths[i];
	epoch = atol(argv[2]);
	if (!path || !epoch) {
		fputs("sem_player: no such path or time\n", stderr);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prepare_namespace();
	stay_behind_on_one_processor();
	if (path->how != BY_SYSTEM_CALL) {
		device = open(path->how == BY_ROUTE ? SEMSHARE_ROUTE_DEVICE : SEMSHARE_TEST_DEVICE,
			      O_RDWR | O_CLOEXEC);
		if (device < 0)
			die("the device");
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < WORKERS; i++)
		start(i);
	while (read_all(&size, sizeof(size))) {
		if (size > sizeof(script) || !read_all(script, size))
			return 2;
		text_length = 0;
		if (size)
			play_sequence(script, size);
		else
			say_counts();
		size = text_length;
		fwrite(&size, sizeof(size), 1, stdout);
		fwrite(text, 1, text_length, stdout);
		fflush(stdout);
	}
	for (int i = 0; i < WORKERS; i++)
		kill(worker[i].pid, SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}
