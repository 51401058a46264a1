/* SPDX-License-Identifier: MIT */
/*
 * What the files of sem_player have in common: the calls that the player asks of its workers and how they meet
 * (sem_worker.c), what the player knows and does (sem_player.c), and what the steps of a script are (sem_steps.c).
 */
#ifndef SEM_PLAYER_H
#define SEM_PLAYER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/sem.h>
#include <sys/types.h>

#define WORKERS		5
#define MAX_SETS	128	/* made in one sequence */
#define MAX_NSEMS	25	/* semmsl */
#define MAX_SOPS	501
#define PAGE		4096

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

/* The one that this program plays down. */
extern const struct path *path;

/* ------------------------------------------------------------------ calls: sem_worker.c */

/* Where the memory lies whose address a call is given. */
enum memory { GOOD, UNALIGNED, AT_END, READ_ONLY, NONE, ACROSS_END, UNMAPPED, NOT_CANONICAL, OF_KERNEL };

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

struct shared {
	int answers;		/* counts answers of all workers; a futex */
	struct mailbox mailbox[WORKERS];
};

extern struct shared *shared;

void futex_wait(int *word, int value, long nanoseconds);
void futex_wake(int *word);

/* Choose the path by its name; false if there is none. */
bool take_path(const char *name);
/* Open the device that the path leads through, and make what is shared with the workers. */
void prepare_to_work(void);
/* What the process of a worker does, until it is told to end. */
void work(int number);

static inline bool is_writable(enum memory memory)
{
	return memory < READ_ONLY;
}

/* ------------------------------------------------------------------ the player: sem_player.c */

/**
 * struct worker - a process
 * @pid: of it
 * @life: how many died before it in this sequence
 * @sleeps: the set it sleeps in, or -1
 */
struct worker {
	pid_t pid;
	int life;
	int sleeps;
};

extern struct worker worker[WORKERS];

/* Every set that was made in this sequence. */
struct set {
	int id;
	int nsems;
	bool gone;
	char was[4096];		/* the last text about it */
};

extern struct set sets[MAX_SETS];
extern int set_count;
extern int step;		/* its number in this sequence */

extern const char *const call_names[];
const char *command_name(int command);

void die(const char *what);
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
void say_id(int id);
int set_by_id(int id);

/* Have a worker make its call; -EINPROGRESS if it sleeps now. */
long play(int number, bool may_sleep);
/* Wait until a worker has answered, or sleeps in a set: false. */
bool await(int number, int set);
/* A worker is killed, or told to end, and another one takes its place. */
void replace(int number, bool by_signal);

/* ------------------------------------------------------------------ the script: sem_steps.c */

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

/* The first step of all, which makes a set to play with, and any other. */
void begin(uint8_t profile, const struct record *first);
void step_once(const struct record *next);

#endif
