/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * Reading and writing parameters, for the module and for user space alike.
 *
 * Readers take no lock, never wait and believe nothing: a value counts when it
 * is within the limits that the reader keeps in memory of its own, and else the
 * last good one stays in force.
 *
 * A value in no group is one word: a store with release, a load with acquire.
 *
 * A group has two copies.  Its version says which of them is valid, and a writer
 * (one at a time, by the lock) writes the other, so one who is killed in between
 * leaves the old values as they were; the next writer writes all of that copy
 * anew.
 *
 *	writer					reader
 *	v = load(version)			v = load_acquire(version)	(1)
 *	store_release(words[v+1 & 1][i])  (2)	load_acquire(words[v & 1][i])	(2)
 *	store_release(version, v + 1)	  (1)	load(version) == v ?
 *
 * (1) Who sees version v + 1 sees the whole of its copy.
 * (2) What a reader of version v must not take are words of version v + 2, whose
 *     writer uses the same copy.  That writer stored them with release after
 *     version v + 1, its own store or that of a writer before it in the lock;
 *     who loads one of them with acquire sees that the version moved.  So it is
 *     the release of each single word that pairs with the acquire of it, and the
 *     second look at the version needs none.
 *
 * An honest writer disturbs a reader only by finishing a group while it copies:
 * then it tries again, SEMSHARE_PARAMETERS_TRIES times at most.  A dead writer
 * disturbs nobody, and a hostile one can use up the tries.
 */
#ifndef SEMSHARE_CORE_PARAMETERS_H
#define SEMSHARE_CORE_PARAMETERS_H

#include <semshare/core/platform.h>
#include <semshare/parameters.h>

#define SEMSHARE_PARAMETERS_TRIES	16

/**
 * semshare_parameter_order - a number that orders values as they order themselves
 * @type: enum semshare_parameter_type
 * @bits: the value
 *
 * The bits of doubles above zero, taken as an integer, grow as the doubles do;
 * of those below zero, with the sign taken off, as they shrink.  -0.0 is 0.0.
 * NaN comes out beyond the infinities on either side, outside of all limits.
 * No floating point is done, so kernel code can.
 */
static inline __s64 semshare_parameter_order(__u32 type, __u64 bits)
{
	const __u64 sign = (__u64)1 << 63;

	if (type == SEMSHARE_PARAMETER_DOUBLE && bits & sign)
		return -(__s64)(bits & ~sign);
	return (__s64)bits;
}

static inline int semshare_parameter_is_number(__u32 type, __u64 bits)
{
	const __u64 infinity = (__u64)0x7ff << 52;

	return type != SEMSHARE_PARAMETER_DOUBLE || (bits & ~((__u64)1 << 63)) <= infinity;
}

/**
 * semshare_parameter_within - whether a value is within its limits
 * @entry: what is known of it, in memory that nobody else writes
 * @bits: the value
 */
static inline int semshare_parameter_within(const struct semshare_parameter *entry, __u64 bits)
{
	__s64 order = semshare_parameter_order(entry->type, bits);

	return order >= semshare_parameter_order(entry->type, entry->minimum) &&
	       order <= semshare_parameter_order(entry->type, entry->maximum);
}

/**
 * semshare_double_scaled - a double times a whole number, as a whole number
 * @bits: the double
 * @scale: what to multiply it with
 *
 * Kernel code must not use floating point: semshare_double_scaled(bits, 1000) are
 * the thousandths of a value.
 *
 * Return: the product, rounded towards zero; the nearest number there is where it
 * does not fit; 0 for NaN.
 */
static inline __s64 semshare_double_scaled(__u64 bits, __u32 scale)
{
	const __u64 most = ~(__u64)0 >> 1;
	const __u64 hidden = (__u64)1 << 52;
	__u64 mantissa = bits & (hidden - 1);
	int exponent = (int)(bits >> 52 & 0x7ff);
	__u64 high, low, result;

	if (!semshare_parameter_is_number(SEMSHARE_PARAMETER_DOUBLE, bits))
		return 0;
	if (exponent)
		mantissa |= hidden;
	else
		exponent = 1;
	exponent -= 1075;	/* the value is mantissa * 2^exponent */

	/* mantissa * scale, of 85 bits at the most, as high * 2^64 + low. */
	low = (mantissa & 0xffffffffu) * scale;
	high = (mantissa >> 32) * scale + (low >> 32);
	low = high << 32 | (low & 0xffffffffu);
	high >>= 32;

	if (!high && !low)
		result = 0;
	else if (exponent >= 0)
		result = high || exponent > 62 || low >> (63 - exponent) ? most : low << exponent;
	else if (exponent <= -64)
		result = exponent <= -128 ? 0 : high >> (-exponent - 64);
	else
		result = high >> -exponent ? most : high << (64 + exponent) | low >> -exponent;
	if (result > most)
		result = most;
	return bits >> 63 ? -(__s64)result : (__s64)result;
}

/* ---------------------------------------------------------------- directory */

static inline int semshare_parameter_name_valid(const char *name)
{
	int length = 0, i;

	while (length < SEMSHARE_PARAMETER_NAME_SIZE &&
	       ((name[length] >= 'a' && name[length] <= 'z') ||
		(name[length] >= 'A' && name[length] <= 'Z') ||
		(name[length] >= '0' && name[length] <= '9') || name[length] == '_'))
		length++;
	for (i = length; i < SEMSHARE_PARAMETER_NAME_SIZE; i++)
		if (name[i])
			return 0;
	return length > 0 && length < SEMSHARE_PARAMETER_NAME_SIZE;
}

/**
 * semshare_parameters_valid - whether entries can be those of a directory
 * @entries: @parameters + @states of them, in memory that nobody else writes
 * @parameters: how many parameters
 * @states: how many state values, behind them
 */
static inline int semshare_parameters_valid(const struct semshare_parameter *entries,
					    __u32 parameters, __u32 states)
{
	__u32 count = parameters + states;
	__u32 i, j;

	if (parameters > SEMSHARE_PARAMETERS_MAX || states > SEMSHARE_PARAMETERS_MAX ||
	    !count || count > SEMSHARE_PARAMETERS_MAX)
		return 0;
	for (i = 0; i < count; i++) {
		const struct semshare_parameter *entry = &entries[i];

		if (!semshare_parameter_name_valid(entry->name) ||
		    (entry->type != SEMSHARE_PARAMETER_INT &&
		     entry->type != SEMSHARE_PARAMETER_DOUBLE))
			return 0;
		for (j = 0; j < i; j++)
			if (!memcmp(entry->name, entries[j].name, sizeof(entry->name)))
				return 0;
		if (i >= parameters) {
			if (entry->group || entry->minimum || entry->maximum)
				return 0;
		} else if (entry->group >= SEMSHARE_PARAMETERS_GROUPS ||
			   !semshare_parameter_is_number(entry->type, entry->minimum) ||
			   !semshare_parameter_is_number(entry->type, entry->maximum) ||
			   !semshare_parameter_within(entry, entry->initial)) {
			return 0;
		}
	}
	return 1;
}

/**
 * semshare_parameters_format - declare parameters in zeroed memory
 * @area: SEMSHARE_PARAMETERS_SIZE bytes
 * @entries: as in semshare_parameters_valid()
 * @parameters: how many parameters
 * @states: how many state values
 * @declared_by: enum semshare_owner_kind
 * @declared_pid: the process, 0 if kernel code
 * @name: of the area, zero-padded
 *
 * Return: 0, or -EINVAL.
 */
static inline int semshare_parameters_format(void *area, const struct semshare_parameter *entries,
					     __u32 parameters, __u32 states, __u32 declared_by,
					     __u32 declared_pid, const char *name)
{
	struct semshare_parameters_directory *directory = area;
	struct semshare_parameters_bank *values;
	struct semshare_parameters_bank *state;
	__u32 i;

	if (!semshare_parameters_valid(entries, parameters, states))
		return -EINVAL;
	state = (void *)((char *)area + SEMSHARE_PARAMETERS_STATE);
	values = (void *)((char *)area + SEMSHARE_PARAMETERS_VALUES);
	for (i = 0; i < parameters + states; i++) {
		directory->entries[i] = entries[i];
		(i < parameters ? values : state)->words[0][i] = entries[i].initial;
	}
	directory->abi_version = SEMSHARE_ABI_VERSION;
	directory->parameters = parameters;
	directory->states = states;
	directory->declared_by = declared_by;
	directory->declared_pid = declared_pid;
	memcpy(directory->name, name, SEMSHARE_NAME_SIZE);
	/* Pairs with whoever looks for the number: the rest is there by then. */
	semshare_store_release(&directory->magic, SEMSHARE_PARAMETERS_MAGIC);
	return 0;
}

/* ------------------------------------------------------------------ reading */

/**
 * struct semshare_parameters_reader - the values that are in force for one reader
 * @bank: the shared page
 * @entries: the directory's, in memory that nobody else writes
 * @count: parameters
 * @groups: a bit for each group there is
 * @versions: of each group, as @values has it
 * @values: the last good ones, of each group those of one moment
 * @refused: times a value, or a group, was found outside of its limits
 * @unsettled: times a group changed too often to be read
 *
 * In the reader's own memory; one at a time may use it.
 */
struct semshare_parameters_reader {
	const struct semshare_parameters_bank *bank;
	const struct semshare_parameter *entries;
	__u32 count;
	__u32 groups;
	__u64 versions[SEMSHARE_PARAMETERS_GROUPS];
	__u64 values[SEMSHARE_PARAMETERS_MAX];
	__u64 refused;
	__u64 unsettled;
};

static inline void semshare_parameters_reader_init(struct semshare_parameters_reader *reader,
						   const struct semshare_parameters_bank *bank,
						   const struct semshare_parameter *entries,
						   __u32 count)
{
	__u32 i;

	memset(reader, 0, sizeof(*reader));
	reader->bank = bank;
	reader->entries = entries;
	reader->count = count;
	for (i = 0; i < count; i++) {
		reader->values[i] = entries[i].initial;
		reader->groups |= 1u << entries[i].group;
	}
	reader->groups &= ~1u;
	/* No version that a group has: each is looked at the first time. */
	memset(reader->versions, 0xff, sizeof(reader->versions));
}

/**
 * semshare_parameters_word - one value, as it stands there
 * @bank: the page
 * @group: its group
 * @index: its number
 * @bits: out
 *
 * Return: 0, or -EAGAIN if the group changed too often.
 */
static inline int semshare_parameters_word(const struct semshare_parameters_bank *bank,
					   __u32 group, __u32 index, __u64 *bits)
{
	int tries;

	if (!group) {
		*bits = semshare_load_acquire(&bank->words[0][index]);
		return 0;
	}
	for (tries = 0; tries < SEMSHARE_PARAMETERS_TRIES; tries++) {
		__u64 version = semshare_load_acquire(&bank->versions[group]);	/* (1) */

		*bits = semshare_load_acquire(&bank->words[version & 1][index]);	/* (2) */
		if (semshare_load(&bank->versions[group]) == version)
			return 0;
	}
	return -EAGAIN;
}

/*
 * Take a group over as a whole, if it is another version than the reader has and
 * all of it is within its limits.  What was copied is checked, and what was
 * checked is used.
 */
static inline void semshare_parameters_take_group(struct semshare_parameters_reader *reader,
						  __u32 group)
{
	const struct semshare_parameters_bank *bank = reader->bank;
	__u64 copy[SEMSHARE_PARAMETERS_MAX];
	__u64 version;
	int tries = 0;
	__u32 i;

	do {
		version = semshare_load_acquire(&bank->versions[group]);	/* (1) */
		if (version == reader->versions[group])
			return;
		if (tries++ == SEMSHARE_PARAMETERS_TRIES) {
			reader->unsettled++;
			return;
		}
		for (i = 0; i < reader->count; i++)
			if (reader->entries[i].group == group)	/* (2) */
				copy[i] = semshare_load_acquire(&bank->words[version & 1][i]);
	} while (semshare_load(&bank->versions[group]) != version);

	for (i = 0; i < reader->count; i++)
		if (reader->entries[i].group == group &&
		    !semshare_parameter_within(&reader->entries[i], copy[i])) {
			reader->refused++;
			return;
		}
	for (i = 0; i < reader->count; i++)
		if (reader->entries[i].group == group)
			reader->values[i] = copy[i];
	reader->versions[group] = version;
}

static inline void semshare_parameters_take_one(struct semshare_parameters_reader *reader,
						__u32 index)
{
	__u64 bits = semshare_load_acquire(&reader->bank->words[0][index]);

	if (semshare_parameter_within(&reader->entries[index], bits))
		reader->values[index] = bits;
	else
		reader->refused++;
}

/**
 * semshare_parameters_look_at - take over one value, where it is good
 * @reader: the reader
 * @index: its number; if it is in a group, all of that
 */
static inline void semshare_parameters_look_at(struct semshare_parameters_reader *reader,
					       __u32 index)
{
	if (reader->entries[index].group)
		semshare_parameters_take_group(reader, reader->entries[index].group);
	else
		semshare_parameters_take_one(reader, index);
}

/**
 * semshare_parameters_look - take over what changed, where it is good
 * @reader: the reader
 *
 * Behind it @reader->values are within their limits, and those of a group of one
 * moment.  Takes no lock and does not wait.
 */
static inline void semshare_parameters_look(struct semshare_parameters_reader *reader)
{
	__u32 i;

	for (i = 0; i < reader->count; i++)
		if (!reader->entries[i].group)
			semshare_parameters_take_one(reader, i);
	for (i = 1; i < SEMSHARE_PARAMETERS_GROUPS; i++)
		if (reader->groups & (1u << i))
			semshare_parameters_take_group(reader, i);
}

/* ------------------------------------------------------------------ writing */

/**
 * semshare_parameters_store - change a value that is in no group
 * @bank: the page
 * @index: its number
 * @bits: a value within its limits
 *
 * What was written before it is seen by who sees it.
 */
static inline void semshare_parameters_store(struct semshare_parameters_bank *bank, __u32 index,
					     __u64 bits)
{
	semshare_store_release(&bank->words[0][index], bits);
}

/**
 * semshare_parameters_change - change a group, by the owner of the lock
 * @bank: the page
 * @entries: the directory's
 * @count: parameters
 * @group: which
 * @values: the new values, within their limits
 * @given: 1 for each member that is given in @values; the others stay as they are
 *
 * What somebody wrote outside of its limits becomes the initial value, or the
 * group would be refused for ever.
 */
static inline void semshare_parameters_change(struct semshare_parameters_bank *bank,
					      const struct semshare_parameter *entries,
					      __u32 count, __u32 group, const __u64 *values,
					      const __u8 *given)
{
	__u64 version = semshare_load(&bank->versions[group]);
	__u32 i;

	for (i = 0; i < count; i++) {
		__u64 bits;

		if (entries[i].group != group)
			continue;
		bits = given[i] ? values[i] : semshare_load(&bank->words[version & 1][i]);
		if (!semshare_parameter_within(&entries[i], bits))
			bits = entries[i].initial;
		semshare_store_release(&bank->words[(version + 1) & 1][i], bits);	/* (2) */
	}
	semshare_store_release(&bank->versions[group], version + 1);	/* (1) */
}

#endif /* SEMSHARE_CORE_PARAMETERS_H */
