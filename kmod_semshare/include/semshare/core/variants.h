/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The variants of the ring, behind one interface (semshare/core/port.h).  A variant is
 * a file of its own, and an entry in semshare_ring_variants[] here; module and
 * package take it from there.
 */
#ifndef SEMSHARE_CORE_VARIANTS_H
#define SEMSHARE_CORE_VARIANTS_H

#include <semshare/core/lanes.h>
#include <semshare/core/paged.h>
#include <semshare/core/port.h>
#include <semshare/core/robust.h>

/* sysv */

static inline int semshare_ring_sysv_begin(struct semshare_ring_port *port, int put)
{
	(void)put;
	return semshare_sysv_look(&port->view, &port->sysv);
}

static inline int semshare_ring_sysv_put(struct semshare_ring_port *port,
					 const struct semshare_ring_entry *entries, size_t count,
					 __u64 time_ns, size_t *done)
{
	return semshare_sysv_put_all(&port->view, &port->sysv, entries, count, time_ns, done);
}

static inline int semshare_ring_sysv_peek(struct semshare_ring_port *port,
					  struct semshare_record *record)
{
	return semshare_sysv_peek(&port->view, &port->sysv, record);
}

static inline int semshare_ring_sysv_read(struct semshare_ring_port *port,
					  const struct semshare_record *record, void *payload)
{
	semshare_sysv_read(&port->view, &port->sysv, record, payload);
	return 0;
}

static inline void semshare_ring_sysv_consume(struct semshare_ring_port *port, __u64 records)
{
	semshare_sysv_consume(&port->view, &port->sysv, records);
}

static inline __u64 semshare_ring_sysv_other(const struct semshare_ring_port *port, int put)
{
	struct semshare_ring_control *control = port->view.control;
	const __u64 *word = put ? &control->head : &control->tail;

	return semshare_load_acquire(word);
}

/* robust: the same, in another lock */

static const struct semshare_ring_variant semshare_ring_robust = {
	.name = "robust",
	.number = SEMSHARE_RING_ROBUST,
	.user_only = 1,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE |
		    1u << SEMSHARE_RING_OVERWRITE,
#ifndef __KERNEL__
	.format = semshare_robust_format,
	.begin = semshare_ring_sysv_begin,
	.enter = semshare_robust_enter,
	.leave = semshare_robust_leave,
	.put = semshare_ring_sysv_put,
	.peek = semshare_ring_sysv_peek,
	.read = semshare_ring_sysv_read,
	.consume = semshare_ring_sysv_consume,
	.other = semshare_ring_sysv_other,
	.sleep = semshare_robust_sleep,
	.wake = semshare_robust_wake,
#endif
};

/* spsc */

static inline struct semshare_spsc_words *
semshare_ring_spsc_words(const struct semshare_ring_view *view)
{
	return (struct semshare_spsc_words *)view->control->words;
}

static inline int semshare_ring_spsc_begin(struct semshare_ring_port *port, int put)
{
	struct semshare_spsc *side = put ? &port->spsc.put : &port->spsc.get;

	side->words = semshare_ring_spsc_words(&port->view);
	side->data = port->view.data;
	side->capacity = port->view.capacity;
	side->overwrite = port->view.policy == SEMSHARE_RING_OVERWRITE;
	return put ? semshare_spsc_begin_put(side) : semshare_spsc_begin_get(side);
}

static inline int semshare_ring_spsc_put(struct semshare_ring_port *port,
					 const struct semshare_ring_entry *entries, size_t count,
					 __u64 time_ns, size_t *done)
{
	return semshare_spsc_put_all(&port->spsc.put, port->view.policy, entries, count, time_ns,
				     done);
}

static inline int semshare_ring_spsc_peek(struct semshare_ring_port *port,
					  struct semshare_record *record)
{
	int err = 0;

	return semshare_spsc_peek(&port->spsc.get, record, &err) ? 0 : err;
}

/* Nothing is there for the consumer before it is published, so there is nothing to cancel. */
static inline int semshare_ring_spsc_reserve(struct semshare_ring_port *port, __u64 size,
					     struct semshare_ring_place *place)
{
	return semshare_spsc_reserve_payload(&port->spsc.put, port->view.policy, size,
					     &place->payload);
}

static inline int semshare_ring_spsc_commit(struct semshare_ring_port *port,
					    const struct semshare_ring_place *place,
					    __u32 size, __u32 type, __u64 time_ns)
{
	semshare_spsc_commit(&port->spsc.put, place->payload, size, type, time_ns);
	return 0;
}

static inline const void *semshare_ring_spsc_payload(const struct semshare_ring_port *port)
{
	const struct semshare_spsc *side = &port->spsc.get;

	return side->data + (side->cursor & (side->capacity - 1)) + sizeof(struct semshare_record);
}

static inline int semshare_ring_spsc_read(struct semshare_ring_port *port,
					  const struct semshare_record *record, void *payload)
{
	struct semshare_spsc *side = &port->spsc.get;

	if (payload)
		semshare_copy_payload(payload, semshare_ring_spsc_payload(port), record->size);
	if (side->overwrite)
		return semshare_spsc_take(side, record);
	semshare_spsc_read(side, record);
	return 0;
}

static inline int semshare_ring_spsc_take(struct semshare_ring_port *port,
					  struct semshare_ring_batch *batch)
{
	return semshare_ring_take(port, batch, semshare_ring_spsc_peek, semshare_ring_spsc_read);
}

static inline void semshare_ring_spsc_consume(struct semshare_ring_port *port, __u64 records)
{
	(void)records;
	semshare_spsc_consume(&port->spsc.get);
}

static inline __u64 semshare_ring_spsc_other(const struct semshare_ring_port *port, int put)
{
	struct semshare_spsc_words *words = semshare_ring_spsc_words(&port->view);
	const __u64 *word = put ? &words->head : &words->tail;

	return semshare_load_acquire(word);
}

static inline __u64 semshare_ring_spsc_used(const struct semshare_ring_view *view)
{
	const struct semshare_spsc_words *words = semshare_ring_spsc_words(view);

	return semshare_load(&words->tail) - semshare_load(&words->head);
}

static inline __u32 semshare_ring_spsc_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const struct semshare_spsc_words *words = semshare_ring_spsc_words(&port->view);

	(void)lane;
	return semshare_ring_ready_between(&words->head, &words->tail, port->view.capacity);
}

static inline void semshare_ring_spsc_look(const struct semshare_ring_view *view,
					   struct semshare_ring_counts *counts)
{
	const struct semshare_spsc_words *words = semshare_ring_spsc_words(view);
	__u64 refused = semshare_load(&words->refused);

	counts->head = semshare_load(&words->head);
	counts->tail = semshare_load(&words->tail);
	counts->puts = semshare_load(&words->sequence) - refused;
	counts->drops[SEMSHARE_DROP_REFUSED] = refused;
	counts->drops[SEMSHARE_DROP_OVERWRITTEN] = semshare_load(&words->overwritten);
}

/* mpsc */

static inline __u32 semshare_ring_mpsc_max_payload(const struct semshare_ring_params *params)
{
	__u32 size = params->max_payload ? params->max_payload : 192;

	return size % 64 || size > params->capacity / 4 ? 0 : size;
}

static inline struct semshare_mpsc_words *
semshare_ring_mpsc_words(const struct semshare_ring_view *view)
{
	return (struct semshare_mpsc_words *)view->control->words;
}

/* As many slots as there is room for, but a power of two of them. */
static inline void semshare_ring_mpsc_open(struct semshare_ring_port *port)
{
	struct semshare_mpsc *ring = &port->mpsc;
	__u64 slots = 2;

	ring->words = semshare_ring_mpsc_words(&port->view);
	ring->slots = port->view.data;
	ring->slot_size = port->view.max_payload + (__u32)sizeof(struct semshare_slot);
	while (slots * 2 * ring->slot_size <= port->view.capacity)
		slots *= 2;
	ring->mask = slots - 1;
	ring->busy = 0;
	ring->is_dead = port->is_dead;
	ring->ns = port->ns;
}

static inline void semshare_ring_mpsc_format(struct semshare_ring_port *port)
{
	semshare_ring_mpsc_open(port);
	semshare_mpsc_format(&port->mpsc);
}

static inline int semshare_ring_mpsc_begin(struct semshare_ring_port *port, int put)
{
	port->mpsc.is_dead = port->is_dead;
	port->mpsc.ns = port->ns;
	if (!put)
		semshare_mpsc_begin(&port->mpsc);
	return 0;
}

static inline int semshare_ring_mpsc_put(struct semshare_ring_port *port,
					 const struct semshare_ring_entry *entries, size_t count,
					 __u64 time_ns, size_t *done)
{
	struct semshare_mpsc *ring = &port->mpsc;
	struct semshare_mpsc_reservation reservation;
	int err = 0, late;
	size_t n;

	for (n = 0; n < count && !err; n++) {
		late = 0;
		if (entries[n].size > port->view.max_payload) {
			err = -EMSGSIZE;
			break;
		}
		do {
			err = semshare_mpsc_reserve(ring, &port->self, &reservation);
			if (err)
				break;
			semshare_copy_payload(semshare_mpsc_payload(&reservation),
					      entries[n].payload, entries[n].size);
			err = semshare_mpsc_commit(&reservation, entries[n].size, entries[n].type,
						   time_ns);
			/* Stopped in between, for so long that the consumer went on. */
		} while (err == -ESTALE && ++late < SEMSHARE_MPSC_LATE);
		if (err == -ESTALE)
			err = -EAGAIN;
		if (err == -EAGAIN && port->view.policy == SEMSHARE_RING_REFUSE) {
			semshare_mpsc_drop(ring);
			err = -ENOBUFS;
		}
		if (err)
			break;
	}
	*done = n;
	/* The others of a batch are dropped with the first. */
	if (err == -ENOBUFS)
		for (n++; n < count; n++)
			semshare_mpsc_drop(ring);
	return err;
}

static __always_inline int semshare_ring_mpsc_peek(struct semshare_ring_port *port,
						   struct semshare_record *record)
{
	const void *payload;
	int err;

	do {
		err = semshare_mpsc_peek(&port->mpsc, record, &payload);
	} while (err == -EBUSY && semshare_mpsc_busy(&port->mpsc, semshare_now()));
	/* Also what was given up takes space, though nobody reads it. */
	if (err && err != -EPROTO && port->mpsc.head != port->mpsc.cursor)
		semshare_mpsc_consume(&port->mpsc);
	return err == -EBUSY ? -EAGAIN : err;
}

static inline int semshare_ring_mpsc_reserve(struct semshare_ring_port *port, __u64 size,
					     struct semshare_ring_place *place)
{
	int err;

	if (size > port->view.max_payload)
		return -EMSGSIZE;
	err = semshare_mpsc_reserve(&port->mpsc, &port->self, &place->mpsc);
	if (!err) {
		place->payload = semshare_mpsc_payload(&place->mpsc);
	} else if (err == -EAGAIN && port->view.policy == SEMSHARE_RING_REFUSE) {
		semshare_mpsc_drop(&port->mpsc);
		err = -ENOBUFS;
	}
	return err;
}

static inline int semshare_ring_mpsc_commit(struct semshare_ring_port *port,
					    const struct semshare_ring_place *place,
					    __u32 size, __u32 type, __u64 time_ns)
{
	(void)port;
	return semshare_mpsc_commit(&place->mpsc, size, type, time_ns);
}

static inline void semshare_ring_mpsc_cancel(struct semshare_ring_port *port,
					     const struct semshare_ring_place *place)
{
	semshare_mpsc_cancel(&port->mpsc, &place->mpsc);
}

static inline const void *semshare_ring_mpsc_payload(const struct semshare_ring_port *port)
{
	return semshare_mpsc_slot(&port->mpsc, port->mpsc.cursor) + 1;
}

static inline int semshare_ring_mpsc_read(struct semshare_ring_port *port,
					  const struct semshare_record *record, void *payload)
{
	if (payload)
		semshare_copy_payload(payload, semshare_ring_mpsc_payload(port), record->size);
	semshare_mpsc_read(&port->mpsc);
	return 0;
}

static inline int semshare_ring_mpsc_take(struct semshare_ring_port *port,
					  struct semshare_ring_batch *batch)
{
	return semshare_ring_take(port, batch, semshare_ring_mpsc_peek, semshare_ring_mpsc_read);
}

static inline void semshare_ring_mpsc_consume(struct semshare_ring_port *port, __u64 records)
{
	(void)records;
	semshare_mpsc_consume(&port->mpsc);
}

static inline __u64 semshare_ring_mpsc_other(const struct semshare_ring_port *port, int put)
{
	struct semshare_mpsc_words *words = semshare_ring_mpsc_words(&port->view);
	const __u64 *word = put ? &words->head : &words->tail;

	return semshare_load_acquire(word) * port->mpsc.slot_size;
}

static inline __u64 semshare_ring_mpsc_used(const struct semshare_ring_view *view)
{
	const struct semshare_mpsc_words *words = semshare_ring_mpsc_words(view);

	return (semshare_load(&words->tail) - semshare_load(&words->head)) *
	       (view->max_payload + sizeof(struct semshare_slot));
}

static inline __u32 semshare_ring_mpsc_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const struct semshare_mpsc *ring = &port->mpsc;
	__u32 ready = semshare_ring_ready_between(&ring->words->head, &ring->words->tail,
						  ring->mask + 1);

	(void)lane;
	if (ready & SEMSHARE_EVENT_DATA && !semshare_mpsc_is_worth_a_look(ring))
		ready &= ~SEMSHARE_EVENT_DATA;
	return ready;
}

static inline void semshare_ring_mpsc_look(const struct semshare_ring_view *view,
					   struct semshare_ring_counts *counts)
{
	const struct semshare_mpsc_words *words = semshare_ring_mpsc_words(view);
	__u64 given_up = semshare_load(&words->abandoned) + semshare_load(&words->cancelled);
	__u64 slot = view->max_payload + sizeof(struct semshare_slot);
	__u64 tail = semshare_load(&words->tail);

	counts->head = semshare_load(&words->head) * slot;
	counts->tail = tail * slot;
	counts->puts = tail - given_up;
	counts->drops[SEMSHARE_DROP_REFUSED] = semshare_load(&words->drops);
	counts->drops[SEMSHARE_DROP_ABANDONED] = given_up;
}

static const struct semshare_ring_variant semshare_ring_sysv = {
	.name = "sysv",
	.number = SEMSHARE_RING_SYSV,
	.nsems = SEMSHARE_RING_NSEMS,
	.locked = 1,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE |
		    1u << SEMSHARE_RING_OVERWRITE,
	.begin = semshare_ring_sysv_begin,
	.put = semshare_ring_sysv_put,
	.peek = semshare_ring_sysv_peek,
	.read = semshare_ring_sysv_read,
	.consume = semshare_ring_sysv_consume,
	.other = semshare_ring_sysv_other,
};

static const struct semshare_ring_variant semshare_ring_spsc = {
	.name = "spsc",
	.number = SEMSHARE_RING_SPSC,
	.nsems = SEMSHARE_RING_ROLE_NSEMS,
	.roles = SEMSHARE_ROLE_PRODUCER | SEMSHARE_ROLE_CONSUMER,
	.producers = 1,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE |
		    1u << SEMSHARE_RING_OVERWRITE,
	.begin = semshare_ring_spsc_begin,
	.put = semshare_ring_spsc_put,
	.peek = semshare_ring_spsc_peek,
	.read = semshare_ring_spsc_read,
	.take = semshare_ring_spsc_take,
	.consume = semshare_ring_spsc_consume,
	.reserve = semshare_ring_spsc_reserve,
	.commit = semshare_ring_spsc_commit,
	.payload = semshare_ring_spsc_payload,
	.other = semshare_ring_spsc_other,
	.used = semshare_ring_spsc_used,
	.ready = semshare_ring_spsc_ready,
	.look = semshare_ring_spsc_look,
};

static const struct semshare_ring_variant semshare_ring_mpsc = {
	.name = "mpsc",
	.number = SEMSHARE_RING_MPSC,
	.nsems = SEMSHARE_RING_ROLE_NSEMS,
	.roles = SEMSHARE_ROLE_CONSUMER,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE,
	.max_payload = semshare_ring_mpsc_max_payload,
	.format = semshare_ring_mpsc_format,
	.open = semshare_ring_mpsc_open,
	.begin = semshare_ring_mpsc_begin,
	.put = semshare_ring_mpsc_put,
	.peek = semshare_ring_mpsc_peek,
	.read = semshare_ring_mpsc_read,
	.take = semshare_ring_mpsc_take,
	.consume = semshare_ring_mpsc_consume,
	.reserve = semshare_ring_mpsc_reserve,
	.commit = semshare_ring_mpsc_commit,
	.cancel = semshare_ring_mpsc_cancel,
	.payload = semshare_ring_mpsc_payload,
	.other = semshare_ring_mpsc_other,
	.used = semshare_ring_mpsc_used,
	.ready = semshare_ring_mpsc_ready,
	.look = semshare_ring_mpsc_look,
};

/* Those there are.  A new one: its header above, and its line here. */
static const struct semshare_ring_variant *const semshare_ring_variants[] = {
	&semshare_ring_sysv,
	&semshare_ring_spsc,
	&semshare_ring_mpsc,
	&semshare_ring_lanes,
	&semshare_ring_paged,
	&semshare_ring_robust,
	NULL
};

/* The variant of that number, or NULL. */
static inline const struct semshare_ring_variant *semshare_ring_variant(__u32 number)
{
	const struct semshare_ring_variant *const *each;

	for (each = semshare_ring_variants; *each; each++)
		if ((*each)->number == number)
			return *each;
	return NULL;
}

/* The longest payload of such a ring; 0 if there can be none. */
static inline __u32 semshare_ring_params_payload(const struct semshare_ring_params *params)
{
	const struct semshare_ring_variant *variant = semshare_ring_variant(params->variant);

	if (!variant || !semshare_ring_capacity_valid(params->capacity) ||
	    params->policy >= SEMSHARE_RING_POLICIES || params->reserved ||
	    !(variant->policies & 1u << params->policy))
		return 0;
	if (variant->max_payload)
		return variant->max_payload(params);
	return params->max_payload ? 0 : semshare_ring_max_payload(params->capacity);
}

/* What a port knows of a ring that is as its parameters say. */
static inline void semshare_ring_open_port(struct semshare_ring_port *port,
					   struct semshare_ring_control *control,
					   const struct semshare_ring_params *params)
{
	port->variant = semshare_ring_variant(params->variant);
	port->view.control = control;
	port->view.data = (unsigned char *)control + SEMSHARE_RING_CONTROL_SIZE;
	port->view.capacity = params->capacity;
	port->view.max_payload = semshare_ring_params_payload(params);
	port->view.policy = params->policy;
	port->producers = port->variant->producers;
	port->lane = 0;
	memset(port->own, 0, sizeof(port->own));
	if (port->variant->open)
		port->variant->open(port);
}

/**
 * semshare_ring_format - make a ring in zeroed memory
 * @control: SEMSHARE_RING_CONTROL_SIZE bytes, and behind them params->capacity
 * @params: see semshare_ring_params_payload()
 * @semid: the set that goes with it: as many semaphores as the variant has, the
 *	mutex and the roles 1
 * @key: its key
 * @name: SEMSHARE_NAME_SIZE bytes, a valid name
 *
 * The magic number is stored last, with release: it pairs with the acquire in
 * semshare_ring_check().
 *
 * Return: 0 or -EINVAL.
 */
static inline int semshare_ring_format(struct semshare_ring_control *control,
				       const struct semshare_ring_params *params,
				       __s32 semid, __u32 key, const char *name)
{
	struct semshare_ring_port port = { .is_dead = NULL };
	__u32 max_payload = semshare_ring_params_payload(params);

	if (!max_payload)
		return -EINVAL;
	control->abi_version = SEMSHARE_ABI_VERSION;
	control->features = 0;
	control->variant = params->variant;
	control->capacity = params->capacity;
	control->max_payload = max_payload;
	control->control_size = SEMSHARE_RING_CONTROL_SIZE;
	control->semid = semid;
	control->key = key;
	semshare_ring_open_port(&port, control, params);
	control->nsems = port.variant->nsems;
	control->flags = 0;
	control->policy = params->policy;
	memcpy(control->name, name, SEMSHARE_NAME_SIZE);
	if (port.variant->format)
		port.variant->format(&port);
	semshare_store_release(&control->magic, SEMSHARE_RING_MAGIC);
	return 0;
}

/**
 * semshare_ring_check - take a private view of a ring that somebody made
 * @port: out
 * @base: start of the area
 * @size: bytes of the area
 *
 * Return: 0; -EAGAIN if there is no ring (yet); -EPROTO if what stands there
 * is no ring of this ABI or does not fit into the area.
 */
static inline int semshare_ring_check(struct semshare_ring_port *port, void *base, __u64 size)
{
	struct semshare_ring_control *control = (struct semshare_ring_control *)base;
	struct semshare_ring_params params = { .reserved = 0 };
	const struct semshare_ring_variant *variant;

	if (size < SEMSHARE_RING_CONTROL_SIZE + SEMSHARE_RING_MIN_CAPACITY)
		return -EPROTO;
	/* Pairs with the release in semshare_ring_format(). */
	switch (semshare_load_acquire(&control->magic)) {
	case SEMSHARE_RING_MAGIC:
		break;
	case 0:
		return -EAGAIN;
	default:
		return -EPROTO;
	}
	params.capacity = semshare_load(&control->capacity);
	params.variant = semshare_load(&control->variant);
	params.policy = semshare_load(&control->policy);
	variant = semshare_ring_variant(params.variant);
	if (variant && variant->max_payload)
		params.max_payload = semshare_load(&control->max_payload);
	if (semshare_load(&control->abi_version) != SEMSHARE_ABI_VERSION ||
	    semshare_load(&control->features) != 0 ||
	    semshare_load(&control->control_size) != SEMSHARE_RING_CONTROL_SIZE ||
	    !semshare_ring_params_payload(&params) ||
	    semshare_load(&control->nsems) != variant->nsems ||
	    params.capacity > size - SEMSHARE_RING_CONTROL_SIZE)
		return -EPROTO;
	semshare_ring_open_port(port, control, &params);
	return 0;
}

/**
 * semshare_ring_used - bytes that a ring's records take, as it looks from outside
 * @port: the ring
 *
 * Context: any.
 * Return: 0 to the capacity, or anything if a word lies.
 */
static inline __u64 semshare_ring_used(const struct semshare_ring_port *port)
{
	const struct semshare_ring_control *control = port->view.control;

	if (port->variant->used)
		return port->variant->used(&port->view);
	return semshare_load(&control->tail) - semshare_load(&control->head);
}

/**
 * semshare_ring_count - what can be told of a ring from outside
 * @port: the ring
 * @counts: out
 *
 * Context: any.
 */
static inline void semshare_ring_count(const struct semshare_ring_port *port,
				       struct semshare_ring_counts *counts)
{
	const struct semshare_ring_control *control = port->view.control;
	__u32 cause;

	memset(counts, 0, sizeof(*counts));
	if (port->variant->look) {
		counts->gets = ~0ull;
		counts->put_bytes = ~0ull;
		port->variant->look(&port->view, counts);
		return;
	}
	counts->head = semshare_load(&control->head);
	counts->tail = semshare_load(&control->tail);
	counts->puts = semshare_load(&control->puts);
	counts->gets = semshare_load(&control->gets);
	counts->put_bytes = semshare_load(&control->put_bytes);
	for (cause = 0; cause < SEMSHARE_DROP_CAUSES; cause++)
		counts->drops[cause] = semshare_load(&control->drops[cause]);
}

/**
 * semshare_ring_ready - what a ring is ready for, as it looks from outside
 * @port: the ring
 * @lane: the producer's, where each has one; SEMSHARE_RING_ANY_LANE: not known
 *
 * Between honest parties what is said was so at some instant of the call: who has
 * said before that he waits (semshare/core/bell.h) is told of what comes later.
 *
 * Context: any.
 * Return: SEMSHARE_EVENT_*, see struct semshare_ring_variant.
 */
static inline __u32 semshare_ring_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const struct semshare_ring_control *control = port->view.control;
	__u32 ready;

	if (port->variant->ready)
		ready = port->variant->ready(port, lane);
	else
		ready = semshare_ring_ready_between(&control->head, &control->tail,
						    port->view.capacity);
	/* A put makes the space that it needs. */
	if (port->view.policy == SEMSHARE_RING_OVERWRITE)
		ready |= SEMSHARE_EVENT_SPACE;
	if (semshare_load(&control->state) != SEMSHARE_RING_OK)
		ready |= SEMSHARE_EVENT_BROKEN;
	return ready;
}

/**
 * semshare_ring_look - a look at a ring from outside, of which nothing is known
 * @control: a private copy of its control page; out: head, tail, puts, gets,
 *	put_bytes and drops as they are, whatever the variant
 * @base: start of the area; of a variant that does not look at data no more is read
 * @size: bytes of the area
 *
 * Return: 0, -EAGAIN or -EPROTO, as semshare_ring_check().
 */
static inline int semshare_ring_look(struct semshare_ring_control *control, const void *base,
				     __u64 size)
{
	struct semshare_ring_counts counts;
	struct semshare_ring_port port;
	int err = semshare_ring_check(&port, control, size);

	if (err)
		return err;
	port.view.data = (unsigned char *)base + SEMSHARE_RING_CONTROL_SIZE;
	semshare_ring_count(&port, &counts);
	control->head = counts.head;
	control->tail = counts.tail;
	control->puts = counts.puts;
	control->gets = counts.gets;
	control->put_bytes = counts.put_bytes;
	memcpy(control->drops, counts.drops, sizeof(control->drops));
	return 0;
}

#endif /* SEMSHARE_CORE_VARIANTS_H */
