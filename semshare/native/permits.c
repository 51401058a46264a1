// SPDX-License-Identifier: MIT
#include "permits.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct permits {
	int semid;
	unsigned short number;
	unsigned int users;		/* objects */
	uint32_t count;			/* changed by atomic operations */
	struct permits *next;
};

/* Who forks has it, so that the child finds the list whole. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct permits *all;

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

/* What its parent has taken, the kernel does not give back when the child ends. */
static void in_child(void)
{
	struct permits *permits;

	pthread_mutex_init(&mutex, NULL);
	for (permits = all; permits; permits = permits->next)
		permits->count = 0;
}

int permits_setup(void)
{
	return pthread_atfork(before_fork, in_parent, in_child);
}

/* NULL: no memory. */
struct permits *permits_open(int semid, unsigned short number)
{
	struct permits *permits;

	pthread_mutex_lock(&mutex);
	for (permits = all; permits; permits = permits->next)
		if (permits->semid == semid && permits->number == number)
			break;
	if (!permits) {
		permits = calloc(1, sizeof(*permits));
		if (permits) {
			permits->semid = semid;
			permits->number = number;
			permits->next = all;
			all = permits;
		}
	}
	if (permits)
		permits->users++;
	pthread_mutex_unlock(&mutex);
	return permits;
}

/* Permits that are still out outlive the object that took them. */
void permits_close(struct permits *permits)
{
	struct permits **link;

	if (!permits)
		return;
	pthread_mutex_lock(&mutex);
	if (!--permits->users && !permits_count(permits)) {
		for (link = &all; *link != permits; link = &(*link)->next)
			;
		*link = permits->next;
		free(permits);
	}
	pthread_mutex_unlock(&mutex);
}

uint32_t permits_count(const struct permits *permits)
{
	return __atomic_load_n(&permits->count, __ATOMIC_RELAXED);
}

void permits_add(struct permits *permits, uint32_t count)
{
	__atomic_fetch_add(&permits->count, count, __ATOMIC_RELAXED);
}

/* Take as many as there are, at most @most; returns how many these are. */
uint32_t permits_take(struct permits *permits, uint32_t most)
{
	uint32_t count = permits_count(permits), taken;

	do {
		taken = count < most ? count : most;
	} while (taken && !__atomic_compare_exchange_n(&permits->count, &count, count - taken, true, __ATOMIC_RELAXED,
						       __ATOMIC_RELAXED));
	return taken;
}

/* The set is gone, and what was taken of it. */
void permits_forget(struct permits *permits)
{
	__atomic_store_n(&permits->count, 0, __ATOMIC_RELAXED);
}
