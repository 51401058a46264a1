/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * What a variant of the ring is, and what one party keeps of a ring, whatever its
 * variant.  The list of variants is semshare/core/variants.h.
 */
#ifndef SEMSHARE_CORE_PORT_H
#define SEMSHARE_CORE_PORT_H

#include <semshare/core/mpsc.h>
#include <semshare/core/spsc.h>
#include <semshare/core/sysv.h>

struct semshare_ring_variant;

/* Of a producer that is none yet, or that nobody knows. */
#define SEMSHARE_RING_ANY_LANE	0xffffffffu

/**
 * struct semshare_ring_port - a ring as one party uses it
 * @view: the ring
 * @variant: its variant
 * @sysv: the cursors of one pass, while this party owns the lock
 * @spsc: its own side, or both
 * @mpsc: as a producer, as the consumer, or as both
 * @own: what other variants keep; zero before @open
 * @producers: how many there can be at once, each with a role; counts where there
 *	are roles
 * @lane: which of those this party is
 * @self: who this party is, should it be killed over a record
 * @is_dead: whether somebody else is known to be dead, or NULL
 * @ns: the only pid namespace about which it is asked; 0: any
 */
struct semshare_ring_port {
	struct semshare_ring_view view;
	const struct semshare_ring_variant *variant;
	union {
		struct semshare_sysv_cursors sysv;
		struct {
			struct semshare_spsc put, get;
		} spsc;
		struct semshare_mpsc mpsc;
		__u64 own[64];
	};
	__u32 producers;
	__u32 lane;
	struct semshare_mpsc_owner self;
	int (*is_dead)(const struct semshare_mpsc_owner *owner);
	__u32 ns;
};

/**
 * struct semshare_ring_place - a record that was reserved, and is being written
 * @payload: where its bytes go, in one piece
 * @mpsc: its slot
 */
struct semshare_ring_place {
	void *payload;
	struct semshare_mpsc_reservation mpsc;
};

/**
 * struct semshare_ring_batch - records that are being taken
 * @records: what stands beside their payloads
 * @count: how many there is room for
 * @done: how many were taken
 * @data: their payloads, one after the other
 * @size: bytes there is room for
 * @used: bytes of those that were taken
 */
struct semshare_ring_batch {
	struct semshare_record *records;
	size_t count;
	size_t done;
	unsigned char *data;
	size_t size;
	size_t used;
};

/**
 * struct semshare_ring_variant - the operations of a variant
 * @name: as users know it
 * @number: enum semshare_ring_variants
 * @nsems: semaphores of its set
 * @locked: a pass is made by the owner of SEMSHARE_SEM_MUTEX, and begins with @begin
 * @roles: SEMSHARE_ROLE_*; having taken one a party begins with @begin
 * @producers: how many there can be at most; 0: any number
 * @user_only: the kernel refuses it
 * @recheck_us: how long a consumer sleeps at most, where its producers may be
 *	such as wake nobody; 0: SEMSHARE_RING_RECHECK_MS
 * @policies: a bit for each enum semshare_ring_policy that it can
 * @max_payload: the longest payload, 0 if there can be no such ring; NULL: a quarter
 *	of the ring
 * @format: fill a new ring's records in, or NULL
 * @open: fill in what this party keeps of the geometry, or NULL
 * @begin: load the cursors.  0 or -EPROTO
 * @enter: take the lock that the variant brings itself, waiting so many nanoseconds
 *	at most, or NULL.  0, -EBUSY, -EPROTO.  A pass then begins with @begin
 * @leave: give it back
 * @put: as semshare_sysv_put_all()
 * @peek: look at the oldest record that was not read.  0, -EAGAIN, -EPROTO
 * @read: copy its payload, unless that is NULL, and go on to the next.  0; -EAGAIN:
 *	it was overwritten meanwhile, what was copied does not count
 * @take: semshare_ring_take() with @peek and @read in it, for speed, or NULL
 * @consume: give back the space of those that were read
 * @reserve: have a place for a record of so many bytes, to be written without any
 *	lock.  0, -EMSGSIZE, -EAGAIN, -ENOBUFS: dropped, -EPROTO.  NULL: there is no
 *	such thing, and no @payload
 * @commit: publish it, with no more bytes than were reserved.  0; -ESTALE: it was
 *	given up meanwhile, and is lost
 * @cancel: give it up, or NULL: there is nothing to give back
 * @payload: where the payload of the record that @peek showed lies, in one piece
 * @other: a number that grows as the other side makes progress; to a producer, by
 *	the bytes that were given back
 * @used: bytes that records take, as it looks from outside; NULL: the tail of the
 *	control page less its head.  It may be anything, if a word lies
 * @ready: for who polls: SEMSHARE_EVENT_DATA: there is a record, or it may be worth
 *	a look; SEMSHARE_EVENT_SPACE: the producer of @lane, or if that is
 *	SEMSHARE_RING_ANY_LANE each of them, can put one of any length, half of its
 *	space is free; SEMSHARE_EVENT_BROKEN: words make no sense.  A bounded look,
 *	by one who is no party.  NULL: the head and the tail of the control page say it
 * @look: a look from outside: fill in what @words say of head, tail, puts and drops.
 *	Else it is 0, and gets and put_bytes are not counted.  NULL: the control page
 *	has all of it
 * @looks_at_data: @look reads the ring's data; else the control page alone will do
 * @sleep: wait for @wake, for so many nanoseconds at most; NULL: by the set.
 *	0, -EINTR
 * @wake: wake one who sleeps to put, or to get
 *
 * Context: in the kernel, any that the variant allows; nothing here sleeps.
 */
struct semshare_ring_variant {
	const char *name;
	__u32 number;
	__u32 nsems;
	int locked;
	__u32 roles;
	__u32 producers;
	__u32 policies;
	__u32 recheck_us;
	int user_only;
	int looks_at_data;
	__u32 (*max_payload)(const struct semshare_ring_params *params);
	void (*format)(struct semshare_ring_port *port);
	void (*open)(struct semshare_ring_port *port);
	int (*begin)(struct semshare_ring_port *port, int put);
	int (*enter)(struct semshare_ring_port *port, __u64 wait_ns);
	void (*leave)(struct semshare_ring_port *port);
	int (*put)(struct semshare_ring_port *port, const struct semshare_ring_entry *entries,
		   size_t count, __u64 time_ns, size_t *done);
	int (*peek)(struct semshare_ring_port *port, struct semshare_record *record);
	int (*read)(struct semshare_ring_port *port, const struct semshare_record *record,
		    void *payload);
	int (*take)(struct semshare_ring_port *port, struct semshare_ring_batch *batch);
	void (*consume)(struct semshare_ring_port *port, __u64 records);
	int (*reserve)(struct semshare_ring_port *port, __u64 size,
		       struct semshare_ring_place *place);
	int (*commit)(struct semshare_ring_port *port, const struct semshare_ring_place *place,
		      __u32 size, __u32 type, __u64 time_ns);
	void (*cancel)(struct semshare_ring_port *port, const struct semshare_ring_place *place);
	const void *(*payload)(const struct semshare_ring_port *port);
	__u64 (*other)(const struct semshare_ring_port *port, int put);
	__u64 (*used)(const struct semshare_ring_view *view);
	__u32 (*ready)(const struct semshare_ring_port *port, __u32 lane);
	void (*look)(const struct semshare_ring_view *view, struct semshare_ring_counts *counts);
	int (*sleep)(struct semshare_ring_port *port, int put, __u64 wait_ns);
	void (*wake)(struct semshare_ring_port *port, int put);
};

/**
 * semshare_ring_take - look at records and copy them, as many as there are and fit
 * @port: the ring
 * @batch: where they go
 * @peek: of the variant
 * @read: of the variant
 *
 * Their space is given back by the variant's consume().  A caller that names @peek
 * and @read has both in line.
 *
 * Return: 0: there is no room for the head of another; -EMSGSIZE: none for the
 * payload of the next, whose head is behind the last; else as @peek.
 */
static __always_inline int
semshare_ring_take(struct semshare_ring_port *port, struct semshare_ring_batch *batch,
		   int (*peek)(struct semshare_ring_port *port, struct semshare_record *record),
		   int (*read)(struct semshare_ring_port *port,
			       const struct semshare_record *record, void *payload))
{
	/* Not to be loaded again behind each barrier. */
	struct semshare_record *record = batch->records + batch->done;
	const struct semshare_record *end = batch->records + batch->count;
	unsigned char *to = batch->data + batch->used;
	const unsigned char *limit = batch->data + batch->size;
	int err = 0;

	while (record < end) {
		err = peek(port, record);
		if (err)
			break;
		if (record->size > (size_t)(limit - to)) {
			err = -EMSGSIZE;
			break;
		}
		/* Else it was overwritten meanwhile: another is the oldest now. */
		if (read(port, record, to))
			continue;
		to += record->size;
		record++;
	}
	batch->done = record - batch->records;
	batch->used = to - batch->data;
	return err;
}

#endif /* SEMSHARE_CORE_PORT_H */
