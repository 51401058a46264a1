/* SPDX-License-Identifier: MIT */
#ifndef PRELOAD_ENVIRONMENT_H
#define PRELOAD_ENVIRONMENT_H

#include <stdbool.h>

extern char **environ;

static inline bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

/* getenv(), which another library may have wrapped. */
static inline const char *environment_value(const char *name)
{
	for (char **each = environ; each && *each; each++) {
		const char *a = *each, *b = name;

		while (*b && *a == *b)
			a++, b++;
		if (!*b && *a == '=')
			return a + 1;
	}
	return 0;
}

#endif /* PRELOAD_ENVIRONMENT_H */
