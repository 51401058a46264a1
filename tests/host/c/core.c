/* SPDX-License-Identifier: MIT */
/*
 * The algorithms that the module and the package share (semshare/core), in a
 * program that a compiler has filled with checks: AddressSanitizer and
 * UndefinedBehaviorSanitizer.  The ring's records lie in a block of memory of
 * just their size, so that any access beyond them ends the program.
 */
#include <semshare/core/histogram.h>
#include <semshare/core/key.h>
#include <semshare/core/lock.h>
#include <semshare/core/variants.h>

#include "cases.h"

#define SMALL		SEMSHARE_RING_MIN_CAPACITY
#define ALIGN		SEMSHARE_RING_ALIGN
#define SOME_SEMID	7
#define SOME_KEY	0x1234

/* xorshift64* (S. Vigna): the same numbers in each run. */
static __u64 random_state = 0x9e3779b97f4a7c15u;

static __u64 random64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * 0x2545f4914f6cdd1du;
}

static void randomize(void *memory, size_t size)
{
	unsigned char *bytes = memory;

	while (size--)
		*bytes++ = (unsigned char)(random64() >> 56);
}

/* --------------------------------------------------------------------- key */

static int length_of(const char *text, size_t size)
{
	char name[SEMSHARE_NAME_SIZE] = { 0 };

	memcpy(name, text, size);
	return semshare_name_length(name);
}

static void name_lengths(void)
{
	char name[SEMSHARE_NAME_SIZE];

	CHECK(length_of("", 0) == -EINVAL);
	CHECK(length_of("a", 1) == 1);
	CHECK(length_of("A-z_0.9", 7) == 7);
	CHECK(length_of("a\0b", 3) == -EINVAL);
	memset(name, 'x', sizeof(name));
	CHECK(semshare_name_length(name) == -EINVAL);	/* no end: nothing behind it is read */
	name[SEMSHARE_NAME_MAX] = 0;
	CHECK(semshare_name_length(name) == SEMSHARE_NAME_MAX);
}

static void name_characters(void)
{
	const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	int c;

	for (c = 1; c < 256; c++) {
		char text[3] = { 'a', (char)c, 'b' };

		CHECK(length_of(text, 3) == (strchr(allowed, c) ? 3 : -EINVAL));
	}
}

static void name_bytes_behind_the_end(void)
{
	char name[SEMSHARE_NAME_SIZE] = "name";
	int i;

	for (i = 5; i < SEMSHARE_NAME_SIZE; i++) {
		name[i] = 1;
		CHECK(semshare_name_length(name) == -EINVAL);
		name[i] = 0;
	}
	CHECK(semshare_name_length(name) == 4);
}

/* The vectors of RFC 9923, without the top bit. */
static void keys(void)
{
	static const char zero[] = { (char)0xcc, 0x24, 0x31, (char)0xc4 };

	CHECK(semshare_key("", 0) == 0x011c9dc5);
	CHECK(semshare_key("a", 1) == 0x640c292c);
	CHECK(semshare_key("foobar", 6) == 0x3f9cf968);
	CHECK(semshare_key("\xff", 1) == (((2166136261u ^ 0xff) * 16777619u) & 0x7fffffff));
	CHECK(semshare_key(zero, sizeof(zero)) == 1);	/* its hash is IPC_PRIVATE */
}

/* --------------------------------------------------------------- histogram */

static void histogram_buckets(void)
{
	unsigned int bucket;

	for (bucket = 0; bucket < 252; bucket++) {
		__u64 last = semshare_histogram_value(bucket);

		CHECK(semshare_histogram_bucket(last) == bucket);
		if (bucket < 251)
			CHECK(semshare_histogram_bucket(last + 1) == bucket + 1);
	}
	CHECK(semshare_histogram_value(251) == ~(__u64)0);
	CHECK(semshare_histogram_bucket(0) == 0);
}

static void histogram_error(void)
{
	int i;

	for (i = 0; i < 1000000; i++) {
		__u64 value = random64() >> (random64() & 63);
		__u64 told = semshare_histogram_value(semshare_histogram_bucket(value));

		CHECK(semshare_histogram_bucket(value) < 252);
		CHECK(told >= value && told - value <= value / 4);
	}
}

/* -------------------------------------------------------------------- lock */

static const struct semshare_owner somebody = {
	.kind = SEMSHARE_OWNER_USER, .pid = 10, .tid = 11, .start = 1234567890123,
};

static void lock_enter_and_leave(void)
{
	struct semshare_lock_state state = { 0 };
	__u32 epoch = 0;

	CHECK(semshare_lock_enter(&state, &somebody, &epoch) == 0);
	CHECK(epoch == 1 && state.epoch == 1);
	CHECK(state.owner_kind == somebody.kind && state.owner_pid == somebody.pid);
	CHECK(state.owner_tid == somebody.tid && state.owner_start == somebody.start);
	CHECK(semshare_lock_leave(&state, epoch) == 0);
	CHECK(state.epoch == 2 && state.owner_kind == SEMSHARE_OWNER_NONE && state.owner_pid == 0);
	CHECK(state.deaths == 0);
}

static void lock_owner_died(void)
{
	struct semshare_lock_state state = { 0 };
	struct semshare_owner other = somebody;
	__u32 first, second;

	CHECK(semshare_lock_enter(&state, &somebody, &first) == 0);
	other.pid = 20;
	CHECK(semshare_lock_enter(&state, &other, &second) == 1);
	CHECK(second == first + 2 && state.epoch == second);
	CHECK(state.deaths == 1 && state.owner_pid == 20);
	/* The dead one was not: it was slow, and two were inside at once. */
	CHECK(semshare_lock_leave(&state, first) == -EPROTO);
	CHECK(state.epoch == second && state.owner_pid == 20);
	CHECK(semshare_lock_leave(&state, second) == 0);
	CHECK(semshare_lock_enter(&state, &somebody, &first) == 0);
}

static const struct semshare_owner another = {
	.kind = SEMSHARE_OWNER_KERNEL, .pid = 20, .tid = 21, .start = 42,
};

static int is_owner(const struct semshare_owner *one, const struct semshare_owner *other)
{
	return one->kind == other->kind && one->pid == other->pid && one->tid == other->tid &&
	       one->start == other->start;
}

static void lock_is_suspect_until_trusted(void)
{
	struct semshare_lock_state state = { 0 };
	struct semshare_owner dead = { 0 };
	__u32 epoch;

	CHECK(semshare_lock_enter_wary(&state, &somebody, &epoch, &dead) == SEMSHARE_LOCK_SOUND);
	CHECK(epoch == 1 && !state.suspect && !dead.pid);
	state.depth = 3;
	/* The second owner finds the first dead, the third finds that nobody has seen to it. */
	CHECK(semshare_lock_enter_wary(&state, &another, &epoch, &dead) == SEMSHARE_LOCK_DIED);
	CHECK(epoch == 3 && state.suspect && state.deaths == 1 && state.depth == 0 && is_owner(&dead, &somebody));
	CHECK(semshare_lock_leave(&state, epoch) == 0 && state.suspect);
	dead.pid = 0;
	CHECK(semshare_lock_enter_wary(&state, &another, &epoch, &dead) == SEMSHARE_LOCK_SUSPECT);
	CHECK(epoch == 5 && state.deaths == 1 && is_owner(&dead, &somebody));
	dead.pid = 0;
	semshare_lock_dead(&state, &dead);
	CHECK(is_owner(&dead, &somebody));
	semshare_lock_trust(&state);
	CHECK(semshare_lock_leave(&state, epoch) == 0 && !state.suspect);
	CHECK(semshare_lock_enter_wary(&state, &somebody, &epoch, &dead) == SEMSHARE_LOCK_SOUND);
}

static void lock_is_shared_by_those_who_find_a_death(void)
{
	struct semshare_lock_state state = { 0 };
	struct semshare_owner dead = { 0 };
	__u32 epoch;

	CHECK(semshare_lock_enter_shared(&state, &dead) == SEMSHARE_LOCK_SOUND);
	CHECK(state.epoch == 0 && !dead.pid);
	CHECK(semshare_lock_enter_wary(&state, &somebody, &epoch, &dead) == SEMSHARE_LOCK_SOUND);
	/* It dies. The first who shares the lock then finds that, the others that it is suspect. */
	CHECK(semshare_lock_enter_shared(&state, &dead) == SEMSHARE_LOCK_DIED);
	CHECK(is_owner(&dead, &somebody) && state.epoch == epoch + 1 && state.deaths == 1);
	dead.pid = 0;
	CHECK(semshare_lock_enter_shared(&state, &dead) == SEMSHARE_LOCK_SUSPECT);
	CHECK(is_owner(&dead, &somebody) && state.epoch == epoch + 1 && state.deaths == 1);
	semshare_lock_trust(&state);
	CHECK(semshare_lock_enter_shared(&state, &dead) == SEMSHARE_LOCK_SOUND);
}

static void lock_epoch_comes_round(void)
{
	struct semshare_lock_state state = { .epoch = 0xfffffffe };
	__u32 epoch;

	CHECK(semshare_lock_enter(&state, &somebody, &epoch) == 0 && epoch == 0xffffffff);
	CHECK(semshare_lock_leave(&state, epoch) == 0 && state.epoch == 0);
	state.epoch = 0xffffffff;
	state.deaths = ~(__u64)0;
	CHECK(semshare_lock_enter(&state, &somebody, &epoch) == 1 && epoch == 1);
	CHECK(state.deaths == 0);
	CHECK(semshare_lock_leave(&state, epoch) == 0 && state.epoch == 2);
}

static void lock_words_at_random(void)
{
	int i;

	for (i = 0; i < 100000; i++) {
		struct semshare_lock_state state;
		__u32 epoch, was;
		int died;

		randomize(&state, sizeof(state));
		was = state.epoch;
		died = semshare_lock_enter(&state, &somebody, &epoch);
		CHECK(died == (int)(was & 1));
		CHECK(epoch & 1 && epoch == state.epoch);
		if (i & 1)
			state.epoch = (__u32)random64();
		was = state.epoch;
		CHECK(semshare_lock_leave(&state, epoch) == (was == epoch ? 0 : -EPROTO));
		CHECK(state.epoch == (was == epoch ? epoch + 1 : was));
	}
}

/* -------------------------------------------------------------------- ring */

/* A ring whose control page and records are blocks of their own. */
struct ring {
	struct semshare_ring_view view;
	void *area;
};

static const char ring_name[SEMSHARE_NAME_SIZE] = "ring";

static struct ring ring_make(__u64 capacity)
{
	const struct semshare_ring_params params = { .capacity = capacity, .variant = SEMSHARE_RING_SYSV };
	struct semshare_ring_port port;
	struct ring ring;

	ring.area = calloc(1, SEMSHARE_RING_CONTROL_SIZE + capacity);
	CHECK(ring.area);
	CHECK(semshare_ring_format(ring.area, &params, SOME_SEMID, SOME_KEY, ring_name) == 0);
	CHECK(semshare_ring_check(&port, ring.area, SEMSHARE_RING_CONTROL_SIZE + capacity) == 0);
	ring.view = port.view;
	CHECK(ring.view.capacity == capacity);
	CHECK(ring.view.max_payload == semshare_ring_max_payload(capacity));
	CHECK(ring.view.data == (unsigned char *)ring.area + SEMSHARE_RING_CONTROL_SIZE);
	ring.view.data = calloc(1, capacity);
	CHECK(ring.view.data);
	return ring;
}

static void ring_free(struct ring *ring)
{
	free(ring->view.data);
	free(ring->area);
}

static void ring_set(struct ring *ring, __u64 head, __u64 tail)
{
	ring->view.control->head = head;
	ring->view.control->tail = tail;
}

static void ring_sizes(void)
{
	__u64 size;
	int shift;

	for (size = 0; size < 4096; size++) {
		__u64 footprint = semshare_ring_footprint(size);

		CHECK(footprint % ALIGN == 0);
		CHECK(footprint >= size + sizeof(struct semshare_record));
		CHECK(footprint < size + sizeof(struct semshare_record) + ALIGN);
	}
	/* No size of 32 bits, and a record says no more, makes it small again. */
	CHECK(semshare_ring_footprint(0xffffffff) == 0x100000020);
	for (shift = 0; shift < 64; shift++) {
		__u64 capacity = (__u64)1 << shift;
		int valid = capacity >= SMALL && capacity <= SEMSHARE_RING_MAX_CAPACITY;

		CHECK(semshare_ring_capacity_valid(capacity) == valid);
		CHECK(!semshare_ring_capacity_valid(capacity + 1) || shift == 0);
		CHECK(!semshare_ring_capacity_valid(capacity - 1));
		CHECK(!semshare_ring_capacity_valid(capacity | capacity >> 1) || shift == 0);
		if (valid)
			CHECK(semshare_ring_footprint(semshare_ring_max_payload(capacity)) == capacity / 4);
	}
}

static void ring_format_refuses(void)
{
	static const __u64 wrong[] = { 0, 1, SMALL - 1, SMALL + 1, SMALL / 2, 3 * SMALL,
				       2 * (__u64)SEMSHARE_RING_MAX_CAPACITY, ~(__u64)0 };
	struct semshare_ring_control *control = calloc(1, sizeof(*control));
	struct semshare_ring_control *untouched = calloc(1, sizeof(*control));
	size_t i;

	CHECK(control && untouched);
	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct semshare_ring_params params = { .capacity = wrong[i], .variant = SEMSHARE_RING_SYSV };

		CHECK(semshare_ring_format(control, &params, SOME_SEMID, SOME_KEY, ring_name) == -EINVAL);
		CHECK(!memcmp(control, untouched, sizeof(*control)));
	}
	free(control);
	free(untouched);
}

static void ring_check_refuses(void)
{
	const __u64 size = SEMSHARE_RING_CONTROL_SIZE + SMALL;
	struct semshare_ring_port port;
	struct ring ring = ring_make(SMALL);
	struct semshare_ring_control *control = ring.area;
	struct semshare_ring_control good = *control;
	__u64 less;

#define CHECK_FIELD(field, value, answer)                                           \
	do {                                                                        \
		control->field = (value);                                           \
		CHECK(semshare_ring_check(&port, control, size) == (answer));       \
		*control = good;                                                    \
	} while (0)

	CHECK_FIELD(magic, 0, -EAGAIN);
	CHECK_FIELD(magic, SEMSHARE_RING_MAGIC + 1, -EPROTO);
	CHECK_FIELD(abi_version, SEMSHARE_ABI_VERSION + 1, -EPROTO);
	CHECK_FIELD(features, 1, -EPROTO);
	CHECK_FIELD(variant, 0, -EPROTO);
	CHECK_FIELD(variant, SEMSHARE_RING_SPSC, -EPROTO);	/* has more semaphores */
	CHECK_FIELD(variant, 77, -EPROTO);
	CHECK_FIELD(nsems, SEMSHARE_RING_NSEMS - 1, -EPROTO);
	CHECK_FIELD(control_size, 0, -EPROTO);
	CHECK_FIELD(policy, SEMSHARE_RING_POLICIES, -EPROTO);
	CHECK_FIELD(capacity, 0, -EPROTO);
	CHECK_FIELD(capacity, SMALL - 1, -EPROTO);
	CHECK_FIELD(capacity, 2 * SMALL, -EPROTO);
	CHECK_FIELD(capacity, ~(__u64)0, -EPROTO);
	/* A lie that is never believed: it follows from the capacity. */
	CHECK_FIELD(max_payload, 0xffffffff, 0);
	CHECK(port.view.max_payload == semshare_ring_max_payload(SMALL));
	for (less = 0; less < size; less += 64)
		CHECK(semshare_ring_check(&port, control, less) == -EPROTO);
	CHECK(semshare_ring_check(&port, control, size) == 0);
	ring_free(&ring);
}

static void ring_says_what_broke(void)
{
	struct semshare_ring_control control = { .state = SEMSHARE_RING_OK };
	__u32 state, other;

	/* The first who finds something is believed. */
	semshare_ring_tell_broken(&control, SEMSHARE_RING_BAD_MUTEX);
	CHECK(control.state == SEMSHARE_RING_BAD_MUTEX);
	semshare_ring_tell_broken(&control, SEMSHARE_RING_BAD_CURSORS);
	CHECK(control.state == SEMSHARE_RING_BAD_MUTEX);
	/* Each has words of its own, and so has what nobody knows. */
	for (state = 0; state < SEMSHARE_RING_STATES; state++)
		for (other = 0; other < state; other++)
			CHECK(strcmp(semshare_ring_state_text(state), semshare_ring_state_text(other)));
	CHECK(!strcmp(semshare_ring_state_text(77), semshare_ring_state_text(SEMSHARE_RING_BROKEN)));
}

static void ring_is_ready_by_its_cursors(void)
{
	const __u32 data = SEMSHARE_EVENT_DATA, space = SEMSHARE_EVENT_SPACE;
	/* Also where the numbers come round. */
	const __u64 starts[] = { 0, 4096, -(__u64)1024 };
	size_t i;

	for (i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		__u64 head = starts[i], tail;

		tail = head;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == space);
		tail = head + 32;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == (data | space));
		tail = head + SMALL / 2;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == (data | space));
		tail = head + SMALL / 2 + 32;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == data);
		tail = head + SMALL;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == data);
		tail = head + SMALL + 32;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == SEMSHARE_EVENT_BROKEN);
		tail = head - 32;
		CHECK(semshare_ring_ready_between(&head, &tail, SMALL) == SEMSHARE_EVENT_BROKEN);
	}
}

static void ring_cursors(void)
{
	struct ring ring = ring_make(SMALL);
	struct semshare_sysv_cursors at;
	__u64 start, used;

	for (start = -(__u64)3 * SMALL; start != 3 * SMALL; start += ALIGN) {
		for (used = 0; used <= SMALL; used += ALIGN * 16) {
			ring_set(&ring, start, start + used);
			CHECK(semshare_sysv_look(&ring.view, &at) == 0);
			CHECK(at.head == start && at.tail == start + used);
		}
		ring_set(&ring, start, start + SMALL + ALIGN);
		CHECK(semshare_sysv_look(&ring.view, &at) == -EPROTO);
		ring_set(&ring, start, start - ALIGN);
		CHECK(semshare_sysv_look(&ring.view, &at) == -EPROTO);
		ring_set(&ring, start + 1, start + 1);
		CHECK(semshare_sysv_look(&ring.view, &at) == -EPROTO);
		ring_set(&ring, start, start + 8);
		CHECK(semshare_sysv_look(&ring.view, &at) == -EPROTO);
	}
	ring_free(&ring);
}

static int put_one(const struct ring *ring, struct semshare_sysv_cursors *at, __u32 type, const void *payload,
		   __u32 size)
{
	struct semshare_ring_entry entry = { .payload = payload, .size = size, .type = type };
	size_t done;
	int err = semshare_sysv_put_all(&ring->view, at, &entry, 1, 77, &done);

	CHECK(done == !err);
	return err;
}

/* One record there and back. */
static void ring_round_trip(struct ring *ring, __u64 start, __u32 size)
{
	unsigned char *in = malloc(size), *out = malloc(size);
	struct semshare_ring_control *control = ring->view.control;
	__u64 puts = control->puts, gets = control->gets, bytes = control->put_bytes;
	__u64 sequence = control->sequence;
	struct semshare_sysv_cursors at;
	struct semshare_record record;

	CHECK(size == 0 || (in && out));
	randomize(in, size);
	ring_set(ring, start, start);
	CHECK(semshare_sysv_look(&ring->view, &at) == 0);
	CHECK(semshare_sysv_peek(&ring->view, &at, &record) == -EAGAIN);
	CHECK(put_one(ring, &at, size ^ 0xff, in, size) == 0);
	CHECK(at.tail == start + semshare_ring_footprint(size) && at.head == start);
	CHECK(control->sequence == sequence + 1 && control->tail == at.tail && control->puts == puts + 1);
	CHECK(control->put_bytes == bytes + size);

	CHECK(semshare_sysv_look(&ring->view, &at) == 0);
	CHECK(semshare_sysv_peek(&ring->view, &at, &record) == 0);
	CHECK(record.size == size && record.type == (size ^ 0xff) && record.position == start);
	CHECK(record.sequence == sequence && record.time_ns == 77);
	semshare_sysv_read(&ring->view, &at, &record, out);
	CHECK(size == 0 || !memcmp(in, out, size));
	CHECK(at.head == at.tail && control->head == start);
	semshare_sysv_consume(&ring->view, &at, 1);
	CHECK(control->head == at.head && control->gets == gets + 1);
	free(in);
	free(out);
}

/* Each offset, with sizes that end before the edge, at it and behind it; where cursors come round too. */
static void ring_wraps_at_each_offset(void)
{
	struct ring ring = ring_make(SMALL);
	__u64 at, base;
	__u32 size;

	for (base = -(__u64)SMALL; base <= SMALL; base += SMALL) {	/* -SMALL, 0, then SMALL */
		for (at = 0; at < SMALL; at += ALIGN)
			for (size = 0; size <= ring.view.max_payload; size += size < 40 ? 1 : 61)
				ring_round_trip(&ring, base + at, size);
		if (base == SMALL)
			break;
	}
	for (at = 0; at < SMALL; at += ALIGN)
		ring_round_trip(&ring, at - SMALL, ring.view.max_payload);
	ring_free(&ring);
}

static void ring_copies_at_each_offset(void)
{
	struct ring ring = ring_make(SMALL);
	unsigned char in[SMALL], out[SMALL];
	__u64 at;

	for (at = 0; at < SMALL; at++) {
		__u64 size = random64() % (SMALL + 1);

		randomize(in, size);
		semshare_sysv_copy_in(&ring.view, at - 5 * SMALL, in, size);
		semshare_sysv_copy_out(&ring.view, at, out, size);
		CHECK(!memcmp(in, out, size));
		CHECK(size == 0 || ring.view.data[(at + size - 1) % SMALL] == in[size - 1]);
	}
	ring_free(&ring);
}

static void ring_full_and_too_long(void)
{
	struct ring ring = ring_make(SMALL);
	struct semshare_sysv_cursors at;
	unsigned char payload[SMALL] = { 0 };
	int records = 0;

	ring_set(&ring, 0, 0);
	CHECK(semshare_sysv_look(&ring.view, &at) == 0);
	CHECK(put_one(&ring, &at, 0, payload, ring.view.max_payload + 1) == -EMSGSIZE);
	CHECK(put_one(&ring, &at, 0, payload, ~(__u32)0) == -EMSGSIZE);
	CHECK(at.tail == 0 && ring.view.control->sequence == 0);
	while (put_one(&ring, &at, 0, payload, ring.view.max_payload) == 0)
		records++;
	CHECK(records == 4 && at.tail == SMALL);
	CHECK(put_one(&ring, &at, 0, payload, 0) == -EAGAIN);
	CHECK(ring.view.control->sequence == 4 && ring.view.control->drops[SEMSHARE_DROP_REFUSED] == 0);
	ring_free(&ring);
}

/* Records of random sizes in batches, some of them taken in between: what is taken, dropped and left adds up. */
static void ring_drops(enum semshare_ring_policy policy, enum semshare_ring_drop cause)
{
	struct ring ring = ring_make(SMALL);
	struct semshare_ring_control *control = ring.view.control;
	struct semshare_ring_entry entries[40];
	struct semshare_sysv_cursors at;
	struct semshare_record record;
	unsigned char payload[SMALL], out[SMALL];
	__u64 wanted = 0, put = 0, taken = 0, next = 0, missing = 0;
	int turn, i;

	ring.view.policy = policy;
	randomize(payload, sizeof(payload));
	for (turn = 0; turn < 20000; turn++) {
		size_t count = random64() % 40, done;
		int err, most = random64() % 40;

		for (i = 0; i < (int)count; i++) {
			entries[i].size = random64() % (random64() % 8 ? 100 : ring.view.max_payload + 1);
			entries[i].type = (wanted + i) * 0x9e3779b9u;
			entries[i].payload = payload + entries[i].type % (SMALL - entries[i].size);
		}
		CHECK(semshare_sysv_look(&ring.view, &at) == 0);
		err = semshare_sysv_put_all(&ring.view, &at, entries, count, turn, &done);
		CHECK(control->tail == at.tail && control->head == at.head && control->sequence == at.sequence);
		CHECK(at.tail - at.head <= SMALL);
		if (policy == SEMSHARE_RING_OVERWRITE)
			CHECK(!err && done == count);
		else
			CHECK(err == (done == count ? 0 : -ENOBUFS));
		wanted += count;
		put += done;
		CHECK(control->sequence == wanted);
		while (most-- && !semshare_sysv_peek(&ring.view, &at, &record)) {
			CHECK(record.sequence >= next);
			missing += record.sequence - next;
			next = record.sequence + 1;
			CHECK(record.type == (__u32)(record.sequence * 0x9e3779b9u));
			semshare_sysv_read(&ring.view, &at, &record, out);
			CHECK(!memcmp(out, payload + record.type % (SMALL - record.size), record.size));
			taken++;
			semshare_sysv_consume(&ring.view, &at, 1);
		}
	}
	while (!semshare_sysv_peek(&ring.view, &at, &record)) {
		missing += record.sequence - next;
		next = record.sequence + 1;
		semshare_sysv_read(&ring.view, &at, &record, out);
		taken++;
	}
	missing += wanted - next;
	CHECK(control->puts == put && control->drops[cause] == missing && missing > 1000 && taken > 1000);
	CHECK(taken + missing == wanted);
	ring_free(&ring);
}

static void ring_refuses(void)
{
	ring_drops(SEMSHARE_RING_REFUSE, SEMSHARE_DROP_REFUSED);
}

static void ring_overwrites(void)
{
	ring_drops(SEMSHARE_RING_OVERWRITE, SEMSHARE_DROP_OVERWRITTEN);
}

static void ring_repairs(void)
{
	struct ring ring = ring_make(SMALL);
	struct semshare_ring_control *control = ring.view.control;

	ring_set(&ring, 64, 128);
	CHECK(semshare_sysv_repair(&ring.view) == 0);
	CHECK(control->repairs == 1 && control->need_data == 1 && control->need_space == 1);
	CHECK(control->head == 64 && control->tail == 128);
	ring_set(&ring, 128, 64);
	CHECK(semshare_sysv_repair(&ring.view) == -EPROTO);
	CHECK(control->repairs == 2);
	ring_free(&ring);
}

/* A record that lies, in each word, and where it would reach. */
static void ring_records_that_lie(void)
{
	struct ring ring = ring_make(SMALL);
	struct semshare_sysv_cursors at;
	struct semshare_record record, *inside = (struct semshare_record *)ring.view.data;

	ring_set(&ring, 0, 64);
	CHECK(semshare_sysv_look(&ring.view, &at) == 0);
	*inside = (struct semshare_record){ .size = 32, .position = 0 };
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == 0);
	inside->size = 33;	/* beyond the tail */
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == -EPROTO);
	inside->size = 0xffffffff;
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == -EPROTO);
	inside->size = 0xfffffff0;
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == -EPROTO);
	inside->size = 32;
	inside->position = SMALL;	/* a turn ago, or to come */
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == -EPROTO);
	ring_set(&ring, 0, SMALL);
	CHECK(semshare_sysv_look(&ring.view, &at) == 0);
	inside->position = 0;
	inside->size = ring.view.max_payload + 1;	/* fits, and may not be */
	CHECK(semshare_sysv_peek(&ring.view, &at, &record) == -EPROTO);
	ring_free(&ring);
}

/*
 * Fuzzing: cursors and records of random bytes, often ones that nearly make
 * sense.  Whatever they say, nothing but the ring is touched, no copy is longer
 * than the longest payload, and what was refused has changed nothing.
 */
static void ring_hostile_words(void)
{
	struct ring ring = ring_make(SMALL);
	unsigned char *payload = calloc(1, ring.view.max_payload + 1);
	long read = 0, refused = 0;
	int i;

	CHECK(payload);
	for (i = 0; i < 300000; i++) {
		struct semshare_sysv_cursors at;
		struct semshare_record record;
		__u64 head = random64(), tail = random64();

		if (i % 64 == 0)
			randomize(ring.view.data, SMALL);
		if (i & 1) {
			head &= ~(__u64)(ALIGN - 1);
			tail = head + random64() % (SMALL + 2 * ALIGN);
		}
		if (i & 2)
			tail &= ~(__u64)(ALIGN - 1);
		ring_set(&ring, head, tail);
		if (i & 4) {
			record.size = (__u32)(random64() >> (32 + random64() % 32));
			record.type = 0;
			record.position = i & 8 ? head : random64();
			memcpy(ring.view.data + (head & (SMALL - ALIGN)), &record, sizeof(record));
		}
		if (semshare_sysv_look(&ring.view, &at)) {
			refused++;
			continue;
		}
		CHECK(at.tail - at.head <= SMALL);
		while (semshare_sysv_peek(&ring.view, &at, &record) == 0) {
			CHECK(record.size <= ring.view.max_payload);
			semshare_sysv_read(&ring.view, &at, &record, payload);
			CHECK(at.tail - at.head <= SMALL);
			read++;
		}
		ring.view.policy = i % SEMSHARE_RING_POLICIES;
		semshare_sysv_look(&ring.view, &at);
		put_one(&ring, &at, 1, payload, random64() % (ring.view.max_payload + 2));
		CHECK(at.tail - at.head <= SMALL);
		semshare_sysv_consume(&ring.view, &at, 1);
		CHECK(semshare_sysv_repair(&ring.view) == 0);
	}
	CHECK(read > 1000 && refused > 1000);
	free(payload);
	ring_free(&ring);
}

/* The control page at random, in a block of the size that is claimed for it. */
static void ring_hostile_control_page(void)
{
	struct ring good = ring_make(SMALL);
	const __u64 sizes[] = { 0, 64, SEMSHARE_RING_CONTROL_SIZE, SEMSHARE_RING_CONTROL_SIZE + SMALL,
				SEMSHARE_RING_CONTROL_SIZE + 3 * SMALL };
	long taken = 0;
	int i;

	for (i = 0; i < 50000; i++) {
		__u64 size = sizes[random64() % (sizeof(sizes) / sizeof(sizes[0]))];
		unsigned char *area = malloc(size);
		struct semshare_ring_port port;
		struct semshare_ring_view view;
		size_t words;

		CHECK(size == 0 || area);
		randomize(area, size < 256 ? size : 256);
		if (i & 1 && size >= SEMSHARE_RING_CONTROL_SIZE) {
			memcpy(area, good.area, SEMSHARE_RING_CONTROL_SIZE);
			for (words = random64() % 3; words; words--)
				((__u32 *)area)[random64() % 16] = (__u32)(random64() >> (32 + random64() % 32));
		}
		if (semshare_ring_check(&port, area, size) == 0) {
			view = port.view;
			CHECK(semshare_ring_capacity_valid(view.capacity));
			CHECK(view.data == area + SEMSHARE_RING_CONTROL_SIZE);
			CHECK(view.data + view.capacity <= area + size);
			CHECK(view.max_payload == semshare_ring_max_payload(view.capacity));
			taken++;
		}
		free(area);
	}
	CHECK(taken > 1000);
	ring_free(&good);
}

/* ------------------------------------------------------------------- which */

static const struct test_case tests[] = {
	TEST(name_lengths),
	TEST(name_characters),
	TEST(name_bytes_behind_the_end),
	TEST(keys),
	TEST(histogram_buckets),
	TEST(histogram_error),
	TEST(lock_enter_and_leave),
	TEST(lock_owner_died),
	TEST(lock_is_suspect_until_trusted),
	TEST(lock_is_shared_by_those_who_find_a_death),
	TEST(lock_epoch_comes_round),
	TEST(lock_words_at_random),
	TEST(ring_sizes),
	TEST(ring_format_refuses),
	TEST(ring_check_refuses),
	TEST(ring_says_what_broke),
	TEST(ring_is_ready_by_its_cursors),
	TEST(ring_cursors),
	TEST(ring_wraps_at_each_offset),
	TEST(ring_copies_at_each_offset),
	TEST(ring_full_and_too_long),
	TEST(ring_refuses),
	TEST(ring_overwrites),
	TEST(ring_repairs),
	TEST(ring_records_that_lie),
	TEST(ring_hostile_words),
	TEST(ring_hostile_control_page),
};

int main(int argc, char **argv)
{
	return run_cases(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
