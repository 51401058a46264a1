/* SPDX-License-Identifier: MIT */
/*
 * The places of a condition's or a barrier's set, as an object of this process uses them: semshare/core/places.h by the
 * calls of the C library.
 *
 * Several threads may be in it at once, with the GIL released or on a Python without one.  Who is counts itself, and the
 * last of them lets go of the memory of an object that was closed meanwhile.
 */
#ifndef SEMSHARE_NATIVE_PLACES_H
#define SEMSHARE_NATIVE_PLACES_H

#include "native.h"

#include <semshare/core/places.h>

struct places {
	struct semshare_places_port port;	/* first: what it calls gets at the rest by it */
	int semid;
	Py_buffer memory;		/* keeps them mapped */
	__u64 inside;			/* owner_generation, and how many threads of that are, atomic */
	bool open;
	volatile bool closing;
	__u64 asleep[(SEMSHARE_PLACES + 63) / 64];	/* where threads of this object sleep, atomic */
};

/* What a sleeper waits for: not 0 if its sleep is to end. */
typedef int (*places_look_t)(struct places *places, const void *sleeper);

int places_open(struct places *places, int semid, PyObject *memory);
bool places_enter(struct places *places);
void places_leave(struct places *places);
void places_close(struct places *places);
void places_free(struct places *places);
int places_sleep(struct places *places, unsigned int place, int64_t deadline, places_look_t look, const void *sleeper);
void places_rouse(struct places *places, unsigned int place);
int places_deadline(PyObject *timeout, int64_t *deadline);

#endif /* SEMSHARE_NATIVE_PLACES_H */
