/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the memory of an area comes from: a file for each kind.
 *
 *	pages.c		pages of the system's memory, some of them huge
 *	import.c	pages of a memfd or a SysV segment of user space
 *	contiguous.c	one run of the system's memory
 *	reserved.c	one run of a range that the system leaves alone
 */
#ifndef SEMSHARE_BACKING_H
#define SEMSHARE_BACKING_H

#include <linux/pgtable.h>
#include <linux/types.h>
#include <semshare/abi.h>

struct semshare_area;

#define SEMSHARE_HUGE_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define SEMSHARE_HUGE_PAGES	((unsigned int)(PMD_SIZE / PAGE_SIZE))

/**
 * struct semshare_backing - what area.c has done by the kind of an area
 * @flags: SEMSHARE_MAKE_* that make sense
 * @privileged: user space needs CAP_SYS_RAWIO
 * @by_number: processes get page frames, and no references to pages: the pages
 *	belong to somebody else's file, or there is no struct page
 * @fill: get memory for area->nr_pages, and set area->data and area->pages (or
 *	area->start, if they may have no struct page).  What it got before an error,
 *	@empty gives back
 * @empty: give back whatever @fill got; nobody uses the area any more
 */
struct semshare_backing {
	u32 flags;
	bool privileged;
	bool by_number;
	int (*fill)(struct semshare_area *area, const struct semshare_area_make *make);
	void (*empty)(struct semshare_area *area);
};

extern const struct semshare_backing semshare_backing_pages;
extern const struct semshare_backing semshare_backing_memfd;
extern const struct semshare_backing semshare_backing_sysv;
extern const struct semshare_backing semshare_backing_contiguous;
extern const struct semshare_backing semshare_backing_reserved;

int semshare_reserved_init(void);
void semshare_reserved_exit(void);

#endif /* SEMSHARE_BACKING_H */
