/* SPDX-License-Identifier: MIT */
/*
 * What the threads of this process hold by way of which object, and what they wait for: so that who would wait for
 * himself is told, as are threads that would wait for each other, and that what a thread holds when it ends goes to
 * others.
 *
 * To take and to give something that is free costs two stores: that a thread has it stands in the object.  Only who has
 * to wait looks through all of them, under a mutex that is never held for long.
 */
#ifndef SEMSHARE_NATIVE_HOLDS_H
#define SEMSHARE_NATIVE_HOLDS_H

#include "compat.h"
#include "owner.h"

/* In place of a thread: nobody's in particular. */
#define HOLD_UNBOUND	UINT32_MAX

/* That a thread has it, and how often.  Written by that thread, or when it has ended, or by whoever ends the object. */
struct hold {
	uint32_t thread;		/* 0: nobody */
	uint32_t count;
	unsigned int generation;	/* owner_generation when it came to have it */
	struct hold *next;		/* never let go of before the object is */
};

struct holds;

/* A semaphore that belongs to it, among all that are known of that number. */
struct holds_place {
	int semid;
	unsigned short number;
	struct holds *of;
	struct holds_place *next, **link;
};

/* Part of each object by way of which something can be held.  What two have in common is theirs by their places. */
struct holds {
	struct hold first;
	bool shared;			/* several threads have it at once */
	PyObject *object;
	struct holds_place *places;
	size_t count;
	/* Give it back as that of a dead owner, so often.  Under the mutex: no Python, nothing waits. */
	void (*abandon)(struct holds *holds, uint32_t count);
};

/* A wait, on the stack of who waits. */
struct holds_wait {
	uint32_t thread;
	const struct holds *what;
	bool announced;			/* those who want to share it have to wait for this one */
	bool seen;			/* in a search */
	struct holds_wait *then;	/* what it was found to wait for, NULL: for who searched */
	struct holds_wait *next, **link;
};

enum holds_verdict {
	HOLDS_WAIT,			/* it may wait */
	HOLDS_AGAIN,			/* this thread shares it by way of another object */
	HOLDS_SELF,			/* it would wait for itself */
	HOLDS_CYCLE,			/* it would wait for threads that wait for it: an exception is set */
};

int holds_setup(void);
void holds_of_ended_thread(void);
void holds_open(struct holds *holds);
void holds_close(struct holds *holds);
void holds_abandon(struct holds *holds);
enum holds_verdict holds_wait(struct holds_wait *wait, const struct holds *what, bool unlimited, bool announced);
void holds_waited(struct holds_wait *wait);
bool holds_has(int semid, unsigned short number);
void holds_each_here(const struct holds *what, void (*visit)(struct holds *holds, void *context), void *context);

/* Whether it is that thread's. */
static inline bool hold_is(const struct hold *hold, uint32_t thread)
{
	return semshare_load(&hold->thread) == thread && semshare_load(&hold->generation) == owner_generation;
}

static inline bool hold_is_any(const struct hold *hold)
{
	return semshare_load(&hold->thread) && semshare_load(&hold->generation) == owner_generation;
}

/* It is that thread's, the calling one, from now on. */
static inline void hold_begin(struct hold *hold, uint32_t thread)
{
	hold->count = 1;
	semshare_store(&hold->generation, owner_generation);
	semshare_store_release(&hold->thread, thread);
	if (thread != HOLD_UNBOUND)
		owner_thread.holds++;
}

/* By whose it was. */
static inline void hold_end(struct hold *hold)
{
	if (hold->thread != HOLD_UNBOUND && owner_thread.holds)
		owner_thread.holds--;
	semshare_store(&hold->thread, 0);
}

#endif /* SEMSHARE_NATIVE_HOLDS_H */
