/* SPDX-License-Identifier: MIT */
/*
 * A program of test cases, which tests/host/c_cases.py builds and runs:
 *
 *	PROGRAM		prints the names of the cases
 *	PROGRAM CASE	runs one; 0 if it passes
 */
#ifndef CASES_H
#define CASES_H

#include <stdio.h>
#include <string.h>

#include "check.h"

struct test_case {
	const char *name;
	void (*run)(void);
};

#define TEST(name)	{ #name, name }

/* What main() returns. */
static int run_cases(const struct test_case *cases, size_t count, int argc, char **argv)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (argc < 2) {
			puts(cases[i].name);
		} else if (!strcmp(argv[1], cases[i].name)) {
			cases[i].run();
			return 0;
		}
	}
	return argc < 2 ? 0 : 2;
}

#endif /* CASES_H */
