// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters and state, declared by kernel code: the kernel's side of
 * semshare/core/parameters.h.
 *
 * What is declared lies twice: in the directory, which users can only read, for
 * them to know; and in memory of the kernel's own, by which it goes.  Users write
 * the page of values at any time and in any way.  A value that is not within its
 * limits is not used: the last good one stays in force, and the state page counts
 * how often that was so.  Reading never waits for a user.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/instruction_pointer.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <semshare/core/key.h>

#include "area.h"

/**
 * struct semshare_parameters - what kernel code declared
 * @area: where they are
 * @values: written by users
 * @state: written here
 * @parameters: how many there are
 * @states: how many state values
 * @last: the last good values that semshare_parameters_get() found
 * @entries: the directory
 */
struct semshare_parameters {
	struct semshare_area *area;
	const struct semshare_parameters_bank *values;
	struct semshare_parameters_bank *state;
	u32 parameters;
	u32 states;
	u64 last[SEMSHARE_PARAMETERS_MAX];
	struct semshare_parameter entries[SEMSHARE_PARAMETERS_MAX];
};

/* Several readers count at once, in any context; users see it mapped read-only. */
static void parameters_count(u64 *counter, u64 times)
{
	if (times)
		atomic64_add(times, (atomic64_t *)counter);
}

static bool parameters_have_groups(const struct semshare_parameters *parameters)
{
	u32 i;

	for (i = 0; i < parameters->parameters; i++)
		if (parameters->entries[i].group)
			return true;
	return false;
}

static int parameters_make(struct semshare_parameters *parameters, umode_t mode)
{
	struct semshare_area *area = parameters->area;
	int semid = 0;

	/* Before they can be seen: writers of groups exclude each other by the area's set. */
	if (parameters_have_groups(parameters))
		semid = semshare_area_make_set(area, SEMSHARE_PARAMETERS_NSEMS, mode);
	if (semid < 0)
		return semid;
	return semshare_parameters_format(area->data, parameters->entries, parameters->parameters,
					  parameters->states, SEMSHARE_OWNER_KERNEL, 0, area->name);
}

/**
 * semshare_parameters_create - declare parameters and state
 * @ns: the IPC namespace of the name; if there are groups, current's own
 * @name: of their area: 1 to SEMSHARE_NAME_MAX characters of [A-Za-z0-9._-]; of a
 *	module with instances, one for each
 * @entries: first the parameters, then the state values; copied
 * @parameters: how many parameters
 * @states: how many state values; together 1 to SEMSHARE_PARAMETERS_MAX
 * @mode: permission bits: who may read sees all, who may write sets parameters
 *
 * The area is owned by current's file system uid and gid.
 *
 * Context: process context, sleeps.
 * Return: what semshare_parameters_destroy() ends, or -EINVAL (an entry makes no
 * sense: its name, its type, limits the wrong way round, an initial value outside
 * of them), -EXDEV (groups, and not the caller's namespace), or what
 * semshare_area_create() answers.
 */
struct semshare_parameters *semshare_parameters_create(struct ipc_namespace *ns, const char *name,
						       const struct semshare_parameter *entries,
						       u32 parameters, u32 states, umode_t mode)
{
	struct semshare_area_make make = {
		.size = SEMSHARE_PARAMETERS_SIZE,
		.mode = mode,
		.kind = SEMSHARE_AREA_PAGES,
		.guard = SEMSHARE_PARAMETERS_GUARD,
	};
	struct semshare_parameters *made;
	u32 i;
	int err;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	if (strscpy_pad(make.name, name, sizeof(make.name)) < 0 ||
	    semshare_name_length(make.name) < 0 ||
	    !semshare_parameters_valid(entries, parameters, states))
		return ERR_PTR(-EINVAL);
	made = kzalloc(sizeof(*made), GFP_KERNEL_ACCOUNT);
	if (!made)
		return ERR_PTR(-ENOMEM);
	made->parameters = parameters;
	made->states = states;
	memcpy(made->entries, entries, (parameters + states) * sizeof(*entries));
	for (i = 0; i < parameters; i++)
		made->last[i] = entries[i].initial;

	made->area = semshare_area_make(ns, &make, SEMSHARE_AREA_KERNEL);
	if (IS_ERR(made->area)) {
		err = PTR_ERR(made->area);
		goto err_free;
	}
	made->state = made->area->data + SEMSHARE_PARAMETERS_STATE;
	made->values = made->area->data + SEMSHARE_PARAMETERS_VALUES;
	err = parameters_make(made, mode);
	if (err)
		goto err_area;
	return made;

err_area:
	semshare_area_hide(made->area);
	semshare_area_put(made->area);
err_free:
	kfree(made);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(semshare_parameters_create);

/**
 * semshare_parameters_destroy - the end of what was declared
 * @parameters: what was declared; nobody reads it any more
 *
 * The name can be used again at once.  Users who still have it open see that it
 * ended, and keep the memory to themselves.
 *
 * Context: process context, sleeps.
 */
void semshare_parameters_destroy(struct semshare_parameters *parameters)
{
	struct semshare_area *area = parameters->area;
	struct semshare_parameters_directory *directory = area->data;

	WRITE_ONCE(directory->flags, SEMSHARE_PARAMETERS_ENDED);
	semshare_area_remove_set(area);
	semshare_area_hide(area);
	semshare_area_put(area);
	kfree(parameters);
}
EXPORT_SYMBOL_GPL(semshare_parameters_destroy);

/**
 * semshare_parameters_get - one parameter as it is now
 * @parameters: what was declared
 * @index: which: its place among the entries
 *
 * What users wrote, if that is within its limits; else the last value that was,
 * and it is counted.  Of a group it is one member: who wants several of them to
 * belong together uses semshare_parameters_read().
 *
 * Context: any, NMI included; any number of callers at once.  Takes no lock.
 * Return: the value, as bits of its type; a double: see semshare_double_scaled().
 */
u64 semshare_parameters_get(struct semshare_parameters *parameters, unsigned int index)
{
	const struct semshare_parameter *entry = &parameters->entries[index];
	u64 bits;

	if (WARN_ON_ONCE(index >= parameters->parameters))
		return 0;
	if (semshare_parameters_word(parameters->values, entry->group, index, &bits)) {
		parameters_count(&parameters->state->unsettled, 1);
		return READ_ONCE(parameters->last[index]);
	}
	if (!semshare_parameter_within(entry, bits)) {
		parameters_count(&parameters->state->refused, 1);
		return READ_ONCE(parameters->last[index]);
	}
	/* Written only where it changes: readers on other CPUs have the line too. */
	if (READ_ONCE(parameters->last[index]) != bits)
		WRITE_ONCE(parameters->last[index], bits);
	return bits;
}
EXPORT_SYMBOL_GPL(semshare_parameters_get);

/**
 * semshare_parameters_reader_start - begin to read all parameters together
 * @parameters: what was declared
 * @reader: filled in; it needs no end
 *
 * Context: any.
 */
void semshare_parameters_reader_start(struct semshare_parameters *parameters,
				      struct semshare_parameters_reader *reader)
{
	semshare_parameters_reader_init(reader, parameters->values, parameters->entries,
					parameters->parameters);
}
EXPORT_SYMBOL_GPL(semshare_parameters_reader_start);

/**
 * semshare_parameters_read - all parameters as they are now
 * @parameters: what was declared
 * @reader: the caller's, of semshare_parameters_reader_start()
 *
 * Those of a group are of one moment: all as one change left them.  A value that
 * is outside of its limits, and a group with such a value in it, stays as this
 * reader had it before, at first the initial values, and is counted; so does a
 * group that changes faster than it can be read.
 *
 * Context: any, NMI included; one caller at a time for each reader.  Takes no lock.
 * Return: the values, in the order of the entries, valid until the next call.
 */
const u64 *semshare_parameters_read(struct semshare_parameters *parameters,
				    struct semshare_parameters_reader *reader)
{
	u64 refused = reader->refused;
	u64 unsettled = reader->unsettled;

	semshare_parameters_look(reader);
	parameters_count(&parameters->state->refused, reader->refused - refused);
	parameters_count(&parameters->state->unsettled, reader->unsettled - unsettled);
	return reader->values;
}
EXPORT_SYMBOL_GPL(semshare_parameters_read);

static u64 *parameters_state(struct semshare_parameters *parameters, unsigned int index)
{
	if (WARN_ON_ONCE(index < parameters->parameters ||
			 index >= parameters->parameters + parameters->states))
		return NULL;
	return &parameters->state->words[0][index];
}

/**
 * semshare_parameters_set_state - export a value
 * @parameters: what was declared
 * @index: which: its place among the entries, behind the parameters
 * @bits: the value, as bits of its type
 *
 * Context: any, NMI included.  Takes no lock.
 */
void semshare_parameters_set_state(struct semshare_parameters *parameters, unsigned int index,
				   u64 bits)
{
	u64 *word = parameters_state(parameters, index);

	if (!word)
		return;
	/* Pairs with the acquire of whoever reads it: what was exported before is seen too. */
	smp_store_release(word, bits);
}
EXPORT_SYMBOL_GPL(semshare_parameters_set_state);

/**
 * semshare_parameters_add_state - add to an exported integer
 * @parameters: what was declared
 * @index: which: its place among the entries, behind the parameters
 * @delta: what to add
 *
 * Context: any, NMI included; any number of callers at once.  Takes no lock.
 */
void semshare_parameters_add_state(struct semshare_parameters *parameters, unsigned int index,
				   s64 delta)
{
	u64 *word = parameters_state(parameters, index);

	if (word)
		atomic64_add(delta, (atomic64_t *)word);
}
EXPORT_SYMBOL_GPL(semshare_parameters_add_state);
