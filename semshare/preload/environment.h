/* SPDX-License-Identifier: MIT */
#ifndef PRELOAD_ENVIRONMENT_H
#define PRELOAD_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

extern char **environ;

/* What follows a beginning in a text, NULL if it begins otherwise. */
static inline const char *text_after(const char *text, const char *beginning)
{
	while (*beginning && *text == *beginning)
		text++, beginning++;
	return *beginning ? NULL : text;
}

static inline bool text_equal(const char *a, const char *b)
{
	const char *rest = text_after(a, b);

	return rest && !*rest;
}

/* getenv(), which another library may have wrapped. */
static inline const char *environment_value(const char *name)
{
	for (char **each = environ; each && *each; each++) {
		const char *rest = text_after(*each, name);

		if (rest && *rest == '=')
			return rest + 1;
	}
	return NULL;
}

#endif /* PRELOAD_ENVIRONMENT_H */
