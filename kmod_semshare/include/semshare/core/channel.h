/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The channel: what is done inside its lock, for the module and for user space
 * alike.  Its two queues are rings of semshare/core/sysv.h, under one mutex.
 *
 * Who writes what, as owner of the mutex:
 *
 *	commands, tail		who asks
 *	commands, head		who answers; who asks, over what it withdrew
 *	replies, tail		who answers
 *	replies, head		who asks
 *	session, session_start	who comes to answer
 *
 * and, with the mutex or without it, for lookers only:
 *
 *	outstanding, timeouts,	who asks
 *	cancels, deaths
 *
 * Space.  Who asks counts in its own memory what is outstanding: from sending a
 * command until its reply is read, or its record was withdrawn and passed over, or
 * who had taken it is gone.  That is never more than the depth, and each queue has
 * space for as many messages of the longest kind: so a command that was accepted
 * has the space of its reply, and the reply never waits.  (After a change of
 * who asks, replies to what its predecessor asked may be in the way for a moment.)
 * The queue of commands has space for as many notices of a cancel besides: there is
 * one for each that was taken, and it is read before the next with that place.
 *
 * Death of who answers.  What was taken from the queue of commands dies with who took
 * it, what was not is for its successor.  The queue is first in, first out, so a
 * position divides the two: session_start, once there is a successor, and until
 * then the head.  The role's semaphore (SEM_UNDO) tells whether somebody is there.
 * Order: a reply that was put before its sender died is in the queue before
 * semaphore or session say so; who asks looks at these first, then reads the
 * replies until there are none, and only then takes what is missing for lost.
 *
 * Memory order.  Of what is done inside the lock semshare/core/sysv.h tells.  Without it
 * are read the page of a channel that may be in the making, and who answers:
 *
 *	who makes it			who opens it
 *
 *	   STORE geometry, set, name	B  LOAD.acquire magic
 *	A  STORE.release magic		   LOAD geometry, set, name
 *
 *	who answers			who asks
 *
 *	   STORE session_start		D  LOAD.acquire session
 *	C  STORE.release session	   LOAD session_start
 *	   take commands		F  LOAD.acquire head of the commands
 *	E  STORE.release head		   is the role's semaphore free?
 *					G  LOAD.acquire session, again
 *
 *	A with B	what says that it is a channel comes last: all of it is there
 *	C with D	who sees a session sees where it starts: what it is to answer is not
 *			taken for lost with its predecessor
 *	E with F	the head that a session has moved shows, to G, that session: C is
 *			before E.  If there is still the old one, and nobody has its
 *			role, whatever lies before that head died with it
 *
 * Every word may be a lie: see semshare/core/sysv.h.  An id is looked up by who gave
 * it, in memory of its own; positions are only ever compared, or checked by
 * semshare_channel_retract().
 */
#ifndef SEMSHARE_CORE_CHANNEL_H
#define SEMSHARE_CORE_CHANNEL_H

#include <semshare/channel.h>
#include <semshare/core/lock.h>
#include <semshare/core/variants.h>

#define SEMSHARE_CHANNEL_FOREVER	(~(__u64)0)

/**
 * struct semshare_channel_view - a channel as one party sees it
 * @control: the shared control page
 * @queue: enum semshare_channel_queue
 * @depth: private copy
 * @max_payload: private copy
 */
struct semshare_channel_view {
	struct semshare_channel_control *control;
	struct semshare_ring_view queue[SEMSHARE_CHANNEL_QUEUES];
	__u32 depth;
	__u32 max_payload;
};

/**
 * struct semshare_channel_sight - a look without the lock
 * @session: see struct semshare_channel_control
 * @session_start: see there
 * @head: of the queue of commands
 */
struct semshare_channel_sight {
	__u64 session;
	__u64 session_start;
	__u64 head;
};

/* Bytes of a queue of such a channel; 0 if there can be none. */
static inline __u64 semshare_channel_capacity(const struct semshare_channel_params *params)
{
	__u64 capacity = SEMSHARE_RING_MIN_CAPACITY, message, notice;

	if (params->depth < SEMSHARE_CHANNEL_MIN_DEPTH ||
	    params->depth > SEMSHARE_CHANNEL_MAX_DEPTH ||
	    !params->max_payload || params->max_payload > SEMSHARE_CHANNEL_MAX_PAYLOAD)
		return 0;
	notice = semshare_ring_footprint(sizeof(struct semshare_channel_message));
	message = semshare_ring_footprint(sizeof(struct semshare_channel_message) +
					  (__u64)params->max_payload);
	while (capacity < params->depth * (message + notice))
		capacity *= 2;
	return capacity <= SEMSHARE_RING_MAX_CAPACITY ? capacity : 0;
}

/* Bytes of its area; 0 if there can be none. */
static inline __u64 semshare_channel_size(const struct semshare_channel_params *params)
{
	__u64 capacity = semshare_channel_capacity(params);

	if (!capacity)
		return 0;
	return SEMSHARE_CHANNEL_CONTROL_SIZE +
	       SEMSHARE_CHANNEL_QUEUES * (SEMSHARE_RING_CONTROL_SIZE + capacity);
}

/* What a party knows of a channel that is as its parameters say. */
static inline void semshare_channel_open_view(struct semshare_channel_view *view, void *base,
					      const struct semshare_channel_params *params)
{
	unsigned char *at = (unsigned char *)base + SEMSHARE_CHANNEL_CONTROL_SIZE;
	__u64 capacity = semshare_channel_capacity(params);
	int which;

	view->control = (struct semshare_channel_control *)base;
	view->depth = params->depth;
	view->max_payload = params->max_payload;
	for (which = 0; which < SEMSHARE_CHANNEL_QUEUES; which++) {
		struct semshare_ring_view *queue = &view->queue[which];

		queue->control = (struct semshare_ring_control *)at;
		queue->data = at + SEMSHARE_RING_CONTROL_SIZE;
		queue->capacity = capacity;
		queue->max_payload = (__u32)sizeof(struct semshare_channel_message) +
				     params->max_payload;
		queue->policy = SEMSHARE_RING_WAIT;
		at += SEMSHARE_RING_CONTROL_SIZE + capacity;
	}
}

/**
 * semshare_channel_format - make a channel in zeroed memory
 * @base: semshare_channel_size() bytes
 * @params: what it is to be
 * @semid: the set that goes with it, its mutex and its roles 1
 * @key: its key
 * @name: SEMSHARE_NAME_SIZE bytes, a valid name
 *
 * The magic number is stored last, with release: see A above.
 *
 * Return: 0 or -EINVAL.
 */
static inline int semshare_channel_format(void *base, const struct semshare_channel_params *params,
					  __s32 semid, __u32 key, const char *name)
{
	struct semshare_channel_control *control = (struct semshare_channel_control *)base;

	if (!semshare_channel_size(params))
		return -EINVAL;
	control->abi_version = SEMSHARE_ABI_VERSION;
	control->features = 0;
	control->depth = params->depth;
	control->max_payload = params->max_payload;
	control->semid = semid;
	control->key = key;
	control->nsems = SEMSHARE_CHANNEL_NSEMS;
	control->capacity = semshare_channel_capacity(params);
	memcpy(control->name, name, SEMSHARE_NAME_SIZE);
	semshare_store_release(&control->magic, SEMSHARE_CHANNEL_MAGIC);	/* A, with B */
	return 0;
}

/**
 * semshare_channel_check - take a private view of a channel that somebody made
 * @view: out
 * @base: start of the area
 * @size: bytes of the area
 *
 * Return: 0; -EAGAIN if there is no channel (yet); -EPROTO if what stands there is
 * no channel of this ABI or does not fit into the area.
 */
static inline int semshare_channel_check(struct semshare_channel_view *view, void *base, __u64 size)
{
	struct semshare_channel_control *control = (struct semshare_channel_control *)base;
	struct semshare_channel_params params;
	__u64 wanted;

	if (size < SEMSHARE_CHANNEL_CONTROL_SIZE)
		return -EPROTO;
	/* B, with A. */
	switch (semshare_load_acquire(&control->magic)) {
	case SEMSHARE_CHANNEL_MAGIC:
		break;
	case 0:
		return -EAGAIN;
	default:
		return -EPROTO;
	}
	params.depth = semshare_load(&control->depth);
	params.max_payload = semshare_load(&control->max_payload);
	wanted = semshare_channel_size(&params);
	if (semshare_load(&control->abi_version) != SEMSHARE_ABI_VERSION ||
	    semshare_load(&control->features) != 0 ||
	    semshare_load(&control->nsems) != SEMSHARE_CHANNEL_NSEMS ||
	    !wanted || wanted > size ||
	    semshare_load(&control->capacity) != semshare_channel_capacity(&params))
		return -EPROTO;
	semshare_channel_open_view(view, base, &params);
	return 0;
}

/* Tell everybody that the channel is broken, unless they have been told already. */
static inline void semshare_channel_tell_broken(struct semshare_channel_control *control, __u32 why)
{
	__u32 state = SEMSHARE_RING_OK;

	(void)semshare_try_cmpxchg(&control->state, &state, why);
}

/* Add to one of the counters of the control page, as the only one who may. */
static inline void semshare_channel_count(__u64 *counter, __u64 number)
{
	semshare_store(counter, semshare_load(counter) + number);
}

/* What follows is done by the owner of the mutex. */

/* Put the queues right after an owner died inside.  0 or -EPROTO. */
static inline int semshare_channel_repair(const struct semshare_channel_view *view)
{
	int err = semshare_sysv_repair(&view->queue[SEMSHARE_CHANNEL_COMMANDS]);

	return err ? err : semshare_sysv_repair(&view->queue[SEMSHARE_CHANNEL_REPLIES]);
}

/**
 * semshare_channel_put - put a message
 * @view: the channel
 * @which: into which queue
 * @kind: enum semshare_channel_kind
 * @message: its head
 * @payload: its payload
 * @size: bytes of it
 * @time_ns: CLOCK_MONOTONIC
 * @position: out: where it stands
 *
 * It is published.  Return: 0, -EAGAIN (no space), -EMSGSIZE, -EPROTO.
 */
static inline int semshare_channel_put(const struct semshare_channel_view *view,
				       enum semshare_channel_queue which,
				       enum semshare_channel_kind kind,
				       const struct semshare_channel_message *message,
				       const void *payload, __u32 size, __u64 time_ns,
				       __u64 *position)
{
	const struct semshare_ring_view *queue = &view->queue[which];
	struct semshare_channel_control *control = view->control;
	struct semshare_sysv_cursors at;
	struct semshare_record record;
	__u64 footprint;

	if (size > view->max_payload)
		return -EMSGSIZE;
	if (semshare_sysv_look(queue, &at))
		return -EPROTO;
	record.size = (__u32)sizeof(*message) + size;
	footprint = semshare_ring_footprint(record.size);
	if (footprint > queue->capacity - (at.tail - at.head))
		return -EAGAIN;
	record.type = kind;
	record.position = at.tail;
	record.sequence = at.sequence++;
	record.time_ns = time_ns;
	memcpy(queue->data + (at.tail & (queue->capacity - 1)), &record, sizeof(record));
	semshare_sysv_copy_in(queue, at.tail + sizeof(record), message, sizeof(*message));
	semshare_sysv_copy_in(queue, at.tail + sizeof(record) + sizeof(*message), payload, size);
	*position = at.tail;
	at.tail += footprint;
	if (which == SEMSHARE_CHANNEL_COMMANDS && kind == SEMSHARE_CHANNEL_COMMAND)
		semshare_channel_count(&control->calls, 1);
	else if (which == SEMSHARE_CHANNEL_REPLIES)
		semshare_channel_count(&control->replies, 1);
	semshare_sysv_publish(queue, &at, 1, size);
	return 0;
}

/**
 * semshare_channel_get - take the oldest message
 * @view: the channel
 * @which: from which queue
 * @record: out: its type is the message's kind
 * @message: out: its head
 * @payload: out: room for view->max_payload bytes
 * @size: out: bytes of it
 *
 * Return: 0; -EAGAIN: there is none; -EBADMSG: one that was too short to be a
 * message is gone; -EPROTO.
 */
static inline int semshare_channel_get(const struct semshare_channel_view *view,
				       enum semshare_channel_queue which,
				       struct semshare_record *record,
				       struct semshare_channel_message *message,
				       void *payload, __u32 *size)
{
	const struct semshare_ring_view *queue = &view->queue[which];
	struct semshare_sysv_cursors at;
	int err;

	if (semshare_sysv_look(queue, &at))
		return -EPROTO;
	err = semshare_sysv_peek(queue, &at, record);
	if (err)
		return err;
	if (record->size < sizeof(*message)) {
		semshare_channel_count(&view->control->malformed, 1);
		err = -EBADMSG;
	} else {
		*size = record->size - (__u32)sizeof(*message);
		semshare_sysv_copy_out(queue, at.head + sizeof(*record), message, sizeof(*message));
		semshare_sysv_copy_out(queue, at.head + sizeof(*record) + sizeof(*message),
				       payload, *size);
	}
	at.head += semshare_ring_footprint(record->size);
	semshare_sysv_consume(queue, &at, 1);
	return err;
}

/**
 * semshare_channel_retract - withdraw a command, if nobody has taken it
 * @view: the channel
 * @position: of semshare_channel_put()
 * @id: its id
 *
 * Return: 1: nobody will; 0: somebody has; -EPROTO.
 */
static inline int semshare_channel_retract(const struct semshare_channel_view *view,
					   __u64 position, __u64 id)
{
	const struct semshare_ring_view *queue = &view->queue[SEMSHARE_CHANNEL_COMMANDS];
	struct semshare_channel_message message;
	struct semshare_sysv_cursors at;
	struct semshare_record record;

	if (semshare_sysv_look(queue, &at))
		return -EPROTO;
	if (position - at.head >= at.tail - at.head)
		return 0;
	at.head = position;
	if (semshare_sysv_peek(queue, &at, &record) || record.size < sizeof(message))
		return -EPROTO;
	semshare_sysv_copy_out(queue, position + sizeof(record), &message, sizeof(message));
	if (message.id != id)
		return -EPROTO;
	record.type = SEMSHARE_CHANNEL_VOID;
	memcpy(queue->data + (position & (queue->capacity - 1)), &record, sizeof(record));
	return 1;
}

/**
 * semshare_channel_purge - pass over the commands at the head that nobody waits for
 * @view: the channel
 *
 * So that what was withdrawn does not take up the queue while nobody answers.
 *
 * Return: 0 or -EPROTO.
 */
static inline int semshare_channel_purge(const struct semshare_channel_view *view)
{
	const struct semshare_ring_view *queue = &view->queue[SEMSHARE_CHANNEL_COMMANDS];
	struct semshare_sysv_cursors at;
	struct semshare_record record;
	__u64 passed = 0;

	if (semshare_sysv_look(queue, &at))
		return -EPROTO;
	while (passed < 2 * (__u64)view->depth) {
		int err = semshare_sysv_peek(queue, &at, &record);

		if (err == -EPROTO)
			return err;
		if (err || record.type != SEMSHARE_CHANNEL_VOID)
			break;
		at.head += semshare_ring_footprint(record.size);
		passed++;
	}
	if (passed)
		semshare_sysv_consume(queue, &at, passed);
	return 0;
}

static inline void semshare_channel_be(struct semshare_channel_party *party,
				       const struct semshare_owner *owner)
{
	semshare_store(&party->kind, owner->kind);
	semshare_store(&party->pid, owner->pid);
	semshare_store(&party->start, owner->start);
}

/**
 * semshare_channel_begin_answers - come to answer, having taken the role
 * @view: the channel
 * @owner: the caller
 *
 * The session is stored last, with release: who sees it sees where it starts.
 *
 * Return: 0 or -EPROTO.
 */
static inline int semshare_channel_begin_answers(const struct semshare_channel_view *view,
						 const struct semshare_owner *owner)
{
	struct semshare_channel_control *control = view->control;
	struct semshare_sysv_cursors at;

	if (semshare_sysv_look(&view->queue[SEMSHARE_CHANNEL_COMMANDS], &at))
		return -EPROTO;
	semshare_channel_be(&control->answers, owner);
	semshare_store(&control->session_start, at.head);
	/* C, with D; E is that of semshare_sysv_consume(). */
	semshare_store_release(&control->session, semshare_load(&control->session) + 1);
	return 0;
}

/**
 * semshare_channel_begin_asks - come to ask, having taken the role
 * @view: the channel
 * @owner: the caller
 *
 * What its predecessor asked, and was answered, is of use to nobody.
 *
 * Return: 0 or -EPROTO.
 */
static inline int semshare_channel_begin_asks(const struct semshare_channel_view *view,
					      const struct semshare_owner *owner)
{
	struct semshare_sysv_cursors at;
	int which;

	for (which = 0; which < SEMSHARE_CHANNEL_QUEUES; which++) {
		if (semshare_sysv_look(&view->queue[which], &at))
			return -EPROTO;
		at.head = at.tail;
		semshare_sysv_consume(&view->queue[which], &at, 0);
	}
	semshare_store(&view->control->outstanding, 0);
	semshare_channel_be(&view->control->asks, owner);
	return 0;
}

/* And this by anybody: where things stand.  Who asks looks twice, and the second time is G. */
static inline void semshare_channel_look(const struct semshare_channel_view *view,
					 struct semshare_channel_sight *sight)
{
	/* D, with C. */
	sight->session = semshare_load_acquire(&view->control->session);
	sight->session_start = semshare_load(&view->control->session_start);
	/* F, with E: whoever took it had begun its session. */
	sight->head = semshare_load_acquire(&view->queue[SEMSHARE_CHANNEL_COMMANDS].control->head);
}

#endif /* SEMSHARE_CORE_CHANNEL_H */
