// SPDX-License-Identifier: GPL-2.0
/*
 * Finding kernel functions that are not exported, and calling them.
 *
 * A kprobe that is registered disabled never arms anything and still says
 * where its symbol lies.  On a kernel with indirect branch tracking (IBT) it
 * says where the instruction behind the ENDBR lies, and a function whose
 * address nobody took has its ENDBR overwritten at boot: a call through a
 * pointer is then a control protection fault, on hardware that has IBT, and
 * silently fine everywhere else.  So the address is taken back to where the
 * symbol starts, and the function is called through static_call only, which
 * patches a direct call into the code.  No pointer to it is ever called.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/moduleparam.h>
#include <linux/nospec.h>

#include "resolve.h"

/*
 * Without static calls of its own (arm64) an architecture makes them calls through
 * a pointer, which is as good where nothing checks what such a call leads to.
 */
#ifndef CONFIG_HAVE_STATIC_CALL
#if defined(CONFIG_ARM64_BTI_KERNEL) || defined(CONFIG_CFI_CLANG) || defined(CONFIG_CFI)
#error "semshare needs CONFIG_HAVE_STATIC_CALL where calls through pointers are checked"
#endif
#endif

DEFINE_STATIC_CALL_NULL(semshare_do_semtimedop, __do_semtimedop);
DEFINE_STATIC_CALL_NULL(semshare_ksys_semget, ksys_semget);
DEFINE_STATIC_CALL_NULL(semshare_put_ipc_ns, put_ipc_ns);
DEFINE_STATIC_CALL_NULL(semshare_semctl_setval, semshare_semctl_setval_fn);
DEFINE_STATIC_CALL_NULL(semshare_semctl_main, semshare_semctl_main_fn);
DEFINE_STATIC_CALL_NULL(semshare_semctl_down, semshare_semctl_down_fn);
DEFINE_STATIC_CALL_NULL(semshare_semctl_stat, semshare_semctl_stat_fn);
DEFINE_STATIC_CALL_RET0(semshare_security_sem_semctl, security_sem_semctl);
DEFINE_STATIC_CALL_NULL(semshare_mm_alloc, mm_alloc);
DEFINE_STATIC_CALL_NULL(semshare_arch_pick_mmap_layout, arch_pick_mmap_layout);
DEFINE_STATIC_CALL_NULL(semshare_memfd_fcntl, memfd_fcntl);
DEFINE_STATIC_CALL_NULL(semshare_do_shmat, do_shmat);
DEFINE_STATIC_CALL_NULL(semshare_ksys_shmget, ksys_shmget);

/**
 * struct kernel_function - one function of the kernel that this module calls
 * @name: its symbol
 * @needed_for: what answers -EOPNOTSUPP without it
 * @essential: without it the module does not load
 * @inlined: this kernel's headers have it as an inline function that does
 *	nothing: there is no symbol and no need for one
 * @key: the static call
 * @trampoline: see @key
 * @found: it is there
 */
struct kernel_function {
	const char *name;
	const char *needed_for;
	bool essential;
	bool inlined;
	struct static_call_key *key;
	void *trampoline;
	bool found;
};

static struct kernel_function functions[SEMSHARE_FN_COUNT] = {
	[SEMSHARE_FN_DO_SEMTIMEDOP] = {
		.name = "__do_semtimedop",
		.needed_for = "everything",
		.essential = true,
		.key = &STATIC_CALL_KEY(semshare_do_semtimedop),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_do_semtimedop),
	},
	[SEMSHARE_FN_SEMGET] = {
		.name = "ksys_semget",
		.needed_for = "everything",
		.essential = true,
		.key = &STATIC_CALL_KEY(semshare_ksys_semget),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_ksys_semget),
	},
	[SEMSHARE_FN_PUT_IPC_NS] = {
		.name = "put_ipc_ns",
		.needed_for = "everything",
		.essential = true,
		.inlined = !IS_ENABLED(CONFIG_IPC_NS),
		.key = &STATIC_CALL_KEY(semshare_put_ipc_ns),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_put_ipc_ns),
	},
	[SEMSHARE_FN_SEMCTL_SETVAL] = {
		.name = "semctl_setval",
		.needed_for = "semctl SETVAL",
		.key = &STATIC_CALL_KEY(semshare_semctl_setval),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_semctl_setval),
	},
	[SEMSHARE_FN_SEMCTL_MAIN] = {
		.name = "semctl_main",
		.needed_for = "semctl GETALL SETALL GETVAL GETPID GETNCNT GETZCNT",
		.key = &STATIC_CALL_KEY(semshare_semctl_main),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_semctl_main),
	},
	[SEMSHARE_FN_SEMCTL_DOWN] = {
		.name = "semctl_down",
		.needed_for = "semctl IPC_SET IPC_RMID, BIND_OWN",
		.key = &STATIC_CALL_KEY(semshare_semctl_down),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_semctl_down),
	},
	[SEMSHARE_FN_SEMCTL_STAT] = {
		.name = "semctl_stat",
		.needed_for = "semctl *_STAT GETALL SETALL, binding a set",
		.key = &STATIC_CALL_KEY(semshare_semctl_stat),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_semctl_stat),
	},
	[SEMSHARE_FN_SECURITY_SEM_SEMCTL] = {
		.name = "security_sem_semctl",
		.needed_for = "semctl IPC_INFO SEM_INFO",
		.inlined = !IS_ENABLED(CONFIG_SECURITY),
		.key = &STATIC_CALL_KEY(semshare_security_sem_semctl),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_security_sem_semctl),
	},
	[SEMSHARE_FN_MM_ALLOC] = {
		.name = "mm_alloc",
		.needed_for = "semctl GETALL, and SETALL from kernel threads",
		.key = &STATIC_CALL_KEY(semshare_mm_alloc),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_mm_alloc),
	},
	[SEMSHARE_FN_ARCH_PICK_MMAP_LAYOUT] = {
		.name = "arch_pick_mmap_layout",
		.needed_for = "semctl GETALL, and SETALL from kernel threads",
		.key = &STATIC_CALL_KEY(semshare_arch_pick_mmap_layout),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_arch_pick_mmap_layout),
	},
	[SEMSHARE_FN_MEMFD_FCNTL] = {
		.name = "memfd_fcntl",
		.needed_for = "areas made of a memfd",
		.key = &STATIC_CALL_KEY(semshare_memfd_fcntl),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_memfd_fcntl),
	},
	[SEMSHARE_FN_DO_SHMAT] = {
		.name = "do_shmat",
		.needed_for = "areas made of a SysV segment, who owns a lock",
		.key = &STATIC_CALL_KEY(semshare_do_shmat),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_do_shmat),
	},
	[SEMSHARE_FN_SHMGET] = {
		.name = "ksys_shmget",
		.needed_for = "who owns a lock, conditions, barriers",
		.key = &STATIC_CALL_KEY(semshare_ksys_shmget),
		.trampoline = STATIC_CALL_TRAMP_ADDR(semshare_ksys_shmget),
	},
};

static char *hide[SEMSHARE_FN_COUNT];
static int hide_count;
module_param_array(hide, charp, &hide_count, 0444);
MODULE_PARM_DESC(hide, "for tests: kernel functions to treat as missing, name,name,...");

static bool __init is_hidden(const char *name)
{
	int i;

	for (i = 0; i < hide_count; i++)
		if (!strcmp(hide[i], name))
			return true;
	return false;
}

static int __init check_hidden(void)
{
	int i, id;

	for (i = 0; i < hide_count; i++) {
		for (id = 0; id < SEMSHARE_FN_COUNT; id++)
			if (!strcmp(hide[i], functions[id].name))
				break;
		if (id == SEMSHARE_FN_COUNT) {
			pr_err("parameter hide: %s is none of the functions this module looks for\n",
			       hide[i]);
			return -EINVAL;
		}
	}
	return 0;
}

/*
 * Where the symbol starts, or 0 if the kernel proper has no such function; but
 * -ENOMEM if that could not be found out.  A probe of a function whose first
 * instruction is an ENDBR lies just behind it.
 */
static int __init find_symbol(const char *name, unsigned long *start)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	char text[KSYM_SYMBOL_LEN];
	size_t length = strlen(name);
	unsigned long address;
	unsigned int offset, size;
	int error, end = 0;

	*start = 0;
	error = register_kprobe(&probe);
	if (error)
		return error == -ENOMEM ? error : 0;
	address = (unsigned long)probe.addr;
	unregister_kprobe(&probe);

	/* "name+offset/size", with " [module]" behind it for one of a module. */
	sprint_symbol(text, address);
	if (strncmp(text, name, length) ||
	    sscanf(text + length, "+0x%x/0x%x%n", &offset, &size, &end) != 2 ||
	    text[length + end] || offset >= size || offset > 4)
		return 0;
	*start = address - offset;
	return 0;
}

/* Said here and not by the compiler: the module may be built long before. */
static bool __init is_configured(void)
{
	if (!IS_ENABLED(CONFIG_SYSVIPC))
		pr_err("cannot load: this kernel has no SysV semaphores, CONFIG_SYSVIPC is not set in it\n");
	if (!IS_ENABLED(CONFIG_KPROBES))
		pr_err("cannot load: this kernel has no kprobes to find functions with, CONFIG_KPROBES is not set in it\n");
	return IS_ENABLED(CONFIG_SYSVIPC) && IS_ENABLED(CONFIG_KPROBES);
}

/**
 * semshare_resolve_init - find the functions
 *
 * Context: module load.
 * Return: 0, or -EOPNOTSUPP if one is missing that nothing works without, or
 * the configuration that nothing works without, or -EINVAL if the parameter
 * hide names what is none of the functions, or -ENOMEM.
 */
int __init semshare_resolve_init(void)
{
	bool missing = false;
	int error, id;

	error = check_hidden();
	if (error)
		return error;
	if (!is_configured())
		goto unusable;

	for (id = 0; id < SEMSHARE_FN_COUNT; id++) {
		struct kernel_function *function = &functions[id];
		unsigned long address = 0;

		if (!function->inlined && !is_hidden(function->name)) {
			error = find_symbol(function->name, &address);
			if (error)
				return error;
		}
		if (address)
			__static_call_update(function->key, function->trampoline, (void *)address);
		function->found = address || function->inlined;
		if (function->found)
			continue;
		if (function->essential) {
			missing = true;
			pr_err("cannot load: this kernel has no function %s\n", function->name);
		} else {
			pr_warn("this kernel has no function %s: -EOPNOTSUPP for %s\n",
				function->name, function->needed_for);
		}
	}
	if (!missing)
		return 0;
unusable:
	pr_err("it needs a kernel with CONFIG_SYSVIPC=y and CONFIG_KPROBES=y; a stock Debian 12 kernel is one\n");
	return -EOPNOTSUPP;
}

/**
 * semshare_has - whether a kernel function was found
 * @id: which
 *
 * Context: any.
 * Return: true if its static call may be used.
 */
bool semshare_has(enum semshare_function_id id)
{
	return functions[id].found;
}

/**
 * semshare_resolve_describe - what is behind SEMSHARE_IOC_FUNCTION
 * @index: 0, 1, …
 * @out: all of it is written
 *
 * Context: any.
 * Return: 0, or -ENOENT past the last function.
 */
int semshare_resolve_describe(u32 index, struct semshare_function *out)
{
	const struct kernel_function *function;

	if (index >= SEMSHARE_FN_COUNT)
		return -ENOENT;
	function = &functions[array_index_nospec(index, SEMSHARE_FN_COUNT)];
	memset(out, 0, sizeof(*out));
	out->index = index;
	out->found = function->found;
	strscpy(out->name, function->name, sizeof(out->name));
	strscpy(out->needed_for, function->needed_for, sizeof(out->needed_for));
	return 0;
}
