// SPDX-License-Identifier: MIT
/*
 * Calls the ioctls of one device with everything that could be wrong with them,
 * and looks at what comes back.
 *
 *	ioctl_fuzz calls DEVICE FD SEED COUNT	on FD, or where that is -1 on a file of its own
 *	ioctl_fuzz compat DEVICE FD SEED COUNT	the same, as a 32-bit program calls
 *	ioctl_fuzz race - -1 SEED COUNT		threads and children on the same files, with maps
 *
 * Ends with 0; 1 and what was wrong on standard error; 77 where this kernel has
 * no system calls of 32-bit programs.
 *
 * Wrong is: an errno that is none; an answer other than ENOTTY to a command of
 * ours with another size or direction; a byte changed where nothing may be
 * written (before and behind the argument, in an argument that only goes in, in
 * one of a call that failed); characters behind the end of a name; what looks
 * like an address of the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <semshare/abi.h>
#include <semshare/bench_test.h>
#include <semshare/channel_test.h>
#include <semshare/core/key.h>
#include <semshare/core/variants.h>
#include <semshare/demo.h>
#include <semshare/notify_test.h>
#include <semshare/paged.h>
#include <semshare/parameters_test.h>
#include <semshare/ring_test.h>
#include <semshare/route.h>

/* Its ioctls have the numbers of ring_test.h, in another device. */
#include <semshare/test.h>

#define PAGE		4096UL
#define PATTERN		0xa5
#define NAMES		4
#define SETS		4
#define MAX_SIZE	16384		/* of an argument, in pages: the last byte at a page's end */
#define CHANNEL_BYTES	65536UL
#define AREA_BYTES	(SEMSHARE_RING_CONTROL_SIZE + SEMSHARE_RING_MIN_CAPACITY + PAGE)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static unsigned long long seed;

__attribute__((noreturn, format(printf, 1, 2)))
static void fail(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "seed %llu: ", seed);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	_exit(1);
}

/* ------------------------------------------------------------------ chance */

static _Thread_local unsigned long long dice;

static unsigned long long any64(void)
{
	dice ^= dice >> 12;
	dice ^= dice << 25;
	dice ^= dice >> 27;
	return dice * 0x2545f4914f6cdd1dULL;
}

static unsigned int below(unsigned int limit)
{
	return (any64() >> 32) % limit;
}

static bool one_in(unsigned int n)
{
	return below(n) == 0;
}

static unsigned long long interesting(void)
{
	static const unsigned long long numbers[] = {
		0, 1, 2, 3, 4, 7, 8, 63, 64, 65, 255, 500, 501, 511, 512, 4095, 4096, 4097, 8192, 32767,
		32768, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff,
	};

	return one_in(4) ? any64() : numbers[below(ARRAY_SIZE(numbers))];
}

/* ------------------------------------------------------------------ memory */

/*
 * Where arguments lie: MAX_SIZE bytes that may be written, MAX_SIZE zeros that
 * may only be read, and behind each a page that is not there.
 */
struct memory {
	unsigned char *writable;
	unsigned char *readable;
};

static unsigned char *map_guarded(int content, int protection, int flags)
{
	unsigned char *at = mmap(NULL, MAX_SIZE + PAGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (at == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	memset(at, content, MAX_SIZE);
	if (mprotect(at, MAX_SIZE, protection) || mprotect(at + MAX_SIZE, PAGE, PROT_NONE))
		fail("mprotect: %s", strerror(errno));
	return at;
}

static void make_memory(struct memory *memory, int flags)
{
	memory->writable = map_guarded(PATTERN, PROT_READ | PROT_WRITE, flags);
	memory->readable = map_guarded(0, PROT_READ, flags);
}

/* An address at which there are no @size bytes to read, or to write. */
static unsigned long bad_address(const struct memory *memory, size_t size)
{
	const unsigned long addresses[] = {
		0, 1, PAGE - 1,
		(unsigned long)memory->writable + MAX_SIZE,
		(unsigned long)memory->writable + MAX_SIZE - (size ? below(size) : 0),
		(unsigned long)memory->readable + MAX_SIZE - (size ? below(size) : 0),
		0x7ffffffff000, 0x7fffffffffff, 0x800000000000, 0x8000000000000000,
		0xffff800000000000, 0xffff888000000000, 0xffffffff81000000, ~0UL - below(PAGE), ~0UL,
	};

	return addresses[below(ARRAY_SIZE(addresses))];
}

static bool has_number(const unsigned char *at, size_t size, unsigned int number)
{
	size_t i;

	for (i = 0; i + sizeof(number) <= size; i += sizeof(number))
		if (!memcmp(at + i, &number, sizeof(number)))
			return true;
	return false;
}

/*
 * No address of the kernel's: nothing looks like one that was not put there by
 * us, nor has an upper half that is a number of ours, there or elsewhere.  An
 * address stands at a multiple of eight bytes, in what the kernel copies too.
 */
static void no_kernel_address(const char *whose, const unsigned char *after,
			      const unsigned char *before, size_t size)
{
	unsigned long word, was;
	size_t i;

	for (i = 0; i + sizeof(word) <= size; i += sizeof(word)) {
		memcpy(&word, after + i, sizeof(word));
		memcpy(&was, before + i, sizeof(was));
		if (word >> 32 == was >> 32 || word < 0xffff800000000000 || word > -4096UL)
			continue;
		/* A small negative number behind another number, in two fields of 32 bits. */
		if (word >> 40 == 0xffffff && (word >> 32 != 0xffffffff || (unsigned int)word < 0x80000000))
			continue;
		if (has_number(before, size, word >> 32))
			continue;
		fail("%s: told an address of the kernel: %#lx at byte %zu of %zu", whose, word, i, size);
	}
}

/* ------------------------------------------------------------------ things */

static int areas[3] = { -1, -1, -1 };	/* handles: with a ring; without; with space for a channel */
static int sets[SETS];
static const unsigned short sizes_of_sets[SETS] = { 3, 1, 20, 300 };

static void have_sets(void)
{
	struct semid_ds ds;
	int i;

	for (i = 0; i < SETS; i++) {
		if (!semctl(sets[i], 0, IPC_STAT, &ds) || errno == EACCES)
			continue;
		sets[i] = semget(IPC_PRIVATE, sizes_of_sets[i], 0600);
		if (sets[i] < 0)
			fail("semget: %s", strerror(errno));
	}
}

static void name_it(char *name, unsigned int number)
{
	memset(name, 0, SEMSHARE_NAME_SIZE);
	snprintf(name, SEMSHARE_NAME_SIZE, "fuzz-%d-%u", getpid(), number);
}

/* A ring, so that kernel threads have something to do. */
static void make_areas(void)
{
	struct semshare_area_create create = { .size = AREA_BYTES, .mode = 0600 };
	struct semshare_area_bind bind = { .flags = SEMSHARE_BIND_OWN };
	struct semshare_ring_params params = { .capacity = SEMSHARE_RING_MIN_CAPACITY,
					       .variant = SEMSHARE_RING_SYSV };
	struct sembuf publish = { .sem_op = 1 };
	void *area;
	int i;

	for (i = 0; i < 3; i++) {
		areas[i] = open(SEMSHARE_DEVICE, O_RDWR | O_CLOEXEC);
		name_it(create.name, 100 + i);
		create.size = i == 2 ? CHANNEL_BYTES : AREA_BYTES;
		if (areas[i] < 0 || ioctl(areas[i], SEMSHARE_IOC_CREATE, &create))
			fail("an area: %s", strerror(errno));
	}
	name_it(create.name, 100);
	area = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, areas[0], 0);
	if (area == MAP_FAILED)
		fail("a map: %s", strerror(errno));
	bind.semid = semget(semshare_key(create.name, strlen(create.name)), SEMSHARE_RING_NSEMS,
			    IPC_CREAT | IPC_EXCL | 0600);
	if (bind.semid < 0 || semop(bind.semid, &publish, 1) ||
	    ioctl(areas[0], SEMSHARE_IOC_BIND, &bind) ||
	    semshare_ring_format(area, &params, bind.semid,
				 semshare_key(create.name, strlen(create.name)), create.name))
		fail("a ring: %s", strerror(errno));
	munmap(area, AREA_BYTES);
}

/* ---------------------------------------------------------------- arguments */

enum kind {
	END, NUMBER, NAME, TEXT, SMALL, MODE, SEMID, AREA, CHANNEL, DEPTH, ZERO, CONTEXT,
	BOOLEAN, POINTER, TIMEOUT, KEY, NSEMS, GETFLAGS, CMD, FUNCTION, WHERE, SPACE_OF, OPERATION, SHORTLY, THREADS,
};

struct field {
	enum kind kind;
	unsigned int offset;
	unsigned int size;
};

#define FIELD(structure, member, what) \
	{ what, offsetof(struct structure, member), sizeof(((struct structure *)0)->member) }

struct command {
	unsigned int number;
	const char *name;
	struct field fields[16];
};

#define COMMAND(number) number, #number

static const struct command area_commands[] = {
	{ COMMAND(SEMSHARE_IOC_VERSION), {
		FIELD(semshare_version, abi_version, SMALL), FIELD(semshare_version, features, SMALL),
		FIELD(semshare_version, module, ZERO) } },
	{ COMMAND(SEMSHARE_IOC_FUNCTION), { FIELD(semshare_function, index, SMALL) } },
	{ COMMAND(SEMSHARE_IOC_CREATE), {
		FIELD(semshare_area_create, name, NAME), FIELD(semshare_area_create, size, SPACE_OF),
		FIELD(semshare_area_create, mode, MODE), FIELD(semshare_area_create, flags, ZERO) } },
	{ COMMAND(SEMSHARE_IOC_ATTACH), {
		FIELD(semshare_area_attach, name, NAME), FIELD(semshare_area_attach, access, SMALL),
		FIELD(semshare_area_attach, flags, ZERO) } },
	{ COMMAND(SEMSHARE_IOC_UNLINK), { FIELD(semshare_area_name, name, NAME) } },
	{ COMMAND(SEMSHARE_IOC_INFO), { { END, 0, 0 } } },
	{ COMMAND(SEMSHARE_IOC_LIST), { FIELD(semshare_area_info, id, SMALL) } },
	{ COMMAND(SEMSHARE_IOC_BIND), {
		FIELD(semshare_area_bind, semid, SEMID), FIELD(semshare_area_bind, flags, BOOLEAN) } },
	{ COMMAND(SEMSHARE_IOC_NOTIFY), {
		FIELD(semshare_notify_request, events, SMALL),
		FIELD(semshare_notify_request, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_IOC_EVENTFD), {
		FIELD(semshare_eventfd, fd, AREA), FIELD(semshare_eventfd, events, SMALL),
		FIELD(semshare_eventfd, direction, BOOLEAN), FIELD(semshare_eventfd, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_IOC_MAKE), {
		FIELD(semshare_area_make, name, NAME), FIELD(semshare_area_make, size, SPACE_OF),
		FIELD(semshare_area_make, address, ZERO), FIELD(semshare_area_make, mode, MODE),
		FIELD(semshare_area_make, kind, OPERATION), FIELD(semshare_area_make, flags, BOOLEAN),
		FIELD(semshare_area_make, source, AREA),
		FIELD(semshare_area_make, guard, WHERE) } },
	{ 0 },
};

static const struct command demo_commands[] = {
	{ COMMAND(SEMSHARE_DEMO_IOC_START), {
		FIELD(semshare_demo_start, area_fd, AREA), FIELD(semshare_demo_start, mode, OPERATION),
		FIELD(semshare_demo_start, threads, OPERATION),
		FIELD(semshare_demo_start, first_producer, SMALL),
		FIELD(semshare_demo_start, flags, BOOLEAN),
		FIELD(semshare_demo_start, payload_max, SMALL),
		FIELD(semshare_demo_start, count, OPERATION),
		FIELD(semshare_demo_start, counter_offset, WHERE) } },
	{ COMMAND(SEMSHARE_DEMO_IOC_STOP), { { END, 0, 0 } } },
	{ COMMAND(SEMSHARE_DEMO_IOC_STATUS), { FIELD(semshare_demo_status, index, SMALL) } },
	{ COMMAND(SEMSHARE_DEMO_IOC_DECLARE), {
		FIELD(semshare_demo_declare, name, NAME), FIELD(semshare_demo_declare, payload_max, SMALL),
		FIELD(semshare_demo_declare, mode, MODE) } },
	{ 0 },
};

static const struct command route_commands[] = {
	{ COMMAND(SEMSHARE_IOC_VERSION), {
		FIELD(semshare_version, abi_version, SMALL), FIELD(semshare_version, features, SMALL),
		FIELD(semshare_version, module, ZERO) } },
	{ COMMAND(SEMSHARE_ROUTE_SEMGET), {
		FIELD(semshare_route_semget, key, KEY), FIELD(semshare_route_semget, nsems, NSEMS),
		FIELD(semshare_route_semget, flags, GETFLAGS),
		FIELD(semshare_route_semget, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_ROUTE_SEMTIMEDOP), {
		FIELD(semshare_route_semtimedop, semid, SEMID),
		FIELD(semshare_route_semtimedop, nsops, SMALL),
		FIELD(semshare_route_semtimedop, sops, POINTER),
		FIELD(semshare_route_semtimedop, timeout, TIMEOUT),
		FIELD(semshare_route_semtimedop, context, CONTEXT),
		FIELD(semshare_route_semtimedop, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_ROUTE_SEMCTL), {
		FIELD(semshare_route_semctl, semid, SEMID), FIELD(semshare_route_semctl, semnum, SMALL),
		FIELD(semshare_route_semctl, cmd, CMD), FIELD(semshare_route_semctl, context, CONTEXT),
		FIELD(semshare_route_semctl, arg, POINTER) } },
	{ 0 },
};

static const struct command test_commands[] = {
	{ COMMAND(SEMSHARE_TEST_IOC_CALL), {
		FIELD(semshare_test_call, function, FUNCTION), FIELD(semshare_test_call, id, SEMID),
		FIELD(semshare_test_call, number, SMALL), FIELD(semshare_test_call, command, CMD),
		FIELD(semshare_test_call, value, SMALL), FIELD(semshare_test_call, timed, BOOLEAN),
		FIELD(semshare_test_call, timeout_sec, SHORTLY),
		FIELD(semshare_test_call, timeout_nsec, NUMBER),
		FIELD(semshare_test_call, fail_nth, ZERO) } },
	{ COMMAND(SEMSHARE_TEST_IOC_SLEEP), {
		FIELD(semshare_test_sleep, id, SEMID), FIELD(semshare_test_sleep, number, SMALL),
		FIELD(semshare_test_sleep, threads, THREADS),
		FIELD(semshare_test_sleep, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_TEST_IOC_WAKE), { { END, 0, 0 } } },
	{ 0 },
};

static const struct command ring_test_commands[] = {
	{ COMMAND(SEMSHARE_RING_TEST_IOC_OPEN), {
		FIELD(semshare_ring_test_open, area_fd, AREA), FIELD(semshare_ring_test_open, flags, BOOLEAN),
		FIELD(semshare_ring_test_open, capacity, NUMBER), FIELD(semshare_ring_test_open, mode, MODE),
		FIELD(semshare_ring_test_open, policy, ZERO), FIELD(semshare_ring_test_open, context, ZERO),
		FIELD(semshare_ring_test_open, variant, SMALL), FIELD(semshare_ring_test_open, max_payload, ZERO) } },
	{ COMMAND(SEMSHARE_RING_TEST_IOC_CALL), {
		FIELD(semshare_ring_test_call, operation, OPERATION),
		FIELD(semshare_ring_test_call, count, SMALL),
		FIELD(semshare_ring_test_call, context, ZERO), FIELD(semshare_ring_test_call, cpu, ZERO),
		FIELD(semshare_ring_test_call, timeout_ms, SHORTLY),
		FIELD(semshare_ring_test_call, size, SMALL),
		FIELD(semshare_ring_test_call, sizes, SMALL),
		FIELD(semshare_ring_test_call, offsets, ZERO) } },
	{ 0 },
};

static const struct command bench_commands[] = {
	{ COMMAND(SEMSHARE_BENCH_IOC_RUN), {
		FIELD(semshare_bench_run, kind, SMALL), FIELD(semshare_bench_run, semid, SEMID),
		FIELD(semshare_bench_run, pairs, NUMBER), FIELD(semshare_bench_run, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_BENCH_IOC_PUT), {
		FIELD(semshare_bench_records, area_fd, AREA), FIELD(semshare_bench_records, count, SMALL) } },
	{ 0 },
};

static const struct command channel_test_commands[] = {
	{ COMMAND(SEMSHARE_CHANNEL_TEST_IOC_OPEN), {
		FIELD(semshare_channel_test_open, area_fd, CHANNEL),
		FIELD(semshare_channel_test_open, role, OPERATION),
		FIELD(semshare_channel_test_open, depth, DEPTH),
		FIELD(semshare_channel_test_open, max_payload, OPERATION),
		FIELD(semshare_channel_test_open, mode, MODE),
		FIELD(semshare_channel_test_open, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_CHANNEL_TEST_IOC_CALL), {
		FIELD(semshare_channel_test_call, opcode, OPERATION),
		FIELD(semshare_channel_test_call, size, SMALL),
		FIELD(semshare_channel_test_call, timeout_ms, SHORTLY) } },
	{ COMMAND(SEMSHARE_CHANNEL_TEST_IOC_STOP), {
		FIELD(semshare_channel_test_call, opcode, OPERATION),
		FIELD(semshare_channel_test_call, size, SMALL),
		FIELD(semshare_channel_test_call, timeout_ms, SHORTLY) } },
	{ COMMAND(SEMSHARE_CHANNEL_TEST_IOC_FLOOD), {
		FIELD(semshare_channel_test_flood, opcode, OPERATION),
		FIELD(semshare_channel_test_flood, count, SMALL),
		FIELD(semshare_channel_test_flood, cancel_every, SMALL),
		FIELD(semshare_channel_test_flood, preempt_off, BOOLEAN),
		FIELD(semshare_channel_test_flood, timeout_ms, SHORTLY) } },
	{ COMMAND(SEMSHARE_CHANNEL_TEST_IOC_STATE), { { END, 0, 0 } } },
	{ 0 },
};

static const struct command parameters_test_commands[] = {
	{ COMMAND(SEMSHARE_PARAMETERS_TEST_IOC_CREATE), {
		FIELD(semshare_parameters_test_create, name, NAME),
		FIELD(semshare_parameters_test_create, parameters, SMALL),
		FIELD(semshare_parameters_test_create, states, SMALL),
		FIELD(semshare_parameters_test_create, mode, MODE),
		FIELD(semshare_parameters_test_create, reserved, ZERO),
		FIELD(semshare_parameters_test_create, entries[0].name, TEXT),
		FIELD(semshare_parameters_test_create, entries[0].type, BOOLEAN),
		FIELD(semshare_parameters_test_create, entries[0].group, BOOLEAN),
		FIELD(semshare_parameters_test_create, entries[0].minimum, BOOLEAN),
		FIELD(semshare_parameters_test_create, entries[0].maximum, SMALL),
		FIELD(semshare_parameters_test_create, entries[0].initial, BOOLEAN) } },
	{ COMMAND(SEMSHARE_PARAMETERS_TEST_IOC_CALL), {
		FIELD(semshare_parameters_test_call, operation, OPERATION),
		FIELD(semshare_parameters_test_call, index, SMALL),
		FIELD(semshare_parameters_test_call, bits, NUMBER) } },
	{ COMMAND(SEMSHARE_PARAMETERS_TEST_IOC_READERS), {
		FIELD(semshare_parameters_test_readers, threads, THREADS),
		FIELD(semshare_parameters_test_readers, reserved, ZERO) } },
	{ 0 },
};

static const struct command notify_test_commands[] = {
	{ COMMAND(SEMSHARE_NOTIFY_TEST_IOC_START), {
		FIELD(semshare_notify_test_start, what, OPERATION), FIELD(semshare_notify_test_start, fd, AREA),
		FIELD(semshare_notify_test_start, count, SMALL),
		FIELD(semshare_notify_test_start, number, SMALL),
		FIELD(semshare_notify_test_start, pause_us, SMALL),
		FIELD(semshare_notify_test_start, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_NOTIFY_TEST_IOC_STATE), { { END, 0, 0 } } },
	{ 0 },
};

static const struct command paged_commands[] = {
	{ COMMAND(SEMSHARE_PAGED_IOC_START), {
		FIELD(semshare_paged_start, area_fd, AREA), FIELD(semshare_paged_start, payload, SMALL),
		FIELD(semshare_paged_start, count, SMALL), FIELD(semshare_paged_start, period_ns, NUMBER),
		FIELD(semshare_paged_start, unfinished, SMALL),
		FIELD(semshare_paged_start, reserved, ZERO) } },
	{ COMMAND(SEMSHARE_PAGED_IOC_STOP), { { END, 0, 0 } } },
	{ COMMAND(SEMSHARE_PAGED_IOC_STATUS), { { END, 0, 0 } } },
	{ 0 },
};

static const struct device {
	const char *name;
	const char *path;
	const struct command *commands;
	bool for_32_bit;
} devices[] = {
	{ "semshare", SEMSHARE_DEVICE, area_commands, true },
	{ "demo", SEMSHARE_DEMO_DEVICE, demo_commands, true },
	{ "route", SEMSHARE_ROUTE_DEVICE, route_commands, false },
	{ "test", SEMSHARE_TEST_DEVICE, test_commands, true },
	{ "ring-test", "/dev/semshare-ring-test", ring_test_commands, false },
	{ "bench", SEMSHARE_BENCH_DEVICE, bench_commands, false },
	{ "channel-test", "/dev/semshare-channel-test", channel_test_commands, false },
	{ "parameters-test", "/dev/semshare-parameters-test", parameters_test_commands, false },
	{ "notify-test", "/dev/semshare-notify-test", notify_test_commands, false },
	{ "paged", SEMSHARE_PAGED_DEVICE, paged_commands, true },
};

/* Operations, a timeout, or room for an answer, somewhere in @memory: its address. */
static unsigned long pointer_to(const struct memory *memory, enum kind kind)
{
	unsigned char *at = memory->writable + below(MAX_SIZE / 16) * 8;
	struct sembuf operation;
	long timeout[2];
	int i;

	if (one_in(4))
		return one_in(2) ? bad_address(memory, 64) : (unsigned long)memory->readable;
	if (kind == TIMEOUT) {
		if (one_in(3))
			return 0;
		timeout[0] = one_in(8) ? (long)interesting() : 0;
		timeout[1] = one_in(8) ? (long)interesting() : (long)below(2000000);
		memcpy(at, timeout, sizeof(timeout));
		return (unsigned long)at;
	}
	for (i = 0; i < 8; i++) {
		operation.sem_num = one_in(8) ? interesting() : below(3);
		operation.sem_op = one_in(8) ? (short)interesting() : (int)below(5) - 2;
		operation.sem_flg = one_in(8) ? interesting() : below(2) * IPC_NOWAIT | one_in(4) * SEM_UNDO;
		memcpy(at + i * sizeof(operation), &operation, sizeof(operation));
	}
	return (unsigned long)at;
}

static unsigned long long make_field(const struct field *field, const struct memory *inner)
{
	static const int commands[] = {
		IPC_RMID, IPC_SET, IPC_STAT, IPC_INFO, GETPID, GETVAL, GETALL, GETNCNT, GETZCNT, SETVAL,
		SETALL, SEM_STAT, SEM_INFO, 20,
	};

	switch (field->kind) {
	case ZERO:
		return one_in(16) ? interesting() : 0;
	case BOOLEAN:
		return one_in(16) ? interesting() : below(2);
	case CONTEXT:
		return one_in(16) ? interesting() : one_in(8);
	case SMALL:
		return one_in(8) ? interesting() : below(5);
	case SHORTLY:
		return one_in(16) ? interesting() : below(3);
	case OPERATION:
		return one_in(16) ? interesting() : below(7) + 1;
	case THREADS:
		return one_in(512) ? interesting() : below(4);
	case FUNCTION:
		return one_in(16) ? interesting() : below(5) + 1;
	case MODE:
		return one_in(8) ? interesting() : 0600;
	case SEMID:
		return one_in(6) ? interesting() : (unsigned long long)sets[below(SETS)];
	case AREA:
		return one_in(6) ? interesting() : (unsigned long long)areas[one_in(8)];
	case CHANNEL:
		return one_in(6) ? interesting() : (unsigned long long)areas[one_in(8) ? below(2) : 2U];
	case DEPTH:
		/* Now and then it is made, and mostly it is there. */
		return one_in(8) ? interesting() : 4 * below(2);
	case KEY:
		return below(4);
	case NSEMS:
		return one_in(6) ? interesting() : sizes_of_sets[below(SETS)];
	case GETFLAGS:
		return one_in(8) ? interesting() : 0600 | below(2) * IPC_CREAT | below(2) * IPC_EXCL;
	case CMD:
		return one_in(16) ? interesting() : (unsigned long long)commands[below(ARRAY_SIZE(commands))];
	case WHERE:
		return one_in(4) ? interesting() : AREA_BYTES - PAGE + 8 * below(4);
	case SPACE_OF:
		/* Not more than the machine has memory for. */
		return one_in(4) ? interesting() & ~0x0ffffffffff00000ULL : below(64 * PAGE);
	case POINTER:
	case TIMEOUT:
		return pointer_to(inner, field->kind);
	default:
		return interesting();
	}
}

/* Fill in what the command takes, mostly as it should be. */
static void make_argument(unsigned char *at, const struct command *command, const struct memory *inner)
{
	size_t size = _IOC_SIZE(command->number);
	const struct field *field;
	unsigned long long number;
	unsigned int i;

	/* What only comes out must come out whole: what was there before may not matter, nor survive. */
	memset(at, one_in(2) ? PATTERN : 0, size);
	for (field = command->fields; field->kind; field++) {
		if (field->kind == TEXT) {
			snprintf((char *)at + field->offset, field->size, "p%u", below(3));
			continue;
		}
		if (field->kind == NAME) {
			name_it((char *)at + field->offset, below(NAMES));
			continue;
		}
		if (field->size > 8) {
			memset(at + field->offset, 0, field->size);
			if (field->kind == ZERO)
				continue;
		}
		number = make_field(field, inner);
		memcpy(at + field->offset, &number, field->size < 8 ? field->size : 8);
	}
	if (!one_in(8))
		return;
	for (i = 0; i <= below(4) && size; i++)
		at[below(size)] = interesting();
}

/*
 * A call of the test device is a call inside the kernel: what a kernel caller
 * must not get wrong is right here.  There is room for the largest answer, no
 * kworker waits without an end, and no set of another namespace is touched.
 */
static void tame_test_call(struct semshare_test_call *call, const struct memory *inner)
{
	call->context = one_in(16) ? (unsigned int)interesting() : 1 + below(8);
	call->ns = one_in(8) ? SEMSHARE_TEST_NS_NULL : 1 + below(2);
	call->size = MAX_SIZE;
	call->buffer = one_in(8) ? bad_address(inner, MAX_SIZE) : (unsigned long)inner->writable;
	if (call->context == SEMSHARE_TEST_WORKQUEUE && call->function <= SEMSHARE_TEST_SEMTIMEDOP) {
		call->function = SEMSHARE_TEST_SEMTIMEDOP;
		call->timed = 1;
		call->timeout_sec = 0;
		call->timeout_nsec = below(1000000);
	}
	/* The largest set that it can meet has 300. */
	if (call->function == SEMSHARE_TEST_SEMCTL_VALUES && call->number > 1000)
		call->number = 1000;
	if (call->function == SEMSHARE_TEST_SEMGET && call->number > 300)
		call->number = 300;
}

/*
 * A benchmark is not to be interrupted: the million pairs that it allows are a
 * second on a machine, and a minute on an emulated one that checks each step.
 * More than that is refused.
 */
static void tame_bench_run(struct semshare_bench_run *run)
{
	if (run->pairs <= 1000000)
		run->pairs %= 200;
}

/*
 * A flood is not over before each of its commands is: it is to be a short one, and
 * so is a kernel thread's that puts records.
 */
static void tame_numbers(unsigned int number, unsigned char *at)
{
	struct semshare_channel_test_flood *flood = (void *)at;
	struct semshare_notify_test_start *start = (void *)at;

	if (number == SEMSHARE_CHANNEL_TEST_IOC_FLOOD) {
		flood->count %= 200;
		flood->timeout_ms %= 20;
	} else if (number == SEMSHARE_NOTIFY_TEST_IOC_START) {
		start->count %= 1000;
		start->pause_us %= 1000;
	}
}

/* -------------------------------------------------------------------- calls */

static bool as_32_bit;

static int call_as_32_bit(int fd, unsigned int number, unsigned long argument)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "0"(54L), "b"((long)fd), "c"((unsigned long)number), "d"(argument)
			 : "memory", "r8", "r9", "r10", "r11");
	if ((int)result >= 0)
		return result;
	errno = -(int)result;
	return -1;
}

static int call(int fd, unsigned int number, unsigned long argument)
{
	return as_32_bit ? call_as_32_bit(fd, number, argument) : ioctl(fd, number, argument);
}

static bool is_ours(const struct command *commands, unsigned int number)
{
	for (; commands->name; commands++)
		if (commands->number == number)
			return true;
	return false;
}

static void check_string(const char *what, const unsigned char *at, size_t size)
{
	size_t end = strnlen((const char *)at, size);

	if (end == size)
		fail("%s: a text without an end", what);
	for (; end < size; end++)
		if (at[end])
			fail("%s: something behind the end of a text", what);
}

static void check_answer(unsigned int number, const unsigned char *at)
{
	const struct semshare_demo_status *status = (const void *)at;

	if (number == SEMSHARE_IOC_VERSION)
		check_string("VERSION", at + offsetof(struct semshare_version, module), 56);
	if (number == SEMSHARE_IOC_FUNCTION) {
		check_string("FUNCTION", at + offsetof(struct semshare_function, name), SEMSHARE_NAME_SIZE);
		check_string("FUNCTION", at + offsetof(struct semshare_function, needed_for),
			     SEMSHARE_NAME_SIZE);
	}
	if (number == SEMSHARE_IOC_INFO || number == SEMSHARE_IOC_LIST)
		check_string("INFO", at + offsetof(struct semshare_area_info, name), SEMSHARE_NAME_SIZE);
	if (number == SEMSHARE_DEMO_IOC_STATUS && (status->reserved || status->running > 1))
		fail("STATUS: %u reserved, %u running", status->reserved, status->running);
}

/* Owner and mode of a set are what some IPC_SET said, so anything: not to be looked at. */
static void hide_owner(const struct semshare_route_semctl *ctl, unsigned char *inner,
		       const unsigned char *inner_before)
{
	unsigned long at = ctl->arg - (unsigned long)inner;

	if (at <= MAX_SIZE - 48)
		memcpy(inner + at, inner_before + at, 48);
}

/* One call with the argument in memory of ours, and everything looked at that it may have changed. */
static void call_and_check(const struct device *device, int fd, const struct command *command,
			   unsigned int number, const struct memory *memory, const struct memory *inner)
{
	static unsigned char before[MAX_SIZE], inner_before[MAX_SIZE];
	size_t size = _IOC_SIZE(command->number);
	unsigned char *whole = memory->writable;
	unsigned char *at = whole + MAX_SIZE - size;
	bool ours = is_ours(device->commands, number);
	int result, error;

	memset(whole, PATTERN, MAX_SIZE - size);
	make_argument(at, command, inner);
	if (device->commands == test_commands && command->number == SEMSHARE_TEST_IOC_CALL)
		tame_test_call((struct semshare_test_call *)at, inner);
	if (device->commands == bench_commands && command->number == SEMSHARE_BENCH_IOC_RUN)
		tame_bench_run((struct semshare_bench_run *)at);
	if (device->commands == channel_test_commands || device->commands == notify_test_commands)
		tame_numbers(command->number, at);
	memcpy(before, whole, MAX_SIZE);
	memcpy(inner_before, inner->writable, MAX_SIZE);

	errno = 0;
	result = call(fd, number, (unsigned long)at);
	error = errno;

	if (result < -1 || (result == -1 && (error <= 0 || error > 133)))
		fail("%s: answers %d, errno %d", command->name, result, error);
	if (_IOC_TYPE(number) == SEMSHARE_IOC_TYPE && (!ours || (as_32_bit && !device->for_32_bit)) &&
	    (result != -1 || error != ENOTTY))
		fail("command %#x: answers %d, errno %d", number, result, error);
	if (!ours)
		return;
	if (memcmp(whole, before, MAX_SIZE - size))
		fail("%s: wrote before its argument", command->name);
	if (number != SEMSHARE_IOC_VERSION && (result < 0 || !(_IOC_DIR(number) & _IOC_READ)) &&
	    memcmp(at, before + MAX_SIZE - size, size))
		fail("%s: answered %d, errno %d, and changed its argument", command->name, result, error);
	if (device->commands == route_commands && number == SEMSHARE_ROUTE_SEMCTL)
		hide_owner((const void *)at, inner->writable, inner_before);
	no_kernel_address(command->name, at, before + MAX_SIZE - size, size);
	no_kernel_address(command->name, inner->writable, inner_before, MAX_SIZE);
	if (result < 0 && device->commands == route_commands && error != EFAULT &&
	    memcmp(inner->writable, inner_before, MAX_SIZE))
		fail("%s: failed with errno %d and wrote an answer", command->name, error);
	if (result >= 0)
		check_answer(number, at);
	/* Sets that the call made would fill the machine. */
	if (result >= 0 && number == SEMSHARE_ROUTE_SEMGET && device->commands == route_commands &&
	    one_in(2))
		semctl(result, 0, IPC_RMID);
}

/* One call with an argument at an address that is none. */
static void call_nowhere(const struct device *device, int fd, const struct command *command,
			 const struct memory *memory)
{
	size_t size = _IOC_SIZE(command->number);
	unsigned long address = bad_address(memory, size);
	bool readable = _IOC_DIR(command->number) & _IOC_READ && one_in(3);
	int result;

	/* The question can be read, the answer cannot be written. */
	if (readable)
		address = (unsigned long)memory->readable + MAX_SIZE - size;
	if (!size || (as_32_bit && address > 0xffffffff))
		return;
	errno = 0;
	result = call(fd, command->number, address);
	/* That may come before the look at the argument. */
	if (result != -1 || (!readable && errno != EFAULT && errno != EBADFD && errno != EINTR && errno != ENOENT &&
			     errno != EBUSY &&
			     !(as_32_bit && !device->for_32_bit && errno == ENOTTY)))
		fail("%s at %#lx: answers %d, errno %d", command->name, address, result, errno);
}

/* A command that is nearly one of the device's. */
static unsigned int wrong_number(const struct command *command)
{
	switch (below(4)) {
	case 0:
		return _IOC(below(4), SEMSHARE_IOC_TYPE, _IOC_NR(command->number), _IOC_SIZE(command->number));
	case 1:
		return _IOC(_IOC_DIR(command->number), SEMSHARE_IOC_TYPE, _IOC_NR(command->number), below(16384));
	case 2:
		return _IOC(_IOC_DIR(command->number), SEMSHARE_IOC_TYPE, below(256), _IOC_SIZE(command->number));
	default:
		return command->number ^ 1U << below(32);
	}
}

static void fuzz_calls(const struct device *device, int given, unsigned long count)
{
	struct memory memory, inner;
	const struct command *command;
	unsigned int commands = 0, number;
	unsigned long i;
	int fd = given;

	while (device->commands[commands].name)
		commands++;
	make_memory(&memory, as_32_bit ? MAP_32BIT : 0);
	make_memory(&inner, as_32_bit ? MAP_32BIT : 0);
	for (i = 0; i < count; i++) {
		if (i % 64 == 0)
			have_sets();
		/* Most things can be done once with a file. */
		if (given < 0 && (fd < 0 || one_in(16))) {
			if (fd >= 0)
				close(fd);
			fd = open(device->path, one_in(8) ? (int)below(3) : O_RDWR);
			if (fd < 0)
				fail("%s: %s", device->path, strerror(errno));
		}
		command = &device->commands[below(commands)];
		if (one_in(8)) {
			call_nowhere(device, fd, command, &memory);
			continue;
		}
		number = one_in(4) ? wrong_number(command) : command->number;
		/* The kernel's own ioctls of any file are not meant. */
		if (_IOC_TYPE(number) != SEMSHARE_IOC_TYPE)
			continue;
		/* A number of another command takes another argument: it has to look like its own. */
		if (is_ours(device->commands, number) && number != command->number)
			continue;
		call_and_check(device, fd, command, number, &memory, &inner);
	}
}

/* -------------------------------------------------------------------- races */

#define FILES		6
#define FIRST_FILE	200		/* the same numbers in all threads, whatever lies behind them */
#define RACERS		4

static void open_file(int number)
{
	/* Demo files are among them, at the end. */
	int fd = open(number < FILES - 2 ? SEMSHARE_DEVICE : SEMSHARE_DEMO_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		fail("a file: %s", strerror(errno));
	dup2(fd, FIRST_FILE + number);
	close(fd);
}

static void use_map(int fd)
{
	size_t size = (1 + below(8)) * PAGE;
	volatile unsigned char *at = mmap(NULL, size, one_in(4) ? PROT_READ : PROT_READ | PROT_WRITE,
					  one_in(16) ? MAP_PRIVATE : MAP_SHARED, fd, below(3) * PAGE);
	static const int advice[] = {
		MADV_DONTNEED, MADV_WILLNEED, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE, MADV_DODUMP,
		MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_WIPEONFORK,
	};
	void *moved;

	if (at == MAP_FAILED)
		return;
	(void)at[0];
	madvise((void *)at, size, advice[below(ARRAY_SIZE(advice))]);
	(void)at[size - 1];
	if (one_in(4)) {
		moved = mremap((void *)at, size, size + below(2) * PAGE, MREMAP_MAYMOVE);
		if (moved != MAP_FAILED)
			at = moved;
	}
	if (one_in(4))
		mprotect((void *)at, PAGE, below(8));
	munmap((void *)at, size);
}

static void race_once(void)
{
	struct semshare_demo_start start = {
		.area_fd = FIRST_FILE + below(FILES), .mode = 1 + below(2), .threads = 1 + below(2),
		.count = below(50), .counter_offset = AREA_BYTES - PAGE,
	};
	struct semshare_area_create create = { .size = AREA_BYTES, .mode = 0600 };
	struct semshare_area_attach attach = { .access = SEMSHARE_ACCESS_READ | below(2) * SEMSHARE_ACCESS_WRITE };
	struct semshare_area_bind bind = { .semid = sets[below(SETS)], .flags = one_in(4) };
	struct semshare_area_info info = { .id = 0 };
	struct semshare_demo_status status = { .index = 0 };
	int fd = FIRST_FILE + below(FILES - 2), demo = FIRST_FILE + FILES - 1 - below(2);

	name_it(create.name, below(NAMES));
	memcpy(attach.name, create.name, sizeof(attach.name));
	switch (below(16)) {
	case 0:
	case 1:
		ioctl(fd, SEMSHARE_IOC_CREATE, &create);
		break;
	case 2:
	case 3:
		ioctl(fd, SEMSHARE_IOC_ATTACH, &attach);
		break;
	case 4:
		ioctl(fd, SEMSHARE_IOC_UNLINK, create.name);
		break;
	case 5:
		ioctl(fd, SEMSHARE_IOC_BIND, &bind);
		break;
	case 6:
		ioctl(fd, SEMSHARE_IOC_INFO, &info);
		break;
	case 7:
		while (!ioctl(fd, SEMSHARE_IOC_LIST, &info))
			;
		break;
	case 8:
	case 9:
		use_map(fd);
		break;
	case 10:
		if (one_in(2))
			start.area_fd = areas[0];
		ioctl(demo, SEMSHARE_DEMO_IOC_START, &start);
		break;
	case 11:
		ioctl(demo, SEMSHARE_DEMO_IOC_STOP);
		break;
	case 12:
		ioctl(demo, SEMSHARE_DEMO_IOC_STATUS, &status);
		break;
	case 13:
		close(FIRST_FILE + below(FILES));
		break;
	default:
		open_file(below(FILES));
	}
}

static unsigned long races;

static void *race(void *number)
{
	unsigned long i;
	pid_t pid;

	dice = seed * 2654435761U + (unsigned long)number + 1;
	for (i = 0; i < races; i++) {
		if (i % 256 == 0 && number == 0)
			have_sets();
		if (i % 128 == 64) {
			pid = fork();
			if (pid == 0) {
				for (i = 0; i < 16; i++)
					race_once();
				_exit(0);
			}
			if (pid > 0)
				waitpid(pid, NULL, 0);
		}
		race_once();
	}
	return NULL;
}

static void fuzz_races(unsigned long count)
{
	pthread_t threads[RACERS];
	unsigned long i;

	races = count / RACERS;
	have_sets();
	for (i = 0; i < FILES; i++)
		open_file(i);
	for (i = 0; i < RACERS; i++)
		if (pthread_create(&threads[i], NULL, race, (void *)i))
			fail("a thread");
	for (i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
}

/* --------------------------------------------------------------------- main */

static pthread_t worker;
static atomic_bool done;

static void nothing(int number)
{
	(void)number;
}

/* Calls that wait are interrupted: nothing here gives what they wait for. */
static void *interrupter(void *unused)
{
	(void)unused;
	while (!atomic_load(&done)) {
		usleep(2000);
		pthread_kill(worker, SIGUSR1);
	}
	return NULL;
}

static bool has_32_bit_calls(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		call_as_32_bit(-1, 0, 0);
		_exit(errno == EBADF ? 0 : 1);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = nothing };
	const struct device *device;
	pthread_t thread;
	unsigned long count;
	int fd;

	if (argc != 6)
		return 2;
	fd = atoi(argv[3]);
	seed = strtoull(argv[4], NULL, 0);
	count = strtoul(argv[5], NULL, 0);
	dice = seed * 2654435761U + 1;
	as_32_bit = !strcmp(argv[1], "compat");
	if (as_32_bit && !has_32_bit_calls())
		return 77;

	sigaction(SIGUSR1, &action, NULL);
	worker = pthread_self();
	make_areas();
	if (!strcmp(argv[1], "race")) {
		fuzz_races(count);
		return 0;
	}
	for (device = devices; strcmp(device->name, argv[2]); device++)
		if (device == &devices[ARRAY_SIZE(devices) - 1])
			return 2;
	if (pthread_create(&thread, NULL, interrupter, NULL))
		fail("a thread");
	fuzz_calls(device, fd, count);
	atomic_store(&done, true);
	pthread_join(thread, NULL);
	return 0;
}
