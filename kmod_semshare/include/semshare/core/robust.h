/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The lock of the variant `robust`: a process-shared robust pthread mutex, as other
 * queues have it, around the cursors of semshare/core/sysv.h.  User space only: the
 * kernel has no part in such a mutex, and refuses the ring.
 *
 * The mutex of a process that is killed inside is had by the next with EOWNERDEAD, who
 * puts the ring right (semshare_sysv_repair()).
 *
 * Its two condition variables are a word each, on which futex() sleeps: 1, there is a
 * wake-up that nobody took, or 0.  Not pthread_cond_t: one of those counts its waiters,
 * and one that was killed while it waited is waited for by those who signal, for ever
 * (glibc 2.36).
 *
 * Memory order.  What is done inside the mutex is the next one's by the mutex, and so are
 * need_data and need_space: who sets one has found nothing, and who clears it gives a
 * wake-up for it, outside.  The sleep itself is a matter of the futex:
 *
 *	an owner			the next
 *
 *	   STORE records, cursors, need	B  lock
 *	A  unlock			   LOAD records, cursors, need
 *
 *	who sleeps			who has cleared its need
 *
 *	C  STORE one sleeper more	E  STORE word = 1
 *	   full barrier			   full barrier
 *	D  LOAD word: 0, or no sleep	F  LOAD sleepers: wake one, if there are any
 *	G  cmpxchg word, 1 to 0
 *
 *	A with B	where the owner was killed, A is the kernel's, as it ends
 *	C, D with E, F	each writes one word and reads the other's: either D sees E and it
 *			does not sleep, or F sees C and it is woken.  C, D, F and the
 *			barriers are the kernel's (kernel/futex)
 *	G with G	of several who are awake one takes the wake-up.  It orders nothing:
 *			what there is to do each looks at again, from B on
 *
 * The C library believes what stands in a mutex, list pointers among it, so this is for
 * processes that trust each other and run the same C library.
 */
#ifndef SEMSHARE_CORE_ROBUST_H
#define SEMSHARE_CORE_ROBUST_H

#include <semshare/core/port.h>

#ifndef __KERNEL__

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/**
 * struct semshare_robust - what the variant has in @words of the control page
 * @mutex: the lock
 * @wakeup: of consumers, of producers: a wake-up that nobody took
 */
struct semshare_robust {
	union {
		pthread_mutex_t mutex;
		__u64 room[16];
	};
	__u32 wakeup[2];
};

#if defined(_GNU_SOURCE) && defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 30)
#define SEMSHARE_ROBUST_CLOCK	CLOCK_MONOTONIC
#else
#define SEMSHARE_ROBUST_CLOCK	CLOCK_REALTIME
#endif

/* By a clock that nobody sets, where the C library can. */
static inline int semshare_robust_lock(pthread_mutex_t *mutex, __u64 wait_ns)
{
	struct timespec until;

	clock_gettime(SEMSHARE_ROBUST_CLOCK, &until);
	wait_ns += (__u64)until.tv_nsec;
	until.tv_sec += (time_t)(wait_ns / 1000000000u);
	until.tv_nsec = (long)(wait_ns % 1000000000u);
#if SEMSHARE_ROBUST_CLOCK == CLOCK_MONOTONIC
	return pthread_mutex_clocklock(mutex, SEMSHARE_ROBUST_CLOCK, &until);
#else
	return pthread_mutex_timedlock(mutex, &until);
#endif
}

static inline struct semshare_robust *semshare_robust_of(struct semshare_ring_port *port)
{
	return (struct semshare_robust *)port->view.control->words;
}

static inline void semshare_robust_format(struct semshare_ring_port *port)
{
	pthread_mutexattr_t attributes;

	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&semshare_robust_of(port)->mutex, &attributes);
	pthread_mutexattr_destroy(&attributes);
}

static inline void semshare_robust_leave(struct semshare_ring_port *port)
{
	pthread_mutex_unlock(&semshare_robust_of(port)->mutex);		/* A, with B */
}

/* B, with A.  0; -EBUSY: somebody has it all the time; -EPROTO: it is none. */
static inline int semshare_robust_enter(struct semshare_ring_port *port, __u64 wait_ns)
{
	pthread_mutex_t *mutex = &semshare_robust_of(port)->mutex;
	int err = pthread_mutex_trylock(mutex);

	if (err == EBUSY && wait_ns)
		err = semshare_robust_lock(mutex, wait_ns);
	if (err == EOWNERDEAD) {
		err = semshare_sysv_repair(&port->view);
		pthread_mutex_consistent(mutex);
		if (err)
			semshare_robust_leave(port);
		return err;
	}
	return err == EBUSY || err == ETIMEDOUT ? -EBUSY : err ? -EPROTO : 0;
}

static inline int semshare_robust_sleep(struct semshare_ring_port *port, int put, __u64 wait_ns)
{
	__u32 *word = &semshare_robust_of(port)->wakeup[put], one = 1;
	struct timespec wait = { (time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u) };

	/* C and D.  Ended by a wake-up, by time, by a signal, or because there is one already. */
	if (!semshare_load(word))
		syscall(SYS_futex, word, FUTEX_WAIT, 0, &wait, NULL, 0);
	/* G */
	return semshare_try_cmpxchg(word, &one, 0) ? 0 : -EINTR;
}

static inline void semshare_robust_wake(struct semshare_ring_port *port, int put)
{
	__u32 *word = &semshare_robust_of(port)->wakeup[put];

	semshare_store(word, 1);	/* E */
	/* F, behind the kernel's full barrier. */
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

#endif /* !__KERNEL__ */

#endif /* SEMSHARE_CORE_ROBUST_H */
