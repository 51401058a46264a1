// SPDX-License-Identifier: MIT
/*
 * A library whose calls are to be routed however it comes into a program.  Compiled with EARLY it calls from its
 * constructor, with WRAPPER it wraps semop() as a tracing library would.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

int library_value(int semid);
int library_value(int semid)
{
	return semctl(semid, 0, GETVAL);
}

/* What comes behind this library. */
void *library_next(const char *name);
void *library_next(const char *name)
{
	return dlsym(RTLD_NEXT, name);
}

/* A library beside this one, which only this one's search path leads to. */
void *library_load(const char *name, int flags);
void *library_load(const char *name, int flags)
{
	return dlopen(name, flags);
}

#ifdef EARLY
int early_semid = -1, early_value = -1;
long early_pid;

__attribute__((constructor)) static void construct(void)
{
	struct sembuf up = { .sem_op = 2 };
	int file = memfd_create("early", 0);
	char *page;

	/* Before any call that sets the preload library up: six arguments, and an errno. */
	if (ftruncate(file, 8192) || pwrite(file, "x", 1, 4096) != 1)
		abort();
	page = (char *)syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, file, 4096L);
	if (page == MAP_FAILED || *page != 'x')
		abort();
	errno = 0;
	if (syscall(SYS_close, -1) != -1 || errno != EBADF)
		abort();

	early_semid = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
	semop(early_semid, &up, 1);
	early_value = (int)syscall(SYS_semctl, early_semid, 0, GETVAL, 0);
	early_pid = syscall(SYS_getpid);
	dlsym(RTLD_DEFAULT, "semop");
}
#endif

#ifdef WRAPPER
int wrapped;

int semop(int semid, struct sembuf *sops, size_t nsops)
{
	static int (*next)(int, struct sembuf *, size_t);

	wrapped++;
	if (!next)
		next = (int (*)(int, struct sembuf *, size_t))dlsym(RTLD_NEXT, "semop");
	return next(semid, sops, nsops);
}
#endif
