/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The variants of the ring, behind one interface.  A variant is an algorithm in
 * a file of its own, and an entry in semshare_ring_variants[] here; module and
 * package take it from there.
 */
#ifndef SEMSHARE_CORE_VARIANTS_H
#define SEMSHARE_CORE_VARIANTS_H

#include <semshare/core/mpsc.h>
#include <semshare/core/spsc.h>
#include <semshare/core/sysv.h>

struct semshare_ring_variant;

/**
 * struct semshare_ring_port - a ring as one party uses it
 * @view: the ring
 * @variant: its variant
 * @sysv: the cursors of one pass, while this party owns the lock
 * @spsc: its own side, or both
 * @mpsc: as a producer, as the consumer, or as both
 * @self: who this party is, should it be killed over a record
 * @is_dead: whether somebody else is known to be dead, or NULL
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
	};
	struct semshare_mpsc_owner self;
	int (*is_dead)(const struct semshare_mpsc_owner *owner);
};

/* Of which sides there can be only one, who has taken SEMSHARE_SEM_PRODUCER or _CONSUMER. */
#define SEMSHARE_ROLE_PRODUCER	0x1u
#define SEMSHARE_ROLE_CONSUMER	0x2u

/**
 * struct semshare_ring_variant - the operations of a variant
 * @name: as users know it
 * @number: enum semshare_ring_variants
 * @nsems: semaphores of its set
 * @locked: a pass is made by the owner of SEMSHARE_SEM_MUTEX, and begins with @begin
 * @roles: SEMSHARE_ROLE_*; having taken one a party begins with @begin
 * @policies: a bit for each enum semshare_ring_policy that it can
 * @max_payload: the longest payload, 0 if there can be no such ring; NULL: a quarter
 *	of the ring
 * @format: fill a new ring's records in, or NULL
 * @open: fill in what this party keeps of the geometry, or NULL
 * @begin: load the cursors.  0 or -EPROTO
 * @put: as semshare_sysv_put_all()
 * @peek: look at the oldest record that was not read.  0, -EAGAIN, -EPROTO
 * @read: copy its payload, and go on to the next
 * @consume: give back the space of those that were read
 * @other: the word by which the other side's progress can be seen
 * @used: bytes that records take; a look from outside
 *
 * Context: in the kernel, any that the variant allows; nothing here sleeps.
 */
struct semshare_ring_variant {
	const char *name;
	__u32 number;
	__u32 nsems;
	int locked;
	__u32 roles;
	__u32 policies;
	__u32 (*max_payload)(const struct semshare_ring_params *params);
	void (*format)(struct semshare_ring_port *port);
	void (*open)(struct semshare_ring_port *port);
	int (*begin)(struct semshare_ring_port *port, int put);
	int (*put)(struct semshare_ring_port *port, const struct semshare_ring_entry *entries,
		   size_t count, __u64 time_ns, size_t *done);
	int (*peek)(struct semshare_ring_port *port, struct semshare_record *record);
	void (*read)(struct semshare_ring_port *port, const struct semshare_record *record,
		     void *payload);
	void (*consume)(struct semshare_ring_port *port, __u64 records);
	const __u64 *(*other)(const struct semshare_ring_view *view, int put);
	__u64 (*used)(const struct semshare_ring_view *view);
};

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

static inline void semshare_ring_sysv_read(struct semshare_ring_port *port,
					   const struct semshare_record *record, void *payload)
{
	semshare_sysv_read(&port->view, &port->sysv, record, payload);
}

static inline void semshare_ring_sysv_consume(struct semshare_ring_port *port, __u64 records)
{
	semshare_sysv_consume(&port->view, &port->sysv, records);
}

static inline const __u64 *semshare_ring_sysv_other(const struct semshare_ring_view *view, int put)
{
	return put ? &view->control->head : &view->control->tail;
}

static inline __u64 semshare_ring_sysv_used(const struct semshare_ring_view *view)
{
	return semshare_load(&view->control->tail) - semshare_load(&view->control->head);
}

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
	return put ? semshare_spsc_begin_put(side) : semshare_spsc_begin_get(side);
}

static inline int semshare_ring_spsc_put(struct semshare_ring_port *port,
					 const struct semshare_ring_entry *entries, size_t count,
					 __u64 time_ns, size_t *done)
{
	struct semshare_spsc *side = &port->spsc.put;
	struct semshare_record *record;
	int err = 0;
	size_t n;

	for (n = 0; n < count; n++) {
		record = semshare_spsc_reserve(side, entries[n].size, &err);
		if (!record)
			break;
		memcpy(record + 1, entries[n].payload, entries[n].size);
		semshare_spsc_write(side, record, entries[n].size, entries[n].type, time_ns);
	}
	if (n)
		semshare_spsc_publish(side);
	*done = n;
	if (err == -EAGAIN && port->view.policy == SEMSHARE_RING_REFUSE) {
		__u64 *drops = &port->view.control->drops[SEMSHARE_DROP_REFUSED];

		semshare_store(drops, semshare_load(drops) + (count - n));
		for (; n < count; n++)
			semshare_spsc_drop(side);
		err = -ENOBUFS;
	}
	return err;
}

static inline int semshare_ring_spsc_peek(struct semshare_ring_port *port,
					  struct semshare_record *record)
{
	int err = 0;

	return semshare_spsc_peek(&port->spsc.get, record, &err) ? 0 : err;
}

static inline void semshare_ring_spsc_read(struct semshare_ring_port *port,
					   const struct semshare_record *record, void *payload)
{
	struct semshare_spsc *side = &port->spsc.get;

	semshare_copy(payload, side->data + (side->cursor & (side->capacity - 1)) + sizeof(*record),
		      record->size);
	semshare_spsc_read(side, record);
}

static inline void semshare_ring_spsc_consume(struct semshare_ring_port *port, __u64 records)
{
	(void)records;
	semshare_spsc_consume(&port->spsc.get);
}

static inline const __u64 *semshare_ring_spsc_other(const struct semshare_ring_view *view, int put)
{
	struct semshare_spsc_words *words = semshare_ring_spsc_words(view);

	return put ? &words->head : &words->tail;
}

static inline __u64 semshare_ring_spsc_used(const struct semshare_ring_view *view)
{
	struct semshare_spsc_words *words = semshare_ring_spsc_words(view);

	return semshare_load(&words->tail) - semshare_load(&words->head);
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
}

static inline void semshare_ring_mpsc_format(struct semshare_ring_port *port)
{
	semshare_ring_mpsc_open(port);
	semshare_mpsc_format(&port->mpsc);
}

static inline int semshare_ring_mpsc_begin(struct semshare_ring_port *port, int put)
{
	port->mpsc.is_dead = port->is_dead;
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
	int err = 0;
	size_t n;

	for (n = 0; n < count && !err; n++) {
		if (entries[n].size > port->view.max_payload) {
			err = -EMSGSIZE;
			break;
		}
		do {
			err = semshare_mpsc_reserve(ring, &port->self, &reservation);
			if (err)
				break;
			memcpy(semshare_mpsc_payload(&reservation), entries[n].payload,
			       entries[n].size);
			err = semshare_mpsc_commit(&reservation, entries[n].size, entries[n].type,
						   time_ns);
			/* Stopped in between, for so long that the consumer went on: once more. */
		} while (err == -ESTALE);
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

static inline int semshare_ring_mpsc_peek(struct semshare_ring_port *port,
					  struct semshare_record *record)
{
	const void *payload;
	int err;

	do {
		err = semshare_mpsc_peek(&port->mpsc, record, &payload);
	} while (err == -EBUSY && semshare_mpsc_busy(&port->mpsc, semshare_now()));
	return err == -EBUSY ? -EAGAIN : err;
}

static inline void semshare_ring_mpsc_read(struct semshare_ring_port *port,
					   const struct semshare_record *record, void *payload)
{
	const struct semshare_slot *slot = semshare_mpsc_slot(&port->mpsc, port->mpsc.cursor);

	semshare_copy(payload, slot + 1, record->size);
	semshare_mpsc_read(&port->mpsc);
}

static inline void semshare_ring_mpsc_consume(struct semshare_ring_port *port, __u64 records)
{
	(void)records;
	semshare_mpsc_consume(&port->mpsc);
}

static inline const __u64 *semshare_ring_mpsc_other(const struct semshare_ring_view *view, int put)
{
	struct semshare_mpsc_words *words = semshare_ring_mpsc_words(view);

	return put ? &words->head : &words->tail;
}

static inline __u64 semshare_ring_mpsc_used(const struct semshare_ring_view *view)
{
	struct semshare_mpsc_words *words = semshare_ring_mpsc_words(view);

	return (semshare_load(&words->tail) - semshare_load(&words->head)) *
	       (view->max_payload + sizeof(struct semshare_slot));
}

/* Ends with one that has no name. */
static const struct semshare_ring_variant semshare_ring_variants[] = {
	{
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
		.used = semshare_ring_sysv_used,
	}, {
		.name = "spsc",
		.number = SEMSHARE_RING_SPSC,
		.nsems = SEMSHARE_RING_ROLE_NSEMS,
		.roles = SEMSHARE_ROLE_PRODUCER | SEMSHARE_ROLE_CONSUMER,
		.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE,
		.begin = semshare_ring_spsc_begin,
		.put = semshare_ring_spsc_put,
		.peek = semshare_ring_spsc_peek,
		.read = semshare_ring_spsc_read,
		.consume = semshare_ring_spsc_consume,
		.other = semshare_ring_spsc_other,
		.used = semshare_ring_spsc_used,
	}, {
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
		.consume = semshare_ring_mpsc_consume,
		.other = semshare_ring_mpsc_other,
		.used = semshare_ring_mpsc_used,
	},
	{ .name = NULL }
};

/* The variant of that number, or NULL. */
static inline const struct semshare_ring_variant *semshare_ring_variant(__u32 number)
{
	const struct semshare_ring_variant *each;

	for (each = semshare_ring_variants; each->name; each++)
		if (each->number == number)
			return each;
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

#endif /* SEMSHARE_CORE_VARIANTS_H */
