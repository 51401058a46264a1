// SPDX-License-Identifier: MIT
/*
 * Plays sequences of semaphore operations, by several processes, down one path to the kernel, and writes what happened
 * so that the same sequence played down another path gives the same text, to the letter, if the kernel did the same.
 *
 *	sem_player PATH EPOCH
 *
 * PATH is one of those in paths[], in sem_worker.c.  Each player has an IPC namespace of its own and removes what it
 * made after each sequence, so that all players' namespaces are alike at the start of each.  Nothing in the text
 * depends on a chance: ids are given as the number of the set, pids as the number of the worker, and times as the
 * number of the step, because the player sets the machine's clock to EPOCH + 1000 s * step before each.  (So only one
 * player plays at a time.)
 *
 * In: a 32-bit length and so many bytes: a profile byte, then records (struct record).  Every sequence of bytes means
 * something, and smaller bytes mean simpler things.  Out: a 32-bit length and the text.  A length of 0 asks for the
 * counts: how often each call gave each answer.
 *
 * A step ends when all that it set going has come to rest: its worker has answered or sleeps in the kernel, which the
 * counts of waiters tell (GETNCNT, GETZCNT), and so has every sleeper that it woke.  So the order of things is the same
 * each time.
 *
 * Here is the player: it reads scripts, has the workers make their calls, follows what those do, and says it.  The
 * workers are in sem_worker.c; which step the bytes of a record mean, in sem_steps.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sem_player.h"

#define MAX_STEPS	256
#define STEP_SECONDS	1000	/* a step never takes as long */
#define PATIENCE	120	/* seconds until what does not come to rest counts as hung */
#define LIMITS		"25 40 500 3\n"	/* semmsl, semmns, semopm, semmni: small enough to be met */

static time_t epoch;

void die(const char *what)
{
	fprintf(stderr, "sem_player: %s: %s\n", what, strerror(errno));
	exit(3);
}

/* ------------------------------------------------------------------ the text */

static char text[1 << 20];
static size_t text_length;

__attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	text_length += vsnprintf(text + text_length, sizeof(text) - text_length, format, arguments);
	va_end(arguments);
	if (text_length >= sizeof(text))
		text_length = sizeof(text) - 1;
}

const char *const call_names[] = { "semget", "semop", "semtimedop", "semctl", "exit", "unshare" };

const char *command_name(int command)
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

struct worker worker[WORKERS];
struct set sets[MAX_SETS];
int set_count;
int step;

/* Every process that lived in this sequence, by its pid. */
static struct { pid_t pid; int number; int life; } lived[WORKERS + MAX_STEPS];
static int lived_count;

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

int set_by_id(int id)
{
	for (int i = set_count - 1; i >= 0; i--)
		if (sets[i].id == id)
			return i;
	return -1;
}

void say_id(int id)
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

/*
 * Whether so many sleep in it.  The counts are asked one by one, and an operation that is carried out between two of them
 * can make one who sleeps go from the one to the other and be counted twice: so twice in a row.  Nothing else changes
 * before the step ends.
 */
static bool has_waiters(int set, int number)
{
	return waiters(set) == number && waiters(set) == number;
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

bool await(int number, int set)
{
	long rested = 0;

	for (;;) {
		int answers = __atomic_load_n(&shared->answers, __ATOMIC_SEQ_CST);

		if (has_answered(number))
			return true;
		if (set >= 0 && has_waiters(set, sleepers(set) + 1))
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

long play(int number, bool may_sleep)
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

/* Dead, and what it was to undo is undone, when waitpid() returns. */
static void bury(int number)
{
	if (waitpid(worker[number].pid, NULL, 0) != worker[number].pid)
		die("waitpid");
	worker[number].life++;
	worker[number].sleeps = -1;
	shared->mailbox[number].state = IDLE;
}

void replace(int number, bool by_signal)
{
	bool asleep = worker[number].sleeps >= 0;

	counts[LEAVE][asleep][by_signal ? EINTR : 0]++;	/* a signal is the one way to end a process early */
	if (by_signal)
		kill(worker[number].pid, SIGKILL);
	else
		ask(number);
	bury(number);
	settle();
	start(number);
}

/* ------------------------------------------------------------------ the sequence */

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
	lived_count = 0;
	set_count = 0;
	for (int i = 0; i < WORKERS; i++) {
		worker[i].life = 0;
		lived[lived_count].pid = worker[i].pid;
		lived[lived_count].number = i;
		lived[lived_count++].life = 0;
	}
	begin_at_the_first_index();
	for (step = 0; step < MAX_STEPS && 1 + (step + 1) * sizeof(struct record) <= size; step++) {
		const struct record *record = (const struct record *)(script + 1) + step;

		set_clock();
		if (step)
			step_once(record);
		else
			begin(script[0], record);
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
	epoch = atol(argv[2]);
	if (!take_path(argv[1]) || !epoch) {
		fputs("sem_player: no such path or time\n", stderr);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prepare_namespace();
	stay_behind_on_one_processor();
	prepare_to_work();
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
