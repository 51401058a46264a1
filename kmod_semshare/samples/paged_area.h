/* SPDX-License-Identifier: GPL-2.0 */
/* What the two samples that fill a ring of pages have in common: the way to the pages. */
#ifndef SEMSHARE_PAGED_AREA_H
#define SEMSHARE_PAGED_AREA_H

#include <linux/err.h>
#include <linux/string.h>
#include <semshare/core/variants.h>
#include <semshare/kapi.h>
#include <semshare/paged.h>

/**
 * struct paged_area - the ring of an area, as who fills its pages knows it
 * @ring: a handle, by which those who wait for a page are told of it; holds the area
 * @port: the ring's geometry, in kernel memory: what users write later changes nothing
 */
struct paged_area {
	struct semshare_ring *ring;
	struct semshare_ring_port port;
};

static inline struct semshare_paged *paged_area_pages(struct paged_area *self)
{
	return semshare_paged_of(&self->port);
}

/*
 * Find the ring, and the number of the page that comes next.  No role is taken: a
 * device takes none either.
 */
static inline int paged_area_open(struct paged_area *self, const struct semshare_paged_start *start,
				  u64 largest)
{
	struct semshare_area *area;
	struct semshare_paged *paged;
	int err;

	area = semshare_area_from_fd(start->area_fd, SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE);
	if (IS_ERR(area))
		return PTR_ERR(area);
	err = semshare_ring_check(&self->port, semshare_area_data(area), semshare_area_size(area));
	if (!err && self->port.variant->number != SEMSHARE_RING_PAGED)
		err = -EMEDIUMTYPE;
	if (!err) {
		paged = paged_area_pages(self);
		if (paged->size > largest || start->payload > self->port.view.max_payload)
			err = -EINVAL;
		else
			paged->next = semshare_paged_tail(paged);
	}
	if (!err) {
		self->ring = semshare_ring_open(area, 0);
		err = PTR_ERR_OR_ZERO(self->ring);
		if (err)
			self->ring = NULL;
	}
	/* The handle has a reference of its own. */
	semshare_area_put(area);
	return err;
}

/* There is another page.  Context: any. */
static inline void paged_area_notify(struct paged_area *self)
{
	semshare_ring_notify(self->ring, SEMSHARE_EVENT_DATA);
}

static inline void paged_area_close(struct paged_area *self)
{
	if (self->ring)
		semshare_ring_close(self->ring);
	self->ring = NULL;
}

static inline void paged_area_pattern(u8 *payload, u32 size, u64 number)
{
	u32 i;

	for (i = 0; i < size; i++)
		payload[i] = number + i;
}

#endif /* SEMSHARE_PAGED_AREA_H */
