// SPDX-License-Identifier: MIT
#include "holds.h"

#include <pthread.h>

#define BUCKETS		4096	/* 32 KB; a pool has thousands of locks */
#define NAMED_MOST	8	/* of the locks of a cycle */

/*
 * Inside, nothing waits and no Python runs, so it is taken with and without the GIL.  Who forks has it, so that the child
 * finds what it guards whole.
 */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct holds_place *places[BUCKETS];
static struct holds_wait *waits;

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

/* Its parent's threads do not wait in the child; what they hold, they do not hold there: hold->generation. */
static void in_child(void)
{
	pthread_mutex_init(&mutex, NULL);
	waits = NULL;
}

int holds_setup(void)
{
	return pthread_atfork(before_fork, in_parent, in_child);
}

static struct holds_place **bucket_of(int semid, unsigned short number)
{
	/* Numbers of one set fall into different buckets, and so do sets made one after the other. */
	return &places[((unsigned int)semid * 31u + number) % BUCKETS];
}

void holds_open(struct holds *holds)
{
	size_t i;

	pthread_mutex_lock(&mutex);
	for (i = 0; i < holds->count; i++) {
		struct holds_place *place = &holds->places[i];
		struct holds_place **bucket = bucket_of(place->semid, place->number);

		place->of = holds;
		place->next = *bucket;
		place->link = bucket;
		if (place->next)
			place->next->link = &place->next;
		*bucket = place;
	}
	pthread_mutex_unlock(&mutex);
}

static void unlist(struct holds *holds)
{
	size_t i;

	for (i = 0; i < holds->count; i++) {
		struct holds_place *place = &holds->places[i];

		if (!place->link)
			continue;
		*place->link = place->next;
		if (place->next)
			place->next->link = place->link;
		place->link = NULL;
	}
}

void holds_close(struct holds *holds)
{
	pthread_mutex_lock(&mutex);
	unlist(holds);
	pthread_mutex_unlock(&mutex);
}

/* Behind what gives it back somebody else may have it by way of the same object: then this is of his hold. */
static void abandon(struct holds *holds, struct hold *hold)
{
	const uint32_t count = hold->count;

	semshare_store(&hold->thread, 0);
	holds->abandon(holds, count);
}

/* The object ends: whoever has it by way of it cannot give it back any more. */
void holds_abandon(struct holds *holds)
{
	struct hold *hold;

	pthread_mutex_lock(&mutex);
	for (hold = &holds->first; hold; hold = hold->next) {
		if (!hold_is_any(hold))
			continue;
		if (hold_is(hold, owner_thread.self.tid) && owner_thread.holds)
			owner_thread.holds--;
		abandon(holds, hold);
	}
	unlist(holds);
	pthread_mutex_unlock(&mutex);
}

/* By a thread that ends and has something. */
void holds_of_ended_thread(void)
{
	const uint32_t thread = owner_self()->tid;
	struct holds_place *place;
	struct hold *hold;
	size_t i;

	pthread_mutex_lock(&mutex);
	for (i = 0; i < BUCKETS; i++) {
		for (place = places[i]; place; place = place->next) {
			for (hold = &place->of->first; hold; hold = hold->next) {
				if (hold_is(hold, thread))
					abandon(place->of, hold);
			}
		}
	}
	pthread_mutex_unlock(&mutex);
}

/* ------------------------------------------------------------------ looking */

/* The next place at or behind @place that is of that number. */
static struct holds_place *place_of(struct holds_place *place, int semid, unsigned short number)
{
	while (place && (place->semid != semid || place->number != number))
		place = place->next;
	return place;
}

#define for_each_place(place, semid, number)							\
	for ((place) = place_of(*bucket_of((semid), (number)), (semid), (number)); (place);	\
	     (place) = place_of((place)->next, (semid), (number)))

static struct hold *hold_of(struct holds *holds, uint32_t thread)
{
	struct hold *hold;

	for (hold = &holds->first; hold; hold = hold->next)
		if (hold_is(hold, thread))
			return hold;
	return NULL;
}

/* Does this thread have that semaphore, by way of whichever object? */
bool holds_has(int semid, unsigned short number)
{
	const uint32_t thread = owner_self()->tid;
	struct holds_place *place;
	bool found = false;

	pthread_mutex_lock(&mutex);
	for_each_place(place, semid, number)
		found |= hold_of(place->of, thread) != NULL;
	pthread_mutex_unlock(&mutex);
	return found;
}

/* Call @visit under the mutex for each other object that has a semaphore in common with @what. */
void holds_each_here(const struct holds *what, void (*visit)(struct holds *holds, void *context), void *context)
{
	struct holds_place *place;
	size_t i;

	pthread_mutex_lock(&mutex);
	for (i = 0; i < what->count; i++)
		for_each_place(place, what->places[i].semid, what->places[i].number)
			if (place->of != what)
				visit(place->of, context);
	pthread_mutex_unlock(&mutex);
}

/* ------------------------------------------------------------------ waiting */

static bool is_in_common(const struct holds *one, const struct holds *other)
{
	size_t i, j;

	for (i = 0; i < one->count; i++)
		for (j = 0; j < other->count; j++)
			if (one->places[i].semid == other->places[j].semid &&
			    one->places[i].number == other->places[j].number)
				return true;
	return false;
}

static bool leads_to(struct holds_wait *wait, uint32_t thread);

/* Does a wait of thread @of, without limit, lead to @thread? */
static bool thread_leads_to(struct holds_wait *wait, uint32_t of, uint32_t thread)
{
	struct holds_wait *other;

	for (other = waits; other; other = other->next) {
		if (other->thread == of && !other->seen && leads_to(other, thread)) {
			wait->then = other;
			return true;
		}
	}
	return false;
}

/*
 * Does @wait end only when @thread does something?
 *
 * What is found is so.  @thread is the caller, and what it has it has.  Who waits for that cannot go on, and so has what
 * it has; and so on along the way.  Who has just been given what it waited for, and has not said so yet, is not found to
 * have it: it is found later, when it waits for something else, as then it is the one who searches.
 */
static bool leads_to(struct holds_wait *wait, uint32_t thread)
{
	const struct holds *what = wait->what;
	struct holds_place *place;
	struct holds_wait *other;
	struct hold *hold;
	size_t i;

	wait->seen = true;
	wait->then = NULL;
	for (i = 0; i < what->count; i++) {
		for_each_place(place, what->places[i].semid, what->places[i].number) {
			if (what->shared && place->of->shared)
				continue;
			for (hold = &place->of->first; hold; hold = hold->next) {
				if (!hold_is_any(hold) || hold->thread == HOLD_UNBOUND)
					continue;
				if (hold->thread == thread || thread_leads_to(wait, hold->thread, thread))
					return true;
			}
		}
	}
	/* Who wants to share it waits as well for those who wait to have it alone. */
	for (other = waits; what->shared && other; other = other->next) {
		if (other->announced && !other->seen && is_in_common(what, other->what) && leads_to(other, thread)) {
			wait->then = other;
			return true;
		}
	}
	return false;
}

struct cycle {
	int count;
	PyObject *objects[NAMED_MOST];
	uint32_t threads[NAMED_MOST];
};

/* Note the way that was found.  All on it wait, and so refer to what they wait for. */
static void note(struct cycle *cycle, const struct holds_wait *wait)
{
	for (cycle->count = 0; wait && cycle->count < NAMED_MOST; wait = wait->then) {
		Py_INCREF(wait->what->object);
		cycle->objects[cycle->count] = wait->what->object;
		cycle->threads[cycle->count++] = wait->thread;
	}
}

/* Raise RuntimeError. */
static void tell(const struct cycle *cycle)
{
	PyObject *text = NULL;
	int i;

	for (i = 0; i < cycle->count; i++) {
		PyObject *what = PyObject_GetAttrString(cycle->objects[i], "_what");

		if (!what) {
			Py_CLEAR(text);
			break;
		}
		if (!i)
			text = PyUnicode_FromFormat("%S: acquire: a deadlock", what);
		else
			Py_XSETREF(text, PyUnicode_FromFormat("%U: thread %u has that and waits for %S", text,
							      (unsigned int)cycle->threads[i], what));
		Py_DECREF(what);
		if (!text)
			break;
	}
	for (i = 0; i < cycle->count; i++)
		Py_DECREF(cycle->objects[i]);
	if (!text)
		return;
	PyErr_Format(PyExc_RuntimeError, "%U, which this thread has; take locks in one order everywhere, or by a MultiLock",
		     text);
	Py_DECREF(text);
}

/*
 * This thread is about to wait for @what.  @unlimited: until it gets it.  @announced: others have been told.  Unless the
 * verdict is HOLDS_WAIT nothing is to be waited for; if it is, holds_waited() is to be called behind the wait.
 */
enum holds_verdict holds_wait(struct holds_wait *wait, const struct holds *what, bool unlimited, bool announced)
{
	const uint32_t thread = owner_self()->tid;
	enum holds_verdict verdict = HOLDS_WAIT;
	struct holds_place *place;
	struct holds_wait *other;
	struct cycle cycle;
	size_t i;

	*wait = (struct holds_wait){ .thread = thread, .what = what, .announced = announced };
	pthread_mutex_lock(&mutex);
	for (i = 0; i < what->count && verdict != HOLDS_SELF; i++)
		for_each_place(place, what->places[i].semid, what->places[i].number)
			if (hold_of(place->of, thread))
				verdict = what->shared && place->of->shared && verdict != HOLDS_SELF ? HOLDS_AGAIN :
												 HOLDS_SELF;
	if (verdict == HOLDS_WAIT && unlimited) {
		for (other = waits; other; other = other->next)
			other->seen = false;
		if (leads_to(wait, thread)) {
			verdict = HOLDS_CYCLE;
			note(&cycle, wait);
		} else {
			wait->next = waits;
			wait->link = &waits;
			if (waits)
				waits->link = &wait->next;
			waits = wait;
		}
	}
	pthread_mutex_unlock(&mutex);
	if (verdict == HOLDS_CYCLE)
		tell(&cycle);
	return verdict;
}

void holds_waited(struct holds_wait *wait)
{
	if (!wait->link)
		return;
	pthread_mutex_lock(&mutex);
	*wait->link = wait->next;
	if (wait->next)
		wait->next->link = wait->link;
	pthread_mutex_unlock(&mutex);
	wait->link = NULL;
}
