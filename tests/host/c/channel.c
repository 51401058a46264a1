// SPDX-License-Identifier: MIT
/*
 * One who asks, one who answers, and one who only looks, on semshare/core/channel.h: to be compiled with a sanitizer,
 * or for another processor.
 *
 *	channel COMMANDS DEPTH SEED
 *
 * The lock is a mutex here. Now and then who answers dies over a command that it has taken, and another comes, who
 * begins a session; now and then a command is withdrawn. Each command is answered, withdrawn, or known to be lost,
 * once.
 *
 * Who looks never takes the lock. What was done before a session began, or a command was taken, stands in words that
 * nothing orders for it but what it has looked at.
 * Prints counts; ends with 1 and what was wrong.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/channel.h>

#include "check.h"

#define PAYLOAD	40

enum fate { OPEN, ANSWERED, WITHDRAWN, LOST };

static struct semshare_channel_view view;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long commands, depth, seed;
static __u64 footprint;
static atomic_bool over;

/* Where each session starts, and in which one each command was taken, by its place in the queue. */
static __u64 *started, *taken;
static unsigned long deaths;
static atomic_ulong sessions_seen;

static const struct semshare_owner owner = { .kind = SEMSHARE_OWNER_USER, .pid = 1, .tid = 1, .start = 1 };

static unsigned int draw(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

static void fill(unsigned char *payload, __u64 id, bool reply)
{
	int i;

	for (i = 0; i < PAYLOAD; i++)
		payload[i] = (unsigned char)((id * 0x9e3779b97f4a7c15u >> i % 8 * 8) + reply);
}

static void check(const unsigned char *payload, __u32 size, __u64 id, bool reply)
{
	unsigned char wanted[PAYLOAD];

	fill(wanted, id, reply);
	CHECK(size == PAYLOAD && !memcmp(payload, wanted, PAYLOAD), "message %llu is torn", (unsigned long long)id);
}

static int put(enum semshare_channel_queue which, __u64 id, __u64 *position)
{
	struct semshare_channel_message message = { .id = id };
	unsigned char payload[PAYLOAD];
	bool reply = which == SEMSHARE_CHANNEL_REPLIES;

	fill(payload, id, reply);
	return semshare_channel_put(&view, which, reply ? SEMSHARE_CHANNEL_REPLY : SEMSHARE_CHANNEL_COMMAND, &message,
				    payload, PAYLOAD, semshare_now(), position);
}

/* Inside the lock. */
static void begin_session(void)
{
	struct semshare_channel_control *control = view.control;

	started[semshare_load(&control->session) + 1] =
		semshare_load(&view.queue[SEMSHARE_CHANNEL_COMMANDS].control->head);
	CHECK(!semshare_channel_begin_answers(&view, &owner), "begin");
}

static void *answer(void *unused)
{
	unsigned long state = seed + 1;

	pthread_mutex_lock(&mutex);
	begin_session();
	pthread_mutex_unlock(&mutex);
	while (!atomic_load_explicit(&over, memory_order_relaxed)) {
		struct semshare_channel_message message;
		unsigned char payload[PAYLOAD];
		struct semshare_record record;
		__u64 head, position;
		__u32 size;
		int err;

		pthread_mutex_lock(&mutex);
		head = semshare_load(&view.queue[SEMSHARE_CHANNEL_COMMANDS].control->head);
		taken[head / footprint] = semshare_load(&view.control->session);
		err = semshare_channel_get(&view, SEMSHARE_CHANNEL_COMMANDS, &record, &message, payload, &size);
		CHECK(!err || err == -EAGAIN, "get: %d", err);
		if (!err && record.type == SEMSHARE_CHANNEL_COMMAND) {
			check(payload, size, message.id, false);
			if (draw(&state) % 16 == 0) {
				deaths++;
				begin_session();
			} else {
				err = put(SEMSHARE_CHANNEL_REPLIES, message.id, &position);
				CHECK(!err, "a reply has no space: %d", err);
			}
		}
		pthread_mutex_unlock(&mutex);
		if (err)
			sched_yield();
	}
	return unused;
}

static void *look_on(void *unused)
{
	struct semshare_channel_sight sight, again;
	__u64 before = 0;

	while (!atomic_load_explicit(&over, memory_order_relaxed)) {
		semshare_channel_look(&view, &sight);
		CHECK(sight.session >= before, "sessions go back");
		if (sight.session != before)
			atomic_fetch_add_explicit(&sessions_seen, 1, memory_order_relaxed);
		before = sight.session;
		CHECK(sight.session_start >= started[sight.session], "session %llu does not start there",
		      (unsigned long long)sight.session);
		if (sight.head) {
			__u64 by = taken[sight.head / footprint - 1];

			semshare_channel_look(&view, &again);
			CHECK(again.session >= by, "taken in session %llu, that has not begun", (unsigned long long)by);
		}
		sched_yield();
	}
	return unused;
}

int main(int argc, char **argv)
{
	static const char name[SEMSHARE_NAME_SIZE] = "channel";
	struct semshare_channel_params params = { .max_payload = PAYLOAD };
	unsigned long number = 0, outstanding = 0, first = 0, counts[4] = { 0 }, state, i;
	pthread_t answers, looks;
	__u64 session = 0, *positions;
	unsigned char *fates;
	void *base;

	CHECK(argc == 4, "channel COMMANDS DEPTH SEED");
	commands = strtoul(argv[1], NULL, 0);
	depth = strtoul(argv[2], NULL, 0);
	seed = strtoul(argv[3], NULL, 0);
	state = seed;
	params.depth = (__u32)depth;
	footprint = semshare_ring_footprint(sizeof(struct semshare_channel_message) + PAYLOAD);
	/* Of just its size: what comes behind it is nobody's. */
	base = aligned_alloc(SEMSHARE_RING_CONTROL_SIZE, semshare_channel_size(&params));
	memset(base, 0, semshare_channel_size(&params));
	CHECK(!semshare_channel_format(base, &params, -1, 1, name), "there is no such channel");
	CHECK(!semshare_channel_check(&view, base, semshare_channel_size(&params)), "no channel");
	started = calloc(commands + 2, sizeof(*started));
	taken = calloc(commands + 1, sizeof(*taken));
	positions = calloc(commands, sizeof(*positions));
	fates = calloc(commands, 1);
	CHECK(!semshare_channel_begin_asks(&view, &owner), "begin");
	pthread_create(&answers, NULL, answer, NULL);
	pthread_create(&looks, NULL, look_on, NULL);

	while (number < commands || outstanding) {
		unsigned long most = 1 + draw(&state) % depth, withdraw = draw(&state) % 64;
		struct semshare_channel_sight sight;
		bool moved = false;

		/* Before the replies are read: see "Death of who answers" in semshare/core/channel.h. */
		semshare_channel_look(&view, &sight);
		pthread_mutex_lock(&mutex);
		for (;;) {
			struct semshare_channel_message message;
			unsigned char payload[PAYLOAD];
			struct semshare_record record;
			__u32 size;
			int err = semshare_channel_get(&view, SEMSHARE_CHANNEL_REPLIES, &record, &message, payload, &size);

			if (err == -EAGAIN)
				break;
			CHECK(!err && record.type == SEMSHARE_CHANNEL_REPLY, "get: %d", err);
			check(payload, size, message.id, true);
			CHECK(message.id < number && fates[message.id] == OPEN, "a reply to %llu",
			      (unsigned long long)message.id);
			fates[message.id] = ANSWERED;
			outstanding--;
			moved = true;
		}
		for (i = first; sight.session != session && i < number; i++) {
			if (fates[i] != OPEN || positions[i] >= sight.session_start)
				continue;
			fates[i] = LOST;
			outstanding--;
			moved = true;
		}
		session = sight.session;
		for (i = first; !withdraw && i < number; i++) {
			int err;

			if (fates[i] != OPEN)
				continue;
			err = semshare_channel_retract(&view, positions[i], i);
			CHECK(err >= 0, "retract: %d", err);
			if (err) {
				fates[i] = WITHDRAWN;
				outstanding--;
			}
		}
		CHECK(!semshare_channel_purge(&view), "purge");
		for (; most && number < commands && outstanding < depth; most--) {
			/* What was withdrawn takes its place until it is passed over. */
			if (put(SEMSHARE_CHANNEL_COMMANDS, number, &positions[number]))
				break;
			number++;
			outstanding++;
			moved = true;
		}
		pthread_mutex_unlock(&mutex);
		while (first < number && fates[first] != OPEN)
			first++;
		if (!moved)
			sched_yield();
	}
	atomic_store(&over, true);
	pthread_join(answers, NULL);
	pthread_join(looks, NULL);
	for (i = 0; i < commands; i++)
		counts[fates[i]]++;
	CHECK(counts[LOST] == deaths, "%lu lost, %lu deaths", counts[LOST], deaths);
	CHECK(view.control->replies == counts[ANSWERED] && view.control->calls == commands, "counters");
	printf("answered %lu withdrawn %lu lost %lu sessions-seen %lu\n", counts[ANSWERED], counts[WITHDRAWN], counts[LOST],
	       atomic_load(&sessions_seen));
	free(fates);
	free(positions);
	free(taken);
	free(started);
	free(base);
	return 0;
}
