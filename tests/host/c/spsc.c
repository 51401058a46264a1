// SPDX-License-Identifier: MIT
/*
 * A producer and a consumer on semshare/core/spsc.h, under ThreadSanitizer.
 *
 *	spsc RECORDS CAPACITY BATCH SEED
 *
 * Records of 0 bytes to the longest, in batches of 1 to BATCH on both sides; some
 * are dropped.  Prints counts; ends with 1 and what was wrong.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include <semshare/core/spsc.h>

static struct semshare_spsc_words words;
static unsigned char *data;
static unsigned long records, capacity, batch, seed, dropped;

#define CHECK(condition, ...)							\
	do {									\
		if (!(condition)) {						\
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__);				\
			fputc('\n', stderr);					\
			exit(1);						\
		}								\
	} while (0)

static unsigned int draw(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

/* How long the record of that number is, and what stands in it: each side can tell. */
static __u32 size_of(unsigned long number)
{
	unsigned long state = number ^ seed;
	unsigned int most = semshare_ring_max_payload(capacity);

	switch (draw(&state) % 8) {
	case 0:
		return 0;
	case 1:
		return most;
	case 2:
		return draw(&state) % (most + 1);
	default:
		return draw(&state) % 200 % (most + 1);
	}
}

static void *produce(void *unused)
{
	struct semshare_spsc spsc = { .words = &words, .data = data, .capacity = capacity };
	unsigned long number = 0, state = seed;

	CHECK(!semshare_spsc_begin_put(&spsc), "begin");
	while (number < records) {
		unsigned long n, most = 1 + draw(&state) % batch;

		for (n = 0; n < most && number < records; n++) {
			__u32 size = size_of(number);
			struct semshare_record *record;
			int error;

			record = semshare_spsc_reserve(&spsc, size, &error);
			if (!record) {
				CHECK(error == -EAGAIN, "reserve: %d", error);
				if (draw(&state) % 256 == 0) {
					semshare_spsc_drop(&spsc);
					dropped++;
				}
				break;
			}
			/* Thought better of it: another of the same size takes its place. */
			if (draw(&state) % 32 == 0)
				break;
			memset(record + 1, (int)(number & 0xff), size);
			semshare_spsc_write(&spsc, record, size, (__u32)number, number);
			number++;
		}
		semshare_spsc_publish(&spsc);
		if (n < most)
			sched_yield();
	}
	return unused;
}

int main(int argc, char **argv)
{
	struct semshare_spsc spsc = { .words = &words };
	unsigned long number = 0, gaps = 0, state, i;
	__u64 sequence = 0;
	pthread_t thread;

	CHECK(argc == 5, "spsc RECORDS CAPACITY BATCH SEED");
	records = strtoul(argv[1], NULL, 0);
	capacity = strtoul(argv[2], NULL, 0);
	batch = strtoul(argv[3], NULL, 0);
	seed = strtoul(argv[4], NULL, 0);
	state = seed + 1;
	data = calloc(1, capacity);
	spsc.data = data;
	spsc.capacity = capacity;
	CHECK(!semshare_spsc_begin_get(&spsc), "begin");
	pthread_create(&thread, NULL, produce, NULL);
	while (number < records) {
		unsigned long n, most = 1 + draw(&state) % batch;

		for (n = 0; n < most; n++) {
			struct semshare_record record;
			const unsigned char *payload;
			int error;

			payload = semshare_spsc_peek(&spsc, &record, &error);
			if (!payload) {
				CHECK(error == -EAGAIN, "peek: %d", error);
				break;
			}
			CHECK(record.type == (__u32)number && record.time_ns == number, "record %lu: %u", number,
			      record.type);
			CHECK(record.size == size_of(number), "record %lu: %u bytes", number, record.size);
			for (i = 0; i < record.size; i++)
				CHECK(payload[i] == (number & 0xff), "record %lu is torn at %lu", number, i);
			CHECK(record.sequence >= sequence, "sequence");
			gaps += record.sequence - sequence;
			sequence = record.sequence + 1;
			semshare_spsc_read(&spsc, &record);
			number++;
		}
		semshare_spsc_consume(&spsc);
		if (n < most)
			sched_yield();
	}
	pthread_join(thread, NULL);
	CHECK(gaps <= dropped && words.sequence == number + dropped, "%lu gaps, %lu dropped", gaps, dropped);
	printf("records %lu dropped %lu bytes %llu\n", number, dropped, (unsigned long long)words.tail);
	return 0;
}
