/* SPDX-License-Identifier: GPL-2.0 */
/*
 * semshare for kernel code: what other modules call.
 *
 * Everything here is exported GPL and, but for reading parameters and exporting
 * state, may sleep: process context only, never
 * from interrupts, softirqs, under a spinlock or with preemption off, not even
 * with IPC_NOWAIT or a timeout of 0.  Called from there it answers -EOPNOTSUPP
 * and says so once in the log; what answers nothing (_put(), _close() and
 * _destroy()) cannot, and is a bug there.  The exceptions:
 *
 * - Records are put into and taken from a ring without a lock with a timeout of 0
 *   from any context, by a handle that has taken the role, where there is one:
 *
 *	sysv	process context only
 *	spsc	any; an NMI that interrupts a producer may get -EAGAIN
 *	mpsc	any, NMI included; and records can be written where they lie
 *	lanes	as spsc: the kernel's producers share one lane
 *	paged	as spsc
 *
 *   Where the kernel's producers share a spinlock, all but sysv and mpsc, one call
 *   puts 64 KiB at the most.
 *   While one call takes records another gets -EAGAIN, whatever the variant.
 * - Who asks over a channel without waiting, or replies, may do so in any context
 *   but NMI.
 * - What only looks at an area or a handle, and what only rings (_data(), _size(),
 *   _capacity(), _status(), _statistics(), _arm(), _area_notify(), _ring_notify()),
 *   may be called anywhere.
 */
#ifndef SEMSHARE_KAPI_H
#define SEMSHARE_KAPI_H

#include <linux/dma-direction.h>
#include <linux/ipc_namespace.h>
#include <linux/list.h>
#include <linux/sem.h>
#include <linux/time64.h>
#include <linux/types.h>
#include <semshare/abi.h>
#include <semshare/channel.h>
#include <semshare/core/channel.h>
#include <semshare/core/histogram.h>
#include <semshare/core/parameters.h>
#include <semshare/core/port.h>

/* The locks that the Python classes are stand by themselves: <semshare/locks.h>. */

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

struct device;
struct semshare_area;
struct sg_table;

/**
 * struct semshare_area_params - an area that kernel code makes
 * @size: bytes
 * @address: as in struct semshare_area_make
 * @kind: SEMSHARE_AREA_PAGES, SEMSHARE_AREA_CONTIGUOUS or SEMSHARE_AREA_RESERVED
 * @flags: SEMSHARE_MAKE_*
 * @mode: permission bits, 0 to 0666
 */
struct semshare_area_params {
	u64 size;
	u64 address;
	u32 kind;
	u32 flags;
	umode_t mode;
};

struct semshare_area *semshare_area_create_kind(struct ipc_namespace *ns, const char *name,
						const struct semshare_area_params *params);
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
struct sg_table *semshare_area_map_dma(struct semshare_area *area, struct device *dev,
				       enum dma_data_direction dir);
void semshare_area_unmap_dma(struct semshare_area *area, struct device *dev,
			     struct sg_table *table, enum dma_data_direction dir);

/* --------------------------------------------------------- notifications */

/**
 * struct semshare_listener - kernel code that is told what happens in an area
 * @list: the module's
 * @events: SEMSHARE_EVENT_* that it wants to be told of
 * @call: called in process context with those of them that happened; may sleep,
 *	but all listeners of the area, and those who sleep on its semaphores, wait
 *	for it
 */
struct semshare_listener {
	struct list_head list;
	u32 events;
	void (*call)(struct semshare_listener *listener, u32 events);
};

struct semshare_eventfd_listener;

void semshare_area_notify(struct semshare_area *area, unsigned int events);
void semshare_area_listen(struct semshare_area *area, struct semshare_listener *listener);
void semshare_area_unlisten(struct semshare_area *area, struct semshare_listener *listener);
struct semshare_eventfd_listener *semshare_eventfd_listen(int fd, void (*call)(void *data),
							  void *data);
void semshare_eventfd_unlisten(struct semshare_eventfd_listener *listener);

/* ------------------------------------------------------------------ ring */

struct semshare_ring;

#define SEMSHARE_RING_OPEN_UNLOCKED	0x1u	/* no lock: to show what it is for */

/**
 * struct semshare_ring_record - a record that was taken
 * @payload: its bytes, in the caller's memory
 * @head: what stands beside them: size, type, position, sequence and time_ns
 *
 * A number that is missing in the sequence is that of a record that was dropped.
 * In lanes each lane counts by itself, and is the top byte of the position.
 */
struct semshare_ring_record {
	const void *payload;
	struct semshare_record head;
};

/**
 * struct semshare_ring_status - a look at a ring
 * @capacity: bytes for records, with all that stands beside them
 * @used: bytes that they take now, 0 to @capacity
 * @puts: records put so far
 * @gets: records taken so far; U64_MAX where nobody counts them
 * @drops: records that will never be taken, for each enum semshare_ring_drop
 * @broken: SEMSHARE_RING_OK, or what does not make sense in it: enum
 *	semshare_ring_state, for people semshare_ring_state_text()
 *
 * Each number is right by itself, not all at one moment.  @capacity and what the
 * kernel itself has found @broken are the kernel's own; the others are words that
 * users can write: for people to read, and nothing to rely on.
 */
struct semshare_ring_status {
	u64 capacity;
	u64 used;
	u64 puts;
	u64 gets;
	u64 drops[SEMSHARE_DROP_CAUSES];
	u32 broken;
};

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
int semshare_ring_take_role(struct semshare_ring *ring, u32 role);
void semshare_ring_close(struct semshare_ring *ring);
void semshare_ring_destroy(struct semshare_ring *ring);
u64 semshare_ring_capacity(struct semshare_ring *ring);
void semshare_ring_status(struct semshare_ring *ring, struct semshare_ring_status *status);
u32 semshare_ring_arm(struct semshare_ring *ring, u32 events);
void semshare_ring_notify(struct semshare_ring *ring, u32 events);

int semshare_ring_put(struct semshare_ring *ring, u32 type, const void *payload,
		      size_t size, long timeout);
int semshare_ring_put_batch(struct semshare_ring *ring,
			    const struct semshare_ring_entry *entries,
			    unsigned int count, long timeout);
int semshare_ring_reserve(struct semshare_ring *ring, size_t size,
			  struct semshare_ring_place *place, long timeout);
int semshare_ring_commit(struct semshare_ring *ring, const struct semshare_ring_place *place,
			 u32 type, size_t size);
void semshare_ring_cancel(struct semshare_ring *ring, const struct semshare_ring_place *place);
ssize_t semshare_ring_get(struct semshare_ring *ring, struct semshare_record *head, void *payload,
			  size_t size, long timeout);
int semshare_ring_get_batch(struct semshare_ring *ring,
			    struct semshare_ring_record *records,
			    unsigned int count, void *buffer, size_t size, long timeout);
int semshare_ring_lock(struct semshare_ring *ring, long timeout);
int semshare_ring_unlock(struct semshare_ring *ring);
void semshare_ring_statistics(struct semshare_ring *ring,
			      struct semshare_lock_statistics *statistics);

/* ------------------------------------------------- parameters and state */

/* Of these only _create() and _destroy() sleep; the others may be called anywhere. */

struct semshare_parameters;

struct semshare_parameters *semshare_parameters_create(struct ipc_namespace *ns, const char *name,
						       const struct semshare_parameter *entries,
						       u32 parameters, u32 states, umode_t mode);
void semshare_parameters_destroy(struct semshare_parameters *parameters);
u64 semshare_parameters_get(struct semshare_parameters *parameters, unsigned int index);
void semshare_parameters_reader_start(struct semshare_parameters *parameters,
				      struct semshare_parameters_reader *reader);
const u64 *semshare_parameters_read(struct semshare_parameters *parameters,
				    struct semshare_parameters_reader *reader);
void semshare_parameters_set_state(struct semshare_parameters *parameters, unsigned int index,
				   u64 bits);
void semshare_parameters_add_state(struct semshare_parameters *parameters, unsigned int index,
				   s64 delta);
/* --------------------------------------------------------------- channel */

/*
 * One side asks by commands, the other answers each by a reply; kernel code may be
 * either, in any context but NMI: see channel.c.
 */

struct semshare_channel;

/* How a command ended: see semshare_channel_call_async(). */
typedef void (*semshare_channel_done_t)(void *context, u64 cookie, int status, const void *data,
					size_t size);

/**
 * struct semshare_channel_command - a command to answer
 * @cookie: opaque, of who asks
 * @deadline_ns: CLOCK_MONOTONIC until when a reply is of use; all ones: for ever
 * @opcode: what is asked
 * @size: bytes at @data
 * @data: the payload: a copy in kernel memory, valid until the reply is given
 * @cancelled: who asked has given it up; it has to be answered all the same
 */
struct semshare_channel_command {
	u64 cookie;
	u64 deadline_ns;
	u32 opcode;
	u32 size;
	const void *data;
	bool cancelled;
};

/**
 * struct semshare_channel_operation - an opcode that is known
 * @opcode: its number
 * @min_size: bytes of payload that it has at least
 * @max_size: and at most
 * @answer: called in process context; calls semshare_channel_reply(), or leaves that to
 *	somebody else; other commands wait while it runs
 */
struct semshare_channel_operation {
	u32 opcode;
	u32 min_size;
	u32 max_size;
	void (*answer)(struct semshare_channel *channel, struct semshare_channel_command *command,
		       void *context);
};

/**
 * struct semshare_channel_statistics - what became of commands
 * @calls: asking: accepted
 * @replies: asking: received; answering: sent
 * @timeouts: asking: ended by their deadline
 * @cancels: asking: cancelled
 * @deaths: asking: who had taken them is gone
 * @unmatched: asking: replies to nothing that waits, dropped
 * @malformed: messages that made no sense
 * @refused: answering: replied to without the client's help
 * @dropped: answering: replies that found no space for a second
 * @outstanding: places taken now, without those of commands that were withdrawn,
 *	which are free as soon as they are short
 */
struct semshare_channel_statistics {
	u64 calls;
	u64 replies;
	u64 timeouts;
	u64 cancels;
	u64 deaths;
	u64 unmatched;
	u64 malformed;
	u64 refused;
	u64 dropped;
	u64 outstanding;
};

int semshare_channel_create(struct semshare_area *area,
			    const struct semshare_channel_params *params, umode_t mode);
struct semshare_channel *semshare_channel_open(struct semshare_area *area);
struct semshare_channel *semshare_channel_serve(struct semshare_area *area,
						const struct semshare_channel_operation *operations,
						unsigned int count, void *context);
void semshare_channel_close(struct semshare_channel *channel);
void semshare_channel_destroy(struct semshare_channel *channel);

ssize_t semshare_channel_call(struct semshare_channel *channel, u32 opcode, const void *data,
			      size_t size, void *reply, size_t reply_size, long timeout);
int semshare_channel_call_async(struct semshare_channel *channel, u32 opcode, u64 cookie,
				const void *data, size_t size, long timeout,
				semshare_channel_done_t done, void *context, u64 *id);
int semshare_channel_cancel(struct semshare_channel *channel, u64 id);
int semshare_channel_reply(struct semshare_channel *channel,
			   struct semshare_channel_command *command, int status,
			   const void *data, size_t size);
void semshare_channel_statistics(struct semshare_channel *channel,
				 struct semshare_channel_statistics *statistics);

#endif /* SEMSHARE_KAPI_H */
