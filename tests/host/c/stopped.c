// SPDX-License-Identifier: MIT
/*
 * Parties of semshare/core/mpsc.h that are stopped, or killed, where it matters: step by step, in one thread.
 */
#include <semshare/core/mpsc.h>

#include "cases.h"

#define SLOTS		4
#define SLOT_SIZE	128

static struct semshare_mpsc_words words;
static unsigned char data[SLOTS * SLOT_SIZE] __attribute__((aligned(64)));
static struct semshare_mpsc ring = {
	.words = &words, .slots = data, .mask = SLOTS - 1, .slot_size = SLOT_SIZE,
};
static const struct semshare_mpsc_owner nobody;

static struct semshare_mpsc_reservation reserve(void)
{
	struct semshare_mpsc_reservation reservation;

	CHECK(!semshare_mpsc_reserve(&ring, &nobody, &reservation));
	return reservation;
}

static void put(void)
{
	struct semshare_mpsc_reservation reservation = reserve();

	CHECK(!semshare_mpsc_commit(&reservation, 0, 0, 0));
}

static void take(__u64 position)
{
	struct semshare_record record;
	const void *payload;

	CHECK(!semshare_mpsc_peek(&ring, &record, &payload));
	CHECK(record.position == position);
	semshare_mpsc_read(&ring);
	semshare_mpsc_consume(&ring);
}

static void give_up(void)
{
	struct semshare_record record;
	const void *payload;

	CHECK(semshare_mpsc_peek(&ring, &record, &payload) == -EBUSY);
	CHECK(semshare_mpsc_abandon(&ring));
	semshare_mpsc_consume(&ring);
}

static __u64 state_of(__u64 position)
{
	return semshare_load(&semshare_mpsc_slot(&ring, position)->state);
}

/* Puts and takes the positions from @from to before @to. */
static void go_on(__u64 from, __u64 to)
{
	for (; from < to; from++) {
		put();
		take(from);
	}
}

/* A producer that is stopped before it looks at the slot that it has reserved, until others have come by there. */
static void before_the_claim(void)
{
	words.tail = 1;
	give_up();
	go_on(1, 4);
	put();			/* position 4 is passed over, 5 is taken */
	CHECK(words.tail == 6);
	take(5);
	CHECK(semshare_mpsc_claim(semshare_mpsc_slot(&ring, 0), 0, ring.mask) == -EAGAIN);
	CHECK(state_of(0) == semshare_slot_state(4, SEMSHARE_SLOT_RELEASED));
	go_on(6, 20);
}

/* The same where it is for somebody else, who may still be writing, that the slot is out of use. */
static void before_the_claim_of_another_s(void)
{
	struct semshare_mpsc_reservation late = reserve();

	give_up();
	go_on(1, 4);
	words.tail = 5;		/* the one that is stopped */
	give_up();
	go_on(5, 8);
	put();
	take(9);
	CHECK(state_of(0) == semshare_slot_state(8, SEMSHARE_SLOT_QUARANTINED));
	CHECK(semshare_mpsc_claim(semshare_mpsc_slot(&ring, 4), 4, ring.mask) == -EAGAIN);
	CHECK(state_of(0) == semshare_slot_state(8, SEMSHARE_SLOT_QUARANTINED));
	CHECK(semshare_mpsc_commit(&late, 0, 0, 0) == -ESTALE);
	CHECK(state_of(0) == semshare_slot_state(8, SEMSHARE_SLOT_RELEASED));
	go_on(10, 20);
}

/* And where the slot is in use again. */
static void before_the_claim_of_what_is_in_use(void)
{
	struct semshare_mpsc_reservation late = reserve();

	give_up();
	go_on(1, 4);
	words.tail = 5;
	give_up();
	CHECK(semshare_mpsc_commit(&late, 0, 0, 0) == -ESTALE);
	go_on(5, 9);
	CHECK(semshare_mpsc_claim(semshare_mpsc_slot(&ring, 4), 4, ring.mask) == -EAGAIN);
	go_on(9, 20);
}

/* A consumer that is killed when it has given back slots, one of them given up, and before it says so. */
static void before_the_head(void)
{
	struct semshare_mpsc_reservation late;
	struct semshare_record record;
	const void *payload;

	put();
	late = reserve();
	put();
	CHECK(!semshare_mpsc_peek(&ring, &record, &payload));
	semshare_mpsc_read(&ring);
	CHECK(semshare_mpsc_abandon(&ring));
	CHECK(!semshare_mpsc_peek(&ring, &record, &payload));
	semshare_mpsc_read(&ring);
	semshare_mpsc_consume(&ring);
	words.head = 0;
	semshare_mpsc_begin(&ring);
	CHECK(words.head == 3);
	CHECK(semshare_mpsc_peek(&ring, &record, &payload) == -EAGAIN);
	CHECK(semshare_mpsc_commit(&late, 0, 0, 0) == -ESTALE);
	go_on(3, 20);
}

/* Many positions that are to be passed over, one after the other: no call goes on for as long as there are some. */
static void more_than_one_call_passes_over(void)
{
	enum { MANY = 1024 };
	static unsigned char slots[MANY * SLOT_SIZE] __attribute__((aligned(64)));
	struct semshare_mpsc many = {
		.words = &words, .slots = slots, .mask = MANY - 1, .slot_size = SLOT_SIZE,
	};
	struct semshare_mpsc_reservation reservation;
	struct semshare_record record;
	unsigned int calls = 0;
	const void *payload;
	__u64 at;

	semshare_mpsc_format(&many);
	for (at = 0; at < MANY - 1; at++)
		semshare_mpsc_slot(&many, at)->state =
			semshare_slot_state(at, SEMSHARE_SLOT_QUARANTINED);
	while (semshare_mpsc_reserve(&many, &nobody, &reservation)) {
		CHECK(++calls < MANY);
		CHECK(words.tail <= calls * (SEMSHARE_MPSC_STEPS + 1));
	}
	CHECK(calls >= MANY / (SEMSHARE_MPSC_STEPS + 1));
	CHECK(reservation.position == MANY - 1);
	CHECK(!semshare_mpsc_commit(&reservation, 0, 0, 0));
	for (calls = 0; semshare_mpsc_peek(&many, &record, &payload) == -EAGAIN; calls++) {
		CHECK(many.cursor == (calls + 1) * SEMSHARE_MPSC_STEPS);
		semshare_mpsc_consume(&many);
	}
	CHECK(calls == MANY / SEMSHARE_MPSC_STEPS - 1);
	CHECK(record.position == MANY - 1);
	semshare_mpsc_read(&many);
	semshare_mpsc_consume(&many);
}

/* A state that nobody can have written. */
static void a_lie(void)
{
	struct semshare_mpsc_reservation reservation;

	semshare_mpsc_slot(&ring, 0)->state = semshare_slot_state(5, SEMSHARE_SLOT_FREE);
	CHECK(semshare_mpsc_reserve(&ring, &nobody, &reservation) == -EPROTO);
}

static const struct test_case tests[] = {
	TEST(before_the_claim),
	TEST(before_the_claim_of_another_s),
	TEST(before_the_claim_of_what_is_in_use),
	TEST(before_the_head),
	TEST(more_than_one_call_passes_over),
	TEST(a_lie),
};

int main(int argc, char **argv)
{
	semshare_mpsc_format(&ring);
	return run_cases(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
