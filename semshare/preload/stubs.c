// SPDX-License-Identifier: MIT
/*
 * Functions that must not be seen to be there.  syscall() may be any system
 * call, one that does not return or returns twice among them; the loader's
 * functions go by their return address: it says whose search path and
 * namespace are meant, and behind whom RTLD_NEXT is.  So these end in a jump,
 * with all registers, and the stack, as they came.
 */
#include <sys/syscall.h>

#define TEXT(word)	#word
#define NUMBER(name)	TEXT(name)

#define FUNCTION(name, visibility) \
	".pushsection .text\n" \
	".globl " name "\n" \
	visibility \
	".type " name ", @function\n" \
	".p2align 4\n" \
	name ":\n" \
	".cfi_startproc\n" \
	"endbr64\n"
#define EVERYBODY		""
#define US(name)		".hidden " name "\n"
#define END(name) \
	".cfi_endproc\n" \
	".size " name ", . - " name "\n" \
	".popsection\n"

/* Registers that hold arguments, kept over a call; with them the stack is aligned. */
#define KEEP \
	"push %rdi\n.cfi_adjust_cfa_offset 8\n" \
	"push %rsi\n.cfi_adjust_cfa_offset 8\n" \
	"push %rdx\n.cfi_adjust_cfa_offset 8\n"
#define GIVE_BACK \
	"pop %rdx\n.cfi_adjust_cfa_offset -8\n" \
	"pop %rsi\n.cfi_adjust_cfa_offset -8\n" \
	"pop %rdi\n.cfi_adjust_cfa_offset -8\n"

/* The kernel looks at the lower half of the number only. A pointer that is not set yet: another library's constructor. */
#define SYSCALL(name, visibility, target) \
	__asm__(FUNCTION(name, visibility) \
		"cmp $" NUMBER(SYS_semtimedop) ", %edi\n" \
		"je 1f\n" \
		"cmp $" NUMBER(SYS_semget) ", %edi\n" \
		"je 1f\n" \
		"cmp $" NUMBER(SYS_semop) ", %edi\n" \
		"je 1f\n" \
		"cmp $" NUMBER(SYS_semctl) ", %edi\n" \
		"je 1f\n" \
		"cmpq $0, " target "(%rip)\n" \
		"je raw_syscall\n" \
		"jmp *" target "(%rip)\n" \
		"1: jmp syscall_of_semaphores\n" \
		END(name))

SYSCALL("syscall", EVERYBODY, "next_syscall");
SYSCALL("syscall_before_libc", US("syscall_before_libc"), "libc_syscall");

/* syscall() itself, for who comes before the C library's was found. */
__asm__(FUNCTION("raw_syscall", US("raw_syscall"))
	"mov %rdi, %rax\n"
	"mov %rsi, %rdi\n"
	"mov %rdx, %rsi\n"
	"mov %rcx, %rdx\n"
	"mov %r8, %r10\n"
	"mov %r9, %r8\n"
	"mov 8(%rsp), %r9\n"
	"syscall\n"
	"cmp $-4095, %rax\n"
	"jae 1f\n"
	"ret\n"
	"1: neg %eax\n"
	"push %rax\n"
	".cfi_adjust_cfa_offset 8\n"
	"call *__errno_location@GOTPCREL(%rip)\n"
	"pop %rdx\n"
	".cfi_adjust_cfa_offset -8\n"
	"mov %edx, (%rax)\n"
	"mov $-1, %rax\n"
	"ret\n"
	END("raw_syscall"));

/* What the loader's functions are where there are none. */
__asm__(FUNCTION("nothing", US("nothing"))
	"xor %eax, %eax\n"
	"ret\n"
	END("nothing"));

/* RTLD_DEEPBIND, 8, would have a library's calls go past this one to the C library. */
#define LOADING(name, visibility, flags, target) \
	__asm__(FUNCTION(name, visibility) \
		"and $~8, " flags "\n" \
		"cmpq $0, " target "(%rip)\n" \
		"jne 1f\n" \
		KEEP \
		"call preload_setup\n" \
		GIVE_BACK \
		"1: jmp *" target "(%rip)\n" \
		END(name))

LOADING("dlopen", EVERYBODY, "%esi", "next_dlopen");
LOADING("dlmopen", EVERYBODY, "%edx", "next_dlmopen");
LOADING("dlopen_before_libc", US("dlopen_before_libc"), "%esi", "libc_dlopen");
LOADING("dlmopen_before_libc", US("dlmopen_before_libc"), "%edx", "libc_dlmopen");

/* The third argument, the version, is dlvsym()'s only. The return address lies above what KEEP put on the stack. */
#define LOOKING_UP(name, visibility, version, target) \
	__asm__(FUNCTION(name, visibility) \
		KEEP \
		version \
		"mov 24(%rsp), %rcx\n" \
		"call lookup\n" \
		GIVE_BACK \
		"test %rax, %rax\n" \
		"jnz 1f\n" \
		"jmp *" target "(%rip)\n" \
		"1: ret\n" \
		END(name))

LOOKING_UP("dlsym", EVERYBODY, "xor %edx, %edx\n", "next_dlsym");
LOOKING_UP("dlvsym", EVERYBODY, "", "next_dlvsym");
LOOKING_UP("dlsym_before_libc", US("dlsym_before_libc"), "xor %edx, %edx\n", "libc_dlsym");
LOOKING_UP("dlvsym_before_libc", US("dlvsym_before_libc"), "", "libc_dlvsym");
