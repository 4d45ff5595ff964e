#include <sys/prctl.h>
#include <sys/syscall.h>

#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <unistd.h>

#include "gateway/privileges.h"

int
privileges_drop(bool keep_files)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[2], kept[2] = {{0}};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	if (syscall(SYS_capget, &header, now) != 0)
		return -errno;
	kept[0].permitted = UINT32_C(1) << CAP_NET_BIND_SERVICE;
	if (keep_files)
		kept[0].permitted |= UINT32_C(1) << CAP_DAC_OVERRIDE | UINT32_C(1) << CAP_CHOWN |
		    UINT32_C(1) << CAP_FOWNER;
	kept[0].permitted &= now[0].permitted;
	kept[0].effective = kept[0].permitted;
	return syscall(SYS_capset, &header, kept) != 0 ? -errno : 0;
}
