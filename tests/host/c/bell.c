// SPDX-License-Identifier: MIT
/*
 * One who waits and several who ring, on semshare/core/bell.h: to be compiled with a sanitizer, or for another
 * processor.
 *
 *	bell RINGERS ROUNDS
 *
 * In each round one says that he will wait, and looks at the cursors, while each of the others moves his own and asks
 * whether to ring. All of it is at once: it is told to him if he has not seen it, and by no more than one.
 * Prints counts; ends with 1 and what was wrong.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/bell.h>

#include "check.h"

#define MOST_RINGERS	8

static unsigned long ringers, rounds;
static __u32 bell;
static __u64 cursors[MOST_RINGERS];
static atomic_ulong begun, ended, rung;

static void *ring(void *argument)
{
	__u64 *cursor = argument;
	unsigned long round;

	for (round = 1; round <= rounds; round++) {
		while (atomic_load(&begun) < round)
			sched_yield();
		semshare_store(cursor, round);
		/* C before D */
		semshare_full_barrier();
		if (semshare_bell_take(&bell))
			atomic_fetch_add(&rung, 1);
		atomic_fetch_add(&ended, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long round, rings = 0, none = 0, i;
	pthread_t threads[MOST_RINGERS];

	CHECK(argc == 3, "bell RINGERS ROUNDS");
	ringers = strtoul(argv[1], NULL, 0);
	rounds = strtoul(argv[2], NULL, 0);
	CHECK(ringers && ringers <= MOST_RINGERS, "ringers");
	for (i = 0; i < ringers; i++)
		pthread_create(&threads[i], NULL, ring, &cursors[i]);
	for (round = 1; round <= rounds; round++) {
		unsigned long seen = 0, told;

		/* Half of the time it is armed when they come. */
		if (round % 2)
			semshare_bell_arm(&bell);
		atomic_store(&begun, round);
		if (round % 2 == 0)
			semshare_bell_arm(&bell);
		for (i = 0; i < ringers; i++)
			seen += semshare_load(&cursors[i]) == round;
		while (atomic_load(&ended) < ringers * round)
			sched_yield();
		told = atomic_exchange(&rung, 0);
		CHECK(told <= 1, "%lu have rung", told);
		CHECK(told || (seen == ringers && round % 2 == 0), "nobody has rung, and %lu of %lu are seen", seen, ringers);
		CHECK(semshare_load(&bell) == !told, "a bell that is not taken");
		semshare_store(&bell, 0);
		rings += told;
		none += !told;
	}
	for (i = 0; i < ringers; i++)
		pthread_join(threads[i], NULL);
	printf("rounds %lu rings %lu none %lu\n", rounds, rings, none);
	return 0;
}
