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
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <semshare/core/key.h>

#include "area.h"
#include "device.h"
#include "resolve.h"

/**
 * struct semshare_handle - an open file
 * @ns: the IPC namespace in which it was opened
 * @mutex: one CREATE or ATTACH at a time
 * @access: SEMSHARE_ACCESS_* to @area
 * @area: the area, once there is one: stored last, with release
 */
struct semshare_handle {
	struct ipc_namespace *ns;
	struct mutex mutex;	/* who sets @area */
	u32 access;
	struct semshare_area *area;
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
	/* misc_open() left the struct miscdevice here. */
	file->private_data = handle;
	return nonseekable_open(inode, file);
}

static int device_release(struct inode *inode, struct file *file)
{
	struct semshare_handle *handle = file->private_data;

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

static long ioctl_create(struct file *file, void __user *argument)
{
	struct semshare_handle *handle = file->private_data;
	struct semshare_area_create create;
	struct semshare_area *area;
	long err = 0;

	if (copy_from_user(&create, argument, sizeof(create)))
		return -EFAULT;
	if (create.flags || create.mode & ~0666 || semshare_name_length(create.name) < 0)
		return -EINVAL;
	/* What is created here may be read and written through this handle. */
	if (file_access(file) != (SEMSHARE_ACCESS_READ | SEMSHARE_ACCESS_WRITE))
		return -EACCES;
	if (mutex_lock_interruptible(&handle->mutex))
		return -EINTR;
	if (handle->area) {
		err = -EBUSY;
		goto out;
	}
	area = semshare_area_make(handle->ns, create.name, create.size, create.mode,
				  SEMSHARE_AREA_HANDLE);
	if (IS_ERR(area))
		err = PTR_ERR(area);
	else
		handle_publish(handle, area, file_access(file));
out:
	mutex_unlock(&handle->mutex);
	return err;
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
	info.access = handle->access;
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
