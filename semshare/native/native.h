/* SPDX-License-Identifier: MIT */
/* The types of semshare._native, one file each. */
#ifndef SEMSHARE_NATIVE_H
#define SEMSHARE_NATIVE_H

#include "compat.h"
#include "holds.h"
#include "inside.h"
#include "mutex.h"

/*
 * A lock.  The Python class semshare.Lock is derived from it and adds what is not hot: finding and making sets, names,
 * messages.  The methods that this file calls of it:
 *	_fail(errno, doing)			raise what that errno means for this lock
 *	_holder_dead(pid)			raise HolderDead
 *	_owner_died(kind, pid, tid, start, fresh)	return what owner_died shall be; may raise.  @fresh: nobody
 *						has found this one dead before
 *
 * Members change under the GIL only: see compat.h.
 */
#define LOCK_RING	1u	/* the lock of a ring, whose control page its memory begins with */
#define LOCK_REPAIRED	2u	/* who finds its owner dead puts right what it guards */
#define LOCK_REENTRANT	4u	/* its owner may take it again */
#define LOCK_UNBOUND	8u	/* it belongs to the object, and to no thread */

typedef struct {
	PyObject_HEAD
	unsigned int flags;		/* LOCK_* */
	struct mutex mutex;
	struct mutex_waits waits;
	struct mutex_holding holding;	/* the owner's */
	struct holds holds;
	struct holds_place place;
	struct hold aside;		/* LOCK_REENTRANT: of threads that wait for a condition */
	PyObject *owner_died;		/* what the last acquisition found, NULL if all was well */
	struct semshare_ring_control *ring;	/* set if this is the mutex of a ring */
	uint64_t ring_size;		/* bytes at it */
	Py_buffer memory;		/* keeps the state mapped */
	struct inside waiting;		/* threads, with the GIL released */
	bool open;
	volatile bool closing;		/* read by them */
} LockCore;

extern PyTypeObject LockCore_Type;
extern PyTypeObject GuardCore_Type;
extern PyTypeObject RingCore_Type;
extern PyTypeObject ChannelCore_Type;
extern PyTypeObject Mapping_Type;
extern PyTypeObject ParametersCore_Type;
extern PyTypeObject ConditionCore_Type;
extern PyTypeObject BarrierCore_Type;

PyObject *ring_variants(void);
int parameters_setup(void);
int record_types(PyObject *module);
PyObject *core_misuse(PyObject *self, PyObject *exception, const char *message);
PyObject *core_fail(PyObject *self, int error, const char *doing);
PyObject *mutex_words(const struct semshare_lock_state *state);
PyObject *mutex_counts(const struct mutex_waits *waits);
int parse_wait(const char *function, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int first,
	       bool *blocking, double *timeout, uint32_t *type);
int deadline_from(bool blocking, double timeout, int64_t *deadline);

#endif /* SEMSHARE_NATIVE_H */
