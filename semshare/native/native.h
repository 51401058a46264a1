/* SPDX-License-Identifier: MIT */
/* The types of semshare._native, one file each. */
#ifndef SEMSHARE_NATIVE_H
#define SEMSHARE_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "inside.h"
#include "mutex.h"

/*
 * A lock.  The Python class semshare.Lock is derived from it and adds what is not hot: finding and making sets, names,
 * messages.  The methods that this file calls of it:
 *	_fail(errno, doing)			raise what that errno means for this lock
 *	_holder_dead(pid)			raise HolderDead
 *	_owner_died(kind, pid, tid, start)	return what owner_died shall be; may raise
 *
 * Members change under the GIL only.
 */
typedef struct lock_core {
	PyObject_HEAD
	struct mutex mutex;
	struct mutex_waits waits;
	struct mutex_holding holding;	/* the owner's */
	uint32_t holder;		/* thread that holds it by way of this object, 0 if none */
	unsigned int generation;	/* owner_generation when it took it */
	PyObject *owner_died;		/* what the last acquisition found, NULL if all was well */
	struct semshare_ring_control *ring;	/* set if this is the mutex of a ring */
	uint64_t ring_size;		/* bytes at it */
	Py_buffer memory;		/* keeps the state mapped */
	struct inside waiting;		/* threads, with the GIL released */
	bool open;
	volatile bool closing;		/* read by them */
	struct lock_core *next, *previous;	/* all open ones of this process */
} LockCore;

extern PyTypeObject LockCore_Type;
extern PyTypeObject RingCore_Type;
extern PyTypeObject ChannelCore_Type;
extern PyTypeObject Mapping_Type;
extern PyTypeObject ParametersCore_Type;

PyObject *ring_variants(void);
int record_types(PyObject *module);
bool lock_held_by_this_thread(int semid);
int parse_wait(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int first,
	       bool *blocking, double *timeout, uint32_t *type);
int deadline_from(bool blocking, double timeout, int64_t *deadline);

#endif /* SEMSHARE_NATIVE_H */
