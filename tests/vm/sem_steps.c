// SPDX-License-Identifier: MIT
/*
 * The script of sem_player.c: what each of its bytes means.  A record is turned into a call, which is said and asked of
 * a worker, or into something that happens to a worker.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/wait.h>

#include "sem_player.h"

#define SLOTS		3
#define KEY		0x5e5d0000
#define SEMVMX		32767

enum kind {
	NOTHING, OPERATE, ONE, SET_ONE, ALL, STATUS, CHANGE, REMOVE, GET, INFO, UNKNOWN, LARGE, UNSHARE, SIGNAL, KILL, EXIT,
};

/* How many of 256 records are of each kind. */
static const struct { enum kind kind; int weight; } kinds[] = {
	{ NOTHING, 4 }, { OPERATE, 130 }, { ONE, 14 }, { SET_ONE, 12 }, { ALL, 16 }, { STATUS, 10 }, { CHANGE, 9 },
	{ REMOVE, 7 }, { GET, 8 }, { INFO, 12 }, { UNKNOWN, 3 }, { LARGE, 6 }, { UNSHARE, 3 }, { SIGNAL, 12 }, { KILL, 5 },
	{ EXIT, 5 },
};

static const char *const memory_names[] = {
	"", " in odd memory", " at the end of a page", " in read-only memory", " at NULL", " across the end of memory",
	" in no memory", " at no possible address", " at the kernel's address",
};

/* ------------------------------------------------------------------ what a byte picks */

static int slot[SLOTS];		/* the newest set of each slot, or -1 */
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

/* ------------------------------------------------------------------ the steps */

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

static void step_kill(int number)
{
	say("%d: w%d is killed%s\n", step, number, worker[number].sleeps >= 0 ? " asleep" : "");
	replace(number, true);
}

static void step_exit(int number)
{
	prepare(number, LEAVE);
	say("\n");
	replace(number, false);
}

static void step_unshare(int number)
{
	prepare(number, UNSHARE_UNDO)->user = 0;
	play(number, false);
}

void begin(uint8_t profile, const struct record *first)
{
	static const int nsems[] = { 1, 2, 3, 2, 1, 4, 3, 5, 2, 8, 13, 20 };
	static const struct record simple;
	const uint8_t *values_of;
	struct request *request;
	unsigned short *values;
	int size = nsems[pick(first->b[0], ARRAY_SIZE(nsems))];

	record = first;
	plain = profile & PROFILE_PLAIN;
	rare_undo = profile & PROFILE_RARE_UNDO;
	for (int i = 0; i < SLOTS; i++)
		slot[i] = -1;
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

void step_once(const struct record *next)
{
	enum kind kind = pick_kind(next->kind);
	int number = pick_worker(next->worker);

	record = next;
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
