/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The contract between the semshare module, the semshare Python package and
 * any other program: names, ioctls and the layout of everything that lies in
 * shared memory.  Compiles alone, as C and as C++, in the kernel and outside.
 *
 * Rules for every structure here: fixed-width types, explicit padding, no
 * pointers, reserved fields are zero (the module answers -EINVAL otherwise),
 * native byte order, natural alignment.
 */
#ifndef SEMSHARE_ABI_H
#define SEMSHARE_ABI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* A different version is refused by either side; features may only be added. */
#define SEMSHARE_ABI_VERSION	2

#define SEMSHARE_FEATURE_AREA		0x00000001u	/* named areas */
#define SEMSHARE_FEATURE_RING_SYSV	0x00000002u	/* the SysV-locked ring */
#define SEMSHARE_FEATURE_SEMCTL_ALL	0x00000004u	/* GETALL and SETALL from kthreads */
#define SEMSHARE_FEATURE_ROUTE		0x00000008u	/* /dev/semshare-route */
#define SEMSHARE_FEATURE_RING_SPSC	0x00000010u	/* … that of one producer */
#define SEMSHARE_FEATURE_RING_MPSC	0x00000020u	/* … that of slots */
#define SEMSHARE_FEATURES	(SEMSHARE_FEATURE_AREA | \
				 SEMSHARE_FEATURE_RING_SPSC | \
				 SEMSHARE_FEATURE_RING_MPSC | \
				 SEMSHARE_FEATURE_ROUTE | \
				 SEMSHARE_FEATURE_RING_SYSV | \
				 SEMSHARE_FEATURE_SEMCTL_ALL)

#define SEMSHARE_DEVICE		"/dev/semshare"

/* ------------------------------------------------------------------ names */

/*
 * 1 to 63 characters of [A-Za-z0-9._-], zero-terminated and zero-padded.
 * The SysV key that belongs to a name is FNV-1a (32 bit) over its characters,
 * the top bit cleared, 1 in place of 0 (IPC_PRIVATE): semshare/core/key.h.
 * A hash can collide: the full name is stored beside every key and compared.
 */
#define SEMSHARE_NAME_MAX	63
#define SEMSHARE_NAME_SIZE	64

/* ------------------------------------------------------------- lock state */

enum semshare_owner_kind {
	SEMSHARE_OWNER_NONE	= 0,
	SEMSHARE_OWNER_USER	= 1,
	SEMSHARE_OWNER_KERNEL	= 2,
};

/**
 * struct semshare_lock_state - what a SysV semaphore cannot remember
 * @epoch: odd while an owner is inside, even while it is not.  Whoever takes
 *	the semaphore and finds it odd knows that the last owner died inside
 *	and that SEM_UNDO gave the semaphore back
 * @owner_kind: enum semshare_owner_kind
 * @owner_pid: thread group id of the owner, in its own pid namespace
 * @owner_tid: thread id of the owner, 0 if it belongs to a process and no thread of it
 * @owner_start: start time of the owner's process, clock ticks since boot
 *	(field 22 of /proc/PID/stat): tells a living owner from a reused pid
 * @deaths: owners found dead so far
 * @suspect: not 0 from when an owner was found dead until somebody who holds the
 *	lock says that what it guards is consistent again
 * @depth: of a lock that its owner may take again: how many times more it has
 * @dead_kind: while @suspect: who the last was that was found dead, ...
 * @dead_pid: ...
 * @dead_tid: ...
 * @waiters: about how many threads of processes wait for it: by this they choose
 *	whether to look for a moment at which it is free, or to queue up at once
 * @dead_start: ... as @owner_kind to @owner_start
 *
 * One cache line.  Every word but @waiters is written only by the owner of the
 * semaphore, so no other word needs to be atomic; a reader without the lock sees
 * a hint.
 * Words other than @epoch may be stale when a plain program holds the lock.
 * Of a SEMSHARE_SET_RWLOCK they are the writer's; a reader who finds its epoch
 * odd changes it by cmpxchg, as other readers may be inside.
 * A ring puts itself right, so none is ever suspect.
 */
struct semshare_lock_state {
	__u32 epoch;
	__u32 owner_kind;
	__u32 owner_pid;
	__u32 owner_tid;
	__u64 owner_start;
	__u64 deaths;
	__u32 suspect;
	__u32 depth;
	__u32 dead_kind;
	__u32 dead_pid;
	__u32 dead_tid;
	__u32 waiters;
	__u64 dead_start;
};

#define SEMSHARE_LOCK_MAGIC	0x4b4c5353u	/* "SSLK" */

/*
 * What a set with a companion is, and what its semaphores are.  U: with SEM_UNDO
 * always, so that what a process did is taken back when it dies.
 */
enum semshare_set_kinds {
	/*
	 * Semaphore 0: 1 free, 0 taken, U.  So is every semaphore of a pool.  Who
	 * may take an RLOCK again counts that in its words, not in the semaphore.
	 */
	SEMSHARE_SET_LOCK	= 0,
	SEMSHARE_SET_RLOCK	= 1,
	SEMSHARE_SET_POOL	= 2,
	/* enum semshare_rwlock_semaphore */
	SEMSHARE_SET_RWLOCK	= 3,
	/*
	 * Semaphore 0: free permits.  U, but for permits that are given by another
	 * process than took them: those are given without.
	 */
	SEMSHARE_SET_SEMAPHORE	= 4,
	/*
	 * The same, and 32767 - @limit more: so the kernel itself refuses, with
	 * ERANGE, what would be more than @limit.  One is taken by three operations
	 * in one call: -1, U; -(32767 - @limit), which waits until there was one; and
	 * +(32767 - @limit).  Without U: SEM_UNDO remembers sums of at most 32767.
	 */
	SEMSHARE_SET_BOUNDED	= 5,
	/* Semaphore 0: 0 the event has happened, 1 not yet; without U: it outlives who set it. */
	SEMSHARE_SET_EVENT	= 6,
	/*
	 * Semaphore 0: a lock; 1 + n is of the waiter in place n: +1, U, as long as it lives
	 * and has the place, and +2, without U, from when it is woken until it notices.  It
	 * sleeps by -2.
	 */
	SEMSHARE_SET_CONDITION	= 7,
	SEMSHARE_SET_BARRIER	= 8,	/* of @limit parties */
	SEMSHARE_SET_KINDS	= 9,
};

/* A new set's are 0; nobody ever changes one of them by SETVAL. */
enum semshare_rwlock_semaphore {
	SEMSHARE_RWLOCK_WRITER	= 0,	/* U: 1 while a writer is inside */
	SEMSHARE_RWLOCK_READERS	= 1,	/* U: how many readers are */
	SEMSHARE_RWLOCK_WAITING	= 2,	/* U: how many writers wait: new readers wait for 0 */
	SEMSHARE_RWLOCK_NSEMS	= 3,
};

/**
 * struct semshare_lock_segment - the companion of a set
 * @magic: SEMSHARE_LOCK_MAGIC, stored last
 * @abi_version: SEMSHARE_ABI_VERSION
 * @features: 0
 * @key: the key of the set, and of this segment
 * @semid: the set as it was when the segment was made
 * @nsems: semaphores in the set
 * @name: the lock's name, empty for a lock made by key
 * @kind: enum semshare_set_kinds
 * @limit: SEMSHARE_SET_BOUNDED: the most permits, 1 to 32767; SEMSHARE_SET_BARRIER:
 *	parties, 1 to SEMSHARE_PLACES; else 0
 * @reserved: zero
 * @state: the state of semaphore 0; in a pool that of semaphore n follows as the
 *	nth more.  Of an event only @epoch is used: see semshare/core/event.h.  Semaphores
 *	have none: it stays zero
 *
 * A SysV shared memory segment under the same key as the set, in the same IPC
 * namespace: SEMSHARE_LOCK_SEGMENT_SIZE bytes; of a pool 128 and 64 for each of
 * its locks, of a condition or barrier SEMSHARE_PLACES_SEGMENT_SIZE, each rounded
 * up to SEMSHARE_LOCK_SEGMENT_SIZE.
 */
struct semshare_lock_segment {
	__u32 magic;
	__u32 abi_version;
	__u32 features;
	__u32 key;
	__s32 semid;
	__u32 nsems;
	char name[SEMSHARE_NAME_SIZE];
	__u32 kind;
	__u32 limit;
	__u8 reserved[32];
	struct semshare_lock_state state;
};

#define SEMSHARE_LOCK_SEGMENT_SIZE	4096

/* Waiters that a condition or a barrier has a place for. */
#define SEMSHARE_PLACES			248
#define SEMSHARE_PLACES_NSEMS		249	/* the lock's and theirs */
#define SEMSHARE_PLACES_SEGMENT_SIZE	8192

/* What becomes of a place: changed under the lock only. */
enum semshare_waiter_state {
	SEMSHARE_WAITER_NONE	= 0,	/* free */
	SEMSHARE_WAITER_WAITS	= 1,
	SEMSHARE_WAITER_WOKEN	= 2,
	SEMSHARE_WAITER_FAILED	= 3,	/* of a barrier: woken because that broke, or was reset */
};

/**
 * struct semshare_waiter - a place in a condition or a barrier
 * @state: enum semshare_waiter_state
 * @kind: who waits: enum semshare_owner_kind
 * @pid: ... as in struct semshare_lock_state
 * @tid: ...
 * @start: ...
 * @ticket: of a condition: the lower it is the longer it waits; of a waiter that was
 *	woken: the ticket of the first who came after that.  Of a barrier: the generation
 *	that it waits for, times 256, and its index in that
 */
struct semshare_waiter {
	__u32 state;
	__u32 kind;
	__u32 pid;
	__u32 tid;
	__u64 start;
	__u64 ticket;
};

/**
 * struct semshare_places - what a condition or a barrier has behind its lock's state
 * @ticket: of the next waiter
 * @generation: of a barrier: how many times it has opened, broke or was reset
 * @broken: of a barrier: not 0 while it is broken
 * @reserved0: zero
 * @failed: of a barrier: bit n & 63 is set if generation n ended without opening
 * @guard: of a condition: the key of the set whose lock guards it, and 1 + the number of
 *	that semaphore in the upper half; 0 as long as nobody has opened it
 * @reserved: zero
 * @waiters: the places
 */
struct semshare_places {
	__u64 ticket;
	__u64 generation;
	__u32 broken;
	__u32 reserved0;
	__u64 failed;
	__u64 guard;
	__u64 reserved[3];
	struct semshare_waiter waiters[SEMSHARE_PLACES];
};

/* ------------------------------------------------------------------- ring */

/*
 * An area that holds a ring:
 *
 *      0 +---------------------------+
 *        | semshare_ring_control     |  one page
 *   4096 +---------------------------+
 *        | capacity bytes of records |  a power of two
 *        +---------------------------+
 *        | what else the area holds  |  not the ring's
 *        +---------------------------+
 *
 * A position is a count of bytes since the ring was made; it never wraps, its
 * place is position & (capacity - 1).  head <= tail <= head + capacity.
 * Records start at multiples of 32, the size of their header, so that is never
 * split; the payload may run over the end of the ring and go on at its start.
 *
 * Everything below is written only by the owner of semaphore 0 of the set.
 * The commit of a put is the one store of tail, of a get the one store of
 * head: killed before it nothing happened, killed after it all of it did.
 */
#define SEMSHARE_RING_MAGIC		0x47525353u	/* "SSRG" */
#define SEMSHARE_RING_CONTROL_SIZE	4096
#define SEMSHARE_RING_ALIGN		32
#define SEMSHARE_RING_MIN_CAPACITY	4096
#define SEMSHARE_RING_MAX_CAPACITY	0x40000000	/* 1 GiB */

enum semshare_ring_variants {
	SEMSHARE_RING_SYSV	= 1,	/* many producers, many consumers, a lock */
	SEMSHARE_RING_SPSC	= 2,	/* one producer, one consumer, no lock */
	SEMSHARE_RING_MPSC	= 3,	/* many producers, one consumer, no lock */
	SEMSHARE_RING_LANES	= 4,	/* a few producers, a SPSC each, one consumer */
	SEMSHARE_RING_PAGED	= 5,	/* pages between fences, as a device writes them */
	SEMSHARE_RING_ROBUST	= 6,	/* a robust pthread mutex: processes only, no set */
	SEMSHARE_RING_PRIVATE	= 0x10000,	/* from here on: yours, never ours */
};

/* What a put does that finds no space. */
enum semshare_ring_policy {
	SEMSHARE_RING_WAIT	= 0,	/* it waits, as long as its caller lets it */
	SEMSHARE_RING_REFUSE	= 1,	/* the record is dropped */
	SEMSHARE_RING_OVERWRITE	= 2,	/* the oldest records are dropped */
	SEMSHARE_RING_POLICIES	= 3,
};

/* Why a record that somebody wanted to put will never be taken. */
enum semshare_ring_drop {
	SEMSHARE_DROP_REFUSED		= 0,	/* there was no space for it */
	SEMSHARE_DROP_OVERWRITTEN	= 1,	/* there was no space for a later one */
	SEMSHARE_DROP_ABANDONED		= 2,	/* its producer did not finish it, or not in time */
	SEMSHARE_DROP_CAUSES		= 3,
};

/* What is not 0 is sticky, and says what was found first: make a new ring. */
enum semshare_ring_state {
	SEMSHARE_RING_OK		= 0,
	SEMSHARE_RING_BROKEN		= 1,	/* somebody says so, and not why */
	SEMSHARE_RING_TWO_OWNERS	= 2,	/* two were inside its lock at once */
	SEMSHARE_RING_BAD_MUTEX		= 3,	/* its mutex was set to its maximum */
	SEMSHARE_RING_BAD_CURSORS	= 4,	/* cursors or records that make no sense */
	SEMSHARE_RING_BAD_REPAIR	= 5,	/* the same, when its last owner had died */
	SEMSHARE_RING_DESTROYED		= 6,	/* on purpose, by whoever made it */
	SEMSHARE_RING_STATES		= 7,
};

/* The semaphores of a ring's set. */
enum semshare_ring_semaphore {
	SEMSHARE_SEM_MUTEX	= 0,	/* 1 free, 0 taken */
	SEMSHARE_SEM_DATA	= 1,	/* hint, 0 or 1: "there is a record" */
	SEMSHARE_SEM_SPACE	= 2,	/* hint, 0 or 1: "there is space" */
	SEMSHARE_RING_NSEMS	= 3,
	/* Of the variants of which only one party can be that: 1 free, 0 taken. */
	SEMSHARE_SEM_PRODUCER	= 3,
	SEMSHARE_SEM_CONSUMER	= 4,
	SEMSHARE_RING_ROLE_NSEMS = 5,
	/* Of SEMSHARE_RING_LANES: PRODUCER is that of lane 0, LANE + n - 1 that of lane n. */
	SEMSHARE_SEM_LANE	= 5,
	SEMSHARE_RING_LANES_NSEMS = 18,
};

/* A waiter looks at the cursors again at least this often. */
#define SEMSHARE_RING_RECHECK_MS	100

/* So long the consumer of SEMSHARE_RING_MPSC waits for a record that was begun. */
#define SEMSHARE_RING_ABANDON_MS	1000

/**
 * struct semshare_record - what stands before each payload in a ring
 * @size: bytes of payload, 0 to max_payload
 * @type: the user's own tag
 * @position: where this header starts, or the number of its slot; a reader
 *	compares it with the position it reads at, so bytes that are not a
 *	record are not taken for one
 * @sequence: 0, 1, … as records are put; a number that is missing is that of a
 *	record that was dropped, or of one whose producer was killed over it
 * @time_ns: CLOCK_MONOTONIC when it was put
 */
struct semshare_record {
	__u32 size;
	__u32 type;
	__u64 position;
	__u64 sequence;
	__u64 time_ns;
};

/**
 * struct semshare_spsc_words - what SEMSHARE_RING_SPSC has in @words, in place of @head and @tail
 * @tail: the producer's: position behind the newest record
 * @sequence: the producer's: of the next record
 * @refused: the producer's: records that it dropped because there was no space
 * @overwritten: the producer's: records that it dropped for later ones
 * @reserved0: zero
 * @head: the consumer's: position of the oldest record; where the policy is to
 *	overwrite, that of both, by cmpxchg
 * @reserved1: zero
 *
 * Each side has a pair of cache lines to itself, as processors fetch them.
 */
struct semshare_spsc_words {
	__u64 tail;
	__u64 sequence;
	__u64 refused;
	__u64 overwritten;
	__u64 reserved0[12];
	__u64 head;
	__u64 reserved1[15];
};

/* As many struct semshare_spsc_words as fit into @words. */
#define SEMSHARE_RING_MAX_LANES	14

/**
 * struct semshare_paged_words - what SEMSHARE_RING_PAGED has in @words
 * @head: the consumer's: number of the oldest page
 * @overwritten: the consumer's: pages that were written again before it had them
 * @torn: the consumer's: pages that their producer left unfinished
 * @reserved0: zero
 * @refused: the producer's: records that it dropped because there was no space
 * @reserved1: zero
 *
 * There is no tail: see semshare/core/paged.h.
 */
struct semshare_paged_words {
	__u64 head;
	__u64 overwritten;
	__u64 torn;
	__u64 reserved0[13];
	__u64 refused;
	__u64 reserved1[15];
};

#define SEMSHARE_PAGE_MAGIC	0x45474150u	/* "PAGE" */

/**
 * struct semshare_page - the head of a page; the payload follows
 * @first: SEMSHARE_PAGE_MAGIC in the high half, the low half of the page's
 *	number in the low: written before everything else
 * @reserved: zero
 * @record: its position is the page's number
 *
 * The last eight bytes of the page are the same word, written after everything
 * else.
 */
struct semshare_page {
	__u64 first;
	__u64 reserved;
	struct semshare_record record;
};

/* What a page has beside the payload. */
#define SEMSHARE_PAGE_OVERHEAD	64

/**
 * struct semshare_slot - the head of a slot; the payload follows
 * @state: see semshare/core/mpsc.h
 * @owner_pid: who reserved it, so that others can find out that it is dead;
 *	0: not known, or the kernel
 * @owner_start: the low half of its start time, clock ticks since boot
 * @owner_ns: of its pid namespace, the inode's number
 * @reserved: zero
 * @writer: the consumer's: the position that was given up, and whose producer
 *	may be writing here still; old where @state says that there is none
 * @record: see there
 */
struct semshare_slot {
	__u64 state;
	__u32 owner_pid;
	__u32 owner_start;
	__u32 owner_ns;
	__u32 reserved;
	__u64 writer;
	struct semshare_record record;
};

/**
 * struct semshare_mpsc_words - what SEMSHARE_RING_MPSC has in @words
 * @tail: next position to reserve
 * @drops: records that were refused because there was no slot: any producer
 * @cancelled: positions that their producers gave up: any producer
 * @reserved0: zero
 * @head: next position to take
 * @abandoned: positions given up by the consumer
 * @reserved1: zero
 */
struct semshare_mpsc_words {
	__u64 tail;
	__u64 drops;
	__u64 cancelled;
	__u64 reserved0[13];
	__u64 head;
	__u64 abandoned;
	__u64 reserved1[14];
};

/**
 * struct semshare_ring_control - the first page of a ring
 * @magic: SEMSHARE_RING_MAGIC, stored last when a ring is made
 * @abi_version: SEMSHARE_ABI_VERSION
 * @features: 0
 * @variant: enum semshare_ring_variants
 * @capacity: bytes of records, a power of two
 * @max_payload: the longest payload: capacity / 4 - sizeof(struct semshare_record),
 *	or what struct semshare_ring_params says
 * @control_size: SEMSHARE_RING_CONTROL_SIZE
 * @semid: the set that guards the ring, -1 if there is none
 * @key: its key
 * @nsems: SEMSHARE_RING_NSEMS, SEMSHARE_RING_ROLE_NSEMS, SEMSHARE_RING_LANES_NSEMS or 0
 * @flags: 0
 * @policy: enum semshare_ring_policy
 * @reserved0: zero
 * @lock: state of SEMSHARE_SEM_MUTEX
 * @head: position of the oldest record
 * @tail: position behind the newest record
 * @need_data: not 0 if somebody may sleep on SEMSHARE_SEM_DATA
 * @need_space: not 0 if somebody may sleep on SEMSHARE_SEM_SPACE
 * @state: enum semshare_ring_state
 * @reserved1: zero
 * @puts: records put
 * @gets: records taken
 * @put_bytes: bytes of payload put
 * @repairs: times an owner was found dead inside
 * @reserved2: zero
 * @name: the ring's name
 * @sequence: of the next record
 * @drops: records dropped, for each enum semshare_ring_drop
 * @bell_data: not 0 if somebody waits for records at a descriptor: whoever puts
 *	one rings (semshare/core/bell.h)
 * @bell_space: not 0 if somebody waits for space at one
 * @words: what a variant has of its own, such as struct semshare_spsc_words
 *
 * The kernel keeps its own copy of the geometry and never reads it here again.
 */
struct semshare_ring_control {
	/* written once, before @magic */
	__u32 magic;
	__u32 abi_version;
	__u32 features;
	__u32 variant;
	__u64 capacity;
	__u32 max_payload;
	__u32 control_size;
	__s32 semid;
	__u32 key;
	__u32 nsems;
	__u32 flags;
	__u32 policy;
	__u32 reserved0[3];

	struct semshare_lock_state lock;

	__u64 head;
	__u64 tail;
	__u32 need_data;
	__u32 need_space;
	__u32 state;
	__u32 reserved1;
	__u64 puts;
	__u64 gets;
	__u64 put_bytes;
	__u64 repairs;

	char name[SEMSHARE_NAME_SIZE];

	__u64 sequence;
	__u64 drops[SEMSHARE_DROP_CAUSES];
	__u32 bell_data;
	__u32 bell_space;
	__u64 reserved2[27];

	__u64 words[448];
};

/**
 * struct semshare_ring_params - what a new ring is to be
 * @capacity: bytes of records: a power of two from SEMSHARE_RING_MIN_CAPACITY
 *	to SEMSHARE_RING_MAX_CAPACITY
 * @variant: enum semshare_ring_variants
 * @policy: enum semshare_ring_policy, one that the variant can
 * @max_payload: of SEMSHARE_RING_MPSC: of each slot, a multiple of 64, 64 to
 *	@capacity / 4; 0: 192.  Of SEMSHARE_RING_LANES: records so long are to
 *	fit, the shorter the more lanes; 0: eight lanes.  Of SEMSHARE_RING_PAGED:
 *	of each page, SEMSHARE_PAGE_OVERHEAD less than a power of two from 128 to
 *	@capacity / 4; 0: that of 4096, or of the largest that can be.  Of
 *	others: 0
 * @reserved: zero
 */
struct semshare_ring_params {
	__u64 capacity;
	__u32 variant;
	__u32 policy;
	__u32 max_payload;
	__u32 reserved;
};

/* ------------------------------------------- areas in POSIX shared memory */

/*
 * Without the module an area is the file /dev/shm/semshare.NAME.  Its data
 * starts at offset 0, as that of a module's area does; the last page of the
 * file is the trailer.  Every process that has the area open holds a shared
 * flock on the file: where an exclusive one is granted, nobody is left.
 */
#define SEMSHARE_SHM_PREFIX	"semshare."
#define SEMSHARE_SHM_TRAILER_SIZE	4096

/*
 * A ring, or a channel, in such an area has two FIFOs beside it, of the same owner
 * and mode, into which who finds @bell_data or @bell_space set writes a byte:
 * /dev/shm/semshare-bell.NAME.data and .space.
 */
#define SEMSHARE_SHM_BELL_PREFIX	"semshare-bell."
#define SEMSHARE_SHM_BELL_DATA		".data"
#define SEMSHARE_SHM_BELL_SPACE		".space"

#define SEMSHARE_SHM_MAGIC	0x52415353u	/* "SSAR" */

/**
 * struct semshare_shm_trailer - the last page of an area in POSIX shared memory
 * @magic: SEMSHARE_SHM_MAGIC, stored last
 * @abi_version: SEMSHARE_ABI_VERSION
 * @features: 0
 * @key: the key of @name
 * @size: bytes of data, as asked for
 * @creator_start: start time of the creator's process, clock ticks since boot
 * @creator_pid: the creator
 * @creator_uid: its user
 * @semid: the set bound to the area, -1 if none
 * @bind_flags: SEMSHARE_BIND_*
 * @set_key: the bound set's key, creator and size, by which it is known again
 * @set_cuid: see @set_key
 * @set_nsems: see @set_key
 * @kind: enum semshare_area_kind: PAGES, MEMFD or SYSV
 * @name: the area's name
 * @address: where processes agree to map it, 0 if they do not
 * @source: of MEMFD the creator's descriptor, of SYSV the segment's id
 * @reserved: zero
 * @source_id: by which the source is known again: of MEMFD st_dev and st_ino,
 *	of SYSV its key and its creator's uid
 *
 * Of MEMFD and SYSV the trailer is all that the file has: the data is where
 * @source says.
 */
struct semshare_shm_trailer {
	__u32 magic;
	__u32 abi_version;
	__u32 features;
	__u32 key;
	__u64 size;
	__u64 creator_start;
	__u32 creator_pid;
	__u32 creator_uid;
	__s32 semid;
	__u32 bind_flags;
	__u32 set_key;
	__u32 set_cuid;
	__u32 set_nsems;
	__u32 kind;
	char name[SEMSHARE_NAME_SIZE];
	__u64 address;
	__s32 source;
	__u32 reserved;
	__u64 source_id[2];
};

/* ----------------------------------------------------------------- ioctls */

/*
 * Each open of /dev/semshare is a handle.  VERSION, FUNCTION, LIST and UNLINK
 * work on any handle; CREATE, MAKE or ATTACH, once, make it the handle of an area,
 * which mmap, INFO and BIND then work on.  Names are those of the IPC
 * namespace in which the device was opened.
 */
#define SEMSHARE_IOC_TYPE	0xE5

/**
 * struct semshare_version - SEMSHARE_IOC_VERSION
 * @abi_version: in: SEMSHARE_ABI_VERSION of the caller, 0: it only asks; out:
 *	that of the module
 * @features: in: SEMSHARE_FEATURE_* that the caller cannot do without; out: those
 *	that this module has on this kernel
 * @module: out: version of the module; in: zeros
 *
 * To be called first.  -EPROTO: another version; -EOPNOTSUPP: a feature is
 * missing.  The structure says then as well what the module has.
 */
struct semshare_version {
	__u32 abi_version;
	__u32 features;
	char module[56];
};

/**
 * struct semshare_function - SEMSHARE_IOC_FUNCTION
 * @index: in: 0, 1, … until -ENOENT
 * @found: out: 1 if this kernel has it
 * @name: out: the kernel function
 * @needed_for: out: the operations that answer -EOPNOTSUPP without it
 */
struct semshare_function {
	__u32 index;
	__u32 found;
	char name[SEMSHARE_NAME_SIZE];
	char needed_for[SEMSHARE_NAME_SIZE];
};

#define SEMSHARE_ACCESS_READ	0x1u
#define SEMSHARE_ACCESS_WRITE	0x2u

/**
 * struct semshare_area_create - SEMSHARE_IOC_CREATE
 * @name: a name that is free in this IPC namespace, else -EEXIST
 * @size: bytes, 1 to the module parameter max_area_bytes, else -EINVAL
 * @mode: permission bits, 0 to 0666
 * @flags: 0
 *
 * The creator's handle may read and write.  The memory is zeroed and charged
 * to the creator's memory cgroup.
 */
struct semshare_area_create {
	char name[SEMSHARE_NAME_SIZE];
	__u64 size;
	__u32 mode;
	__u32 flags;
};

/* Where the memory of an area comes from. */
enum semshare_area_kind {
	SEMSHARE_AREA_PAGES		= 0,	/* any pages of the system's memory */
	SEMSHARE_AREA_MEMFD		= 1,	/* pages of a memfd of user space */
	SEMSHARE_AREA_SYSV		= 2,	/* pages of a SysV shared memory segment */
	SEMSHARE_AREA_CONTIGUOUS	= 3,	/* one run of physical memory */
	SEMSHARE_AREA_RESERVED		= 4,	/* of the module parameter reserved */
};

#define SEMSHARE_MAKE_HUGE	0x1u	/* PAGES: pages of 2 MiB as far as there are */
#define SEMSHARE_MAKE_DMA32	0x2u	/* CONTIGUOUS: below 4 GiB */

/**
 * struct semshare_area_make - SEMSHARE_IOC_MAKE
 * @name: as of CREATE
 * @size: bytes, as of CREATE; of MEMFD and SYSV no more than there is, which
 *	is -EINVAL
 * @address: where processes agree to map it, a multiple of the page size, or 0:
 *	only told (semshare_area_info), for them to ask mmap() for
 * @mode: permission bits, 0 to 0666
 * @kind: enum semshare_area_kind
 * @flags: SEMSHARE_MAKE_*, each for its kind only
 * @source: of MEMFD a descriptor, of SYSV the segment's id, else 0
 * @guard: bytes, a multiple of the page size from 0 to @size: so many from the start
 *	are mapped for writing through this handle alone.  Of PAGES only, else
 *	-EINVAL: what others may map by other ways is not guarded
 *
 * CREATE, of any kind.
 *
 * MEMFD needs F_SEAL_SHRINK, and no seal against writing, else -EPERM; a
 * descriptor that is no memfd is -EINVAL, one that may not be written -EACCES.
 * SYSV needs the right to write the segment, -EACCES, which is looked for in
 * the IPC namespace of the name: -EXDEV if the caller is in another one,
 * -EINVAL or -EIDRM if there is none.  The pages of both keep what is in them,
 * are pinned, and count against the caller's RLIMIT_MEMLOCK, huge ones as a
 * whole, with whatever else its user has pinned, until the area goes: -ENOMEM
 * over it.  Their owner
 * may unmap, remove or punch holes; who maps the area sees what was pinned,
 * as kernel code does.
 *
 * CONTIGUOUS and RESERVED need CAP_SYS_RAWIO, else -EPERM.  -ENOMEM: no such run
 * of free memory; -ENODEV: the module was given no reserved range.
 *
 * Whatever its rights, another handle's mapping that reaches into what is guarded
 * is read-only for good, and -EACCES if it asks for more.
 */
struct semshare_area_make {
	char name[SEMSHARE_NAME_SIZE];
	__u64 size;
	__u64 address;
	__u32 mode;
	__u32 kind;
	__u32 flags;
	__s32 source;
	__u64 guard;
};

/**
 * struct semshare_area_attach - SEMSHARE_IOC_ATTACH
 * @name: an existing name, else -ENOENT
 * @access: SEMSHARE_ACCESS_READ, with or without SEMSHARE_ACCESS_WRITE; what the
 *	area's mode or the way the device was opened do not allow is -EACCES
 * @flags: 0
 */
struct semshare_area_attach {
	char name[SEMSHARE_NAME_SIZE];
	__u32 access;
	__u32 flags;
};

/**
 * struct semshare_area_name - SEMSHARE_IOC_UNLINK
 * @name: the name to remove, by the area's owner or with CAP_SYS_ADMIN; the
 *	memory lives on to its last reference
 */
struct semshare_area_name {
	char name[SEMSHARE_NAME_SIZE];
};

#define SEMSHARE_BIND_OWN	0x1u	/* the set goes with the area */

/**
 * struct semshare_area_bind - SEMSHARE_IOC_BIND
 * @semid: a set in the area's IPC namespace that the caller may alter
 * @flags: SEMSHARE_BIND_OWN: remove the set when the area's last reference
 *	goes; the caller must be allowed to remove it
 *
 * Once per area, by its owner or with CAP_IPC_OWNER, through a handle that may
 * write, in the namespace of the area.
 * Kernel clients that open a ring in the area use this set.
 */
struct semshare_area_bind {
	__s32 semid;
	__u32 flags;
};

#define SEMSHARE_AREA_UNLINKED	0x1u	/* the name is gone */
#define SEMSHARE_AREA_GUARDED	0x10u	/* struct semshare_area_make, guard */

/**
 * struct semshare_area_info - SEMSHARE_IOC_INFO, SEMSHARE_IOC_LIST
 * @id: out: identity of the area, never reused; LIST, in: the id after which
 *	to go on, 0 at first; -ENOENT at the end
 * @size: bytes, as asked for at creation
 * @created_ns: CLOCK_REALTIME
 * @name: the name
 * @uid: owner, in the caller's user namespace
 * @gid: its group
 * @mode: permission bits
 * @access: SEMSHARE_ACCESS_* of this handle (INFO)
 * @handles: open files
 * @maps: mappings
 * @kernel_users: references held by kernel code
 * @flags: SEMSHARE_AREA_*
 * @creator_pid: who made it, in the caller's pid namespace, 0 if not visible
 * @semid: the bound set, -1 if none
 * @bind_flags: SEMSHARE_BIND_*
 * @key: the key of the name
 * @address: where processes agree to map it, 0 if they do not
 * @kind: enum semshare_area_kind
 * @huge_pages: pages of 2 MiB in it
 */
struct semshare_area_info {
	__u64 id;
	__u64 size;
	__u64 created_ns;
	char name[SEMSHARE_NAME_SIZE];
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 access;
	__u32 handles;
	__u32 maps;
	__u32 kernel_users;
	__u32 flags;
	__s32 creator_pid;
	__s32 semid;
	__u32 bind_flags;
	__u32 key;
	__u64 address;
	__u32 kind;
	__u32 huge_pages;
};

/* What one is told of, and tells others. */
#define SEMSHARE_EVENT_DATA	0x1u	/* there may be a record */
#define SEMSHARE_EVENT_SPACE	0x2u	/* there may be space */
#define SEMSHARE_EVENT_BROKEN	0x4u	/* there is nothing more to come */
#define SEMSHARE_EVENTS		0x7u

/**
 * struct semshare_notify_request - SEMSHARE_IOC_NOTIFY
 * @events: SEMSHARE_EVENT_*, one at least
 * @reserved: zero
 *
 * Wakes those who poll the area, signals the eventfds registered for one of
 * @events, and calls the kernel code that listens.  A hint: they look for
 * themselves.  Through a handle that may write.
 */
struct semshare_notify_request {
	__u32 events;
	__u32 reserved;
};

/* Who signals and who is told. */
enum semshare_eventfd_direction {
	SEMSHARE_EVENTFD_TO_USER	= 0,	/* the module signals it */
	SEMSHARE_EVENTFD_FROM_USER	= 1,	/* the module listens to it */
};

#define SEMSHARE_EVENTFDS_MAX		8	/* of one handle */
/* TO_USER, of one area; of handles that may not write, half as many */
#define SEMSHARE_EVENTFDS_AREA_MAX	64

/**
 * struct semshare_eventfd - SEMSHARE_IOC_EVENTFD
 * @fd: an eventfd; it need not be kept open for the module
 * @events: SEMSHARE_EVENT_*: TO_USER: of which it is told; FROM_USER: which a signal
 *	means.  0: give back what was registered of this eventfd by this handle
 * @direction: enum semshare_eventfd_direction
 * @reserved: zero
 *
 * Until the handle is closed, or, FROM_USER, the eventfd is.  A signal that comes
 * from a FROM_USER eventfd is not handed on to TO_USER ones, so that no ring of
 * them can feed itself.  -ENOSPC: SEMSHARE_EVENTFDS_MAX, SEMSHARE_EVENTFDS_AREA_MAX;
 * -EEXIST: it is registered already; -ENOENT: it is not.
 */
struct semshare_eventfd {
	__s32 fd;
	__u32 events;
	__u32 direction;
	__u32 reserved;
};

#define SEMSHARE_IOC_VERSION	_IOWR(SEMSHARE_IOC_TYPE, 0x40, struct semshare_version)
#define SEMSHARE_IOC_FUNCTION	_IOWR(SEMSHARE_IOC_TYPE, 0x41, struct semshare_function)
#define SEMSHARE_IOC_CREATE	_IOW(SEMSHARE_IOC_TYPE, 0x42, struct semshare_area_create)
#define SEMSHARE_IOC_ATTACH	_IOW(SEMSHARE_IOC_TYPE, 0x43, struct semshare_area_attach)
#define SEMSHARE_IOC_UNLINK	_IOW(SEMSHARE_IOC_TYPE, 0x44, struct semshare_area_name)
#define SEMSHARE_IOC_INFO	_IOR(SEMSHARE_IOC_TYPE, 0x45, struct semshare_area_info)
#define SEMSHARE_IOC_LIST	_IOWR(SEMSHARE_IOC_TYPE, 0x46, struct semshare_area_info)
#define SEMSHARE_IOC_BIND	_IOW(SEMSHARE_IOC_TYPE, 0x47, struct semshare_area_bind)
#define SEMSHARE_IOC_NOTIFY	_IOW(SEMSHARE_IOC_TYPE, 0x48, struct semshare_notify_request)
#define SEMSHARE_IOC_EVENTFD	_IOW(SEMSHARE_IOC_TYPE, 0x49, struct semshare_eventfd)
#define SEMSHARE_IOC_MAKE	_IOW(SEMSHARE_IOC_TYPE, 0x58, struct semshare_area_make)

#endif /* SEMSHARE_ABI_H */
