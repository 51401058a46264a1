/* SPDX-License-Identifier: MIT */
/* bell.c: waking, and being woken, at descriptors (semshare/core/bell.h). */
#ifndef SEMSHARE_BELL_H
#define SEMSHARE_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include <semshare/core/ring.h>
#include <semshare/core/bell.h>

/* The way to ring, and where this party listens. Of a ring: [0] for records, [1] for space; of a channel: by queue. */
struct bells {
	int area;		/* the module's area, rung by ioctl; -1: there are FIFOs */
	char *paths[2];
	int fifos[2];		/* opened when first rung; -1 */
	int ears[2];		/* the descriptor at which this party listens, which is its own; -1: it does not */
	bool shared[2];		/* others listen at the same: a FIFO, whose bytes are told to one of them only */
	volatile bool heard[2];	/* took a byte that may have been for another */
	uint64_t rung;
};

void bells_init(struct bells *bells);
int bells_by(struct bells *bells, int area, const char *const paths[2]);
void bells_close(struct bells *bells);
void bells_hush(struct bells *bells, bool space);
void bells_forget(struct bells *bells);
int bells_listen(struct bells *bells, bool space);
void bells_ring(struct bells *bells, bool space);
bool bells_hear(struct bells *bells, bool space);

static inline bool bells_listens(const struct bells *bells, bool space)
{
	return bells->ears[space] >= 0;
}

#endif /* SEMSHARE_BELL_H */
