// SPDX-License-Identifier: MIT
/* What is remembered of a lock, as Python sees it. */
#include "native.h"

/* (epoch, kind, pid, tid, start, deaths, suspect, depth, dead_kind, dead_pid, dead_tid, dead_start), None without words. */
PyObject *mutex_words(const struct semshare_lock_state *state)
{
	if (!state)
		Py_RETURN_NONE;
	return Py_BuildValue("IIIIKKIIIIIK", semshare_load_acquire(&state->epoch), semshare_load(&state->owner_kind),
			     semshare_load(&state->owner_pid), semshare_load(&state->owner_tid),
			     (unsigned long long)semshare_load(&state->owner_start),
			     (unsigned long long)semshare_load(&state->deaths), semshare_load(&state->suspect),
			     semshare_load(&state->depth), semshare_load(&state->dead_kind),
			     semshare_load(&state->dead_pid), semshare_load(&state->dead_tid),
			     (unsigned long long)semshare_load(&state->dead_start));
}

/* (acquisitions, contended, [wait_ns]) */
PyObject *mutex_counts(const struct mutex_waits *waits)
{
	const uint64_t *wait_ns = __atomic_load_n(&waits->wait_ns, __ATOMIC_ACQUIRE);
	PyObject *buckets = PyList_New(MUTEX_BUCKETS);
	int i;

	if (!buckets)
		return NULL;
	for (i = 0; i < MUTEX_BUCKETS; i++) {
		PyObject *count = PyLong_FromUnsignedLongLong(wait_ns ? semshare_load(&wait_ns[i]) : 0);

		if (!count) {
			Py_DECREF(buckets);
			return NULL;
		}
		PyList_SET_ITEM(buckets, i, count);
	}
	return Py_BuildValue("KKN", (unsigned long long)semshare_load(&waits->acquisitions),
			     (unsigned long long)semshare_load(&waits->contended), buckets);
}
