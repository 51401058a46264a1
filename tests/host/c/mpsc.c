// SPDX-License-Identifier: MIT
/*
 * Many producers and a consumer on semshare/core/mpsc.h, some of which are given up: what the ring's own second would
 * take too long for in rings.c. To be compiled with a sanitizer, or for another processor.
 *
 *	mpsc PRODUCERS RECORDS SLOTS STALLS SEED
 *
 * Each producer puts RECORDS records.  One in STALLS of the reservations (0:
 * none) is held until the consumer has given it up, or a while; one in eight of
 * those is never committed: its slot is released by "who knows that it is dead".
 * One in 32 is given up by its producer.
 * Prints counts; ends with 1 and what was wrong.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/mpsc.h>

#include "check.h"

#define SLOT_SIZE	192

struct payload {
	__u32 producer;
	__u32 filler[7];
	__u64 number;
	__u64 sum;
};

static struct semshare_mpsc ring;
static unsigned long producers, records, stalls, seed;
static atomic_ulong lost, dead, refused, cancelled;

static unsigned int draw(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

static void fill(struct payload *payload, unsigned int producer, unsigned long number)
{
	int i;

	payload->producer = producer;
	payload->number = number;
	payload->sum = number * 31 + producer;
	for (i = 0; i < 7; i++) {
		payload->filler[i] = (unsigned int)(number + i);
		payload->sum += payload->filler[i];
	}
}

static unsigned long not_put(void)
{
	return atomic_load(&lost) + atomic_load(&dead) + atomic_load(&cancelled);
}

static void *produce(void *argument)
{
	unsigned int producer = (unsigned int)(unsigned long)argument;
	const struct semshare_mpsc_owner owner = { .pid = producer + 1 };
	unsigned long state = seed + producer, number;

	for (number = 0; number < records; number++) {
		struct semshare_mpsc_reservation reservation;
		bool stalled = stalls && draw(&state) % stalls == 0;
		bool dies = stalled && draw(&state) % 8 == 0;
		int error, waited;

		for (;;) {
			error = semshare_mpsc_reserve(&ring, &owner, &reservation);
			if (!error)
				break;
			CHECK(error == -EAGAIN, "reserve: %d", error);
			if (draw(&state) % 64 == 0) {
				semshare_mpsc_drop(&ring);
				atomic_fetch_add(&refused, 1);
			}
			sched_yield();
		}
		/* Half of it before the stall, half behind it: a late write into a slot of somebody else's would show. */
		if (draw(&state) % 2)
			fill(semshare_mpsc_payload(&reservation), producer, number);
		for (waited = 0; stalled && waited < 200; waited++)
			sched_yield();
		fill(semshare_mpsc_payload(&reservation), producer, number);
		if (dies) {
			/* Somebody notices, as soon as it is given up. */
			while (!semshare_slot_release(reservation.slot, reservation.position))
				sched_yield();
			atomic_fetch_add(&dead, 1);
			continue;
		}
		if (draw(&state) % 32 == 0) {
			semshare_mpsc_cancel(&ring, &reservation);
			atomic_fetch_add(&cancelled, 1);
			continue;
		}
		error = semshare_mpsc_commit(&reservation, sizeof(struct payload), producer, number);
		CHECK(!error || error == -ESTALE, "commit: %d", error);
		if (error)
			atomic_fetch_add(&lost, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long taken = 0, abandoned = 0, busy = 0, gaps = 0;
	unsigned long *next, i, slots, expected = 0;
	atomic_ulong *unused = &lost;
	pthread_t *threads;
	bool over = false;

	(void)unused;
	CHECK(argc == 6, "mpsc PRODUCERS RECORDS SLOTS STALLS SEED");
	producers = strtoul(argv[1], NULL, 0);
	records = strtoul(argv[2], NULL, 0);
	slots = strtoul(argv[3], NULL, 0);
	stalls = strtoul(argv[4], NULL, 0);
	seed = strtoul(argv[5], NULL, 0);
	ring.words = calloc(1, sizeof(*ring.words));
	ring.slots = aligned_alloc(64, slots * SLOT_SIZE);
	ring.mask = slots - 1;
	ring.slot_size = SLOT_SIZE;
	memset(ring.slots, 0, slots * SLOT_SIZE);
	semshare_mpsc_format(&ring);
	next = calloc(producers, sizeof(*next));
	threads = calloc(producers, sizeof(*threads));
	for (i = 0; i < producers; i++)
		pthread_create(&threads[i], NULL, produce, (void *)i);

	while (taken + not_put() < producers * records || !over) {
		const struct payload *there;
		struct semshare_record record;
		struct payload payload, wanted;
		const void *at;
		int error = semshare_mpsc_peek(&ring, &record, &at);

		over = taken + not_put() == producers * records;
		if (error == -EAGAIN) {
			semshare_mpsc_consume(&ring);
			busy = 0;
			sched_yield();
			continue;
		}
		if (error == -EBUSY) {
			if (++busy > 20 && semshare_mpsc_abandon(&ring)) {
				abandoned++;
				busy = 0;
			} else {
				sched_yield();
			}
			continue;
		}
		CHECK(!error, "peek: %d", error);
		busy = 0;
		there = at;
		CHECK(record.size == sizeof(payload), "%u bytes", record.size);
		memcpy(&payload, there, sizeof(payload));
		semshare_mpsc_read(&ring);
		/* Some are given back one by one, some together. */
		if (ring.cursor - ring.head > taken % 5)
			semshare_mpsc_consume(&ring);
		CHECK(payload.producer < producers, "producer %u", payload.producer);
		fill(&wanted, payload.producer, payload.number);
		CHECK(!memcmp(&payload, &wanted, sizeof(payload)), "a record is torn");
		CHECK(payload.number >= next[payload.producer], "out of order");
		CHECK(record.time_ns == payload.number && record.type == payload.producer, "another's head");
		next[payload.producer] = payload.number + 1;
		CHECK(!taken || record.sequence > expected - 1, "sequence %llu after %lu",
		      (unsigned long long)record.sequence, expected - 1);
		gaps += record.sequence - expected;
		expected = record.sequence + 1;
		taken++;
	}
	for (i = 0; i < producers; i++)
		pthread_join(threads[i], NULL);
	CHECK(taken + not_put() == producers * records, "lost");
	CHECK(abandoned == ring.words->abandoned, "not counted");
	CHECK(ring.words->drops == atomic_load(&refused), "drops");
	/* Some of them the consumer had given up before. */
	CHECK(ring.words->cancelled <= atomic_load(&cancelled) &&
	      ring.words->cancelled + abandoned >= atomic_load(&cancelled), "cancelled");
	/* Behind the last record there may be more of both. */
	CHECK(gaps <= ring.words->drops + ring.words->tail - taken, "%lu gaps", gaps);
	printf("taken %lu lost %lu dead %lu cancelled %lu abandoned %lu refused %lu gaps %lu positions %llu\n", taken,
	       atomic_load(&lost), atomic_load(&dead), atomic_load(&cancelled), abandoned, atomic_load(&refused), gaps,
	       (unsigned long long)ring.words->tail);
	free(threads);
	free(next);
	free(ring.slots);
	free(ring.words);
	return 0;
}
