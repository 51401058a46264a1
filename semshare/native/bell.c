// SPDX-License-Identifier: MIT
/*
 * Waking who waits at a descriptor, and waiting at one. When to ring stands in semshare/core/bell.h; here is how: by an
 * ioctl on the module's area, which wakes who polls it and signals eventfds, or by a byte into a FIFO.
 *
 * All who listen to a ring in POSIX shared memory share its FIFO, and a byte is read by one of them. So it is passed on,
 * as a hint in semshare/core/sysv.h is: whoever has read one says again that somebody waits (there may be others), and
 * if it leaves something to do, rings.
 *
 * A channel has a bell for each of its queues in place of the two sides of a ring, and one who listens to each.
 */
#include "bell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

void bells_init(struct bells *bells)
{
	*bells = (struct bells){ .area = -1, .fifos = { -1, -1 }, .ears = { -1, -1 } };
}

/* How to ring: the descriptor of the module's area, of which a duplicate is kept, or -1 and FIFOs. 0 or an errno. */
int bells_by(struct bells *bells, int area, const char *const paths[2])
{
	int side;

	if (area >= 0) {
		bells->area = fcntl(area, F_DUPFD_CLOEXEC, 0);
		if (bells->area < 0)
			return errno;
	}
	for (side = 0; side < 2; side++) {
		if (!paths[side])
			continue;
		bells->paths[side] = strdup(paths[side]);
		if (!bells->paths[side])
			return ENOMEM;
	}
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void bells_close(struct bells *bells)
{
	int side;

	for (side = 0; side < 2; side++) {
		struct semshare_eventfd request = { .fd = bells->ears[side], .direction = SEMSHARE_EVENTFD_TO_USER };

		if (bells->area >= 0 && request.fd >= 0)
			(void)ioctl(bells->area, SEMSHARE_IOC_EVENTFD, &request);
		close_one(&bells->fifos[side]);
		close_one(&bells->ears[side]);
		free(bells->paths[side]);
	}
	close_one(&bells->area);
	bells_init(bells);
}

/* Listen at this side no more. */
void bells_hush(struct bells *bells, bool space)
{
	close_one(&bells->ears[space]);
	bells->heard[space] = false;
}

/* The child of a fork shares its parent's descriptors: what is meant for the one is not for the other to read. */
void bells_forget(struct bells *bells)
{
	bells_hush(bells, false);
	bells_hush(bells, true);
}

/*
 * For reading as well as for writing: then there always is a reader, and no open(), write() or poll() ever minds that
 * nobody listens just now.
 */
static int open_fifo(const char *path)
{
	struct stat state;
	int fd;

	if (!path)
		return -1;
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0 && (fstat(fd, &state) || !S_ISFIFO(state.st_mode))) {
		close_one(&fd);
		errno = EPROTO;
	}
	return fd;
}

/* The FIFO to write to. Threads without the GIL may come here at once. */
static int fifo_of(struct bells *bells, bool space)
{
	int fd = __atomic_load_n(&bells->fifos[space], __ATOMIC_RELAXED);
	int expected = -1;

	if (fd >= 0)
		return fd;
	fd = open_fifo(bells->paths[space]);
	if (fd >= 0 && !__atomic_compare_exchange_n(&bells->fifos[space], &expected, fd, false, __ATOMIC_RELAXED,
						    __ATOMIC_RELAXED)) {
		close(fd);
		fd = expected;
	}
	return fd;
}

/* An eventfd of our own, that the module signals. */
static int register_eventfd(int area, bool space)
{
	const __u32 events = (space ? SEMSHARE_EVENT_SPACE : SEMSHARE_EVENT_DATA) | SEMSHARE_EVENT_BROKEN;
	struct semshare_eventfd request = { .events = events, .direction = SEMSHARE_EVENTFD_TO_USER };

	request.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (request.fd >= 0 && ioctl(area, SEMSHARE_IOC_EVENTFD, &request)) {
		int error = errno;

		close(request.fd);
		errno = error;
		return -1;
	}
	return request.fd;
}

/* Have a descriptor that others make readable. Returns 0 or an errno. */
int bells_listen(struct bells *bells, bool space)
{
	int fd = bells->area >= 0 ? register_eventfd(bells->area, space) : open_fifo(bells->paths[space]);

	if (fd < 0)
		return bells->area >= 0 || bells->paths[space] ? errno : EOPNOTSUPP;
	bells->shared[space] = bells->area < 0;
	bells->ears[space] = fd;
	return 0;
}

/* Wake those who wait. Never blocks; errno is left as it was. */
void bells_ring(struct bells *bells, bool space)
{
	struct semshare_notify_request notify = { .events = space ? SEMSHARE_EVENT_SPACE : SEMSHARE_EVENT_DATA };
	int before = errno;
	int fd;

	__atomic_fetch_add(&bells->rung, 1, __ATOMIC_RELAXED);
	if (bells->area >= 0) {
		(void)ioctl(bells->area, SEMSHARE_IOC_NOTIFY, &notify);
	} else {
		fd = fifo_of(bells, space);
		/* EAGAIN: it is full of bytes, which is as good. A ring without a FIFO is one that was removed. */
		if (fd >= 0 && write(fd, "", 1) < 0)
			errno = before;
	}
	errno = before;
}

/* Read what was rung, so that the descriptor is not readable any more. Returns whether there was any. */
bool bells_hear(struct bells *bells, bool space)
{
	bool heard = false;
	char bytes[64];
	ssize_t count;

	do {
		count = read(bells->ears[space], bytes, sizeof(bytes));
		heard |= count > 0;
	} while (count == (ssize_t)sizeof(bytes));
	if (heard && bells->shared[space])
		bells->heard[space] = true;
	return heard;
}
