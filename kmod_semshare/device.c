// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/semshare: each open is a handle, which CREATE or ATTACH makes, once, the
 * handle of an area.
 *
 * A handle remembers the IPC namespace in which it was opened, with a
 * reference: the names it works on stay the same wherever it is passed, and
 * the last close of a killed process, which has no namespaces left, needs none.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <semshare/core/key.h>

#include "area.h"
#include "device.h"
#include "eventfd.h"
#include "resolve.h"

/**
 * struct semshare_handle - an open file
 * @ns: the IPC namespace in which it was opened
 * @mutex: one CREATE or ATTACH at a time
 * @access: SEMSHARE_ACCESS_* to @area
 * @area: the area, once there is one: stored last, with release
 * @eventfds: those registered through it
 * @seen: of @area's count of notifications, what it has been told
 */
struct semshare_handle {
	struct ipc_namespace *ns;
	struct mutex mutex;	/* who sets @area */
	u32 access;
	struct semshare_area *area;
	struct semshare_eventfds eventfds;
	atomic64_t seen;
};

static struct semshare_area *handle_area(struct semshare_handle *handle)
{
	/* Pairs with handle_publish(): with the area comes @access. */
	return smp_load_acquire(&handle->area);
}

static void handle_publish(struct semshare_handle *handle, struct semshare_area *area, u32 access)
{
	lockdep_assert_held(&handle->mutex);
	handle->access = access;
	atomic64_set(&handle->seen, atomic64_read(&area->notify.count));
	/* Pairs with handle_area(). */
	smp_store_release(&handle->area, area);
}

static u32 file_access(const struct file *file)
{
	return (file->f_mode & FMODE_READ ? SEMSHARE_ACCESS_READ : 0) |
	       (file->f_mode & FMODE_WRITE ? SEMSHARE_ACCESS_WRITE : 0);
}

/* -------------------------------------------------------------- operations */

static int device_open(struct inode *inode, struct file *file)
{
	struct semshare_handle *handle;
	struct ipc_namespace *ns = semshare_ipc_ns_get();

	if (!ns)
		return -ESRCH;
	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle) {
		semshare_ipc_ns_put(ns);
		return -ENOMEM;
	}
	handle->ns = ns;
	mutex_init(&handle->mutex);
	semshare_eventfds_init(&handle->eventfds);
	/* misc_open() left the struct miscdevice here. */
	file->private_data = handle;
	return nonseekable_open(inode, file);
}

static int device_release(struct inode *inode, struct file *file)
{
	struct semshare_handle *handle = file->private_data;

	semshare_eventfds_drop(&handle->eventfds);
	if (handle->area)
		semshare_area_drop(handle->area, SEMSHARE_AREA_HANDLE);
	semshare_ipc_ns_put(handle->ns);
	kfree(handle);
	return 0;
}

static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area *area = handle_area(handle);

	if (!area)
		return -EBADFD;
	return semshare_area_map(area, vma, handle->access);
}

static __poll_t device_poll(struct file *file, struct poll_table_struct *wait)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area *area = handle_area(handle);

	if (!area)
		return EPOLLERR;
	return semshare_notify_poll(area, file, wait, atomic64_read(&handle->seen));
}

/*
 * How often somebody rang for the area, but for the sake of its ring, since this
 * handle last asked: 8 bytes, as of an eventfd.  Never waits: poll does.
 */
static ssize_t device_read(struct file *file, char __user *buffer, size_t size, loff_t *at)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area *area = handle_area(handle);
	s64 count, seen;

	if (!area)
		return -EBADFD;
	if (size < sizeof(count))
		return -EINVAL;
	count = atomic64_read(&area->notify.count);
	seen = atomic64_read(&handle->seen);
	/* Forward only: of two that read at once, one may have looked earlier. */
	do {
		if (count <= seen)
			return -EAGAIN;
	} while (!atomic64_try_cmpxchg(&handle->seen, &seen, count));
	count -= seen;
	return copy_to_user(buffer, &count, sizeof(count)) ? -EFAULT : sizeof(count);
}

/**
 * semshare_ioctl_version - SEMSHARE_IOC_VERSION, on each of the devices
 * @argument: user address of a struct semshare_version
 *
 * Context: process context, sleeps.
 * Return: as described there.
 */
long semshare_ioctl_version(void __user *argument)
{
	struct semshare_version version = {
		.abi_version = SEMSHARE_ABI_VERSION,
		.features = semshare_features(),
		.module = SEMSHARE_MODULE_VERSION,
	};
	struct semshare_version caller;

	if (copy_from_user(&caller, argument, sizeof(caller)))
		return -EFAULT;
	if (memchr_inv(caller.module, 0, sizeof(caller.module)))
		return -EINVAL;
	if (copy_to_user(argument, &version, sizeof(version)))
		return -EFAULT;
	if (caller.abi_version && caller.abi_version != version.abi_version)
		return -EPROTO;
	return caller.features & ~version.features ? -EOPNOTSUPP : 0;
}

static long ioctl_function(void __user *argument)
{
	struct semshare_function function;
	int err;

	if (copy_from_user(&function, argument, sizeof(function)))
		return -EFAULT;
	err = semshare_resolve_describe(function.index, &function);
	if (err)
		return err;
	return copy_to_user(argument, &function, sizeof(function)) ? -EFAULT : 0;
}

static long handle_make(struct file *file, const struct semshare_area_make *make)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area *area;
	long err = 0;

	if (semshare_name_length(make->name) < 0)
		return -EINVAL;
	/* What is made here may be read and written through this handle. */
	if (file_access(file) != (SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE))
		return -EACCES;
	if (mutex_lock_interruptible(&handle->mutex))
		return -EINTR;
	if (handle->area) {
		err = -EBUSY;
		goto out;
	}
	area = semshare_area_make(handle->ns, make, SEMSHARE_AREA_HANDLE);
	if (IS_ERR(area))
		err = PTR_ERR(area);
	else
		handle_publish(handle, area, file_access(file) | SEMSHARE_ACCESS_GUARDED);
out:
	mutex_unlock(&handle->mutex);
	return err;
}

static long ioctl_create(struct file *file, void __user *argument)
{
	struct semshare_area_make make = { .kind = SEMSHARE_AREA_PAGES };
	struct semshare_area_create create;

	if (copy_from_user(&create, argument, sizeof(create)))
		return -EFAULT;
	if (create.flags || create.mode & ~0666)
		return -EINVAL;
	memcpy(make.name, create.name, SEMSHARE_NAME_SIZE);
	make.size = create.size;
	make.mode = create.mode;
	return handle_make(file, &make);
}

static long ioctl_make(struct file *file, void __user *argument)
{
	struct semshare_area_make make;

	if (copy_from_user(&make, argument, sizeof(make)))
		return -EFAULT;
	return handle_make(file, &make);
}

static long ioctl_attach(struct file *file, void __user *argument)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area_attach attach;
	struct semshare_area *area;
	long err = 0;

	if (copy_from_user(&attach, argument, sizeof(attach)))
		return -EFAULT;
	if (attach.flags || attach.access & ~(SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE) ||
	    !(attach.access & SEMSHARE_ACCESS_READ) || semshare_name_length(attach.name) < 0)
		return -EINVAL;
	if (attach.access & ~file_access(file))
		return -EACCES;
	if (mutex_lock_interruptible(&handle->mutex))
		return -EINTR;
	if (handle->area) {
		err = -EBUSY;
		goto out;
	}
	area = semshare_area_find(handle->ns, attach.name, attach.access, SEMSHARE_AREA_HANDLE);
	if (IS_ERR(area))
		err = PTR_ERR(area);
	else
		handle_publish(handle, area, attach.access);
out:
	mutex_unlock(&handle->mutex);
	return err;
}

static long ioctl_unlink(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area_name name;

	if (copy_from_user(&name, argument, sizeof(name)))
		return -EFAULT;
	if (semshare_name_length(name.name) < 0)
		return -EINVAL;
	return semshare_area_unlink(handle->ns, name.name);
}

static long ioctl_info(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area *area = handle_area(handle);
	struct semshare_area_info info;

	if (!area)
		return -EBADFD;
	semshare_area_describe(area, &info);
	info.access = handle->access & ~SEMSHARE_ACCESS_GUARDED;
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ioctl_list(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area_info info;
	int err;

	if (copy_from_user(&info, argument, sizeof(info)))
		return -EFAULT;
	err = semshare_area_next(handle->ns, &info);
	if (err)
		return err;
	return copy_to_user(argument, &info, sizeof(info)) ? -EFAULT : 0;
}

static long ioctl_bind(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area *area = handle_area(handle);
	struct semshare_area_bind bind;

	if (copy_from_user(&bind, argument, sizeof(bind)))
		return -EFAULT;
	if (!area)
		return -EBADFD;
	if (!(handle->access & SEMSHARE_ACCESS_WRITE))
		return -EACCES;
	return semshare_area_bind(area, bind.semid, bind.flags);
}

static long ioctl_notify(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area *area = handle_area(handle);
	struct semshare_notify_request notify;

	if (copy_from_user(&notify, argument, sizeof(notify)))
		return -EFAULT;
	if (!notify.events || notify.events & ~SEMSHARE_EVENTS || notify.reserved)
		return -EINVAL;
	if (!area)
		return -EBADFD;
	if (!(handle->access & SEMSHARE_ACCESS_WRITE))
		return -EACCES;
	semshare_notify_all(area, notify.events);
	return 0;
}

static long ioctl_eventfd(struct semshare_handle *handle, void __user *argument)
{
	struct semshare_area *area = handle_area(handle);
	struct semshare_eventfd request;

	if (copy_from_user(&request, argument, sizeof(request)))
		return -EFAULT;
	if (request.events & ~SEMSHARE_EVENTS || request.reserved ||
	    request.direction > SEMSHARE_EVENTFD_FROM_USER)
		return -EINVAL;
	if (!area)
		return -EBADFD;
	if (request.direction == SEMSHARE_EVENTFD_FROM_USER &&
	    !(handle->access & SEMSHARE_ACCESS_WRITE))
		return -EACCES;
	return semshare_eventfds_change(&handle->eventfds, area, &request, handle->access);
}

static long device_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct semshare_handle *handle = file->private_data;
	void __user *user = (void __user *)argument;

	switch (command) {
	case SEMSHARE_IOC_VERSION:
		return semshare_ioctl_version(user);
	case SEMSHARE_IOC_FUNCTION:
		return ioctl_function(user);
	case SEMSHARE_IOC_CREATE:
		return ioctl_create(file, user);
	case SEMSHARE_IOC_ATTACH:
		return ioctl_attach(file, user);
	case SEMSHARE_IOC_UNLINK:
		return ioctl_unlink(handle, user);
	case SEMSHARE_IOC_INFO:
		return ioctl_info(handle, user);
	case SEMSHARE_IOC_LIST:
		return ioctl_list(handle, user);
	case SEMSHARE_IOC_BIND:
		return ioctl_bind(handle, user);
	case SEMSHARE_IOC_NOTIFY:
		return ioctl_notify(handle, user);
	case SEMSHARE_IOC_EVENTFD:
		return ioctl_eventfd(handle, user);
	case SEMSHARE_IOC_MAKE:
		return ioctl_make(file, user);
	default:
		return -ENOTTY;
	}
}

/* .owner: neither a handle nor a mapping, which holds one, outlives the module. */
static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.mmap = device_mmap,
	.poll = device_poll,
	.read = device_read,
	/* Where a huge page can be mapped as one, if the mapping is that long. */
	.get_unmapped_area = thp_get_unmapped_area,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "semshare",
	.fops = &device_fops,
	.mode = 0660,
};

/**
 * semshare_area_from_fd - the area of a handle that user space passed in
 * @fd: a descriptor of current
 * @access: SEMSHARE_ACCESS_* that the handle must have
 *
 * Context: process context, sleeps.
 * Return: the area with a reference that semshare_area_put() gives back, or
 * -EBADF (no descriptor), -EINVAL (not one of /dev/semshare), -EBADFD (a handle
 * without an area), -EACCES (a handle that may not), -EOPNOTSUPP (called where
 * sleeping is not allowed).
 */
struct semshare_area *semshare_area_from_fd(int fd, u32 access)
{
	struct semshare_area *area;
	struct semshare_handle *handle;
	struct file *file;

	if (!semshare_may_sleep(_RET_IP_))
		return ERR_PTR(-EOPNOTSUPP);
	file = fget(fd);
	if (!file)
		return ERR_PTR(-EBADF);
	if (file->f_op != &device_fops) {
		area = ERR_PTR(-EINVAL);
		goto out;
	}
	handle = file->private_data;
	area = handle_area(handle);
	if (!area)
		area = ERR_PTR(-EBADFD);
	else if (access & ~handle->access)
		area = ERR_PTR(-EACCES);
	/* Who gets this writes all of it, on behalf of a user who may not. */
	else if (access & SEMSHARE_ACCESS_WRITE && semshare_area_guarded_from(area, handle->access))
		area = ERR_PTR(-EACCES);
	else
		semshare_area_hold(area, SEMSHARE_AREA_KERNEL);
out:
	fput(file);
	return area;
}
EXPORT_SYMBOL_GPL(semshare_area_from_fd);

int semshare_device_init(void)
{
	return misc_register(&device);
}

void semshare_device_exit(void)
{
	misc_deregister(&device);
}
