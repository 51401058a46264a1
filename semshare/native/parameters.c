// SPDX-License-Identifier: MIT
/*
 * Parameters and state in an area: what is hot of semshare.Parameters, which is derived from it and adds making them,
 * the lock of those who change groups, and messages.  The method that this file calls of it:
 *	_fail(reason, name, value)	raise what that reason means: "closed", "unknown", "limits", "type", "readonly", …
 *	_writers()			the lock of those who change a group; `timeout`: how long to wait for it
 *
 * Members change under the GIL only: see compat.h.
 */
#include "native.h"

#include <semshare/core/parameters.h>

typedef struct {
	PyObject_HEAD
	Py_buffer memory;		/* the area, or as much of it as has the directory and the banks */
	Py_buffer writable;		/* keeps @values mapped, if they may be written */
	struct semshare_parameters_bank *values;	/* NULL: they may not */
	struct semshare_parameters_bank *state;		/* NULL: it may not */
	bool open;
	__u32 parameters;
	__u32 states;
	PyObject *numbers;		/* the number of each name */
	struct semshare_parameters_reader reader;
	struct semshare_parameter entries[SEMSHARE_PARAMETERS_MAX];
} ParametersCore;

static const void *at(const ParametersCore *self, size_t offset)
{
	return (const char *)self->memory.buf + offset;
}

static const struct semshare_parameters_bank *state_bank(const ParametersCore *self)
{
	return at(self, SEMSHARE_PARAMETERS_STATE);
}

static PyObject *fail(ParametersCore *self, const char *reason, PyObject *name, PyObject *value)
{
	PyObject *result = PyObject_CallMethod((PyObject *)self, "_fail", "sOO", reason, name, value ? value : Py_None);

	if (result) {
		Py_DECREF(result);
		PyErr_SetString(PyExc_SystemError, "_fail() returned");
	}
	return NULL;
}

static bool is_open(ParametersCore *self)
{
	if (!self->open)
		fail(self, "closed", Py_None, NULL);
	return self->open;
}

/* The number of a name among the parameters, or the state; -1 and an exception if there is none. */
static int number_of(ParametersCore *self, PyObject *name, bool state)
{
	PyObject *number;
	long i;

	if (!is_open(self))
		return -1;
	number = PyUnicode_Check(name) ? PyDict_GetItemWithError(self->numbers, name) : NULL;
	if (!number && PyErr_Occurred())
		return -1;
	i = number ? PyLong_AsLong(number) : -1;
	if (!number || (i >= (long)self->parameters) != state) {
		fail(self, number && !state ? "state" : number ? "parameter" : "unknown", name, NULL);
		return -1;
	}
	return (int)i;
}

static PyObject *value_of(__u32 type, __u64 bits)
{
	double number;

	if (type != SEMSHARE_PARAMETER_DOUBLE)
		return PyLong_FromLongLong((long long)bits);
	memcpy(&number, &bits, sizeof(number));
	return PyFloat_FromDouble(number);
}

/* The bits of a value for entry @i.  Returns false on an exception. */
static bool bits_of(ParametersCore *self, int i, PyObject *name, PyObject *value, __u64 *bits)
{
	const struct semshare_parameter *entry = &self->entries[i];

	if (entry->type == SEMSHARE_PARAMETER_DOUBLE) {
		double number;

		if (!PyFloat_Check(value) && !PyLong_Check(value) && !PyIndex_Check(value)) {
			fail(self, "type", name, value);
			return false;
		}
		number = PyFloat_AsDouble(value);
		if (number == -1.0 && PyErr_Occurred())
			return false;
		memcpy(bits, &number, sizeof(*bits));
	} else {
		PyObject *whole = PyIndex_Check(value) ? PyNumber_Index(value) : NULL;
		long long number;
		int overflow;

		if (!whole) {
			if (!PyErr_Occurred())
				fail(self, "type", name, value);
			return false;
		}
		number = PyLong_AsLongLongAndOverflow(whole, &overflow);
		Py_DECREF(whole);
		if (number == -1 && PyErr_Occurred())
			return false;
		if (overflow) {
			fail(self, "limits", name, value);
			return false;
		}
		*bits = (__u64)number;
	}
	if (i < (int)self->parameters && !semshare_parameter_within(entry, *bits)) {
		fail(self, "limits", name, value);
		return false;
	}
	return true;
}

/* ----------------------------------------------------------------- the values */

static PyObject *subscript(ParametersCore *self, PyObject *name)
{
	struct semshare_parameters_reader *reader = &self->reader;
	int i = number_of(self, name, false);

	if (i < 0)
		return NULL;
	semshare_parameters_look_at(reader, (__u32)i);
	return value_of(self->entries[i].type, reader->values[i]);
}

/* The names that change_group() looks up: made once, which is a third of its time. */
static PyObject *word_writers, *word_timeout, *word_acquire, *word_release;

/* 0, or -1 with an exception set. */
int parameters_setup(void)
{
	if (!word_writers)
		word_writers = PyUnicode_InternFromString("_writers");
	if (!word_timeout)
		word_timeout = PyUnicode_InternFromString("timeout");
	if (!word_acquire)
		word_acquire = PyUnicode_InternFromString("acquire");
	if (!word_release)
		word_release = PyUnicode_InternFromString("release");
	return word_writers && word_timeout && word_acquire && word_release ? 0 : -1;
}

/*
 * Change a group under the lock that _writers() gives.  Between taking and giving it back no Python code runs, and so no
 * signal's handler, but where an owner died.
 */
static PyObject *change_group(ParametersCore *self, __u32 group, const __u64 *values, const __u8 *given)
{
	PyObject *lock, *timeout, *result;

	lock = PyObject_CallMethodObjArgs((PyObject *)self, word_writers, NULL);
	timeout = lock ? PyObject_GetAttr((PyObject *)self, word_timeout) : NULL;
	result = timeout ? PyObject_CallMethodObjArgs(lock, word_acquire, Py_True, timeout, NULL) : NULL;
	Py_XDECREF(timeout);
	if (!result || result == Py_False) {
		if (result)
			fail(self, "timeout", Py_None, lock);
		goto out;
	}
	/* Another thread may have closed them while this one waited. */
	if (self->values)
		semshare_parameters_change(self->values, self->entries, self->parameters, group, values, given);
	Py_SETREF(result, PyObject_CallMethodObjArgs(lock, word_release, NULL));
	if (result && !is_open(self))
		Py_CLEAR(result);
	Py_XDECREF(lock);
	return result;
out:
	Py_XDECREF(result);
	Py_XDECREF(lock);
	return NULL;
}

static int assign(ParametersCore *self, PyObject *name, PyObject *value)
{
	__u64 values[SEMSHARE_PARAMETERS_MAX];
	__u8 given[SEMSHARE_PARAMETERS_MAX] = { 0 };
	PyObject *done;
	__u64 bits;
	int i;

	if (!value) {
		PyErr_SetString(PyExc_TypeError, "parameters cannot be deleted");
		return -1;
	}
	i = number_of(self, name, false);
	if (i < 0 || !bits_of(self, i, name, value, &bits))
		return -1;
	if (!self->values) {
		fail(self, "readonly", name, value);
		return -1;
	}
	if (!self->entries[i].group) {
		semshare_parameters_store(self->values, (__u32)i, bits);
		return 0;
	}
	values[i] = bits;
	given[i] = 1;
	done = change_group(self, self->entries[i].group, values, given);
	Py_XDECREF(done);
	return done ? 0 : -1;
}

/* Set what a dict, which nobody else has, says. */
static PyObject *apply_all(ParametersCore *self, PyObject *given_values)
{
	__u64 values[SEMSHARE_PARAMETERS_MAX] = { 0 };
	__u8 given[SEMSHARE_PARAMETERS_MAX] = { 0 };
	PyObject *name, *value;
	Py_ssize_t place = 0;
	__u32 group = 0;
	int i = -1;

	while (PyDict_Next(given_values, &place, &name, &value)) {
		bool first = i < 0;

		i = number_of(self, name, false);
		if (i < 0 || !bits_of(self, i, name, value, &values[i]))
			return NULL;
		if (!first && (!group || self->entries[i].group != group))
			return fail(self, "groups", given_values, NULL);
		group = self->entries[i].group;
		given[i] = 1;
	}
	if (i < 0)
		Py_RETURN_NONE;
	if (!self->values)
		return fail(self, "readonly", name, NULL);
	if (group)
		return change_group(self, group, values, given);
	semshare_parameters_store(self->values, (__u32)i, values[i]);
	Py_RETURN_NONE;
}

/* _apply(given): set what a dict says, all of it or, with an exception, nothing. */
static PyObject *apply(ParametersCore *self, PyObject *given)
{
	PyObject *copy, *result;

	if (!PyDict_Check(given)) {
		PyErr_SetString(PyExc_TypeError, "what to set is a dict");
		return NULL;
	}
	/* What numbers turn out to be is asked of Python, where somebody may change the dict. */
	copy = PyDict_Copy(given);
	if (!copy)
		return NULL;
	result = apply_all(self, copy);
	Py_DECREF(copy);
	return result;
}
SECTION_O(ParametersCore, apply)

static PyObject *snapshot(ParametersCore *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *result;
	__u32 i;

	if (!is_open(self))
		return NULL;
	semshare_parameters_look(&self->reader);
	result = PyDict_New();
	for (i = 0; result && i < self->parameters; i++) {
		PyObject *value = value_of(self->entries[i].type, self->reader.values[i]);

		if (!value || PyDict_SetItemString(result, self->entries[i].name, value))
			Py_CLEAR(result);
		Py_XDECREF(value);
	}
	return result;
}
SECTION_NOARGS(ParametersCore, snapshot)

/* ------------------------------------------------------------------ the state */

static PyObject *get_state(ParametersCore *self, PyObject *name)
{
	int i = number_of(self, name, true);

	if (i < 0)
		return NULL;
	return value_of(self->entries[i].type, semshare_load_acquire(&state_bank(self)->words[0][i]));
}
SECTION_O(ParametersCore, get_state)

static PyObject *set_state(ParametersCore *self, PyObject *args)
{
	PyObject *name, *value;
	__u64 bits;
	int i;

	if (!PyArg_ParseTuple(args, "OO:_set_state", &name, &value))
		return NULL;
	i = number_of(self, name, true);
	if (i < 0 || !bits_of(self, i, name, value, &bits))
		return NULL;
	if (!self->state)
		return fail(self, "readonly state", name, value);
	semshare_parameters_store(self->state, (__u32)i, bits);
	Py_RETURN_NONE;
}
SECTION_VARARGS(ParametersCore, set_state)

/* ------------------------------------------------------------ what is known of it */

/* _entries(): (name, is a double, group, minimum, maximum, initial) of each. */
static PyObject *entries(ParametersCore *self, PyObject *Py_UNUSED(ignored))
{
	PyObject *result;
	__u32 i;

	if (!is_open(self))
		return NULL;
	result = PyList_New(0);
	for (i = 0; result && i < self->parameters + self->states; i++) {
		const struct semshare_parameter *entry = &self->entries[i];
		PyObject *each = Py_BuildValue("sOINNN", entry->name,
					       entry->type == SEMSHARE_PARAMETER_DOUBLE ? Py_True : Py_False,
					       entry->group, value_of(entry->type, entry->minimum),
					       value_of(entry->type, entry->maximum),
					       value_of(entry->type, entry->initial));

		if (!each || PyList_Append(result, each))
			Py_CLEAR(result);
		Py_XDECREF(each);
	}
	return result;
}
SECTION_NOARGS(ParametersCore, entries)

/* _facts(): (parameters, ended, declared by, its pid, refused, unsettled: of who declared them; the same of this reader) */
static PyObject *facts(ParametersCore *self, PyObject *Py_UNUSED(ignored))
{
	const struct semshare_parameters_directory *directory;
	const struct semshare_parameters_bank *bank;

	if (!is_open(self))
		return NULL;
	directory = at(self, 0);
	bank = state_bank(self);
	return Py_BuildValue("IOIIKKKK", self->parameters,
			     semshare_load(&directory->flags) & SEMSHARE_PARAMETERS_ENDED ? Py_True : Py_False,
			     semshare_load(&directory->declared_by), semshare_load(&directory->declared_pid),
			     (unsigned long long)semshare_load(&bank->refused),
			     (unsigned long long)semshare_load(&bank->unsettled),
			     (unsigned long long)self->reader.refused, (unsigned long long)self->reader.unsettled);
}
SECTION_NOARGS(ParametersCore, facts)

/* -------------------------------------------------------------- beginning and end */

static void release(ParametersCore *self)
{
	self->open = false;
	self->values = self->state = NULL;
	if (self->writable.obj)
		PyBuffer_Release(&self->writable);
	if (self->memory.obj)
		PyBuffer_Release(&self->memory);
	Py_CLEAR(self->numbers);
}

/* Take the directory over.  Returns 0, EAGAIN (it is not there yet), EPROTO; -1 on an exception. */
static int take_directory(ParametersCore *self)
{
	const struct semshare_parameters_directory *shared = at(self, 0);
	struct semshare_parameters_directory directory;
	__u32 i;

	if (semshare_load_acquire(&shared->magic) != SEMSHARE_PARAMETERS_MAGIC)
		return EAGAIN;
	/* Copied, then checked, then used: in POSIX shared memory others could write it. */
	semshare_copy(&directory, shared, sizeof(directory));
	if (directory.abi_version != SEMSHARE_ABI_VERSION ||
	    !semshare_parameters_valid(directory.entries, directory.parameters, directory.states))
		return EPROTO;
	self->parameters = directory.parameters;
	self->states = directory.states;
	memcpy(self->entries, directory.entries, sizeof(self->entries));
	self->numbers = PyDict_New();
	if (!self->numbers)
		return -1;
	for (i = 0; i < self->parameters + self->states; i++) {
		PyObject *number = PyLong_FromUnsignedLong(i);

		if (!number || PyDict_SetItemString(self->numbers, self->entries[i].name, number)) {
			Py_XDECREF(number);
			return -1;
		}
		Py_DECREF(number);
	}
	semshare_parameters_reader_init(&self->reader, at(self, SEMSHARE_PARAMETERS_VALUES), self->entries,
					self->parameters);
	return 0;
}

/*
 * _open(memory, writable, offset, declarer): memory has the directory and the banks, writable[offset:] the page of
 * values, or is None; a declarer may write memory, and with it state.  Returns 0, EAGAIN or EPROTO.
 */
static PyObject *core_open(ParametersCore *self, PyObject *args)
{
	PyObject *memory, *writable;
	Py_ssize_t offset;
	int declarer, error;

	if (!PyArg_ParseTuple(args, "OOnp:_open", &memory, &writable, &offset, &declarer))
		return NULL;
	if (self->open) {
		PyErr_SetString(PyExc_RuntimeError, "these parameters are open already");
		return NULL;
	}
	if (PyObject_GetBuffer(memory, &self->memory, declarer ? PyBUF_WRITABLE : PyBUF_SIMPLE))
		return NULL;
	if (writable != Py_None && PyObject_GetBuffer(writable, &self->writable, PyBUF_WRITABLE)) {
		release(self);
		return NULL;
	}
	if (self->memory.len < SEMSHARE_PARAMETERS_SIZE || offset < 0 || offset % 8 || (uintptr_t)self->memory.buf % 8 ||
	    (self->writable.obj && (self->writable.len < offset || self->writable.len - offset <
				    (Py_ssize_t)sizeof(struct semshare_parameters_bank)))) {
		release(self);
		PyErr_SetString(PyExc_ValueError, "no place for parameters there");
		return NULL;
	}
	error = take_directory(self);
	if (error) {
		release(self);
		return error < 0 ? NULL : PyLong_FromLong(error);
	}
	if (self->writable.obj)
		self->values = (struct semshare_parameters_bank *)((char *)self->writable.buf + offset);
	if (declarer)
		self->state = (struct semshare_parameters_bank *)((char *)self->memory.buf + SEMSHARE_PARAMETERS_STATE);
	self->open = true;
	return PyLong_FromLong(0);
}
SECTION_VARARGS(ParametersCore, core_open)

static PyObject *core_close(ParametersCore *self, PyObject *Py_UNUSED(ignored))
{
	release(self);
	Py_RETURN_NONE;
}
SECTION_NOARGS(ParametersCore, core_close)

static void dealloc(ParametersCore *self)
{
	release(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *closed(ParametersCore *self, void *Py_UNUSED(closure))
{
	return PyBool_FromLong(!self->open);
}
SECTION_GET(ParametersCore, closed)

static Py_ssize_t length(ParametersCore *self)
{
	return is_open(self) ? (Py_ssize_t)self->parameters : -1;
}

static PyMethodDef methods[] = {
	{ "snapshot", METHOD(snapshot_noargs), METH_NOARGS,
	  PyDoc_STR("snapshot($self, /)\n--\n\n"
		    "All parameters as they are now, by name; those of a group are of one moment.") },
	{ "_open", METHOD(core_open_varargs), METH_VARARGS, NULL },
	{ "_close", METHOD(core_close_noargs), METH_NOARGS, NULL },
	{ "_apply", METHOD(apply_o), METH_O, NULL },
	{ "_get_state", METHOD(get_state_o), METH_O, NULL },
	{ "_set_state", METHOD(set_state_varargs), METH_VARARGS, NULL },
	{ "_entries", METHOD(entries_noargs), METH_NOARGS, NULL },
	{ "_facts", METHOD(facts_noargs), METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef getset[] = {
	{ "closed", closed_get, NULL, PyDoc_STR("Whether close() was called."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static Py_ssize_t mp_length(PyObject *self)
{
	return IN_SECTION(Py_ssize_t, self, length((ParametersCore *)self));
}

static PyObject *mp_subscript(PyObject *self, PyObject *name)
{
	return IN_SECTION(PyObject *, self, subscript((ParametersCore *)self, name));
}

static int mp_ass_subscript(PyObject *self, PyObject *name, PyObject *value)
{
	return IN_SECTION(int, self, assign((ParametersCore *)self, name, value));
}

static PyMappingMethods mapping = {
	.mp_length = mp_length,
	.mp_subscript = mp_subscript,
	.mp_ass_subscript = mp_ass_subscript,
};

PyTypeObject ParametersCore_Type = {
	PyVarObject_HEAD_INIT(NULL, 0)
	.tp_name = "semshare._native.ParametersCore",
	.tp_basicsize = sizeof(ParametersCore),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.tp_doc = PyDoc_STR("What is hot of parameters: semshare.Parameters is derived from it."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = (destructor)dealloc,
	.tp_methods = methods,
	.tp_getset = getset,
	.tp_as_mapping = &mapping,
};
