/* SPDX-License-Identifier: MIT */
/*
 * Conditions and barriers of semshare/core, one step at a time and in one thread: the semaphores are numbers here, and
 * who dies is who this program says has died.
 */
#include <semshare/core/barrier.h>
#include <semshare/core/condition.h>

#include "cases.h"

static struct semshare_places places;
static int semaphores[SEMSHARE_PLACES];
static int wakes;		/* calls of wake() */
static int next_tid;

static int value(struct semshare_places_port *port, unsigned int place)
{
	(void)port;
	CHECK(place < SEMSHARE_PLACES);
	return semaphores[place];
}

static int change(struct semshare_places_port *port, unsigned int place, int by)
{
	(void)port;
	CHECK(place < SEMSHARE_PLACES);
	if (semaphores[place] + by < 0)
		return -EAGAIN;
	semaphores[place] += by;
	return 0;
}

static int wake(struct semshare_places_port *port, const struct semshare_places_list *list)
{
	__u32 i, j;

	(void)port;
	CHECK(list->count && list->count <= SEMSHARE_PLACES);
	for (i = 0; i < list->count; i++) {
		CHECK(list->places[i] < SEMSHARE_PLACES);
		for (j = 0; j < i; j++)
			CHECK(list->places[i] != list->places[j]);
		semaphores[list->places[i]] += SEMSHARE_PLACE_WAKE;
	}
	wakes++;
	return 0;
}

static struct semshare_places_port port = { &places, value, change, wake };

static struct semshare_owner somebody(void)
{
	struct semshare_owner owner = { SEMSHARE_OWNER_USER, 10, (__u32)++next_tid, 1234567890123 };

	return owner;
}

/* What the kernel does for one that is killed. */
static void die(int place)
{
	CHECK(semaphores[place] & SEMSHARE_PLACE_LIVES);
	semaphores[place] -= SEMSHARE_PLACE_LIVES;
}

/* One whose sleep has ended: -2 on its semaphore. */
static int sleep_ends(int place)
{
	if (semaphores[place] < SEMSHARE_PLACE_WAKE)
		return 0;
	semaphores[place] -= SEMSHARE_PLACE_WAKE;
	return 1;
}

static __u32 state_of(int place)
{
	return places.waiters[place].state;
}

static void nothing_is_left(void)
{
	int place;

	for (place = 0; place < SEMSHARE_PLACES; place++)
		CHECK(!semaphores[place], "%d: %d", place, semaphores[place]);
}

/* --------------------------------------------------------------- condition */

static int enter(void)
{
	struct semshare_owner owner = somebody();
	int place = semshare_condition_enter(&port, &owner);

	if (place >= 0) {
		CHECK(place < SEMSHARE_PLACES && semaphores[place] == SEMSHARE_PLACE_LIVES);
		CHECK(state_of(place) == SEMSHARE_WAITER_WAITS);
		CHECK(places.waiters[place].tid == owner.tid && places.waiters[place].kind == owner.kind);
		CHECK(places.waiters[place].pid == owner.pid && places.waiters[place].start == owner.start);
	}
	return place;
}

static int leave(int place)
{
	return semshare_condition_leave(&port, place, 0);
}

static void the_places_lie_behind_the_lock(void)
{
	static struct { struct semshare_lock_segment segment; struct semshare_places places; } companion;

	CHECK(semshare_places_of(&companion.segment) == &companion.places);
	CHECK(sizeof(companion) <= SEMSHARE_PLACES_SEGMENT_SIZE);
}

static void who_waits_longest_is_woken_first(void)
{
	int a = enter(), b = enter(), c = enter();

	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(semshare_condition_look(&port, a) && !semshare_condition_look(&port, b));
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(semshare_condition_look(&port, b) && !semshare_condition_look(&port, c));
	CHECK(sleep_ends(a) && sleep_ends(b) && !sleep_ends(c));
	CHECK(leave(a) == 1);
	/* Its place is free for another, who is behind those who wait. */
	CHECK(enter() == a);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(sleep_ends(c) && !sleep_ends(a));
	CHECK(leave(b) == 1 && leave(c) == 1 && leave(a) == 0);
	nothing_is_left();
}

static void a_notification_is_not_kept(void)
{
	int a;

	CHECK(semshare_condition_tell(&port, 5) == 0);
	CHECK(semshare_condition_tell(&port, SEMSHARE_CONDITION_ALL) == 0);
	CHECK(!wakes);
	a = enter();
	CHECK(!sleep_ends(a) && !semshare_condition_look(&port, a));
	CHECK(semshare_condition_tell(&port, 0) == 0);
	CHECK(leave(a) == 0);
	nothing_is_left();
}

static void several_are_woken_by_one_operation(void)
{
	int waiters[10], i;

	for (i = 0; i < 10; i++)
		waiters[i] = enter();
	CHECK(semshare_condition_tell(&port, 4) == 4 && wakes == 1);
	for (i = 0; i < 10; i++)
		CHECK(sleep_ends(waiters[i]) == (i < 4));
	CHECK(semshare_condition_tell(&port, SEMSHARE_CONDITION_ALL) == 6 && wakes == 2);
	for (i = 0; i < 10; i++)
		CHECK(leave(waiters[i]) == 1);
	nothing_is_left();
}

static void there_is_a_place_for_so_many(void)
{
	int i, dead;

	for (i = 0; i < SEMSHARE_PLACES; i++)
		CHECK(enter() == i);
	CHECK(enter() == -ENOSPC);
	die(100);
	dead = enter();
	CHECK(dead == 100);
	CHECK(enter() == -ENOSPC);
	CHECK(semshare_condition_tell(&port, SEMSHARE_CONDITION_ALL) == SEMSHARE_PLACES && wakes == 1);
	/* Woken and on their way out, they have their places still. */
	CHECK(enter() == -ENOSPC);
	for (i = 0; i < SEMSHARE_PLACES; i++)
		CHECK(leave(i) == 1);
	nothing_is_left();
}

static void the_dead_are_not_notified(void)
{
	int a = enter(), b = enter(), c = enter();

	die(a);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(!sleep_ends(a) && sleep_ends(b) && !sleep_ends(c));
	CHECK(state_of(a) == SEMSHARE_WAITER_NONE);
	die(c);
	CHECK(semshare_condition_tell(&port, 1) == 0);
	CHECK(leave(b) == 1);
	nothing_is_left();
}

/* Before it noticed (its semaphore is raised), and behind that. */
static void a_notification_of_one_who_died_goes_on(void)
{
	int noticed;

	for (noticed = 0; noticed < 2; noticed++) {
		int a = enter(), b = enter(), c = enter();

		CHECK(semshare_condition_tell(&port, 1) == 1);
		if (noticed)
			CHECK(sleep_ends(a));
		CHECK(!semshare_condition_orphans(&port));
		die(a);
		CHECK(semshare_condition_orphans(&port));
		CHECK(semshare_condition_look(&port, b) && semshare_condition_look(&port, c));
		CHECK(semshare_condition_settle(&port) == 0);
		CHECK(!semshare_condition_orphans(&port));
		CHECK(semshare_condition_look(&port, b) && !semshare_condition_look(&port, c));
		CHECK(sleep_ends(b) && !sleep_ends(c));
		CHECK(leave(b) == 1 && leave(c) == 0);
		nothing_is_left();
	}
}

static void it_goes_on_and_on(void)
{
	int waiters[5], i;

	for (i = 0; i < 5; i++)
		waiters[i] = enter();
	CHECK(semshare_condition_tell(&port, 2) == 2);
	for (i = 0; i < 4; i++) {
		die(waiters[i]);
		CHECK(semshare_condition_settle(&port) == 0);
	}
	CHECK(semshare_condition_woken(&places, waiters[4]));
	CHECK(leave(waiters[4]) == 1);
	CHECK(!semshare_condition_orphans(&port));
	nothing_is_left();
}

static void it_goes_on_to_nobody_who_came_later(void)
{
	int a = enter(), b;

	CHECK(semshare_condition_tell(&port, 1) == 1);
	b = enter();
	die(a);
	CHECK(semshare_condition_settle(&port) == 0);
	CHECK(!semshare_condition_look(&port, b));
	CHECK(leave(b) == 0);
	nothing_is_left();
}

/* Each is for the one that waited when it was given, however often it has gone on. */
static void notifications_of_two_moments(void)
{
	int a = enter(), b, c;

	CHECK(semshare_condition_tell(&port, 1) == 1);
	b = enter();
	CHECK(semshare_condition_tell(&port, 1) == 1);
	c = enter();
	die(a);
	die(b);
	CHECK(semshare_condition_settle(&port) == 0);
	CHECK(!semshare_condition_look(&port, c));
	CHECK(leave(c) == 0);
	nothing_is_left();
}

static void a_place_taken_over_lets_its_notification_go_on(void)
{
	int i;

	for (i = 0; i < SEMSHARE_PLACES; i++)
		CHECK(enter() == i);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	die(0);
	CHECK(enter() == 0);
	CHECK(semshare_condition_woken(&places, 1) && !semshare_condition_woken(&places, 0));
	for (i = 0; i < SEMSHARE_PLACES; i++)
		CHECK(leave(i) == (i == 1));
	nothing_is_left();
}

/* Lives when it is looked at the first time, and dies then. */
static int dies_when_seen(struct semshare_places_port *where, unsigned int place)
{
	int seen = value(where, place);

	if (!place && seen & SEMSHARE_PLACE_LIVES)
		die(0);
	return seen;
}

static void one_who_dies_just_then_is_left_for_the_next(void)
{
	struct semshare_places_port looks = { &places, dies_when_seen, change, wake };
	struct semshare_owner owner = somebody();
	int i;

	for (i = 0; i < SEMSHARE_PLACES; i++)
		CHECK(enter() == i);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(semshare_condition_enter(&looks, &owner) == -ENOSPC);
	CHECK(semshare_condition_orphans(&port));
	CHECK(enter() == 0);
	CHECK(semshare_condition_woken(&places, 1));
}

static void one_whose_time_is_over_was_notified_or_not(void)
{
	int a = enter(), b = enter();

	CHECK(leave(a) == 0);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(leave(b) == 1);
	nothing_is_left();
}

static void one_that_is_interrupted_lets_it_go_on(void)
{
	int a = enter(), b = enter(), c = enter();

	CHECK(semshare_condition_leave(&port, a, 1) == 0);
	CHECK(!semshare_condition_woken(&places, b));
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(semshare_condition_leave(&port, b, 1) == 0);
	CHECK(semshare_condition_woken(&places, c));
	CHECK(leave(c) == 1);
	nothing_is_left();
}

static void who_goes_without_the_lock_is_as_dead(void)
{
	int a = enter(), b = enter();

	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(semshare_place_leave(&port, a) == 0);
	CHECK(semshare_condition_look(&port, b));
	CHECK(semshare_condition_settle(&port) == 0);
	CHECK(leave(b) == 1);
	nothing_is_left();
}

static void a_sleep_that_ends_for_no_reason_means_nothing(void)
{
	int a = enter();

	semaphores[a] += SEMSHARE_PLACE_WAKE;
	CHECK(sleep_ends(a) && !semshare_condition_look(&port, a));
	semaphores[a] += 3 * SEMSHARE_PLACE_WAKE;
	CHECK(leave(a) == 0);
	CHECK(enter() == a);
	CHECK(leave(a) == 0);
	nothing_is_left();
}

/* Killed before it could raise their semaphores. */
static void the_notifier_was_killed(void)
{
	int a = enter(), b = enter();

	places.waiters[a].state = SEMSHARE_WAITER_WOKEN;
	CHECK(semshare_condition_look(&port, a));
	CHECK(leave(a) == 1);
	CHECK(semshare_condition_tell(&port, 1) == 1);
	CHECK(leave(b) == 1);
	nothing_is_left();
}

static void a_condition_has_one_guard(void)
{
	CHECK(semshare_condition_guard(&places, 0x80000001u, 3) == 0);
	CHECK(semshare_condition_guard(&places, 0x80000001u, 3) == 0);
	CHECK(semshare_condition_guard(&places, 0x80000001u, 0) == -EXDEV);
	CHECK(semshare_condition_guard(&places, 1, 3) == -EXDEV);
	CHECK(places.guard == ((__u64)4 << 32 | 0x80000001u));
}

/* ----------------------------------------------------------------- barrier */

static int arrive(__u32 parties, struct semshare_barrier_arrival *arrival)
{
	struct semshare_owner owner = somebody();
	int last = semshare_barrier_arrive(&port, parties, &owner, arrival);

	if (last >= 0)
		CHECK(arrival->index < parties);
	if (!last)
		CHECK(arrival->place < SEMSHARE_PLACES && semaphores[arrival->place] == SEMSHARE_PLACE_LIVES);
	return last;
}

static int outcome(const struct semshare_barrier_arrival *arrival)
{
	return semshare_barrier_outcome(&places, arrival);
}

static void it_opens_for_the_last(void)
{
	struct semshare_barrier_arrival them[5];
	int round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < 4; i++) {
			CHECK(arrive(5, &them[i]) == 0);
			CHECK(them[i].index == (__u32)i && them[i].generation == (__u64)round);
			CHECK(semshare_barrier_waiting(&port) == (unsigned int)i + 1);
		}
		CHECK(arrive(5, &them[4]) == 1 && them[4].index == 4);
		for (i = 0; i < 4; i++)
			CHECK(outcome(&them[i]) == -EAGAIN);
		CHECK(semshare_barrier_let_pass(&port) == 0 && wakes == round + 1);
		CHECK(semshare_barrier_waiting(&port) == 0);
		for (i = 0; i < 4; i++) {
			CHECK(outcome(&them[i]) == 0);
			CHECK(i % 2 || sleep_ends((int)them[i].place));
			CHECK(semshare_barrier_leave(&port, &them[i]) == 0);
		}
		nothing_is_left();
	}
}

static void one_party_waits_for_nobody(void)
{
	struct semshare_barrier_arrival me;

	CHECK(arrive(1, &me) == 1 && me.index == 0);
	CHECK(semshare_barrier_let_pass(&port) == 0 && !wakes);
	CHECK(arrive(1, &me) == 1 && me.generation == 1);
}

static void nobody_waits_for_who_is_on_its_way_out(void)
{
	struct semshare_barrier_arrival slow, other;
	int round;

	CHECK(arrive(2, &slow) == 0);
	CHECK(arrive(2, &other) == 1 && semshare_barrier_let_pass(&port) == 0);
	/* More generations than there are bits for those that failed. */
	for (round = 0; round < 100; round++) {
		CHECK(arrive(2, &other) == 0 && other.place != slow.place);
		CHECK(outcome(&slow) == 0 && outcome(&other) == -EAGAIN);
		CHECK(semshare_barrier_break(&port) == 0 && semshare_barrier_renew(&port) == 0);
		CHECK(outcome(&other) == -EPIPE);
		CHECK(semshare_barrier_leave(&port, &other) == 0);
	}
	CHECK(outcome(&slow) == 0 && semshare_barrier_leave(&port, &slow) == 0);
	nothing_is_left();
}

static void the_largest_barrier(void)
{
	static struct semshare_barrier_arrival them[SEMSHARE_PLACES];
	int round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < SEMSHARE_PLACES - 1; i++) {
			/* Each leaves just before it comes again. */
			if (round)
				CHECK(outcome(&them[i]) == 0 && semshare_barrier_leave(&port, &them[i]) == 0);
			CHECK(arrive(SEMSHARE_PLACES, &them[i]) == 0);
		}
		CHECK(arrive(SEMSHARE_PLACES, &them[i]) == 1);
		CHECK(semshare_barrier_let_pass(&port) == 0);
	}
	for (i = 0; i < SEMSHARE_PLACES - 1; i++)
		CHECK(semshare_barrier_leave(&port, &them[i]) == 0);
	nothing_is_left();
}

static void too_many_are_inside(void)
{
	static struct semshare_barrier_arrival them[SEMSHARE_PLACES];
	struct semshare_barrier_arrival last;
	int i;

	for (i = 0; i < SEMSHARE_PLACES; i++) {
		CHECK(arrive(2, &them[i]) == 0);
		CHECK(arrive(2, &last) == 1 && semshare_barrier_let_pass(&port) == 0);
	}
	CHECK(arrive(2, &last) == -ENOSPC);
	CHECK(semshare_barrier_leave(&port, &them[77]) == 0);
	CHECK(arrive(2, &last) == 0 && last.place == them[77].place);
}

static void who_is_killed_is_waited_for_no_more(void)
{
	struct semshare_barrier_arrival a, b, c, d;

	CHECK(arrive(3, &a) == 0 && arrive(3, &b) == 0);
	die((int)a.place);
	CHECK(semshare_barrier_waiting(&port) == 1);
	/* In its stead, and with its number. */
	CHECK(arrive(3, &c) == 0 && c.index == 0);
	CHECK(arrive(3, &d) == 1 && d.index == 2);
	CHECK(semshare_barrier_let_pass(&port) == 0);
	CHECK(outcome(&b) == 0 && outcome(&c) == 0);
	CHECK(semshare_barrier_leave(&port, &b) == 0 && semshare_barrier_leave(&port, &c) == 0);
	nothing_is_left();
}

static void numbers_are_of_one_each(void)
{
	struct semshare_barrier_arrival them[8];
	unsigned int used = 0;
	int i;

	for (i = 0; i < 7; i++)
		CHECK(arrive(8, &them[i]) == 0);
	die((int)them[2].place);
	die((int)them[5].place);
	CHECK(arrive(8, &them[2]) == 0 && arrive(8, &them[5]) == 0 && arrive(8, &them[7]) == 1);
	for (i = 0; i < 8; i++)
		used |= 1u << them[i].index;
	CHECK(used == 0xff);
}

/* Dead in this generation, and those on their way out take all other places. */
static void places_of_the_dead_are_had_again(void)
{
	static struct semshare_barrier_arrival out[SEMSHARE_PLACES - 2];
	struct semshare_barrier_arrival a, b, last;
	int i;

	for (i = 0; i < SEMSHARE_PLACES - 2; i++) {
		CHECK(arrive(2, &out[i]) == 0);
		CHECK(arrive(2, &last) == 1 && semshare_barrier_let_pass(&port) == 0);
	}
	CHECK(arrive(200, &a) == 0 && arrive(200, &b) == 0 && arrive(200, &last) == -ENOSPC);
	die((int)b.place);
	CHECK(arrive(200, &last) == 0 && last.place == b.place);
}

static void one_whose_time_is_over_breaks_it(void)
{
	struct semshare_barrier_arrival a, b, c;

	CHECK(arrive(3, &a) == 0 && arrive(3, &b) == 0);
	CHECK(semshare_barrier_give_up(&port, &a) == -EPIPE);
	CHECK(places.broken && outcome(&a) == -EPIPE && outcome(&b) == -EPIPE);
	CHECK(semshare_barrier_leave(&port, &a) == 0 && semshare_barrier_leave(&port, &b) == 0);
	CHECK(arrive(3, &c) == -EPIPE && arrive(1, &c) == -EPIPE);
	CHECK(semshare_barrier_renew(&port) == 0);
	CHECK(arrive(1, &c) == 1);
	nothing_is_left();
}

static void one_whose_time_is_over_as_it_opens_passes(void)
{
	struct semshare_barrier_arrival a, b;

	CHECK(arrive(2, &a) == 0);
	CHECK(arrive(2, &b) == 1 && semshare_barrier_let_pass(&port) == 0);
	CHECK(semshare_barrier_give_up(&port, &a) == 0);
	CHECK(!places.broken);
	CHECK(semshare_barrier_leave(&port, &a) == 0);
	nothing_is_left();
}

static void a_reset_fails_those_who_wait_and_no_others(void)
{
	struct semshare_barrier_arrival a, b, c;

	CHECK(arrive(2, &a) == 0);
	CHECK(semshare_barrier_renew(&port) == 0);
	CHECK(arrive(2, &b) == 0 && b.index == 0);
	CHECK(outcome(&a) == -EPIPE && outcome(&b) == -EAGAIN);
	CHECK(arrive(2, &c) == 1 && semshare_barrier_let_pass(&port) == 0);
	CHECK(outcome(&a) == -EPIPE && outcome(&b) == 0);
}

/* Killed behind the store that ends the generation: its waiters find out. */
static void who_opened_was_killed(void)
{
	struct semshare_barrier_arrival a, b, c, d;

	CHECK(arrive(3, &a) == 0 && arrive(3, &b) == 0);
	places.generation++;
	CHECK(outcome(&a) == 0 && outcome(&b) == 0);
	CHECK(semshare_barrier_waiting(&port) == 0);
	CHECK(semshare_barrier_leave(&port, &a) == 0);
	CHECK(arrive(3, &c) == 0 && c.place == a.place && arrive(3, &d) == 0);
	CHECK(outcome(&b) == 0 && outcome(&c) == -EAGAIN);
	places.failed = 1 << 1;
	places.generation++;
	CHECK(outcome(&b) == 0 && outcome(&c) == -EPIPE && outcome(&d) == -EPIPE);
}

/* What an older generation has left there says nothing. */
static void each_generation_says_how_it_ended(void)
{
	struct semshare_barrier_arrival a;

	places.generation = 64 + 5;
	places.failed = ~(__u64)0;
	CHECK(arrive(2, &a) == 0);
	CHECK(semshare_barrier_let_pass(&port) == 0);
	CHECK(places.failed == ~((__u64)1 << 5));
	CHECK(arrive(2, &a) == 0);
	places.failed = 0;
	CHECK(semshare_barrier_renew(&port) == 0);
	CHECK(places.failed == 1 << 6);
}

/* The last is killed before it opens: the others wait for another. */
static void the_last_was_killed(void)
{
	struct semshare_barrier_arrival a, last;

	CHECK(arrive(2, &a) == 0);
	CHECK(arrive(2, &last) == 1);
	CHECK(outcome(&a) == -EAGAIN);
	CHECK(arrive(2, &last) == 1 && semshare_barrier_let_pass(&port) == 0);
	CHECK(outcome(&a) == 0);
}

/* ----------------------------------------------------------------- hostile */

/* xorshift64* (S. Vigna): the same numbers in each run. */
static __u64 random_state = 0x9e3779b97f4a7c15u;

static __u64 random64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1du;
}

/* Words that mean something, or nothing at all. */
static void scribble(int meaning)
{
	int i;

	for (i = 0; i < SEMSHARE_PLACES; i++) {
		places.waiters[i].state = meaning ? random64() & 3 : (__u32)random64();
		places.waiters[i].ticket = meaning ? random64() & 0x3ff : random64();
		semaphores[i] = (int)(random64() & (meaning ? 3 : 32767));
	}
	places.ticket = random64();
	places.generation = meaning ? random64() & 3 : random64();
	places.broken = (random64() & 7) == 0;
	places.failed = random64();
}

/* AddressSanitizer sees to indices; what has an end ends. */
static void words_that_make_no_sense(void)
{
	int turn;

	for (turn = 0; turn < 20000; turn++) {
		struct semshare_owner owner = somebody();
		struct semshare_barrier_arrival arrival;
		__u32 parties = 1 + random64() % SEMSHARE_PLACES;
		int place, last;

		scribble(turn % 2);
		place = semshare_condition_enter(&port, &owner);
		CHECK(place == -ENOSPC || (place >= 0 && place < SEMSHARE_PLACES), "%d", place);
		CHECK(semshare_condition_tell(&port, (__u32)random64() % 300) <= SEMSHARE_PLACES);
		semshare_condition_settle(&port);
		semshare_condition_leave(&port, random64() % SEMSHARE_PLACES, turn % 3 == 0);
		last = semshare_barrier_arrive(&port, parties, &owner, &arrival);
		CHECK(last == 1 || last == -EPIPE || last == -ENOSPC || (!last && arrival.place < SEMSHARE_PLACES));
		CHECK(last < 0 || arrival.index < parties);
		CHECK(semshare_barrier_waiting(&port) <= SEMSHARE_PLACES);
		CHECK(!semshare_barrier_break(&port) && !semshare_barrier_renew(&port));
	}
}

/* Somebody sets the words back as fast as they are written. */
static int give_back(struct semshare_places_port *where, unsigned int place)
{
	int i;

	(void)where;
	(void)place;
	for (i = 0; i < SEMSHARE_PLACES; i++)
		places.waiters[i].state = SEMSHARE_WAITER_WAITS;
	return 0;
}

static void words_that_come_back(void)
{
	struct semshare_places_port hostile = { &places, give_back, change, wake };
	int i;

	for (i = 0; i < SEMSHARE_PLACES; i++)
		places.waiters[i].state = SEMSHARE_WAITER_WAITS;
	semshare_condition_tell(&hostile, 1);
	semshare_condition_settle(&hostile);
}

static const struct test_case cases[] = {
	TEST(the_places_lie_behind_the_lock),
	TEST(who_waits_longest_is_woken_first),
	TEST(a_notification_is_not_kept),
	TEST(several_are_woken_by_one_operation),
	TEST(there_is_a_place_for_so_many),
	TEST(the_dead_are_not_notified),
	TEST(a_notification_of_one_who_died_goes_on),
	TEST(it_goes_on_and_on),
	TEST(it_goes_on_to_nobody_who_came_later),
	TEST(notifications_of_two_moments),
	TEST(a_place_taken_over_lets_its_notification_go_on),
	TEST(one_who_dies_just_then_is_left_for_the_next),
	TEST(one_whose_time_is_over_was_notified_or_not),
	TEST(one_that_is_interrupted_lets_it_go_on),
	TEST(who_goes_without_the_lock_is_as_dead),
	TEST(a_sleep_that_ends_for_no_reason_means_nothing),
	TEST(the_notifier_was_killed),
	TEST(a_condition_has_one_guard),
	TEST(it_opens_for_the_last),
	TEST(one_party_waits_for_nobody),
	TEST(nobody_waits_for_who_is_on_its_way_out),
	TEST(the_largest_barrier),
	TEST(too_many_are_inside),
	TEST(who_is_killed_is_waited_for_no_more),
	TEST(numbers_are_of_one_each),
	TEST(places_of_the_dead_are_had_again),
	TEST(one_whose_time_is_over_breaks_it),
	TEST(one_whose_time_is_over_as_it_opens_passes),
	TEST(a_reset_fails_those_who_wait_and_no_others),
	TEST(who_opened_was_killed),
	TEST(each_generation_says_how_it_ended),
	TEST(the_last_was_killed),
	TEST(words_that_make_no_sense),
	TEST(words_that_come_back),
};

int main(int argc, char **argv)
{
	return run_cases(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
