/* SPDX-License-Identifier: GPL-2.0 */
/* import.c: pages of memory that user space has already, pinned. */
#ifndef SEMSHARE_IMPORT_H
#define SEMSHARE_IMPORT_H

struct page;

/**
 * struct semshare_pinned - pages that are pinned, or are to be
 * @pages: memory for @wanted of them
 * @wanted: how many
 * @count: how many are pinned, the first ones
 */
struct semshare_pinned {
	struct page **pages;
	unsigned int wanted;
	unsigned int count;
};

int semshare_segment_pin(struct semshare_pinned *pinned, int shmid);
void semshare_unpin(struct semshare_pinned *pinned);

#endif /* SEMSHARE_IMPORT_H */
