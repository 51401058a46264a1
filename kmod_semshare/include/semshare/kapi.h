/* SPDX-License-Identifier: GPL-2.0 */
/*
 * semshare for kernel code: what other modules call.
 *
 * Everything here is exported GPL and may sleep: process context only, never
 * from interrupts, softirqs, under a spinlock or with preemption off, not even
 * with IPC_NOWAIT or a timeout of 0.  Called from there it answers -EOPNOTSUPP
 * and says so once in the log; what answers nothing (_put(), _close() and
 * _destroy()) cannot, and is a bug there.  What only looks at an area or a handle
 * (_data(), _size(), _capacity(), _statistics()) may be called anywhere.
 */
#ifndef SEMSHARE_KAPI_H
#define SEMSHARE_KAPI_H

#include <linux/ipc_namespace.h>
#include <linux/sem.h>
#include <linux/time64.h>
#include <linux/types.h>
#include <semshare/abi.h>
#include <semshare/core/histogram.h>
#include <semshare/core/ring.h>

/* ---------------------------------------------------------- entry points */

/*
 * They answer as the system calls do, but for this; more stands where each is,
 * in sem.c:
 *
 * - -EXDEV: semshare_semget() with a namespace that is not the caller's own,
 *   and SEM_UNDO there.
 * - -EOPNOTSUPP: SEM_UNDO in a kernel thread, in a worker of a process or in a
 *   task that is exiting; a kernel that lacks a function.
 * - -EINTR in a kernel thread: after kthread_stop().
 * - SETALL by a process takes some of its address space and a file: -ENOMEM,
 *   -ENFILE.
 * - GETPID after a kernel thread's operation: the thread's id, or 0 to whoever
 *   is in a pid namespace that does not see it.
 */

/* The fourth argument of semctl(), in kernel memory. */
union semshare_semun {
	int val;			/* SETVAL */
	struct semid64_ds *buf;		/* IPC_STAT, IPC_SET, SEM_STAT, SEM_STAT_ANY */
	unsigned short *array;		/* GETALL, SETALL */
	struct seminfo *info;		/* IPC_INFO, SEM_INFO */
};

struct ipc_namespace *semshare_ipc_ns_get(void);
void semshare_ipc_ns_put(struct ipc_namespace *ns);

int semshare_semget(struct ipc_namespace *ns, key_t key, int nsems, int semflg);
int semshare_semop(struct ipc_namespace *ns, int semid, struct sembuf *sops,
		   unsigned int nsops);
int semshare_semtimedop(struct ipc_namespace *ns, int semid, struct sembuf *sops,
			unsigned int nsops, const struct timespec64 *timeout);
int semshare_semctl(struct ipc_namespace *ns, int semid, int semnum, int cmd,
		    union semshare_semun arg);
int semshare_semctl_values(struct ipc_namespace *ns, int semid, int cmd,
			   unsigned short *values, unsigned int count);

/* ----------------------------------------------------------------- areas */

struct semshare_area;

struct semshare_area *semshare_area_create(struct ipc_namespace *ns, const char *name,
					   u64 size, umode_t mode);
struct semshare_area *semshare_area_attach(struct ipc_namespace *ns, const char *name,
					   u32 access);
struct semshare_area *semshare_area_from_fd(int fd, u32 access);
int semshare_area_unlink(struct ipc_namespace *ns, const char *name);
void semshare_area_put(struct semshare_area *area);
void *semshare_area_data(struct semshare_area *area);
u64 semshare_area_size(struct semshare_area *area);
int semshare_area_bind(struct semshare_area *area, int semid, u32 flags);

/* ------------------------------------------------------------------ ring */

struct semshare_ring;

#define SEMSHARE_RING_OPEN_UNLOCKED	0x1u	/* no lock: to show what it is for */

/**
 * struct semshare_lock_statistics - how a handle fared with the lock
 * @acquisitions: times it took the lock
 * @contended: of those, times it could not have it at once
 * @wait_ns: histogram of the waits of those, semshare/core/histogram.h
 */
struct semshare_lock_statistics {
	u64 acquisitions;
	u64 contended;
	u64 wait_ns[256];
};

struct semshare_ring *semshare_ring_create(struct semshare_area *area,
					   const struct semshare_ring_params *params, umode_t mode);
struct semshare_ring *semshare_ring_open(struct semshare_area *area, u32 flags);
void semshare_ring_close(struct semshare_ring *ring);
void semshare_ring_destroy(struct semshare_ring *ring);
u64 semshare_ring_capacity(struct semshare_ring *ring);

int semshare_ring_put(struct semshare_ring *ring, u32 type, const void *payload,
		      size_t size, long timeout);
int semshare_ring_put_batch(struct semshare_ring *ring,
			    const struct semshare_ring_entry *entries,
			    unsigned int count, long timeout);
ssize_t semshare_ring_get(struct semshare_ring *ring, u32 *type, void *payload,
			  size_t size, long timeout);
int semshare_ring_get_batch(struct semshare_ring *ring,
			    struct semshare_ring_entry *entries,
			    unsigned int count, void *buffer, size_t size, long timeout);
int semshare_ring_lock(struct semshare_ring *ring, long timeout);
int semshare_ring_unlock(struct semshare_ring *ring);
void semshare_ring_statistics(struct semshare_ring *ring,
			      struct semshare_lock_statistics *statistics);

#endif /* SEMSHARE_KAPI_H */
