// SPDX-License-Identifier: MIT
/*
 * scribbler FD SIZE FIRST LENGTH SEED [SEMID NSEMS]
 *
 * Maps SIZE bytes of FD and writes over LENGTH of them, from FIRST on, until it
 * is told to end (SIGTERM).  On standard output it says "ready" when it begins, and
 * at the end how often it did what, and how many words it wrote.  Given a set it sets
 * that one's semaphores as well.
 *
 * Most of what it writes it takes back at once, or is near what was there: noise
 * alone is found out by the first check, and nobody gets to see the second.  And it
 * rests now and then, so that what is there is right most of the time.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <unistd.h>

/* Where the cursors and states of a control page are: one write in four is there. */
#define BEGIN	128

static volatile sig_atomic_t ended;
static uint64_t dice;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* xorshift64* of Vigna: fast, and repeatable from its seed. */
static uint64_t roll(void)
{
	dice ^= dice >> 12;
	dice ^= dice << 25;
	dice ^= dice >> 27;
	return dice * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t limit)
{
	return roll() % limit;
}

/* What breaks sums, masks and comparisons; and what is near to @found. */
static uint64_t value(uint64_t found, const volatile uint64_t *words, size_t count)
{
	static const uint64_t edges[] = {
		0, 1, 2, 7, 8, 15, 16, 31, 32, 63, 64, 127, 4095, 4096, 4097, 65535, 65536,
		0x7fffffff, 0x80000000, 0xffffffe0, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
		0x8000000000000000, 0xffffffffffffffe0, 0xffffffffffffffff,
	};
	static const int64_t steps[] = { 1, -1, 2, -2, 4, 8, -8, 16, 32, -32, 64, -64, 128, 256, -256,
					 1024, 4096, -4096, 1ll << 32, -(1ll << 32) };

	switch (below(8)) {
	case 0:
		return roll();
	case 1:
		return edges[below(sizeof(edges) / sizeof(edges[0]))];
	case 2:
		return found ^ 1ull << below(64);
	case 3:
		return words[below(count)];
	case 4: /* half of it only */
		return (found & 0xffffffff00000000) | (uint32_t)edges[below(sizeof(edges) / sizeof(edges[0]))];
	default:
		return found + (uint64_t)steps[below(sizeof(steps) / sizeof(steps[0]))];
	}
}

int main(int argc, char **argv)
{
	uint64_t lasting = 0, brief = 0, moves = 0, settings = 0, written = 0;
	struct sigaction action = { .sa_handler = end };
	volatile uint64_t *words;
	size_t size, first, count, begin, span, from, to;
	char *memory;
	int semid = -1, nsems = 0;

	if (argc != 6 && argc != 8) {
		fprintf(stderr, "scribbler FD SIZE FIRST LENGTH SEED [SEMID NSEMS]\n");
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGTERM, &action, NULL);
	size = strtoull(argv[2], NULL, 0);
	first = strtoull(argv[3], NULL, 0);
	count = strtoull(argv[4], NULL, 0) / 8;
	dice = strtoull(argv[5], NULL, 0) * 2 + 1;
	if (argc == 8) {
		semid = atoi(argv[6]);
		nsems = atoi(argv[7]);
	}
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[1]), 0);
	if (memory == MAP_FAILED || first % 8 || !count || first + count * 8 > size) {
		fprintf(stderr, "scribbler: a map of %zu bytes: %s\n", size, strerror(errno));
		return 1;
	}
	words = (volatile uint64_t *)(memory + first);
	begin = count < BEGIN ? count : BEGIN;
	puts("ready");
	fflush(stdout);
	while (!ended) {
		volatile uint64_t *word = &words[below(below(4) ? count : begin)];
		uint64_t found = *word;
		unsigned int spins = below(400);

		switch (below(512)) {
		case 0: /* it stays */
			*word = value(found, words, count);
			lasting++;
			written++;
			break;
		case 1: /* a span of it: what was a record is elsewhere now */
			span = below(64);
			to = below(count);
			from = below(count);
			if (span > count - (to > from ? to : from))
				span = count - (to > from ? to : from);
			memmove((void *)&words[to], (void *)&words[from], 8 * span);
			moves++;
			written += span;
			break;
		default:
			*word = value(found, words, count);
			while (spins--)
				__asm__ __volatile__("" : : : "memory");
			*word = found;
			brief++;
			written += 2;
		}
		if (nsems && !below(512)) {
			static const int values[] = { 0, 1, 1, 1, 2, 32767 };

			(void)semctl(semid, (int)below((uint64_t)nsems), SETVAL,
				     values[below(sizeof(values) / sizeof(values[0]))]);
			settings++;
		}
		if (!below(8))
			usleep((useconds_t)below(200));
	}
	printf("%llu %llu %llu %llu %llu\n", (unsigned long long)lasting, (unsigned long long)brief,
	       (unsigned long long)moves, (unsigned long long)settings,
	       (unsigned long long)written);
	return 0;
}
