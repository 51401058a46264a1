// SPDX-License-Identifier: MIT
#include "places.h"

#include <sys/ipc.h>
#include <sys/sem.h>

#include "clock.h"

#define RECHECK_NS	(SEMSHARE_PLACES_RECHECK_MS * NS_PER_MS)

/* -------------------------------------------------- what the algorithms call */

static int value(struct semshare_places_port *port, unsigned int place)
{
	int value = semctl(((struct places *)port)->semid, 1 + (int)place, GETVAL);

	return value < 0 ? -errno : value;
}

static int change(struct semshare_places_port *port, unsigned int place, int by)
{
	struct sembuf operation = { (unsigned short)(1 + place), (short)by, IPC_NOWAIT };

	if (by & SEMSHARE_PLACE_LIVES)
		operation.sem_flg |= SEM_UNDO;
	return semop(((struct places *)port)->semid, &operation, 1) ? -errno : 0;
}

static int wake(struct semshare_places_port *port, const struct semshare_places_list *list)
{
	struct sembuf operations[SEMSHARE_PLACES];
	int semid = ((struct places *)port)->semid;
	__u32 i;

	for (i = 0; i < list->count; i++)
		operations[i] = (struct sembuf){ (unsigned short)(1 + list->places[i]), SEMSHARE_PLACE_WAKE, IPC_NOWAIT };
	if (!semop(semid, operations, list->count))
		return 0;
	if (errno != E2BIG)
		return -errno;
	/* More than this machine lets be in one call: SEMOPM. */
	for (i = 0; i < list->count; i++)
		if (semop(semid, &operations[i], 1))
			return -errno;
	return 0;
}

/* ----------------------------------------------------------- beginning and end */

int places_open(struct places *places, int semid, PyObject *memory)
{
	if (places->open || places->memory.obj) {
		PyErr_SetString(PyExc_RuntimeError, "this is open already");
		return -1;
	}
	if (PyObject_GetBuffer(memory, &places->memory, PyBUF_WRITABLE))
		return -1;
	if (places->memory.len < SEMSHARE_PLACES_SEGMENT_SIZE || (uintptr_t)places->memory.buf % 64) {
		PyBuffer_Release(&places->memory);
		PyErr_SetString(PyExc_ValueError, "no room for places there");
		return -1;
	}
	places->port.places = semshare_places_of(places->memory.buf);
	places->port.value = value;
	places->port.change = change;
	places->port.wake = wake;
	places->semid = semid;
	places->closing = false;
	places->open = true;
	return 0;
}

static void let_go(struct places *places)
{
	/* Not twice: of those who leave at once each may be the last. */
	if (__atomic_exchange_n(&places->port.places, NULL, __ATOMIC_SEQ_CST))
		PyBuffer_Release(&places->memory);
}

/* The threads of a process that forked are not in its child. */
static __u64 inside_by(__u64 inside, int more)
{
	if (inside >> 32 != owner_generation)
		inside = (__u64)owner_generation << 32;
	return inside + (__u64)(__s64)more;
}

/* False if it is closed. */
bool places_enter(struct places *places)
{
	__u64 inside = semshare_load(&places->inside);

	while (!semshare_try_cmpxchg(&places->inside, &inside, inside_by(inside, 1)))
		;
	if (places->open && !places->closing)
		return true;
	places_leave(places);
	return false;
}

/* Of who forked on the way, in a signal's handler, the child was not counted. */
void places_leave(struct places *places)
{
	__u64 inside = semshare_load(&places->inside);

	do {
		if (inside >> 32 != owner_generation || !(__u32)inside)
			return;
	} while (!semshare_try_cmpxchg(&places->inside, &inside, inside_by(inside, -1)));
	if ((__u32)inside == 1 && places->closing)
		let_go(places);
}

static bool is_asleep(struct places *places, unsigned int place)
{
	return __atomic_load_n(&places->asleep[place / 64], __ATOMIC_SEQ_CST) >> place % 64 & 1;
}

void places_close(struct places *places)
{
	unsigned int place;

	if (!places_enter(places))
		return;
	places->closing = true;
	places->open = false;
	/* Who comes from here on sees it; who came before is counted. */
	semshare_full_barrier();
	/* Whose semaphore it raises in vain, because they are awake already, take that for nothing. */
	for (place = 0; place < SEMSHARE_PLACES; place++)
		if (is_asleep(places, place))
			change(&places->port, place, SEMSHARE_PLACE_WAKE);
	places_leave(places);
}

/* When nobody can be inside. */
void places_free(struct places *places)
{
	places->open = false;
	let_go(places);
}

/* -------------------------------------------------------------------- sleeping */

static int sleep_once(struct places *places, unsigned int place, int64_t deadline, places_look_t look,
		      const void *sleeper)
{
	struct sembuf operation = { (unsigned short)(1 + place), -SEMSHARE_PLACE_WAKE, 0 };
	int64_t left = RECHECK_NS;
	struct timespec timeout;

	if (places->closing)
		return ECANCELED;
	if (look(places, sleeper))
		return 0;
	if (!is_asleep(places, place))
		return ETIMEDOUT;
	if (deadline != NEVER) {
		left = deadline - clock_now();
		if (left <= 0)
			return ETIMEDOUT;
	}
	timeout = clock_timespec(left < RECHECK_NS ? left : RECHECK_NS);
	if (!semtimedop(places->semid, &operation, 1, &timeout))
		return EAGAIN;
	/* What tells it at least that the set is gone. */
	return errno;
}

/*
 * Sleep in a place of this thread's until look() is not 0.  Returns 0; ETIMEDOUT; ECANCELED: the object is closed; an
 * errno of semtimedop(); -1: a signal's handler has raised an exception; ECHILD: one has forked.  To who finds that
 * owner_generation is another then, neither the place nor what it held is its own.
 */
int places_sleep(struct places *places, unsigned int place, int64_t deadline, places_look_t look, const void *sleeper)
{
	__u64 bit = (__u64)1 << place % 64;
	unsigned int generation = owner_generation;
	int error;

	__atomic_fetch_or(&places->asleep[place / 64], bit, __ATOMIC_SEQ_CST);
	do {
		Py_BEGIN_ALLOW_THREADS
		error = sleep_once(places, place, deadline, look, sleeper);
		Py_END_ALLOW_THREADS
		if ((error == EINTR || error == EAGAIN) && PyErr_CheckSignals())
			error = -1;
		/* A handler has forked, and this is the child: the place is its parent's. */
		if (generation != owner_generation)
			return error == -1 ? -1 : ECHILD;
	} while (error == EINTR || error == EAGAIN);
	__atomic_fetch_and(&places->asleep[place / 64], ~bit, __ATOMIC_SEQ_CST);
	return error;
}

/* Who sleeps in that place of another's, in its stead, is to end that: as if the time was over.  The lock is held, or not. */
void places_rouse(struct places *places, unsigned int place)
{
	__u64 bit = (__u64)1 << place % 64;

	if (__atomic_fetch_and(&places->asleep[place / 64], ~bit, __ATOMIC_SEQ_CST) & bit)
		change(&places->port, place, SEMSHARE_PLACE_WAKE);
}

/* Until when to wait, as threading.Condition.wait() has it: None is without limit, less than 0 is not at all. */
int places_deadline(PyObject *timeout, int64_t *deadline)
{
	double seconds;

	*deadline = NEVER;
	if (timeout == Py_None)
		return 0;
	seconds = PyFloat_AsDouble(timeout);
	if (seconds == -1.0 && PyErr_Occurred())
		return -1;
	if (seconds != seconds) {
		PyErr_SetString(PyExc_ValueError, "timeout: not a number");
		return -1;
	}
	if (seconds > CLOCK_MOST_S) {
		PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
		return -1;
	}
	*deadline = seconds > 0 ? clock_after(seconds) : 0;
	return 0;
}
