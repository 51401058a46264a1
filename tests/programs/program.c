// SPDX-License-Identifier: MIT
/*
 * A program that uses SysV semaphores in all the ways that a program may, and says whether each call answers as it is to.
 * It is run as it is, through the module, and through the module's kernel threads: `program CASE…`, exit status 0 if all
 * was well, else a line on standard error.  What a kernel thread cannot be is asked of the environment.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEVICE		"/dev/semshare-route"
#define UNTOUCHED	4711	/* no errno */
#define NOBODY		65534
#define SEMOPM		500
#define PATIENCE	60	/* seconds for what has to happen */

static void fail(int line, const char *what, long answer)
{
	dprintf(2, "%s:%d: %s: answer %ld, errno %d (%s)\n", __FILE__, line, what, answer, errno, strerror(errno));
	_exit(1);
}

#define CHECK(condition) \
	do { \
		if (!(condition)) \
			fail(__LINE__, #condition, 0); \
	} while (0)

/* A call that succeeds leaves errno alone. */
#define GIVES(call, value) \
	do { \
		errno = UNTOUCHED; \
		long answer_ = (call); \
		if (answer_ != (value) || errno != UNTOUCHED) \
			fail(__LINE__, #call, answer_); \
	} while (0)

#define FAILS(call, code) \
	do { \
		errno = UNTOUCHED; \
		long answer_ = (call); \
		if (answer_ != -1 || errno != (code)) \
			fail(__LINE__, #call " != " #code, answer_); \
	} while (0)

static bool in_kthread(void)
{
	const char *context = getenv("SEMSHARE_EXEC_CONTEXT");

	return context && !strcmp(context, "kthread");
}

static int own_set(int nsems)
{
	int semid = semget(IPC_PRIVATE, nsems, IPC_CREAT | 0600);

	CHECK(semid >= 0);
	return semid;
}

static int operate(int semid, int number, int delta, int flags)
{
	struct sembuf operation = { (unsigned short)number, (short)delta, (short)flags };

	return semop(semid, &operation, 1);
}

static void removed(int semid)
{
	GIVES(semctl(semid, 0, IPC_RMID), 0);
}

/* A child that a test left behind dies with it. */
static pid_t child_of(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void ends_with(pid_t pid, int wanted)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (status != wanted)
		fail(__LINE__, "a child's status", status);
}

static void until_waiting(int semid, int command, int number)
{
	for (int i = 0; semctl(semid, 0, command) != number; i++) {
		CHECK(i < PATIENCE * 1000);
		usleep(1000);
	}
}

/* ---------------------------------------------------------------------- calls */

/* By the C library's functions, or by syscall(): each case runs with both. */
struct way {
	int (*get)(int key, int nsems, int flags);
	int (*op)(int semid, struct sembuf *sops, size_t nsops);
	int (*timedop)(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout);
	int (*ctl)(int semid, int semnum, int command, unsigned long arg);
};

static int libc_ctl(int semid, int semnum, int command, unsigned long arg)
{
	return semctl(semid, semnum, command, arg);
}

static int sys_get(int key, int nsems, int flags)
{
	return (int)syscall(SYS_semget, key, nsems, flags);
}

static int sys_op(int semid, struct sembuf *sops, size_t nsops)
{
	return (int)syscall(SYS_semop, semid, sops, nsops);
}

static int sys_timedop(int semid, struct sembuf *sops, size_t nsops, const struct timespec *timeout)
{
	return (int)syscall(SYS_semtimedop, semid, sops, nsops, timeout);
}

static int sys_ctl(int semid, int semnum, int command, unsigned long arg)
{
	return (int)syscall(SYS_semctl, semid, semnum, command, arg);
}

static const struct way libc = { semget, semop, semtimedop, libc_ctl };
static const struct way sys = { sys_get, sys_op, sys_timedop, sys_ctl };

#define ARG(pointer)	((unsigned long)(pointer))

static void commands(const struct way *way)
{
	unsigned short set[3] = { 5, 0, 32767 }, got[3] = { 9, 9, 9 };
	struct sembuf up[] = { { 0, 1, 0 }, { 1, 2, IPC_NOWAIT } };
	struct timespec none = { 0, 0 };
	struct semid_ds ds;
	struct seminfo info;
	int key = 0x53000000 | getpid(), semid = way->get(key, 3, IPC_CREAT | IPC_EXCL | 0640), index = -1, last;

	CHECK(semid >= 0);
	GIVES(way->get(key, 0, 0), semid);
	FAILS(way->get(key, 3, IPC_CREAT | IPC_EXCL), EEXIST);
	FAILS(way->get(key, 4, 0), EINVAL);
	FAILS(way->get(key ^ 1, 1, 0), ENOENT);

	GIVES(way->ctl(semid, 0, SETALL, ARG(set)), 0);
	GIVES(way->ctl(semid, 0, GETALL, ARG(got)), 0);
	CHECK(!memcmp(set, got, sizeof(set)));
	GIVES(way->ctl(semid, 1, SETVAL, 7), 0);
	GIVES(way->ctl(semid, 1, GETVAL, 0), 7);
	/* The kernel takes the lower half of the word. */
	GIVES(way->ctl(semid, 1, SETVAL, 0xdead00000003), 0);
	GIVES(way->ctl(semid, 1, GETVAL, 0), 3);
	FAILS(way->ctl(semid, 1, SETVAL, 32768), ERANGE);
	FAILS(way->ctl(semid, 1, SETVAL, -1UL), ERANGE);
	FAILS(way->ctl(semid, 3, GETVAL, 0), EINVAL);
	FAILS(way->ctl(-1, 0, GETVAL, 0), EINVAL);

	GIVES(way->op(semid, up, 2), 0);
	GIVES(way->ctl(semid, 0, GETVAL, 0), 6);
	GIVES(way->ctl(semid, 1, GETVAL, 0), 5);
	last = way->ctl(semid, 0, GETPID, 0);
	CHECK(in_kthread() ? last > 0 && last != getpid() : last == getpid());
	GIVES(way->ctl(semid, 0, GETNCNT, 0), 0);
	GIVES(way->ctl(semid, 0, GETZCNT, 0), 0);
	FAILS(way->timedop(semid, &(struct sembuf){ 0, -7, 0 }, 1, &none), EAGAIN);
	FAILS(way->op(semid, &(struct sembuf){ 0, -7, IPC_NOWAIT }, 1), EAGAIN);
	FAILS(way->op(semid, &(struct sembuf){ 0, 0, IPC_NOWAIT }, 1), EAGAIN);
	FAILS(way->op(semid, &(struct sembuf){ 3, 1, 0 }, 1), EFBIG);
	FAILS(way->op(semid, &(struct sembuf){ 2, 1, 0 }, 1), ERANGE);
	GIVES(way->timedop(semid, up, 1, NULL), 0);

	GIVES(way->ctl(semid, 0, IPC_STAT, ARG(&ds)), 0);
	CHECK(ds.sem_nsems == 3 && ds.sem_perm.mode == 0640 && ds.sem_perm.uid == geteuid() && ds.sem_otime > 0);
	ds.sem_perm.mode = 0600;
	GIVES(way->ctl(semid, 0, IPC_SET, ARG(&ds)), 0);
	memset(&ds, 0, sizeof(ds));
	GIVES(way->ctl(semid, 0, IPC_STAT, ARG(&ds)), 0);
	CHECK(ds.sem_perm.mode == 0600 && ds.sem_perm.__key == key);

	last = way->ctl(0, 0, IPC_INFO, ARG(&info));
	CHECK(last >= 0 && info.semopm >= SEMOPM && info.semvmx == 32767);
	last = way->ctl(0, 0, SEM_INFO, ARG(&info));
	CHECK(last >= 0 && info.semusz >= 1);
	for (int i = 0; i <= last; i++)
		if (way->ctl(i, 0, SEM_STAT, ARG(&ds)) == semid)
			index = i;
	CHECK(index >= 0);
	memset(&ds, 0, sizeof(ds));
	GIVES(way->ctl(index, 0, SEM_STAT_ANY, ARG(&ds)), semid);
	CHECK(ds.sem_perm.__key == key);

	GIVES(way->ctl(semid, 0, IPC_RMID, 0), 0);
	FAILS(way->ctl(semid, 0, GETVAL, 0), EINVAL);
	FAILS(way->op(semid, up, 1), EINVAL);
}

static void all_commands(void)
{
	commands(&libc);
	commands(&sys);
}

static void unknown(const struct way *way, int semid)
{
	struct semid_ds ds;

	for (int command = 4; command < 64; command++) {
		if ((command >= GETPID && command <= SEM_STAT_ANY))
			continue;
		FAILS(way->ctl(semid, 0, command, ARG(&ds)), EINVAL);
	}
	FAILS(way->ctl(semid, 0, -1, 0), EINVAL);
	FAILS(way->ctl(semid, 0, INT_MIN, 0), EINVAL);
	/* What a 32-bit kernel takes. */
	FAILS(way->ctl(semid, 0, IPC_STAT | 0x100, ARG(&ds)), EINVAL);
}

static void unknown_commands(void)
{
	int semid = own_set(1);

	unknown(&libc, semid);
	unknown(&sys, semid);
	removed(semid);
}

static void faults(const struct way *way)
{
	char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *constant = page + 4096;
	struct sembuf up = { 0, 1, 0 };
	struct semid_ds ds;
	int semid = own_set(4);

	CHECK(page != MAP_FAILED);
	GIVES(way->ctl(semid, 0, IPC_STAT, ARG(&ds)), 0);
	memcpy(constant, &ds, sizeof(ds));
	CHECK(!mprotect(constant, 4096, PROT_READ));
	CHECK(!munmap(page + 2 * 4096, 4096));

	char *const bad[] = { NULL, page + 2 * 4096, (char *)-1, (char *)-4096, (char *)0x8000000000000000, (char *)1 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		FAILS(way->op(semid, (void *)bad[i], 1), EFAULT);
		FAILS(way->timedop(semid, (void *)bad[i], 3, NULL), EFAULT);
		if (bad[i])
			FAILS(way->timedop(semid, &up, 1, (void *)bad[i]), EFAULT);
		FAILS(way->ctl(semid, 0, GETALL, ARG(bad[i])), EFAULT);
		FAILS(way->ctl(semid, 0, SETALL, ARG(bad[i])), EFAULT);
		FAILS(way->ctl(semid, 0, IPC_STAT, ARG(bad[i])), EFAULT);
		FAILS(way->ctl(semid, 0, IPC_SET, ARG(bad[i])), EFAULT);
		FAILS(way->ctl(0, 0, IPC_INFO, ARG(bad[i])), EFAULT);
		FAILS(way->ctl(0, 0, SEM_INFO, ARG(bad[i])), EFAULT);
	}
	/* Half of it is there. */
	FAILS(way->op(semid, (void *)(page + 2 * 4096 - 6), 2), EFAULT);
	FAILS(way->ctl(semid, 0, SETALL, ARG(page + 2 * 4096 - 4)), EFAULT);
	/* What is only read may be read-only, what is written may not. */
	GIVES(way->ctl(semid, 0, IPC_SET, ARG(constant)), 0);
	FAILS(way->ctl(semid, 0, IPC_STAT, ARG(constant)), EFAULT);
	FAILS(way->ctl(semid, 0, GETALL, ARG(constant)), EFAULT);
	FAILS(way->ctl(0, 0, SEM_INFO, ARG(constant)), EFAULT);
	GIVES(way->ctl(semid, 0, GETVAL, 0), 0);
	removed(semid);
	munmap(page, 2 * 4096);
}

static void bad_pointers(void)
{
	faults(&libc);
	faults(&sys);
}

static void many(const struct way *way)
{
	struct sembuf sops[SEMOPM + 1];
	int semid = own_set(20);

	for (int i = 0; i <= SEMOPM; i++)
		sops[i] = (struct sembuf){ (unsigned short)(i % 20), 1, 0 };
	GIVES(way->op(semid, sops, SEMOPM), 0);
	GIVES(way->ctl(semid, 19, GETVAL, 0), SEMOPM / 20);
	FAILS(way->op(semid, sops, SEMOPM + 1), E2BIG);
	FAILS(way->op(semid, sops, 0), EINVAL);
	FAILS(way->op(semid, NULL, UINT_MAX), E2BIG);
	/* The system call takes the lower half. */
	GIVES(way->op(semid, sops, 1 + (1UL << 32)), 0);
	/* All or none. */
	sops[SEMOPM - 1] = (struct sembuf){ 0, -1000, IPC_NOWAIT };
	FAILS(way->op(semid, sops, SEMOPM), EAGAIN);
	GIVES(way->ctl(semid, 1, GETVAL, 0), SEMOPM / 20);
	removed(semid);
}

static void many_operations(void)
{
	many(&libc);
	many(&sys);
}

static void timeouts(void)
{
	struct timespec begun, ended, wait = { 0, 50000000 };
	struct sembuf down = { 0, -1, 0 };
	int semid = own_set(1);

	clock_gettime(CLOCK_MONOTONIC, &begun);
	FAILS(semtimedop(semid, &down, 1, &wait), EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	CHECK((ended.tv_sec - begun.tv_sec) * 1000000000L + ended.tv_nsec - begun.tv_nsec >= 50000000);
	CHECK(wait.tv_sec == 0 && wait.tv_nsec == 50000000);
	FAILS(sys.timedop(semid, &down, 1, &wait), EAGAIN);
	FAILS(semtimedop(semid, &down, 1, &(struct timespec){ 0, 1000000000 }), EINVAL);
	FAILS(semtimedop(semid, &down, 1, &(struct timespec){ -1, 0 }), EINVAL);
	FAILS(semtimedop(semid, &down, 1, &(struct timespec){ 0, -1 }), EINVAL);
	removed(semid);
}

/* -------------------------------------------------------------------- signals */

static volatile sig_atomic_t handled;
static int handler_semid;
static long handler_answer;

static void note(int number)
{
	(void)number;
	handled++;
}

static void interrupted(int flags)
{
	struct sigaction action = { .sa_handler = note, .sa_flags = flags };
	int semid = own_set(1);
	pid_t parent = getpid(), pid;

	CHECK(!sigaction(SIGUSR1, &action, NULL));
	handled = 0;
	pid = child_of();
	if (!pid) {
		until_waiting(semid, GETNCNT, 1);
		kill(parent, SIGUSR1);
		_exit(0);
	}
	FAILS(operate(semid, 0, -1, 0), EINTR);
	CHECK(handled == 1);
	ends_with(pid, 0);
	GIVES(semctl(semid, 0, GETNCNT), 0);
	/* Nothing of it sticks. */
	GIVES(operate(semid, 0, 1, 0), 0);
	GIVES(operate(semid, 0, -1, 0), 0);
	removed(semid);
}

static void signals(void)
{
	interrupted(0);
	interrupted(SA_RESTART);
}

static void call_in_handler(int number)
{
	int before = errno;

	(void)number;
	handler_answer = operate(handler_semid, 0, 1, 0);
	handler_answer += syscall(SYS_semctl, handler_semid, 0, GETVAL, 0);
	errno = before;
	handled++;
}

/* On the smallest stack that there may be, in the middle of malloc() or of another call. */
static void signal_handlers(void)
{
	/* The loader, which looks a function up at its first call, wants as much again. */
	size_t size = 2 * (size_t)sysconf(_SC_MINSIGSTKSZ) + 2048;
	stack_t stack = { .ss_sp = malloc(size), .ss_size = size };
	struct sigaction action = { .sa_handler = call_in_handler, .sa_flags = SA_ONSTACK | SA_RESTART };
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2 };
	int semid = own_set(2);

	handler_semid = semid;
	CHECK(stack.ss_sp && !sigaltstack(&stack, NULL) && !sigaction(SIGUSR2, &action, NULL));
	handled = 0;
	CHECK(!raise(SIGUSR2));
	CHECK(handled == 1 && handler_answer == 1);
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &(struct itimerspec){ { 0, 3000000 }, { 0, 3000000 } }, NULL));
	while (handled < 20) {
		free(malloc(1000));
		CHECK(operate(semid, 1, 1, 0) == 0);
		CHECK(operate(semid, 1, -1, 0) == 0);
	}
	CHECK(!timer_delete(timer));
	GIVES(semctl(semid, 1, GETVAL), 0);
	CHECK(semctl(semid, 0, GETVAL) == handled);
	removed(semid);
}

/* ------------------------------------------------------ processes and threads */

static void undo(void)
{
	int semid = own_set(1), ready[2];
	char byte;
	pid_t pid;

	if (in_kthread()) {
		FAILS(operate(semid, 0, 1, SEM_UNDO), EOPNOTSUPP);
		FAILS(operate(semid, 0, -1, SEM_UNDO | IPC_NOWAIT), EOPNOTSUPP);
		GIVES(semctl(semid, 0, GETVAL), 0);
		removed(semid);
		return;
	}
	/* However it ends. */
	for (int how = 0; how < 4; how++) {
		CHECK(!pipe(ready));
		pid = child_of();
		if (!pid) {
			GIVES(operate(semid, 0, 3, SEM_UNDO), 0);
			CHECK(write(ready[1], "", 1) == 1);
			switch (how) {
			case 0:
				exit(0);
			case 1:
				_exit(0);
			case 2:
				pause();
				_exit(1);
			default:
				/* It survives exec. */
				execlp("sleep", "sleep", "1000", NULL);
				_exit(127);
			}
		}
		CHECK(read(ready[0], &byte, 1) == 1);
		if (how >= 2) {
			GIVES(semctl(semid, 0, GETVAL), 3);
			CHECK(!kill(pid, SIGKILL));
		}
		ends_with(pid, how < 2 ? 0 : SIGKILL);
		GIVES(semctl(semid, 0, GETVAL), 0);
		close(ready[0]);
		close(ready[1]);
	}
	/* A child does not inherit it. */
	GIVES(operate(semid, 0, 2, SEM_UNDO), 0);
	pid = child_of();
	if (!pid)
		exit(0);
	ends_with(pid, 0);
	GIVES(semctl(semid, 0, GETVAL), 2);
	removed(semid);
}

static void *thread_calls(void *argument)
{
	for (int i = 0; i < 100; i++)
		CHECK(operate(*(int *)argument, 0, 1, 0) == 0);
	return NULL;
}

static void processes(char *self)
{
	pthread_t threads[4];
	pthread_attr_t small;
	int semid = own_set(1);
	char number[20];
	pid_t pid;

	/* Threads with the smallest stack. */
	CHECK(!pthread_attr_init(&small) && !pthread_attr_setstacksize(&small, PTHREAD_STACK_MIN));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], &small, thread_calls, &semid));
	for (int i = 0; i < 4; i++)
		CHECK(!pthread_join(threads[i], NULL));
	GIVES(semctl(semid, 0, GETVAL), 400);

	pid = child_of();
	if (!pid)
		_exit(operate(semid, 0, 1, 0));
	ends_with(pid, 0);

	/* A child of vfork() has its parent's memory. */
	pid = vfork();
	if (!pid)
		_exit(operate(semid, 0, 1, 0));
	ends_with(pid, 0);

	/* That closes all it has not opened itself, as those do that are about to exec. */
	pid = vfork();
	if (!pid) {
		syscall(SYS_close_range, 3, ~0U, 0);
		_exit(operate(semid, 0, 1, 0));
	}
	ends_with(pid, 0);
	GIVES(operate(semid, 0, 1, 0), 0);

	/* A process made without the C library. */
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		_exit(operate(semid, 0, 1, 0));
	ends_with(pid, 0);

	snprintf(number, sizeof(number), "%d", semid);
	pid = child_of();
	if (!pid) {
		execl(self, self, "once", number, NULL);
		_exit(127);
	}
	ends_with(pid, 0);
	GIVES(semctl(semid, 0, GETVAL), 406);
	removed(semid);
}

/* One that is blocked is in nobody's way. */
static void blocked(void)
{
	enum { WAITERS = 50 };
	pid_t pids[WAITERS];
	int semid = own_set(2);

	for (int i = 0; i < WAITERS; i++) {
		pids[i] = child_of();
		if (!pids[i])
			_exit(operate(semid, 0, -1, 0));
	}
	until_waiting(semid, GETNCNT, WAITERS);
	GIVES(operate(semid, 1, 1, 0), 0);
	GIVES(operate(semid, 0, WAITERS, 0), 0);
	for (int i = 0; i < WAITERS; i++)
		ends_with(pids[i], 0);
	GIVES(semctl(semid, 0, GETVAL), 0);

	/* Removed, or killed, in its sleep. */
	pids[0] = child_of();
	if (!pids[0]) {
		FAILS(operate(semid, 0, -1, 0), EIDRM);
		_exit(0);
	}
	pids[1] = child_of();
	if (!pids[1])
		_exit(operate(semid, 0, -1, 0));
	until_waiting(semid, GETNCNT, 2);
	CHECK(!kill(pids[1], SIGKILL));
	ends_with(pids[1], SIGKILL);
	until_waiting(semid, GETNCNT, 1);
	removed(semid);
	ends_with(pids[0], 0);
}

/* ------------------------------------------------------- who the program is now */

static void other_user(void)
{
	int semid = own_set(1), mine, readable = own_set(1);
	struct semid_ds ds;

	GIVES(semctl(readable, 0, IPC_STAT, &ds), 0);
	ds.sem_perm.mode = 0604;
	GIVES(semctl(readable, 0, IPC_SET, &ds), 0);
	pid_t pid = child_of();

	if (!pid) {
		CHECK(!setresgid(NOBODY, NOBODY, NOBODY) && !setresuid(NOBODY, NOBODY, NOBODY));
		FAILS(semctl(semid, 0, GETVAL), EACCES);
		FAILS(operate(semid, 0, 1, 0), EACCES);
		FAILS(semctl(semid, 0, IPC_RMID), EPERM);
		FAILS(semctl(semid, 0, IPC_STAT, &ds), EACCES);
		GIVES(semctl(readable, 0, GETVAL), 0);
		FAILS(semctl(readable, 0, SETVAL, 1), EACCES);
		FAILS(operate(readable, 0, 1, 0), EACCES);
		FAILS(semctl(readable, 0, IPC_SET, &ds), EPERM);
		mine = own_set(1);
		GIVES(operate(mine, 0, 1, 0), 0);
		GIVES(semctl(mine, 0, IPC_STAT, &ds), 0);
		CHECK(ds.sem_perm.cuid == NOBODY);
		removed(mine);
		_exit(0);
	}
	ends_with(pid, 0);
	removed(semid);
	removed(readable);
}

static void other_namespace(void)
{
	int key = 0x54000000 | getpid(), semid = semget(key, 1, IPC_CREAT | IPC_EXCL | 0600), other;

	GIVES(operate(semid, 0, 5, 0), 0);
	pid_t pid = child_of();

	if (!pid) {
		CHECK(!unshare(CLONE_NEWIPC));
		FAILS(semget(key, 1, 0), ENOENT);
		other = semget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
		CHECK(other >= 0);
		GIVES(operate(other, 0, 1, 0), 0);
		GIVES(semctl(other, 0, GETVAL), 1);
		removed(other);
		_exit(0);
	}
	ends_with(pid, 0);
	GIVES(semctl(semid, 0, GETVAL), 5);
	removed(semid);
}

/* ------------------------------------------------------------- the descriptor */

static int device_number(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *each;
	char target[64];
	int found = -1;

	while (folder && (each = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), each->d_name, target, sizeof(target) - 1);

		if (length > 0 && (target[length] = 0, !strcmp(target, DEVICE)))
			found = atoi(each->d_name);
	}
	if (folder)
		closedir(folder);
	return found;
}

static void closed_descriptor(void)
{
	int semid = own_set(1), number, file = memfd_create("the program's own", MFD_CLOEXEC);
	struct stat before, after;

	GIVES(operate(semid, 0, 1, 0), 0);
	number = device_number();
	if (number >= 0) {
		CHECK(number >= 100 && fcntl(number, F_GETFD) == FD_CLOEXEC);
		CHECK(!close(number));
	}
	GIVES(operate(semid, 0, 1, 0), 0);
	CHECK(!syscall(SYS_close_range, file + 1, ~0U, 0));
	GIVES(operate(semid, 0, 1, 0), 0);

	/* The number is now the program's: it stays so. */
	number = device_number();
	if (number < 0)
		number = 1000;
	CHECK(dup2(file, number) == number && !fstat(number, &before));
	for (int i = 0; i < 3; i++)
		GIVES(operate(semid, 0, 1, 0), 0);
	CHECK(!fstat(number, &after) && before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	/* As a device, of another kind. */
	number = device_number();
	if (number < 0)
		number = 1000;
	CHECK(dup2(open("/dev/null", O_RDWR), number) == number);
	GIVES(operate(semid, 0, 1, 0), 0);
	CHECK(!fstat(number, &after) && S_ISCHR(after.st_mode));
	/* No number as high is allowed any more: not a low one for that, which the program may count on. */
	CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 64 }));
	number = device_number();
	if (number >= 0)
		close(number);
	GIVES(operate(semid, 0, 1, 0), 0);
	CHECK(number < 0 || device_number() >= 40);
	GIVES(semctl(semid, 0, GETVAL), 8);
	removed(semid);
}

static atomic_bool stop;

static void *close_all(void *argument)
{
	int file = *(int *)argument;

	while (!atomic_load(&stop)) {
		int number = device_number();

		if (number >= 0)
			close(number);
		/* Some other descriptor comes and goes in its place. */
		number = fcntl(file, F_DUPFD_CLOEXEC, 1000);
		sched_yield();
		close(number);
	}
	return NULL;
}

static void closed_meanwhile(void)
{
	int semid = own_set(1), file = memfd_create("busy", MFD_CLOEXEC);
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, close_all, &file));
	for (int i = 0; i < 300; i++) {
		GIVES(operate(semid, 0, 1, 0), 0);
		FAILS(operate(semid, 0, -1000, IPC_NOWAIT), EAGAIN);
	}
	atomic_store(&stop, true);
	CHECK(!pthread_join(thread, NULL));
	GIVES(semctl(semid, 0, GETVAL), 300);
	removed(semid);
}

/* How often it is taken away between the look at it and the call: a debugger makes that happen when it is to. */
static void taken_away(int times)
{
	struct user_regs_struct registers;
	int semid = own_set(1), status, taken = 0;
	bool entry = false;
	pid_t pid = child_of();

	if (!pid) {
		CHECK(!ptrace(PTRACE_TRACEME) && !raise(SIGSTOP));
		GIVES(operate(semid, 0, 1, 0), 0);
		FAILS(operate(semid, 0, -2, IPC_NOWAIT), EAGAIN);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status));
	while (!ptrace(PTRACE_SYSCALL, pid, 0, 0) && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		entry = !entry;
		CHECK(!ptrace(PTRACE_GETREGS, pid, 0, &registers));
		if (!entry || registers.orig_rax != SYS_ioctl || ((registers.rsi >> 8) & 0xff) != 0xe5 || taken == times)
			continue;
		registers.rdi = (unsigned long long)-1;
		CHECK(!ptrace(PTRACE_SETREGS, pid, 0, &registers));
		taken++;
	}
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	if (device_number() >= 0)
		CHECK(taken == times);
	GIVES(semctl(semid, 0, GETVAL), 1);
	removed(semid);
}

static void taken_away_thrice(void)
{
	taken_away(3);
}

static void taken_away_always(void)
{
	taken_away(16);
}

static void few_descriptors(void)
{
	int semid;

	CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, 3 }));
	semid = own_set(1);
	GIVES(operate(semid, 0, 1, 0), 0);
	removed(semid);
}

static void other_root(void)
{
	char folder[] = "/tmp/semshare-root-XXXXXX";
	int semid;

	CHECK(mkdtemp(folder) && !chroot(folder) && !chdir("/"));
	semid = own_set(1);
	GIVES(operate(semid, 0, 1, 0), 0);
	removed(semid);
}

/* The device is not to be had any more; the calls do what they do. */
static void no_descriptor(void)
{
	int semid = own_set(1);

	CHECK(!syscall(SYS_close_range, 3, ~0U, 0));
	CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, 3 }));
	GIVES(operate(semid, 0, 2, 0), 0);
	FAILS(operate(semid, 0, -3, IPC_NOWAIT), EAGAIN);
	FAILS(semop(semid, NULL, 1), EFAULT);
	GIVES(semctl(semid, 0, GETVAL), 2);
	GIVES(semtimedop(semid, &(struct sembuf){ 0, -1, 0 }, 1, &(struct timespec){ 1, 0 }), 0);
	removed(semid);
}

/* The same with a file of the program's where standard error was. */
static void no_descriptor_no_stderr(void)
{
	struct stat status;

	CHECK(!close(2) && memfd_create("database", 0) == 2);
	no_descriptor();
	CHECK(!fstat(2, &status) && status.st_size == 0);
}

/* ------------------------------------------------------- syscall() and the loader */

static void other_system_calls(void)
{
	char *page;
	int file;
	pid_t pid;

	GIVES(syscall(SYS_getpid), getpid());
	FAILS(syscall(SYS_close, -1), EBADF);
	FAILS(syscall(100000), ENOSYS);
	/* Six arguments. */
	page = (char *)syscall(SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	page[8191] = 1;
	file = memfd_create("six", 0);
	CHECK(!ftruncate(file, 8192) && pwrite(file, "x", 1, 4096) == 1);
	page = (char *)syscall(SYS_mmap, 0, 4096, PROT_READ, MAP_SHARED, file, 4096L);
	CHECK(page != MAP_FAILED && *page == 'x');
	/* One that returns twice, one that does not return. */
	pid = (pid_t)syscall(SYS_fork);
	if (!pid)
		syscall(SYS_exit_group, 3);
	ends_with(pid, 3 << 8);
}

/* Where a function by a name leads, by way of all the ways to ask for it: routed if the counters say so. */
static void asked_for(void)
{
	static const char *const names[] = { "semget", "semop", "semtimedop", "semctl" };
	void *libc_handle = dlopen("libc.so.6", RTLD_LAZY), *self = dlopen(NULL, RTLD_LAZY);
	void *(*look)(void *, const char *), *(*look_version)(void *, const char *, const char *);
	int (*value)(int, int, int, ...);
	long (*call)(long, ...);
	int semid = own_set(1);

	CHECK(libc_handle && self);
	for (int i = 0; i < 4; i++) {
		void *here = dlsym(RTLD_DEFAULT, names[i]);

		CHECK(here && dlsym(self, names[i]) == here);
		CHECK(dlsym(libc_handle, names[i]) == here);
		CHECK(dlsym(RTLD_NEXT, names[i]) == here);
		CHECK(dlvsym(libc_handle, names[i], i == 2 ? "GLIBC_2.3.3" : "GLIBC_2.2.5") == here);
		CHECK(dlvsym(RTLD_DEFAULT, names[i], i == 2 ? "GLIBC_2.3.3" : "GLIBC_2.2.5") == here);
		CHECK(!dlvsym(libc_handle, names[i], "GLIBC_2.99") && dlerror());
	}
	look = (void *(*)(void *, const char *))dlsym(libc_handle, "dlsym");
	look_version = (void *(*)(void *, const char *, const char *))look(libc_handle, "dlvsym");
	CHECK(look(libc_handle, "semop") == dlsym(RTLD_DEFAULT, "semop"));
	CHECK(look_version(libc_handle, "semop", "GLIBC_2.2.5") == dlsym(RTLD_DEFAULT, "semop"));
	value = (int (*)(int, int, int, ...))dlsym(libc_handle, "semctl");
	GIVES(value(semid, 0, SETVAL, 4), 0);
	call = (long (*)(long, ...))dlsym(libc_handle, "syscall");
	GIVES(call(SYS_semctl, semid, 0, GETVAL, 0), 4);
	GIVES(call(SYS_getpid), getpid());
	FAILS(call(SYS_close, -1), EBADF);
	FAILS(call(SYS_semop, semid, 0, 1), EFAULT);
	call = (long (*)(long, ...))dlsym(self, "syscall");
	GIVES(call(SYS_semctl, semid, 0, GETVAL, 0), 4);
	/* All else is as ever, errors too. */
	CHECK(!dlsym(libc_handle, "semshare_nothing"));
	CHECK(strstr(dlerror(), "semshare_nothing"));
	CHECK(dlsym(libc_handle, "getpid") == dlsym(RTLD_DEFAULT, "getpid"));
	CHECK(!dlopen("/nonexistent.so", RTLD_NOW) && strstr(dlerror(), "nonexistent"));
	removed(semid);
}

/* libplugin.so, libsecond.so and, where only that one's RUNPATH leads, deep/libdeep.so. */
static void loaded_libraries(const char *folder)
{
	void *(*load)(const char *, int), *(*direct)(const char *, int), *(*next)(const char *), *plugin, *deep, *second;
	int (*value)(int), (*control)(int, int, int, ...);
	long (*call)(long, ...);
	int semid = own_set(1);
	char path[PATH_MAX];

	GIVES(semctl(semid, 0, SETVAL, 9), 0);
	snprintf(path, sizeof(path), "%s/libplugin.so", folder);
	plugin = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
	CHECK(plugin);
	value = (int (*)(int))dlsym(plugin, "library_value");
	GIVES(value(semid), 9);
	CHECK(!dlopen("libdeep.so", RTLD_NOW));
	load = (void *(*)(const char *, int))dlsym(plugin, "library_load");
	deep = load("libdeep.so", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	CHECK(deep);
	value = (int (*)(int))dlsym(deep, "library_value");
	GIVES(value(semid), 9);
	/* Whoever is behind all others, and asks what comes behind him. */
	next = (void *(*)(const char *))dlsym(deep, "library_next");
	control = (int (*)(int, int, int, ...))next("semctl");
	GIVES(control(semid, 0, GETVAL), 9);
	call = (long (*)(long, ...))next("syscall");
	GIVES(call(SYS_semctl, semid, 0, GETVAL, 0), 9);
	GIVES(call(SYS_getpid), getpid());
	CHECK(next("getpid") == dlsym(RTLD_DEFAULT, "getpid") && !next("library_value"));
	/* By the C library's own dlopen(), asked for by name. */
	direct = (void *(*)(const char *, int))dlsym(dlopen("libc.so.6", RTLD_LAZY), "dlopen");
	snprintf(path, sizeof(path), "%s/libsecond.so", folder);
	second = direct(path, RTLD_NOW | RTLD_DEEPBIND);
	CHECK(second);
	value = (int (*)(int))dlsym(second, "library_value");
	GIVES(value(semid), 9);
	removed(semid);
}

extern int early_semid, early_value, wrapped;
extern long early_pid;
#pragma weak early_semid
#pragma weak early_value
#pragma weak early_pid
#pragma weak wrapped

static void early_library(void)
{
	CHECK(&early_semid && early_semid >= 0 && early_value == 2 && early_pid == getpid());
	GIVES(semctl(early_semid, 0, GETVAL), 2);
	removed(early_semid);
}

static void wrapping_library(void)
{
	int *count = dlsym(RTLD_DEFAULT, "wrapped"), semid = own_set(1);

	CHECK(count);
	GIVES(operate(semid, 0, 1, 0), 0);
	CHECK(*count == 1);
	removed(semid);
}

/* ------------------------------------------------------------------------ main */

#define CASE(name) \
	else if (!strcmp(argv[i], #name)) \
		name()

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "once"))
		return operate(atoi(argv[2]), 0, 1, 0);
	if (argc == 3 && !strcmp(argv[1], "loaded_libraries")) {
		loaded_libraries(argv[2]);
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "processes"))
			processes(argv[0]);
		CASE(all_commands);
		CASE(unknown_commands);
		CASE(bad_pointers);
		CASE(many_operations);
		CASE(timeouts);
		CASE(signals);
		CASE(signal_handlers);
		CASE(undo);
		CASE(blocked);
		CASE(other_user);
		CASE(other_namespace);
		CASE(closed_descriptor);
		CASE(closed_meanwhile);
		CASE(taken_away_thrice);
		CASE(taken_away_always);
		CASE(few_descriptors);
		CASE(other_root);
		CASE(no_descriptor);
		CASE(no_descriptor_no_stderr);
		CASE(other_system_calls);
		CASE(asked_for);
		CASE(early_library);
		CASE(wrapping_library);
		else {
			fprintf(stderr, "no case %s\n", argv[i]);
			return 2;
		}
	}
	return 0;
}
