/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * The ring of pages: one producer that publishes no index, as a DMA engine does, and
 * one consumer.  Pages are written one after the other, round and round, each between
 * two fences that say which page it is:
 *
 *	+-------+--------+---------------------------+------+
 *	| first | record | payload …                 | last |	page n is at n % pages
 *	+-------+--------+---------------------------+------+
 *
 * The number of a page counts from 0 and never wraps; a fence is SEMSHARE_PAGE_MAGIC and
 * the low half of that.  A consumer that waits for page n finds at last
 *
 *	fence(n)		the page is there
 *	an older one, or none	it is not, yet.  Where one of the next pages is there
 *				already, n was left unfinished: torn, counted, passed
 *				over
 *	fence(n + k * pages)	the producer has been round: overwritten, counted.  The
 *				oldest that may be left is that page + 1 - pages
 *
 * A copy of a page counts if first is still fence(n) after it.
 *
 *	producer			consumer
 *	A: first = fence(n)		E: load-acquire last, is it fence(n)?
 *	   full barrier			   copy record and payload
 *	B: record and payload		F: full barrier
 *	C: store-release last		G: load first, is it fence(n) still?
 *
 *	C with E	who sees the last word sees the page
 *	A with F	a copy that has anything of the next round in it comes before a
 *			first word that says so
 *	C with H	who finds a later page there, load-acquiring its last word, finds
 *			this one, too, unless it was left unfinished: it is torn only then
 *
 * A device does the same where it writes a page in the order of its addresses, and its
 * writes arrive in that order: those of one PCI device do, unless it asks for relaxed
 * ordering.
 *
 * A producer that is a program can do more than a device: it looks at the head, and
 * where the policy is to wait or to refuse it does not write over what was not read.
 * It finds its place again by the fences.
 *
 * The head is stored and loaded without order.  What it has to order has a full barrier
 * already: F stands between each copy and the head that gives the page back, and A's
 * between the head and what is written over it.  (The first word may go before that
 * barrier, but not before the head that allows it was loaded: no store does.)
 */
#ifndef SEMSHARE_CORE_PAGED_H
#define SEMSHARE_CORE_PAGED_H

#include <semshare/core/port.h>

#define SEMSHARE_PAGED_SIZE	4096
#define SEMSHARE_PAGED_MIN	128
#define SEMSHARE_PAGED_LOOKS	16
/* A producer leaves no more pages than that unfinished one after the other. */
#define SEMSHARE_PAGED_AHEAD	8

/**
 * struct semshare_paged - what a party keeps
 * @words: shared
 * @pages: shared
 * @mask: how many pages, a power of two, less one
 * @size: bytes of a page, a power of two
 * @next: the producer's: the page to write next
 * @head: the consumer's: pages before it are given back
 * @cursor: the consumer's: pages before it are read, or lost
 */
struct semshare_paged {
	struct semshare_paged_words *words;
	unsigned char *pages;
	__u64 mask;
	__u64 size;
	__u64 next;
	__u64 head;
	__u64 cursor;
};

static inline __u64 semshare_paged_fence(__u64 number)
{
	return (__u64)SEMSHARE_PAGE_MAGIC << 32 | (number & 0xffffffffu);
}

static inline struct semshare_page *semshare_paged_at(const struct semshare_paged *paged,
						      __u64 number)
{
	return (struct semshare_page *)(paged->pages + (number & paged->mask) * paged->size);
}

static inline __u64 *semshare_paged_last(const struct semshare_paged *paged, __u64 number)
{
	return (__u64 *)((unsigned char *)semshare_paged_at(paged, number) + paged->size) - 1;
}

/* How many pages after page @number a fence at its place is, or -1: none, or an older one. */
static inline __s64 semshare_paged_rounds(const struct semshare_paged *paged, __u64 number,
					  __u64 fence)
{
	__u32 ahead = (__u32)fence - (__u32)number;

	if (fence >> 32 != SEMSHARE_PAGE_MAGIC || ahead >> 31 || (ahead & paged->mask))
		return -1;
	return ahead;
}

/**
 * semshare_paged_tail - find the number behind the newest page
 * @paged: with @pages, @mask and @size
 *
 * Looks at every page.
 */
static inline __u64 semshare_paged_tail(const struct semshare_paged *paged)
{
	__u64 i, number, tail = 0;

	for (i = 0; i <= paged->mask; i++) {
		__u64 fence = semshare_load_acquire(semshare_paged_last(paged, i));

		number = semshare_load(&semshare_paged_at(paged, i)->record.position);
		if (fence == semshare_paged_fence(number) && (number & paged->mask) == i &&
		    number + 1 > tail)
			tail = number + 1;
	}
	return tail;
}

/*
 * Whether page @number was begun, by the number in its place, which only grows.  Of a
 * page that is being written over that is all there is to see: semshare_paged_tail()
 * does not count it, and a producer that is on its way through all of them while they
 * are looked at may be in the newest just then.
 */
static inline int semshare_paged_was_begun(const struct semshare_paged *paged, __u64 number)
{
	__u64 position = semshare_load(&semshare_paged_at(paged, number)->record.position);

	return position >= number && !((position ^ number) & paged->mask);
}

/* H, with C: whether one of the pages after @number is there, or was. */
static inline int semshare_paged_is_past(const struct semshare_paged *paged, __u64 number)
{
	__u64 ahead = paged->mask < SEMSHARE_PAGED_AHEAD ? paged->mask : SEMSHARE_PAGED_AHEAD;
	__u64 next;

	for (next = number + 1; next <= number + ahead; next++) {
		__u64 *last = semshare_paged_last(paged, next);

		if (semshare_paged_rounds(paged, next, semshare_load_acquire(last)) >= 0)
			return 1;
	}
	return 0;
}

/* The head of page @paged->next, where a payload of @size bytes is about to be written. */
static inline struct semshare_page *semshare_paged_open_page(const struct semshare_paged *paged,
							     __u32 size, __u32 type, __u64 time_ns)
{
	struct semshare_page *page = semshare_paged_at(paged, paged->next);

	semshare_store(&page->first, semshare_paged_fence(paged->next));
	/* A, with F: whoever sees anything of what follows sees that word. */
	semshare_full_barrier();
	semshare_plain_store(&page->record.size, size);
	semshare_plain_store(&page->record.type, type);
	/* Whoever looks for the newest page loads it, of a page that is not complete as well. */
	semshare_store(&page->record.position, paged->next);
	semshare_plain_store(&page->record.sequence,
			     paged->next + semshare_load(&paged->words->refused));
	semshare_plain_store(&page->record.time_ns, time_ns);
	return page;
}

/* C, with E and H: the page is complete, and so are those before it that ever will be. */
static inline void semshare_paged_close_page(struct semshare_paged *paged)
{
	semshare_store_release(semshare_paged_last(paged, paged->next),
			       semshare_paged_fence(paged->next));
	paged->next++;
}

/* Whether the producer may write the next page.  0, -EAGAIN or -EPROTO */
static inline int semshare_paged_has_space(const struct semshare_paged *paged)
{
	/* No acquire: A's barrier is between this and what is written. */
	__u64 used = paged->next - semshare_load(&paged->words->head);

	if (used > paged->mask + 1)
		return -EPROTO;
	return used == paged->mask + 1 ? -EAGAIN : 0;
}

/* The consumer goes on to page @number: those before it that were not read are lost. */
static inline void semshare_paged_pass_over(struct semshare_paged *paged, __u64 number,
					    __u64 *cause)
{
	semshare_store(cause, semshare_load(cause) + (number - paged->cursor));
	if (paged->cursor == paged->head) {
		paged->head = number;
		semshare_store(&paged->words->head, number);	/* see semshare_paged_consume() */
	}
	paged->cursor = number;
}

/**
 * semshare_paged_peek - look for the next page
 * @paged: the consumer's
 * @record: out: a copy of its head, checked
 *
 * Return: 0; -EAGAIN: it is not there, yet.
 */
static inline int semshare_paged_peek(struct semshare_paged *paged, struct semshare_record *record)
{
	int looks;

	for (looks = 0; looks < SEMSHARE_PAGED_LOOKS; looks++) {
		const __u64 number = paged->cursor;
		const __u64 fence = semshare_paged_fence(number);
		struct semshare_page *page = semshare_paged_at(paged, number);
		__u64 *last = semshare_paged_last(paged, number);
		__s64 ahead;

		/* E, with C */
		ahead = semshare_paged_rounds(paged, number, semshare_load_acquire(last));
		if (ahead > 0) {
			semshare_paged_pass_over(paged, number + ahead - paged->mask,
						 &paged->words->overwritten);
			continue;
		}
		if (ahead < 0) {
			if (!semshare_paged_is_past(paged, number))
				return -EAGAIN;
			/*
			 * A later one is there: what has come of this one was there before (C
			 * with H).  If it is here after all, the next look acquires it.
			 */
			if (semshare_paged_rounds(paged, number, semshare_load(last)) < 0)
				semshare_paged_pass_over(paged, number + 1, &paged->words->torn);
			continue;
		}
		semshare_copy(record, &page->record, sizeof(*record));
		if (record->position == number &&
		    record->size <= paged->size - SEMSHARE_PAGE_OVERHEAD)
			return 0;
		semshare_full_barrier();	/* F, with A */
		semshare_paged_pass_over(paged, number + 1,
					 semshare_load(&page->first) == fence ?
					 &paged->words->torn : &paged->words->overwritten);
	}
	return -EAGAIN;
}

/* The glue of the variant. */

static inline struct semshare_paged *semshare_paged_of(const struct semshare_ring_port *port)
{
	return (struct semshare_paged *)port->own;
}

static inline __u32 semshare_paged_max_payload(const struct semshare_ring_params *params)
{
	__u64 size = (__u64)params->max_payload + SEMSHARE_PAGE_OVERHEAD;

	if (!params->max_payload)
		size = params->capacity / 4 < SEMSHARE_PAGED_SIZE ? params->capacity / 4 :
								    SEMSHARE_PAGED_SIZE;
	if (size & (size - 1) || size < SEMSHARE_PAGED_MIN || size > params->capacity / 4)
		return 0;
	return (__u32)size - SEMSHARE_PAGE_OVERHEAD;
}

static inline void semshare_paged_open(struct semshare_ring_port *port)
{
	struct semshare_paged *paged = semshare_paged_of(port);

	paged->words = (struct semshare_paged_words *)port->view.control->words;
	paged->pages = port->view.data;
	paged->size = port->view.max_payload + SEMSHARE_PAGE_OVERHEAD;
	paged->mask = port->view.capacity / paged->size - 1;
}

static inline int semshare_paged_begin(struct semshare_ring_port *port, int put)
{
	struct semshare_paged *paged = semshare_paged_of(port);
	/* No acquire: the role's semaphore orders what this role's party before has seen. */
	__u64 head = semshare_load(&paged->words->head);

	if (put) {
		paged->next = semshare_paged_tail(paged);
		return head > paged->next ? -EPROTO : 0;
	}
	paged->head = head;
	paged->cursor = head;
	return semshare_paged_was_begun(paged, head - 1) || head <= semshare_paged_tail(paged) ?
	       0 : -EPROTO;
}

static inline int semshare_paged_put(struct semshare_ring_port *port,
				     const struct semshare_ring_entry *entries, size_t count,
				     __u64 time_ns, size_t *done)
{
	struct semshare_paged *paged = semshare_paged_of(port);
	struct semshare_page *page;
	int err = 0;
	size_t n;

	for (n = 0; n < count; n++) {
		err = entries[n].size > port->view.max_payload ? -EMSGSIZE :
		      port->view.policy == SEMSHARE_RING_OVERWRITE ? 0 :
		      semshare_paged_has_space(paged);
		if (err)
			break;
		page = semshare_paged_open_page(paged, entries[n].size, entries[n].type, time_ns);
		semshare_plain_copy(page + 1, entries[n].payload, entries[n].size);
		semshare_paged_close_page(paged);
	}
	*done = n;
	if (err == -EAGAIN && port->view.policy == SEMSHARE_RING_REFUSE) {
		semshare_store(&paged->words->refused,
			       semshare_load(&paged->words->refused) + (count - n));
		err = -ENOBUFS;
	}
	return err;
}

static inline int semshare_ring_paged_peek(struct semshare_ring_port *port,
					   struct semshare_record *record)
{
	return semshare_paged_peek(semshare_paged_of(port), record);
}

static inline int semshare_paged_read(struct semshare_ring_port *port,
				      const struct semshare_record *record, void *payload)
{
	struct semshare_paged *paged = semshare_paged_of(port);
	struct semshare_page *page = semshare_paged_at(paged, paged->cursor);

	semshare_copy(payload, page + 1, record->size);
	/* F, with A: of a producer that goes round, and of one that waits for the head. */
	semshare_full_barrier();
	if (semshare_load(&page->first) != semshare_paged_fence(paged->cursor)) {
		semshare_paged_pass_over(paged, paged->cursor + 1, &paged->words->overwritten);
		return -EAGAIN;
	}
	paged->cursor++;
	return 0;
}

static inline void semshare_paged_consume(struct semshare_ring_port *port, __u64 records)
{
	struct semshare_paged *paged = semshare_paged_of(port);

	(void)records;
	paged->head = paged->cursor;
	/* No release: F is between this and the last copy. */
	semshare_store(&paged->words->head, paged->head);
}

static inline __u64 semshare_paged_other(const struct semshare_ring_port *port, int put)
{
	const struct semshare_paged *paged = semshare_paged_of(port);

	return put ? semshare_load_acquire(&paged->words->head) * paged->size :
		     semshare_load_acquire(semshare_paged_last(paged, paged->cursor));
}

/*
 * Whether it is nothing, some, or more than half of the ring, which then is all of it:
 * asked in any context, so that it looks at no more pages than tell that.
 */
static inline __u64 semshare_paged_used(const struct semshare_ring_view *view)
{
	struct semshare_ring_port port = { .view = *view };
	struct semshare_paged *paged = semshare_paged_of(&port);
	__u64 head;

	semshare_paged_open(&port);
	head = semshare_load(&paged->words->head);
	if (semshare_paged_is_past(paged, head + paged->mask / 2))
		return view->capacity;
	return semshare_paged_is_past(paged, head - 1) ? paged->size : 0;
}

/* Whether page @number is there, or one after it is, or was. */
static inline int semshare_paged_is_there(const struct semshare_paged *paged, __u64 number)
{
	const __u64 *last = semshare_paged_last(paged, number);

	return semshare_paged_rounds(paged, number, semshare_load_acquire(last)) >= 0 ||
	       semshare_paged_is_past(paged, number);
}

/* Whether one of the pages before @number is where it was written; all may be unfinished. */
static inline int semshare_paged_is_behind(const struct semshare_paged *paged, __u64 number)
{
	__u64 before, left = SEMSHARE_PAGED_AHEAD + 1;

	for (before = number - 1; left && before != ~0ull; before--, left--) {
		const struct semshare_page *page = semshare_paged_at(paged, before);

		if (semshare_load_acquire(semshare_paged_last(paged, before)) ==
		    semshare_paged_fence(before) &&
		    semshare_load(&page->record.position) == before)
			return 1;
	}
	return left != 0;
}

/* Without a look at all pages: at those about the head, and about half a round further. */
static inline __u32 semshare_paged_ready(const struct semshare_ring_port *port, __u32 lane)
{
	const struct semshare_paged *paged = semshare_paged_of(port);
	__u64 head = semshare_load_acquire(&paged->words->head);
	__u32 ready = 0;

	(void)lane;
	if (semshare_paged_is_there(paged, head))
		ready |= SEMSHARE_EVENT_DATA;
	else if (!semshare_paged_is_behind(paged, head))
		/* Page and head have moved on since, or there is no such page. */
		ready |= semshare_paged_is_there(paged, head) ||
			 semshare_load(&paged->words->head) != head ?
			 SEMSHARE_EVENT_DATA : SEMSHARE_EVENT_BROKEN;
	if (!semshare_paged_is_there(paged, head + paged->mask / 2 + 1))
		ready |= SEMSHARE_EVENT_SPACE;
	return ready;
}

static inline void semshare_paged_look(const struct semshare_ring_view *view,
				       struct semshare_ring_counts *counts)
{
	struct semshare_ring_port port = { .view = *view };
	struct semshare_paged *paged = semshare_paged_of(&port);

	semshare_paged_open(&port);
	counts->puts = semshare_paged_tail(paged);
	counts->tail = counts->puts * paged->size;
	counts->head = semshare_load(&paged->words->head) * paged->size;
	/* Those that were overwritten are not there, though the consumer does not know it yet. */
	if (counts->tail - counts->head > view->capacity)
		counts->head = counts->tail - view->capacity;
	counts->drops[SEMSHARE_DROP_REFUSED] = semshare_load(&paged->words->refused);
	counts->drops[SEMSHARE_DROP_OVERWRITTEN] = semshare_load(&paged->words->overwritten);
	counts->drops[SEMSHARE_DROP_ABANDONED] = semshare_load(&paged->words->torn);
}

static const struct semshare_ring_variant semshare_ring_paged = {
	.name = "paged",
	.number = SEMSHARE_RING_PAGED,
	.nsems = SEMSHARE_RING_ROLE_NSEMS,
	.roles = SEMSHARE_ROLE_PRODUCER | SEMSHARE_ROLE_CONSUMER,
	.producers = 1,
	.policies = 1u << SEMSHARE_RING_WAIT | 1u << SEMSHARE_RING_REFUSE |
		    1u << SEMSHARE_RING_OVERWRITE,
	/* A device wakes nobody. */
	.recheck_us = 1000,
	.max_payload = semshare_paged_max_payload,
	.open = semshare_paged_open,
	.begin = semshare_paged_begin,
	.put = semshare_paged_put,
	.peek = semshare_ring_paged_peek,
	.read = semshare_paged_read,
	.consume = semshare_paged_consume,
	.other = semshare_paged_other,
	.used = semshare_paged_used,
	.ready = semshare_paged_ready,
	.look = semshare_paged_look,
	.looks_at_data = 1,
};

#endif /* SEMSHARE_CORE_PAGED_H */
