// SPDX-License-Identifier: MIT
/*
 * Writers and readers of a group on semshare/core/parameters.h, under ThreadSanitizer.
 *
 *	parameters WRITERS READERS CHANGES
 *
 * The writers exclude each other by a mutex, as those of the package do by a semaphore.  Each change gives the members
 * first, first + 1, …; one in four of them is that of a writer killed in the middle: its copy is left half written.
 * Prints counts; ends with 1 and what was wrong.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/parameters.h>

#define MEMBERS	8

static struct semshare_parameter entries[MEMBERS + 1];
static struct semshare_parameters_bank bank;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ulong left, running, changes_seen, looks;
static unsigned long changes;

static void die(const char *what, unsigned long long value)
{
	fprintf(stderr, "%s: %llu\n", what, value);
	exit(1);
}

/* What a writer does that is killed before it publishes. */
static void half_a_change(__u64 value)
{
	__u64 version = semshare_load(&bank.versions[1]);
	int i;

	for (i = 0; i < MEMBERS / 2; i++)
		semshare_store_release(&bank.words[(version + 1) & 1][i], value + 1000 + (__u64)i);
}

static void *writer(void *unused)
{
	__u64 values[SEMSHARE_PARAMETERS_MAX];
	__u8 given[SEMSHARE_PARAMETERS_MAX];
	unsigned long turn;
	int i;

	(void)unused;
	while ((turn = atomic_fetch_sub(&left, 1)) && turn <= changes) {
		__u64 value = turn * 16;

		memset(given, 1, sizeof(given));
		for (i = 0; i < MEMBERS; i++)
			values[i] = value + (__u64)i;
		pthread_mutex_lock(&lock);
		if (turn % 4)
			semshare_parameters_change(&bank, entries, MEMBERS + 1, 1, values, given);
		else
			half_a_change(value);
		pthread_mutex_unlock(&lock);
		semshare_parameters_store(&bank, MEMBERS, value);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void *reader(void *unused)
{
	struct semshare_parameters_reader self;
	__u64 before = 0, word;
	int i;

	(void)unused;
	semshare_parameters_reader_init(&self, &bank, entries, MEMBERS + 1);
	do {
		semshare_parameters_look(&self);
		for (i = 1; i < MEMBERS; i++)
			if (self.values[i] != self.values[0] + (__u64)i)
				die("a mixed group", self.values[i] - self.values[0]);
		if (self.values[0] % 16 || self.values[MEMBERS] % 16)
			die("a value that nobody set", self.values[0]);
		if (!semshare_parameters_word(&bank, 1, MEMBERS - 1, &word) && (word + 1) % 16 != MEMBERS)
			die("a member that nobody set", word);
		atomic_fetch_add(&changes_seen, self.values[0] != before);
		atomic_fetch_add(&looks, 1);
		before = self.values[0];
	} while (atomic_load(&running));
	if (self.refused)
		die("refused", self.refused);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long writers, readers, i;
	pthread_t *threads;

	if (argc != 4)
		return 2;
	writers = strtoul(argv[1], NULL, 0);
	readers = strtoul(argv[2], NULL, 0);
	changes = strtoul(argv[3], NULL, 0);
	left = changes;
	running = writers;
	for (i = 0; i <= MEMBERS; i++) {
		entries[i] = (struct semshare_parameter){ .type = SEMSHARE_PARAMETER_INT, .group = i < MEMBERS,
							  .maximum = (__u64)1 << 62, .initial = i % MEMBERS };
		bank.words[0][i] = entries[i].initial;
	}
	threads = calloc(writers + readers, sizeof(*threads));
	if (!threads)
		return 2;
	for (i = 0; i < writers + readers; i++)
		if (pthread_create(&threads[i], NULL, i < writers ? writer : reader, NULL))
			return 2;
	for (i = 0; i < writers + readers; i++)
		pthread_join(threads[i], NULL);
	printf("looks %lu, changes seen %lu\n", atomic_load(&looks), atomic_load(&changes_seen));
	free(threads);
	return 0;
}
