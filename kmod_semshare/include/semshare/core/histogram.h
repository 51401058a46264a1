/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */
/*
 * A histogram of durations: four buckets to each power of two, so that a
 * percentile read from it is at most a quarter too high.  Values below 4 have
 * a bucket each.  The idea is HdrHistogram's (G. Tene), cut down.
 */
#ifndef SEMSHARE_CORE_HISTOGRAM_H
#define SEMSHARE_CORE_HISTOGRAM_H

#include <semshare/core/platform.h>

static inline unsigned int semshare_histogram_bucket(__u64 value)
{
	unsigned int octave;

	if (value < 4)
		return (unsigned int)value;
	octave = 63 - (unsigned int)__builtin_clzll(value);
	return (octave - 1) * 4 + (unsigned int)((value >> (octave - 2)) & 3);
}

/* The largest value that falls into a bucket. */
static inline __u64 semshare_histogram_value(unsigned int bucket)
{
	unsigned int octave = bucket / 4 + 1;

	if (bucket < 4)
		return bucket;
	return (((__u64)(bucket & 3) + 5) << (octave - 2)) - 1;
}

#endif /* SEMSHARE_CORE_HISTOGRAM_H */
