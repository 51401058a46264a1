/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * A channel: one side asks by commands, the other answers each by a reply.
 *
 *      0 +----------------------------+
 *        | semshare_channel_control   |  one page
 *   4096 +----------------------------+
 *        | queue of commands          |  a ring of variant SEMSHARE_RING_SYSV:
 *        |   semshare_ring_control    |  one page
 *        |   capacity bytes           |  a power of two
 *        +----------------------------+
 *        | queue of replies           |  the same
 *        +----------------------------+
 *
 * One set of SEMSHARE_CHANNEL_NSEMS semaphores guards all of it: who owns
 * semaphore 0 may write both queues and the control page.  Of the control pages of
 * the queues only the cursors, the counters, @need_data and @bell_data mean anything.
 *
 * Who waits for a message at a descriptor sets the queue's @bell_data, and who puts one
 * rings: SEMSHARE_EVENT_DATA for a command, SEMSHARE_EVENT_SPACE for a reply, or a byte
 * into the FIFO for data, or space, of an area in POSIX shared memory.
 *
 * A record's payload is a struct semshare_channel_message and the message's own
 * payload; its type says which kind it is.
 */
#ifndef SEMSHARE_CHANNEL_H
#define SEMSHARE_CHANNEL_H

#include <semshare/abi.h>

#define SEMSHARE_CHANNEL_MAGIC		0x48435353u	/* "SSCH" */
#define SEMSHARE_CHANNEL_CONTROL_SIZE	4096
#define SEMSHARE_CHANNEL_MIN_DEPTH	4
#define SEMSHARE_CHANNEL_MAX_DEPTH	16384
#define SEMSHARE_CHANNEL_MAX_PAYLOAD	65536

enum semshare_channel_semaphore {
	SEMSHARE_CHANNEL_SEM_MUTEX	= 0,	/* 1 free, 0 taken */
	SEMSHARE_CHANNEL_SEM_COMMANDS	= 1,	/* hint, 0 or 1: "there is a command" */
	SEMSHARE_CHANNEL_SEM_REPLIES	= 2,	/* hint, 0 or 1: "there is a reply" */
	/*
	 * Who asks, and who answers: 1 nobody, 0 somebody.  A process takes its
	 * role with SEM_UNDO, so that the role of one that dies is free.
	 */
	SEMSHARE_CHANNEL_SEM_ANSWERS	= 3,
	SEMSHARE_CHANNEL_SEM_ASKS	= 4,
	SEMSHARE_CHANNEL_NSEMS		= 5,
};

enum semshare_channel_queue {
	SEMSHARE_CHANNEL_COMMANDS	= 0,
	SEMSHARE_CHANNEL_REPLIES	= 1,
	SEMSHARE_CHANNEL_QUEUES		= 2,
};

/* The type of a record. */
enum semshare_channel_kind {
	SEMSHARE_CHANNEL_COMMAND	= 1,
	SEMSHARE_CHANNEL_REPLY		= 2,
	SEMSHARE_CHANNEL_CANCEL		= 3,	/* to who answers: nobody waits for @id any more */
	SEMSHARE_CHANNEL_VOID		= 4,	/* a command, withdrawn before it was taken */
};

/**
 * struct semshare_channel_message - what stands before the payload of a message
 * @id: given by who asks, and repeated in the reply: it knows it again by that
 * @cookie: given by who asks, opaque, and repeated in the reply
 * @deadline_ns: of a command: CLOCK_MONOTONIC until when its reply is of use,
 *	all ones: for ever; of a reply: 0
 * @opcode: what is asked; repeated in the reply
 * @status: of a reply: 0, or minus an errno, and its payload is a text then;
 *	of a command: 0
 */
struct semshare_channel_message {
	__u64 id;
	__u64 cookie;
	__u64 deadline_ns;
	__u32 opcode;
	__s32 status;
};

/**
 * struct semshare_channel_party - who asks, or answers
 * @kind: enum semshare_owner_kind
 * @pid: its process, in its own pid namespace
 * @start: its start time, clock ticks since boot
 */
struct semshare_channel_party {
	__u32 kind;
	__u32 pid;
	__u64 start;
};

/**
 * struct semshare_channel_control - the first page of a channel
 * @magic: SEMSHARE_CHANNEL_MAGIC, stored last when a channel is made
 * @abi_version: SEMSHARE_ABI_VERSION
 * @features: 0
 * @depth: commands that can be outstanding at a time: sent, and not replied to
 * @max_payload: bytes of payload of the longest command, or reply
 * @semid: the set
 * @key: its key
 * @nsems: SEMSHARE_CHANNEL_NSEMS
 * @capacity: bytes of each queue
 * @reserved0: zero
 * @lock: state of SEMSHARE_CHANNEL_SEM_MUTEX
 * @state: enum semshare_ring_state
 * @reserved1: zero
 * @session: counts those who have come to answer
 * @session_start: head of the queue of commands when the last of them came:
 *	what lies before it, and was not replied to, its predecessors had taken
 * @answers: who that is
 * @asks: who came last to ask
 * @calls: commands sent
 * @replies: replies sent
 * @malformed: messages that made no sense, and were passed over
 * @unmatched: replies to nothing that is outstanding, dropped
 * @deaths: commands that failed because who had taken them was gone
 * @name: the channel's name
 * @outstanding: commands sent, and neither replied to nor withdrawn before anybody took
 *	them; of one who asked and was killed, what it left
 * @timeouts: commands that ended by their deadline
 * @cancels: commands that ended because who asked gave them up
 * @reserved2: zero
 *
 * All of it is written by the owner of the mutex, but for @deaths, @outstanding, @timeouts
 * and @cancels: those are for lookers only, and of who asks, who may write them at any
 * time.  Who asks and who answers keep what they need of it (geometry, what is
 * outstanding) in memory of their own.
 */
struct semshare_channel_control {
	/* written once, before @magic */
	__u32 magic;
	__u32 abi_version;
	__u32 features;
	__u32 depth;
	__u32 max_payload;
	__s32 semid;
	__u32 key;
	__u32 nsems;
	__u64 capacity;
	__u64 reserved0[3];

	struct semshare_lock_state lock;

	__u32 state;
	__u32 reserved1;
	__u64 session;
	__u64 session_start;
	struct semshare_channel_party answers;
	struct semshare_channel_party asks;
	__u64 calls;
	__u64 replies;
	__u64 malformed;
	__u64 unmatched;
	__u64 deaths;

	char name[SEMSHARE_NAME_SIZE];
	__u64 outstanding;
	__u64 timeouts;
	__u64 cancels;
	__u64 reserved2[473];
};

/**
 * struct semshare_channel_params - what a new channel is to be
 * @depth: SEMSHARE_CHANNEL_MIN_DEPTH to SEMSHARE_CHANNEL_MAX_DEPTH
 * @max_payload: 1 to SEMSHARE_CHANNEL_MAX_PAYLOAD
 */
struct semshare_channel_params {
	__u32 depth;
	__u32 max_payload;
};

#endif /* SEMSHARE_CHANNEL_H */
