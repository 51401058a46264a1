// SPDX-License-Identifier: MIT
#include "owner.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

unsigned int owner_generation;

__thread struct owner_thread owner_thread;

static pid_t process;
static __u64 process_start;
static pthread_key_t end_of_thread;	/* set in each thread that has asked who it is */
static void (*thread_ends)(void);

/*
 * The child of a fork has the forking thread's memory, and so its notion of who it is.  Nothing here but one system
 * call that may be made there: the start time is read when it is first wanted.
 */
static void forget_parent(void)
{
	owner_generation++;
	process = getpid();
	process_start = 0;
	memset(&owner_thread, 0, sizeof(owner_thread));
}

/* By a thread that ends.  Should it take something after this, it is asked anew, and comes here again. */
static void end(void *value)
{
	(void)value;
	if (owner_thread.holds)
		thread_ends();
	memset(&owner_thread, 0, sizeof(owner_thread));
}

/* @ends: called by each thread that ends and holds anything. */
int owner_setup(void (*ends)(void))
{
	int error = pthread_key_create(&end_of_thread, end);

	if (error)
		return error;
	thread_ends = ends;
	process = getpid();
	return pthread_atfork(NULL, NULL, forget_parent);
}

/* What follows the name of the program in /proc/PID/stat: field 3 and on.  The name may hold spaces and parentheses. */
static char *read_stat(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;
	char *end;

	if (fd < 0)
		return NULL;
	length = read(fd, line, size - 1);
	close(fd);
	if (length <= 0)
		return NULL;
	line[length] = 0;
	end = strrchr(line, ')');
	return end && end[1] == ' ' ? end + 2 : NULL;
}

static unsigned long long stat_field(const char *field3, int number)
{
	while (number-- > 3) {
		field3 = strchr(field3, ' ');
		if (!field3)
			return 0;
		field3++;
	}
	return strtoull(field3, NULL, 10);
}

void owner_ask(void)
{
	struct semshare_owner *self = &owner_thread.self;
	__u64 start = semshare_load(&process_start);

	if (!start) {
		char line[1024];
		const char *stat = read_stat("/proc/self/stat", line, sizeof(line));

		/* Without /proc the pid alone has to tell; 1 keeps this from being tried each time. */
		start = stat ? stat_field(stat, 22) : 1;
		semshare_store(&process_start, start);
	}
	self->pid = (__u32)process;
	self->tid = (__u32)syscall(SYS_gettid);
	self->start = start;
	self->kind = SEMSHARE_OWNER_USER;
	/* Any value but NULL.  Without memory for it the end of this thread is not noticed. */
	(void)pthread_setspecific(end_of_thread, &process);
}

/*
 * Has the process ended?  A zombie has: it does not run, and its undo was applied.  But the first thread of a process
 * that others still run in looks like one too, so they are counted.
 */
bool owner_process_is_dead(pid_t pid)
{
	char path[32], line[1024];
	const char *stat;

	if (kill(pid, 0) && errno == ESRCH)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = read_stat(path, line, sizeof(line));
	return stat && (stat[0] == 'Z' || stat[0] == 'X') && stat_field(stat, 20) <= 1;
}

/* When a process started, as in struct semshare_owner; 0 if that cannot be told. */
__u64 owner_start_of(pid_t pid)
{
	char path[32], line[1024];
	const char *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = read_stat(path, line, sizeof(line));
	return stat ? stat_field(stat, 22) : 0;
}

/* The pid namespace of this process, by its inode's number; 0 if that cannot be told.  Pids of others say nothing here. */
__u32 owner_pid_ns(void)
{
	struct stat there;

	return stat("/proc/self/ns/pid", &there) ? 0 : (__u32)there.st_ino;
}

/* Processors that this thread may run on. */
int owner_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return (int)sysconf(_SC_NPROCESSORS_ONLN);	/* more than the set can hold */
	return CPU_COUNT(&set);
}
