// SPDX-License-Identifier: MIT
/*
 * Producers, a consumer, and one who looks on, on any variant of the ring (semshare/core/variants.h), driven as the
 * package drives it (semshare/native/ring.c): to be compiled with a sanitizer, or for another processor.
 *
 *	rings VARIANT POLICY PRODUCERS RECORDS CAPACITY PAYLOAD BATCH WAIT SEED
 *
 * Each producer puts RECORDS records of 0 bytes to the longest, in batches of 1 to BATCH or in place; the consumer
 * takes them in batches, or looks at them in place. POLICY is wait, refuse or overwrite, PAYLOAD as max_payload of
 * struct semshare_ring_params. WAIT is yield, or bell: who has nothing to do waits until the bell rings
 * (semshare/core/bell.h). The lock of sysv, a semaphore of the kernel's, is a mutex here.
 *
 * Of every record that is taken: it is the next of its producer's, or the policy has dropped those before; head and
 * payload are whole; what its producer did before is seen. In the end nothing is missing but what was counted.
 * Prints counts; ends with 1 and what was wrong.
 *
 * For ThreadSanitizer, where spsc or paged overwrites, SEMSHARE_RACING_COPIES is defined: see semshare/core/platform.h.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/bell.h>
#include <semshare/core/lock.h>
#include <semshare/core/variants.h>

#include "check.h"

#define MOST_PRODUCERS	SEMSHARE_RING_MAX_LANES
#define MOST_BATCH	64
#define NUMBER_BITS	24
#define LONG_NS		20000000000u

/* One side of the ring, as the thread knows it that is that side. */
struct party {
	struct semshare_ring_port port;
	bool put;
	bool begun;
	unsigned int producer;
	unsigned long state;		/* of what it draws */
	unsigned long done;		/* records put, or taken */
	unsigned long refused;
	unsigned long late;		/* given up by the consumer before they were committed */
	unsigned long cancelled;
	unsigned char *bytes;
};

static void *base;
static __u64 size_of_area;
static unsigned long producers, records, batch, seed, capacity;
static bool waits_at_bell;
static __u32 policy;

/* What each producer did before it put a record, in words that nothing but that record orders. */
static __u64 *before[MOST_PRODUCERS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static sem_t rung[2];
static atomic_ulong rings[2], armed[2], finished;

static unsigned int draw(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

/* What stands in a record: each side can tell. */
static __u64 pattern_of(unsigned int producer, unsigned long number)
{
	return ((__u64)producer * 1000003 + number + seed + 1) * 0x9e3779b97f4a7c15u;
}

static __u32 length_of(const struct party *party, unsigned int producer, unsigned long number)
{
	unsigned long state = number ^ seed ^ (unsigned long)producer << 32;
	unsigned int most = party->port.view.max_payload;

	switch (draw(&state) % 8) {
	case 0:
		return 0;
	case 1:
		return most;
	case 2:
		return draw(&state) % (most + 1);
	default:
		return draw(&state) % 200 % (most + 1);
	}
}

static void fill(unsigned char *payload, __u32 size, __u64 pattern)
{
	__u32 i;

	for (i = 0; i < size; i++)
		payload[i] = (unsigned char)(pattern >> i % 8 * 8);
}

static void join(struct party *party, bool put, unsigned int producer)
{
	memset(party, 0, sizeof(*party));
	CHECK(!semshare_ring_check(&party->port, base, size_of_area), "no ring");
	party->put = put;
	party->producer = producer;
	party->state = seed + producer + (put ? 1 : 0);
	party->port.lane = producer;
	party->port.self.pid = producer + 1;
	party->bytes = malloc((size_t)party->port.view.max_payload * (put ? 1 : batch) + 1);
}

/* ------------------------------------------------------------------------------------ inside the lock, or none */

static void enter(struct party *party, __u32 *epoch)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	const struct semshare_owner owner = { SEMSHARE_OWNER_USER, 1, party->producer + 2, 1 };
	bool role = variant->roles & (party->put ? SEMSHARE_ROLE_PRODUCER : SEMSHARE_ROLE_CONSUMER);

	if (variant->locked) {
		pthread_mutex_lock(&mutex);
		CHECK(!semshare_lock_enter(&party->port.view.control->lock, &owner, epoch), "nobody died");
	}
	if (variant->enter)
		CHECK(!variant->enter(&party->port, LONG_NS), "the lock");
	/* Now and then the role is somebody else's, who finds everything in the ring. */
	if (role && party->begun && draw(&party->state) % 256)
		return;
	if (role || variant->locked || variant->enter)
		CHECK(!variant->begin(&party->port, party->put), "begin");
	party->begun = true;
}

static void leave(struct party *party, __u32 epoch)
{
	const struct semshare_ring_variant *variant = party->port.variant;

	if (variant->leave)
		variant->leave(&party->port);
	if (variant->locked) {
		CHECK(!semshare_lock_leave(&party->port.view.control->lock, epoch), "two owners");
		pthread_mutex_unlock(&mutex);
	}
}

/* ----------------------------------------------------------------------------------------------------- waiting */

/* For who has moved a cursor. */
static void ring(struct party *party)
{
	bool space = !party->put;
	unsigned long who;

	if (!waits_at_bell)
		return;
	/* C before D */
	semshare_full_barrier();
	if (semshare_bell_take(semshare_bell(party->port.view.control, space))) {
		atomic_fetch_add(&rings[space], 1);
		/* One bell for all who wait. */
		for (who = 0; who < (space ? producers : 1); who++)
			sem_post(&rung[space]);
	}
}

static void wait_for_other(struct party *party)
{
	__u32 wanted = party->put ? SEMSHARE_EVENT_SPACE : SEMSHARE_EVENT_DATA;
	struct timespec until;

	if (!waits_at_bell) {
		sched_yield();
		return;
	}
	/* Before it can be rung. */
	atomic_fetch_add(&armed[party->put], 1);
	semshare_bell_arm(semshare_bell(party->port.view.control, party->put));
	if (semshare_ring_ready(&party->port, party->producer) & wanted)
		return;
	if (!party->put && atomic_load(&finished) == producers)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LONG_NS / 1000000000u;
	CHECK(!sem_timedwait(&rung[party->put], &until), "nobody has rung");
}

/* ----------------------------------------------------------------------------------------------------- putting */

/* Records from @number on. Returns how many there are no more of, put or refused. */
static unsigned long put_batch(struct party *party, unsigned long number, unsigned long count)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	static const unsigned char nothing;
	struct semshare_ring_entry entries[MOST_BATCH];
	unsigned char *payloads[MOST_BATCH];
	unsigned long i;
	size_t done = 0;
	__u32 epoch = 0;
	int err;

	for (i = 0; i < count; i++) {
		entries[i].size = length_of(party, party->producer, number + i);
		entries[i].type = party->producer << NUMBER_BITS | (__u32)(number + i);
		payloads[i] = malloc(entries[i].size);
		fill(payloads[i], entries[i].size, pattern_of(party->producer, number + i));
		entries[i].payload = payloads[i] ? payloads[i] : &nothing;
	}
	enter(party, &epoch);
	err = variant->put(&party->port, entries, count, semshare_now(), &done);
	leave(party, epoch);
	for (i = 0; i < count; i++)
		free(payloads[i]);
	party->done += done;
	if (done)
		ring(party);
	if (err == -ENOBUFS && policy == SEMSHARE_RING_REFUSE) {
		party->refused += count - done;
		return count;
	}
	CHECK(!err || (err == -EAGAIN && policy == SEMSHARE_RING_WAIT), "put: %d", err);
	CHECK(err || done == count, "put %zu of %lu", done, count);
	return done;
}

/* One record, written where it will lie. Returns whether there is no more of it. */
static bool put_in_place(struct party *party, unsigned long number)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	__u32 size = length_of(party, party->producer, number);
	struct semshare_ring_place place;
	__u32 epoch = 0;
	int err;

	enter(party, &epoch);
	err = variant->reserve(&party->port, size, &place);
	leave(party, epoch);
	if (err == -ENOBUFS && policy == SEMSHARE_RING_REFUSE) {
		party->refused++;
		return true;
	}
	CHECK(!err || (err == -EAGAIN && policy == SEMSHARE_RING_WAIT), "reserve: %d", err);
	if (err)
		return false;
	/* Thought better of it: another takes its place. Who waits at a bell is not told of it. */
	if (!waits_at_bell && draw(&party->state) % 16 == 0) {
		if (variant->cancel) {
			variant->cancel(&party->port, &place);
			party->cancelled++;
		}
		return false;
	}
	fill(party->bytes, size, pattern_of(party->producer, number));
	semshare_plain_copy(place.payload, party->bytes, size);
	err = variant->commit(&party->port, &place, size, party->producer << NUMBER_BITS | (__u32)number,
			      semshare_now());
	if (err == -ESTALE) {
		party->late++;
		return false;
	}
	CHECK(!err, "commit: %d", err);
	party->done++;
	ring(party);
	return true;
}

static void *produce(void *argument)
{
	struct party *party = argument;
	const struct semshare_ring_variant *variant = party->port.variant;
	unsigned long number = 0, known = 0;

	while (number < records) {
		unsigned long count = 1 + draw(&party->state) % batch, over;

		if (count > records - number)
			count = records - number;
		for (; known < number + count; known++)
			before[party->producer][known] = pattern_of(party->producer, known);
		if (variant->reserve && draw(&party->state) % 2) {
			count = 1;
			over = put_in_place(party, number);
		} else {
			over = put_batch(party, number, count);
		}
		number += over;
		/* What is refused is not to be all of it; what waits, waits. */
		if (over < count)
			wait_for_other(party);
		else if (draw(&party->state) % 8 == 0)
			sched_yield();
	}
	atomic_fetch_add(&finished, 1);
	sem_post(&rung[0]);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------------ taking */

/* What was taken so far, of each producer. */
static struct {
	unsigned long next;
	__u64 time_ns;
	__u64 sequence;
} taken[MOST_PRODUCERS];

static void check(struct party *party, const struct semshare_record *record, const unsigned char *payload)
{
	unsigned long number = record->type & ((1ul << NUMBER_BITS) - 1);
	unsigned int producer = record->type >> NUMBER_BITS;
	bool lanes = party->port.variant->number == SEMSHARE_RING_LANES;
	__u64 *sequence = &taken[lanes ? producer : 0].sequence, pattern;
	__u32 i;

	CHECK(producer < producers && number < records, "record %lu of producer %u", number, producer);
	CHECK(policy == SEMSHARE_RING_WAIT ? number == taken[producer].next : number >= taken[producer].next,
	      "record %lu of producer %u after %lu", number, producer, taken[producer].next);
	taken[producer].next = number + 1;
	CHECK(record->size == length_of(party, producer, number), "%u bytes", record->size);
	pattern = pattern_of(producer, number);
	for (i = 0; i < record->size; i++)
		CHECK(payload[i] == (unsigned char)(pattern >> i % 8 * 8), "record %lu is torn at %u", number, i);
	CHECK(record->time_ns >= taken[producer].time_ns, "time goes back");
	taken[producer].time_ns = record->time_ns;
	CHECK(record->sequence >= *sequence, "sequence %llu", (unsigned long long)record->sequence);
	*sequence = record->sequence + 1;
	if (lanes)
		CHECK(record->position >> SEMSHARE_LANE_SHIFT == producer, "another's lane");
	CHECK(before[producer][number] == pattern, "what was done before record %lu is not there", number);
	party->done++;
}

static size_t take_batch(struct party *party)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	const unsigned char *payload = party->bytes;
	struct semshare_record found[MOST_BATCH];
	struct semshare_ring_batch taking = {
		.records = found,
		.count = 1 + draw(&party->state) % batch,
		.data = party->bytes,
	};
	__u32 epoch = 0;
	size_t i;
	int err;

	/* There is room for one at least. */
	taking.size = (size_t)party->port.view.max_payload * (1 + draw(&party->state) % taking.count);
	enter(party, &epoch);
	if (variant->take)
		err = variant->take(&party->port, &taking);
	else
		err = semshare_ring_take(&party->port, &taking, variant->peek, variant->read);
	if (taking.done)
		variant->consume(&party->port, taking.done);
	leave(party, epoch);
	CHECK(!err || err == -EAGAIN || (err == -EMSGSIZE && taking.done), "take: %d", err);
	if (taking.done)
		ring(party);
	for (i = 0; i < taking.done; i++) {
		check(party, &found[i], payload);
		payload += found[i].size;
		if (i && variant->number == SEMSHARE_RING_LANES)
			CHECK(found[i].time_ns >= found[i - 1].time_ns, "lanes are not merged by time");
	}
	CHECK(payload == party->bytes + taking.used, "%zu bytes", taking.used);
	return taking.done;
}

static size_t take_in_place(struct party *party)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	struct semshare_record record;
	__u32 epoch = 0;
	int err;

	enter(party, &epoch);
	err = variant->peek(&party->port, &record);
	if (!err) {
		check(party, &record, variant->payload(&party->port));
		CHECK(!variant->read(&party->port, &record, NULL), "read");
		variant->consume(&party->port, 1);
	}
	leave(party, epoch);
	CHECK(!err || err == -EAGAIN, "peek: %d", err);
	if (!err)
		ring(party);
	return !err;
}

static void consume(struct party *party)
{
	const struct semshare_ring_variant *variant = party->port.variant;
	bool in_place = variant->payload && policy != SEMSHARE_RING_OVERWRITE;
	unsigned long looks = 0;

	for (;;) {
		bool over = atomic_load(&finished) == producers;

		if (in_place && draw(&party->state) % 2 ? take_in_place(party) : take_batch(party)) {
			if (draw(&party->state) % 8 == 0)
				sched_yield();
			continue;
		}
		/* Nothing, or so many that were cancelled that this was all it passed over. */
		if (over && !semshare_ring_used(&party->port))
			return;
		CHECK(!over || ++looks < 100000, "something is left");
		wait_for_other(party);
	}
}

/* -------------------------------------------------------------------------------------------------- looking on */

static void *look_on(void *unused)
{
	struct party party;
	struct semshare_ring_counts counts;

	join(&party, false, 0);
	while (atomic_load_explicit(&finished, memory_order_relaxed) < producers) {
		CHECK(!(semshare_ring_ready(&party.port, SEMSHARE_RING_ANY_LANE) & SEMSHARE_EVENT_BROKEN),
		      "it seems broken");
		(void)semshare_ring_used(&party.port);
		semshare_ring_count(&party.port, &counts);
		sched_yield();
	}
	free(party.bytes);
	return unused;
}

static __u32 number_of(const char *name, const char *const *names)
{
	__u32 i;

	for (i = 0; names[i]; i++)
		if (!strcmp(name, names[i]))
			return i;
	CHECK(0, "%s", name);
	return 0;
}

int main(int argc, char **argv)
{
	static const char *const policies[] = { "wait", "refuse", "overwrite", NULL };
	static const char *const waits[] = { "yield", "bell", NULL };
	static const char name[SEMSHARE_NAME_SIZE] = "rings";
	const struct semshare_ring_variant *const *variant = semshare_ring_variants;
	struct semshare_ring_params params = { .reserved = 0 };
	unsigned long i, put = 0, refused = 0, late = 0, cancelled = 0;
	pthread_t threads[MOST_PRODUCERS], watcher;
	static struct party parties[MOST_PRODUCERS], consumer;
	struct semshare_ring_counts counts;

	CHECK(argc == 10, "rings VARIANT POLICY PRODUCERS RECORDS CAPACITY PAYLOAD BATCH WAIT SEED");
	while (*variant && strcmp((*variant)->name, argv[1]))
		variant++;
	CHECK(*variant, "variant %s", argv[1]);
	policy = number_of(argv[2], policies);
	producers = strtoul(argv[3], NULL, 0);
	records = strtoul(argv[4], NULL, 0);
	capacity = strtoul(argv[5], NULL, 0);
	params.variant = (*variant)->number;
	params.policy = policy;
	params.capacity = capacity;
	params.max_payload = (__u32)strtoul(argv[6], NULL, 0);
	batch = strtoul(argv[7], NULL, 0);
	waits_at_bell = number_of(argv[8], waits);
	seed = strtoul(argv[9], NULL, 0);
	CHECK(producers && producers <= MOST_PRODUCERS && records && records >> NUMBER_BITS == 0, "too many");
	CHECK(batch && batch <= MOST_BATCH, "too many in a batch");

	/* Of just its size: what comes behind it is nobody's. */
	size_of_area = SEMSHARE_RING_CONTROL_SIZE + capacity;
	base = aligned_alloc(SEMSHARE_RING_CONTROL_SIZE, size_of_area);
	memset(base, 0, size_of_area);
	CHECK(!semshare_ring_format(base, &params, -1, 1, name), "there is no such ring");
	join(&consumer, false, 0);
	CHECK(!(*variant)->producers || producers <= consumer.port.producers, "%u producers", consumer.port.producers);
	sem_init(&rung[0], 0, 0);
	sem_init(&rung[1], 0, 0);
	for (i = 0; i < producers; i++) {
		before[i] = calloc(records, sizeof(*before[i]));
		join(&parties[i], true, (unsigned int)i);
	}
	for (i = 0; i < producers; i++)
		pthread_create(&threads[i], NULL, produce, &parties[i]);
	pthread_create(&watcher, NULL, look_on, NULL);
	consume(&consumer);
	pthread_join(watcher, NULL);
	for (i = 0; i < producers; i++) {
		pthread_join(threads[i], NULL);
		put += parties[i].done;
		refused += parties[i].refused;
		late += parties[i].late;
		cancelled += parties[i].cancelled;
		free(parties[i].bytes);
		free(before[i]);
	}
	semshare_ring_count(&consumer.port, &counts);
	CHECK(put + refused == producers * records, "%lu put, %lu refused", put, refused);
	CHECK(put == consumer.done + counts.drops[SEMSHARE_DROP_OVERWRITTEN], "%lu put, %lu taken, %llu overwritten", put,
	      consumer.done, (unsigned long long)counts.drops[SEMSHARE_DROP_OVERWRITTEN]);
	CHECK(counts.puts == put, "%llu are counted as put, of %lu", (unsigned long long)counts.puts, put);
	CHECK(counts.gets == ~0ull || counts.gets == consumer.done, "taken");
	CHECK(counts.drops[SEMSHARE_DROP_REFUSED] == refused, "refused");
	/* Of those that were cancelled the consumer may have given up some before. */
	CHECK(counts.drops[SEMSHARE_DROP_ABANDONED] >= cancelled + late, "cancelled");
	CHECK(cancelled || late || (*variant)->number == SEMSHARE_RING_MPSC || !counts.drops[SEMSHARE_DROP_ABANDONED],
	      "given up");
	for (i = 0; i < 2; i++)
		CHECK(atomic_load(&rings[i]) <= atomic_load(&armed[i]), "%lu rings, %lu asked", atomic_load(&rings[i]),
		      atomic_load(&armed[i]));
	printf("put %lu taken %lu refused %lu overwritten %lu cancelled %lu data-rings %lu space-rings %lu\n", put,
	       consumer.done, refused, (unsigned long)counts.drops[SEMSHARE_DROP_OVERWRITTEN], cancelled,
	       atomic_load(&rings[0]), atomic_load(&rings[1]));
	free(consumer.bytes);
	free(base);
	return 0;
}
