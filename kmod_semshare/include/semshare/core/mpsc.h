/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ring of slots: any number of producers, one consumer, no lock.  A bounded
 * queue in the way of D. Vyukov (a sequence number in each slot tells whose turn
 * it is), with what he leaves open added: a producer that dies, or is stopped,
 * between reserving a slot and committing it.
 *
 * Who writes what:
 *
 *	words->tail		producers, by cmpxchg: the next position to reserve
 *	words->head		the consumer: the next position to take
 *	slot->state		whoever's turn it is, by what it says (below)
 *	record and payload	the producer, from reserving to committing
 *
 * A position is the number of a reservation; it never wraps.  Its slot is
 * position & (slots - 1).  slot->state is a position and one of
 *
 *	FREE(p)		position p may be written, by the one who reserved it
 *	COMMITTED(p)	its record may be read
 *	ABANDONED(p)	the consumer waited for it long enough, and went on; the
 *			producer of p may still be writing into the slot
 *	QUARANTINED(p)	the same, but it is the producer of an earlier position
 *			that may still be writing; p was passed over
 *	RELEASED(p)	nobody writes any more; p was passed over
 *
 *	            producer p            consumer
 *	FREE(p) ---------------> COMMITTED(p) ------> FREE(p + slots)
 *	   |   |                                         ^
 *	   |   | producer p, cancelling                  | producer p + slots
 *	   |   '--------------------------------.        |
 *	   | consumer                           v        |
 *	   v      producer p, late or dead               |
 *	ABANDONED(p) --------------------------> RELEASED(p)
 *	   |                                             ^
 *	   | producer, or consumer, of p + slots         | producer p, late or dead
 *	   v                                             |
 *	QUARANTINED(p + slots) --------------------------+
 *
 * An abandoned slot is not written by others before its producer is known to be
 * out of it: a late commit fails, and releases it, and where the producer is
 * dead somebody who can tell does (semshare_mpsc_reserve() asks).  So a record
 * that was accepted is never written into by one that comes late.
 *
 * Memory order.  What is done before the one letter of a pair is seen by who
 * comes to the other, and has seen what the first one stored:
 *
 *	producer				consumer
 *
 *	H  LOAD.acquire tail
 *	   LOAD drops
 *	D  LOAD.acquire head			   LOAD record
 *	G  CMPXCHG tail				   STORE owner_pid = 0
 *	F  LOAD.acquire state			   STORE state = FREE(p + slots)
 *	   STORE owner_start, owner_ns		C  STORE.release head
 *	I  STORE.release owner_pid
 *	   STORE record				B  LOAD.acquire state
 *	A  CMPXCHG state: FREE, COMMITTED	   LOAD record
 *
 *	late, or cancelling, or by who knows
 *	that it is dead:			gives it up:
 *	   STORE record				J  LOAD.acquire owner_pid
 *	E  CMPXCHG state: …, RELEASED		   LOAD owner_start, owner_ns
 *						   STORE writer
 *	the next one, after F:			L  CMPXCHG state: …, ABANDONED
 *	   STORE owner_pid = 0			   LOAD owner_pid
 *	K  CMPXCHG state: RELEASED, FREE
 *
 *	A with B	the record is complete
 *	C with D	it is copied, its slot says FREE
 *	E with F	who did not commit writes no more
 *	G with H	sequence numbers grow with positions: drops are no fewer
 *	I with J	the owner's words are of one owner
 *	K with L	and not of the one before
 *	L with F	who was given up is who may let go
 *
 * A slot's state is not released by the consumer, nor a FREE one acquired: whoever
 * reserves a position has acquired a head behind that slot.  The others' order is
 * of no consequence; that each change of state is one cmpxchg is.
 *
 * Every word may be written by a hostile party.  Nothing here leaves the slots
 * for that; what makes no sense is -EPROTO.  Who passes over positions, which may
 * be as many as there are slots, stops after SEMSHARE_MPSC_STEPS of them, as interrupts
 * may be off: to the caller the ring is full, or empty, for now, and the next call
 * goes on from there.
 */
#ifndef SEMSHARE_CORE_MPSC_H
#define SEMSHARE_CORE_MPSC_H

#include <semshare/core/ring.h>

#define SEMSHARE_SLOT_STATE_BITS	3
#define SEMSHARE_SLOT_STATE_MASK	(((__u64)1 << SEMSHARE_SLOT_STATE_BITS) - 1)

enum semshare_slot_state {
	SEMSHARE_SLOT_FREE		= 0,
	SEMSHARE_SLOT_COMMITTED		= 1,
	SEMSHARE_SLOT_ABANDONED		= 2,
	SEMSHARE_SLOT_QUARANTINED	= 3,
	SEMSHARE_SLOT_RELEASED		= 4,
};

/* Between honest parties a slot's state changes less often than that while one looks at it. */
#define SEMSHARE_SLOT_TRIES	16
/* Nor is one the last to change the tail, or a counter, so often in a row. */
#define SEMSHARE_MPSC_TRIES	1024
/* Positions that one call passes over. */
#define SEMSHARE_MPSC_STEPS	64
/* Nor does an honest consumer give up so many positions in a row of one producer. */
#define SEMSHARE_MPSC_LATE	8

/* Whoever reserves a slot: what is needed to find out later whether it is dead. */
struct semshare_mpsc_owner {
	__u32 pid;	/* 0: the kernel, which does not die */
	__u32 start;	/* the low half of its start time, clock ticks since boot */
	__u32 ns;	/* of its pid namespace: the inode's number; outside nobody can tell */
};

/**
 * struct semshare_mpsc - the ring as one party sees it
 * @words: shared
 * @slots: shared
 * @mask: how many slots, a power of two, less one
 * @head: the consumer's own: positions before it are given back
 * @cursor: the consumer's own: positions before it are read, or given up
 * @passed: the consumer's own: positions that it passed over since @head moved last
 * @busy: the consumer's own: the position that it waits for, plus one
 * @busy_since: since when
 * @slot_size: bytes of a slot, a multiple of 64
 * @is_dead: the consumer's: whether the owner of a slot is known to be dead; NULL: nobody knows
 * @ns: the consumer's: the only pid namespace for whose numbers @is_dead is asked; 0: any
 */
struct semshare_mpsc {
	struct semshare_mpsc_words *words;
	unsigned char *slots;
	__u64 mask;
	__u64 head;
	__u64 cursor;
	__u64 passed;
	__u64 busy;
	__u64 busy_since;
	__u32 slot_size;
	int (*is_dead)(const struct semshare_mpsc_owner *owner);
	__u32 ns;
};

/* A slot that its producer has reserved. */
struct semshare_mpsc_reservation {
	struct semshare_slot *slot;
	__u64 position;
	__u64 sequence;		/* of the record: position plus what was dropped before */
};

static inline __u64 semshare_slot_state(__u64 position, enum semshare_slot_state state)
{
	return position << SEMSHARE_SLOT_STATE_BITS | state;
}

static inline __u64 semshare_slot_position(__u64 state)
{
	return state >> SEMSHARE_SLOT_STATE_BITS;
}

static inline struct semshare_slot *
semshare_mpsc_slot(const struct semshare_mpsc *ring, __u64 position)
{
	return (struct semshare_slot *)(ring->slots + (position & ring->mask) * ring->slot_size);
}

static inline __u32 semshare_mpsc_max_payload(const struct semshare_mpsc *ring)
{
	return ring->slot_size - (__u32)sizeof(struct semshare_slot);
}

/* Make the slots of a new ring, in zeroed memory. */
static inline void semshare_mpsc_format(const struct semshare_mpsc *ring)
{
	__u64 position;

	for (position = 0; position <= ring->mask; position++)
		semshare_store(&semshare_mpsc_slot(ring, position)->state,
			       semshare_slot_state(position, SEMSHARE_SLOT_FREE));
}

/**
 * semshare_slot_release - its producer does not write into a slot any more
 * @slot: the slot
 * @position: the one that the producer had reserved
 *
 * For the producer that comes late, or for who knows that it is dead.  The
 * cmpxchg is a release: what it wrote comes before what the next one writes.
 *
 * Return: whether it was abandoned, and is released now.
 */
static inline int semshare_slot_release(struct semshare_slot *slot, __u64 position)
{
	__u64 state = semshare_load(&slot->state);
	unsigned int tries;

	for (tries = 0; tries < SEMSHARE_SLOT_TRIES; tries++) {
		__u64 at = semshare_slot_position(state);

		switch (state & SEMSHARE_SLOT_STATE_MASK) {
		case SEMSHARE_SLOT_ABANDONED:
			if (at != position)
				return 0;
			break;
		case SEMSHARE_SLOT_QUARANTINED:
			if (at <= position)
				return 0;
			break;
		default:
			return 0;
		}
		/* E, with F of the next one. */
		if (semshare_try_cmpxchg(&slot->state, &state,
					 semshare_slot_state(at, SEMSHARE_SLOT_RELEASED)))
			return 1;
	}
	return 0;
}

/*
 * Make a slot ours whose position we have reserved.  0: it is.  -EAGAIN: the
 * position is passed over, take another.  -EPROTO.
 */
static inline int semshare_mpsc_claim(struct semshare_slot *slot, __u64 position, __u64 mask)
{
	enum semshare_slot_state next;
	unsigned int tries;

	for (tries = 0; tries < SEMSHARE_SLOT_TRIES; tries++) {
		/* F, with E of one who wrote too late. */
		__u64 state = semshare_load_acquire(&slot->state);
		__u64 at = semshare_slot_position(state);

		/* First, and with one comparison, what it nearly always is. */
		if (state == semshare_slot_state(position, SEMSHARE_SLOT_FREE))
			return 0;
		if ((at - position) & mask)
			return -EPROTO;
		next = SEMSHARE_SLOT_QUARANTINED;
		switch (state & SEMSHARE_SLOT_STATE_MASK) {
		case SEMSHARE_SLOT_FREE:
			break;
		case SEMSHARE_SLOT_ABANDONED:
			if (at == position) {
				/* We were so slow that the consumer gave us up. */
				(void)semshare_slot_release(slot, position);
				return -EAGAIN;
			}
			break;
		case SEMSHARE_SLOT_QUARANTINED:
			if (at == position)
				return -EAGAIN;
			break;
		case SEMSHARE_SLOT_RELEASED:
			if (at == position)
				return -EAGAIN;
			next = SEMSHARE_SLOT_FREE;
			break;
		case SEMSHARE_SLOT_COMMITTED:
			break;
		default:
			return -EPROTO;
		}
		if (at > position) {
			/*
			 * We were stopped since before the claim, for longer than the
			 * consumer waits, and others went on round the ring.  If it
			 * is for us that the slot is out of use, we let it go; if for
			 * somebody before us, it is not ours to let go.
			 */
			if ((state & SEMSHARE_SLOT_STATE_MASK) != SEMSHARE_SLOT_QUARANTINED ||
			    semshare_load(&slot->writer) != position)
				return -EAGAIN;
			/* Nothing was written, so E has nothing to order. */
			if (semshare_try_cmpxchg(&slot->state, &state,
						 semshare_slot_state(at, SEMSHARE_SLOT_RELEASED)))
				return -EAGAIN;
			continue;
		}
		if ((state & SEMSHARE_SLOT_STATE_MASK) == SEMSHARE_SLOT_FREE ||
		    (state & SEMSHARE_SLOT_STATE_MASK) == SEMSHARE_SLOT_COMMITTED)
			return -EPROTO;
		/* Of the one who was here before. */
		if (next == SEMSHARE_SLOT_FREE)
			semshare_store(&slot->owner_pid, 0);
		/* K, with L of who gives us up: it does not find the owner of before. */
		if (semshare_try_cmpxchg(&slot->state, &state, semshare_slot_state(position, next)))
			return next == SEMSHARE_SLOT_FREE ? 0 : -EAGAIN;
	}
	return -EPROTO;
}

/**
 * semshare_mpsc_reserve - have a slot to write into
 * @ring: the ring
 * @owner: the caller
 * @reservation: out
 *
 * Context: any, in the kernel NMI included.
 * Return: 0; -EAGAIN: there is none; -EPROTO.
 */
static __always_inline int
semshare_mpsc_reserve(const struct semshare_mpsc *ring, const struct semshare_mpsc_owner *owner,
		      struct semshare_mpsc_reservation *reservation)
{
	struct semshare_mpsc_words *words = ring->words;
	/* H, with G of who reserved the position before. */
	__u64 tail = semshare_load_acquire(&words->tail);
	__u64 drops, used;
	unsigned int passed = 0, tries = 0;
	struct semshare_slot *slot;
	int error;

	for (;;) {
		/* After the tail, see the sequence below. */
		drops = semshare_load(&words->drops);
		/* D, with C of the consumer that gave the slot back. */
		used = tail - semshare_load_acquire(&words->head);
		if (used > ring->mask) {
			__u64 again = semshare_load_acquire(&words->tail);	/* H */

			/* The head has overtaken the tail that we had read. */
			if (again != tail && passed++ < SEMSHARE_MPSC_STEPS) {
				tail = again;
				continue;
			}
			return used > ring->mask + 1 ? -EPROTO : -EAGAIN;
		}
		/* G, with H of who reserves the next. */
		if (!semshare_try_cmpxchg(&words->tail, &tail, tail + 1)) {
			/* Others may go round the ring for ever: not so this one. */
			if (tries++ > SEMSHARE_MPSC_TRIES)
				return -EAGAIN;
			/* H once more: what a cmpxchg that fails has read orders nothing. */
			tail = semshare_load_acquire(&words->tail);
			continue;
		}
		slot = semshare_mpsc_slot(ring, tail);
		error = semshare_mpsc_claim(slot, tail, ring->mask);
		if (!error)
			break;
		if (error != -EAGAIN || passed++ >= SEMSHARE_MPSC_STEPS)
			return error;
		tail = semshare_load_acquire(&words->tail);	/* H */
	}
	semshare_store(&slot->owner_start, owner->start);
	semshare_store(&slot->owner_ns, owner->ns);
	/* I, with J: whoever reads a pid reads the others after it. */
	semshare_store_release(&slot->owner_pid, owner->pid);
	reservation->slot = slot;
	reservation->position = tail;
	/*
	 * Records that were refused leave a gap.  Numbers grow with positions:
	 * whoever reserves the next position has read the tail that this cmpxchg
	 * stored, and after it the drops, which are no fewer then.
	 */
	reservation->sequence = tail + drops;
	return 0;
}

/**
 * semshare_mpsc_drop - count a record that is not put, because there is no slot
 * @ring: the ring
 *
 * It leaves a gap in the sequence.
 */
static inline void semshare_mpsc_drop(const struct semshare_mpsc *ring)
{
	__u64 drops = semshare_load(&ring->words->drops);
	unsigned int tries;

	for (tries = 0; tries < SEMSHARE_MPSC_TRIES; tries++)
		if (semshare_try_cmpxchg(&ring->words->drops, &drops, drops + 1))
			return;
}

/* Where the payload goes: semshare_mpsc_max_payload() bytes. */
static inline void *semshare_mpsc_payload(const struct semshare_mpsc_reservation *reservation)
{
	return reservation->slot + 1;
}

/**
 * semshare_mpsc_commit - publish the record
 * @reservation: of semshare_mpsc_reserve(); its slot is not ours any more
 * @size: bytes that were written
 * @type: the record's tag
 * @time_ns: CLOCK_MONOTONIC
 *
 * Context: any.
 * Return: 0; -ESTALE: the consumer did not wait so long, the record is lost,
 * and counted as abandoned.
 */
static inline int semshare_mpsc_commit(const struct semshare_mpsc_reservation *reservation,
				       __u32 size, __u32 type, __u64 time_ns)
{
	struct semshare_slot *slot = reservation->slot;
	__u64 state = semshare_slot_state(reservation->position, SEMSHARE_SLOT_FREE);

	slot->record.size = size;
	slot->record.type = type;
	slot->record.position = reservation->position;
	slot->record.sequence = reservation->sequence;
	slot->record.time_ns = time_ns;
	/* A, with B. */
	if (semshare_try_cmpxchg(&slot->state, &state,
				 semshare_slot_state(reservation->position,
						     SEMSHARE_SLOT_COMMITTED)))
		return 0;
	(void)semshare_slot_release(slot, reservation->position);
	return -ESTALE;
}

/**
 * semshare_mpsc_cancel - give a reservation up
 * @ring: the ring
 * @reservation: of semshare_mpsc_reserve(); its slot is not ours any more
 *
 * The consumer passes over its position, and it leaves a gap in the sequence.
 *
 * Context: any.
 */
static inline void semshare_mpsc_cancel(const struct semshare_mpsc *ring,
					const struct semshare_mpsc_reservation *reservation)
{
	__u64 *cancelled = &ring->words->cancelled, count = semshare_load(cancelled);
	__u64 state = semshare_slot_state(reservation->position, SEMSHARE_SLOT_FREE);
	unsigned int tries;

	/* E, with F of the next one. */
	if (!semshare_try_cmpxchg(&reservation->slot->state, &state,
				  semshare_slot_state(reservation->position,
						      SEMSHARE_SLOT_RELEASED))) {
		/* The consumer has given it up before us, and counted it. */
		(void)semshare_slot_release(reservation->slot, reservation->position);
		return;
	}
	for (tries = 0; tries < SEMSHARE_MPSC_TRIES; tries++)
		if (semshare_try_cmpxchg(cancelled, &count, count + 1))
			return;
}

/**
 * semshare_mpsc_begin - become the consumer
 * @ring: with all but @head and @cursor
 *
 * There must be no other.  One that was killed while it gave slots back may have
 * given back more than it said.
 */
static inline void semshare_mpsc_begin(struct semshare_mpsc *ring)
{
	__u64 at, passed;

	ring->head = semshare_load(&ring->words->head);
	for (passed = 0, at = ring->head; passed <= ring->mask; passed++, at++) {
		__u64 state = semshare_load(&semshare_mpsc_slot(ring, at)->state);

		if (state == semshare_slot_state(at + ring->mask + 1, SEMSHARE_SLOT_FREE))
			ring->head = at + 1;
		else if (state == semshare_slot_state(at, SEMSHARE_SLOT_FREE) ||
			 state == semshare_slot_state(at, SEMSHARE_SLOT_COMMITTED) ||
			 semshare_slot_position(state) != at)
			break;
		/* Else it is one that was given up, and behind it there may be more. */
	}
	ring->cursor = ring->head;
	ring->passed = 0;
	/* C. */
	semshare_store_release(&ring->words->head, ring->head);
}

static inline int semshare_mpsc_is_dead(const struct semshare_mpsc *ring,
					const struct semshare_mpsc_owner *owner)
{
	return owner->pid && ring->is_dead && (!ring->ns || owner->ns == ring->ns) &&
	       ring->is_dead(owner);
}

/* Let a slot go that was given up, if its producer is known to be dead. */
static inline void semshare_mpsc_bury(const struct semshare_mpsc *ring, struct semshare_slot *slot)
{
	__u64 state = semshare_load(&slot->state);
	struct semshare_mpsc_owner owner;
	unsigned int tries;

	if ((state & SEMSHARE_SLOT_STATE_MASK) == SEMSHARE_SLOT_RELEASED)
		return;
	owner.pid = semshare_load_acquire(&slot->owner_pid);	/* J */
	owner.start = semshare_load(&slot->owner_start);
	owner.ns = semshare_load(&slot->owner_ns);
	if (!semshare_mpsc_is_dead(ring, &owner))
		return;
	/*
	 * Only the consumer comes here, and who is dead writes no more: the
	 * words are still those of the owner.  That it is dead the kernel has told
	 * after all that it did, and C passes that on: this cmpxchg orders nothing.
	 */
	for (tries = 0; tries < SEMSHARE_SLOT_TRIES; tries++) {
		if ((state & SEMSHARE_SLOT_STATE_MASK) != SEMSHARE_SLOT_ABANDONED &&
		    (state & SEMSHARE_SLOT_STATE_MASK) != SEMSHARE_SLOT_QUARANTINED)
			break;
		if (semshare_try_cmpxchg(&slot->state, &state,
					 semshare_slot_state(semshare_slot_position(state),
							     SEMSHARE_SLOT_RELEASED)))
			break;
	}
}

/**
 * semshare_mpsc_peek - look at the oldest record that was not read
 * @ring: the ring
 * @record: out: a copy of its head, checked
 * @payload: out: where its payload lies; copy it, then semshare_mpsc_read()
 *
 * Passes over positions that were given up, so many that semshare_mpsc_consume() is
 * due.
 *
 * Return: 0; -EAGAIN: the ring is empty, or that many were passed over; -EBUSY: the
 * oldest is reserved, and not committed yet; -EPROTO.
 */
static inline int semshare_mpsc_peek(struct semshare_mpsc *ring, struct semshare_record *record,
				     const void **payload)
{
	while (ring->cursor - ring->head <= ring->mask) {
		struct semshare_slot *slot = semshare_mpsc_slot(ring, ring->cursor);
		__u64 state = semshare_load_acquire(&slot->state);	/* B, with A */
		__u64 at = semshare_slot_position(state);

		/* First, and with one comparison, what it nearly always is. */
		if (state == semshare_slot_state(ring->cursor, SEMSHARE_SLOT_COMMITTED)) {
			semshare_copy(record, &slot->record, sizeof(*record));
			if (record->position != ring->cursor ||
			    record->size > semshare_mpsc_max_payload(ring))
				return -EPROTO;
			*payload = slot + 1;
			return 0;
		}
		switch (state & SEMSHARE_SLOT_STATE_MASK) {
		case SEMSHARE_SLOT_COMMITTED:
			return -EPROTO;
		case SEMSHARE_SLOT_FREE:
			if (at != ring->cursor)
				return -EPROTO;
			break;
		default:
			if (at > ring->cursor)
				return -EPROTO;
			if (at < ring->cursor)
				break;
			/* Given up: the state stays, the next lap sees to it. */
			semshare_mpsc_bury(ring, slot);
			ring->cursor++;
			if (++ring->passed >= SEMSHARE_MPSC_STEPS)
				return -EAGAIN;
			continue;
		}
		return semshare_load(&ring->words->tail) == ring->cursor ? -EAGAIN : -EBUSY;
	}
	return -EAGAIN;
}

/* Positions that one looks at from outside. */
#define SEMSHARE_MPSC_AHEAD	16

/**
 * semshare_mpsc_is_worth_a_look - may the consumer find something to do?
 * @ring: the ring, to one who is no party of it
 *
 * A position that is reserved, with nothing committed behind it, is nothing yet: who
 * has reserved it rings when it commits, and if it dies nothing is lost by that.  But
 * where all are reserved it is the consumer's looks that give them up.
 *
 * Return: 1: a record is there, words make no sense, or it is too far to tell; 0: no.
 */
static inline int semshare_mpsc_is_worth_a_look(const struct semshare_mpsc *ring)
{
	__u64 at = semshare_load_acquire(&ring->words->head);
	__u64 tail = semshare_load_acquire(&ring->words->tail);
	__u64 end = at + (ring->mask < SEMSHARE_MPSC_AHEAD ? ring->mask + 1 : SEMSHARE_MPSC_AHEAD);

	for (; at != end; at++) {
		__u64 state, position;

		if (at == tail)
			return 0;
		state = semshare_load_acquire(&semshare_mpsc_slot(ring, at)->state);
		position = semshare_slot_position(state);
		switch (state & SEMSHARE_SLOT_STATE_MASK) {
		case SEMSHARE_SLOT_FREE:
			/* Being written; or taken, and given back since we have read the head. */
			if (position != at && position != at + ring->mask + 1)
				return 1;
			break;
		case SEMSHARE_SLOT_ABANDONED:
		case SEMSHARE_SLOT_QUARANTINED:
		case SEMSHARE_SLOT_RELEASED:
			break;
		default:
			return 1;
		}
	}
	return 1;
}

/* The record that semshare_mpsc_peek() has shown is copied. Its slot is the consumer's still. */
static inline void semshare_mpsc_read(struct semshare_mpsc *ring)
{
	ring->cursor++;
}

/* Give back the slots of what was read. */
static inline void semshare_mpsc_consume(struct semshare_mpsc *ring)
{
	for (; ring->head != ring->cursor; ring->head++) {
		struct semshare_slot *slot = semshare_mpsc_slot(ring, ring->head);

		/*
		 * Nobody else changes the state of a record that is committed;
		 * what was given up is another's affair.
		 */
		if (semshare_load(&slot->state) !=
		    semshare_slot_state(ring->head, SEMSHARE_SLOT_COMMITTED))
			continue;
		semshare_store(&slot->owner_pid, 0);
		semshare_store(&slot->state, semshare_slot_state(ring->head + ring->mask + 1,
								 SEMSHARE_SLOT_FREE));
	}
	ring->passed = 0;
	/* C, with D of who takes these slots next. */
	semshare_store_release(&ring->words->head, ring->head);
}

/**
 * semshare_mpsc_abandon - give up the oldest position
 * @ring: the ring, whose semshare_mpsc_peek() says -EBUSY
 *
 * For the consumer, when it has waited for long enough.
 *
 * Return: whether it is given up; else it was committed meanwhile.
 */
static inline int semshare_mpsc_abandon(struct semshare_mpsc *ring)
{
	struct semshare_mpsc_words *words = ring->words;
	struct semshare_slot *slot = semshare_mpsc_slot(ring, ring->cursor);
	__u64 state = semshare_load(&slot->state);
	enum semshare_slot_state next;
	unsigned int tries = 0;

	do {
		if (tries++ > SEMSHARE_SLOT_TRIES)
			return 0;
		if (semshare_slot_position(state) >= ring->cursor &&
		    state != semshare_slot_state(ring->cursor, SEMSHARE_SLOT_FREE))
			return 0;
		switch (state & SEMSHARE_SLOT_STATE_MASK) {
		case SEMSHARE_SLOT_ABANDONED:
		case SEMSHARE_SLOT_QUARANTINED:
			/* Who reserved it has not even looked at it. */
			next = SEMSHARE_SLOT_QUARANTINED;
			break;
		default:
			next = SEMSHARE_SLOT_ABANDONED;
			/* From now on, and until it lets go, it is the one who may write. */
			semshare_store(&slot->writer, ring->cursor);
		}
		/* L: the owner is read after it, and who wants to let go reads the writer. */
	} while (!semshare_try_cmpxchg(&slot->state, &state,
				       semshare_slot_state(ring->cursor, next)));
	semshare_store(&words->abandoned, semshare_load(&words->abandoned) + 1);
	semshare_mpsc_bury(ring, slot);
	ring->cursor++;
	return 1;
}

/**
 * semshare_mpsc_busy - what to do about a producer that does not commit
 * @ring: the ring, whose semshare_mpsc_peek() says -EBUSY
 * @now: CLOCK_MONOTONIC, nanoseconds
 *
 * It is given up after SEMSHARE_RING_ABANDON_MS, and at once, but for the time
 * that it may take to commit, if it is known to be dead.
 *
 * Return: whether to look again.
 */
static inline int semshare_mpsc_busy(struct semshare_mpsc *ring, __u64 now)
{
	struct semshare_slot *slot = semshare_mpsc_slot(ring, ring->cursor);
	struct semshare_mpsc_owner owner;

	if (ring->busy != ring->cursor + 1) {
		ring->busy = ring->cursor + 1;
		ring->busy_since = now;
		return 0;
	}
	if (now - ring->busy_since < SEMSHARE_RING_ABANDON_MS * (__u64)1000000) {
		owner.pid = semshare_load_acquire(&slot->owner_pid);	/* J */
		owner.start = semshare_load(&slot->owner_start);
		owner.ns = semshare_load(&slot->owner_ns);
		if (!semshare_mpsc_is_dead(ring, &owner))
			return 0;
	}
	(void)semshare_mpsc_abandon(ring);
	return 1;
}

#endif /* SEMSHARE_CORE_MPSC_H */
