/* SPDX-License-Identifier: MIT */
/* What a ring offers to the records that are open in it: semshare/native/view.c. */
#ifndef SEMSHARE_NATIVE_RING_H
#define SEMSHARE_NATIVE_RING_H

#include "native.h"

#include <semshare/core/variants.h>

/*
 * A record that Python writes or reads where it lies, between __enter__ and __exit__: reserved and not yet committed, or
 * looked at and not yet consumed.  Members change under the GIL only, or, where there is none, in the critical section of
 * the ring: see compat.h.
 */
typedef struct open_record {
	PyObject_HEAD
	PyObject *ring;			/* a RingCore */
	bool put;
	enum { RECORD_NEW, RECORD_ENTERING, RECORD_OPEN, RECORD_CLOSED, RECORD_OVER } state;
	unsigned int generation;	/* owner_generation when it was opened */
	bool blocking;
	double timeout;
	__u64 reserved;			/* put: bytes; its record.size may be less when it is committed */
	struct semshare_record record;
	struct semshare_ring_place place;	/* get: the payload only */
	PyObject *view;			/* what __enter__ gave out */
	Py_buffer memory;		/* keeps the payload mapped, also when the ring and the area are closed */
	Py_ssize_t exports;
	struct open_record *next, *previous;	/* of its ring */
} OpenRecord;

PyObject *record_reserve(PyObject *ring, __u64 size, __u32 type, bool blocking, double timeout);
PyObject *record_look(PyObject *ring, bool blocking, double timeout);
void record_close(OpenRecord *record);
int ring_open_record(OpenRecord *record);
int ring_end_record(OpenRecord *record, bool accept);

#endif /* SEMSHARE_NATIVE_RING_H */
