/* SPDX-License-Identifier: MIT */
/*
 * What these programs say of what should be so and is not: where, what, and more if there is more to say, as printf()
 * has it. The program ends with 1.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition, ...)							\
	do {									\
		if (!(condition)) {						\
			fprintf(stderr, "%s:%d: %s", __FILE__, __LINE__, #condition); \
			fprintf(stderr, ": " __VA_ARGS__);			\
			fputc('\n', stderr);					\
			exit(1);						\
		}								\
	} while (0)

#endif /* CHECK_H */
