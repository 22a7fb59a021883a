/* SPDX-License-Identifier: MIT */
/* The table of what is looked at here. See check_host.h; the way to the guest is check_link.c's. */
#include "check_host.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "guest_builds.h"
#include "runtime_dir.h"
#include "ssh_login.h"

#define PROGRAM_MS   5000
#define FILES_LEAST  6500u /* a guest's 100,000 open files take these: homeport(1), sftp-server */
#define LIBSSH       "0.10.6"
#define LIBSSH_FIXED "0.10.6-0+deb12u3"

/* The first line of what a program prints, with its exit status; -1: it cannot be run, or does not end. */
static int ask(const char *const argv[], char *line, size_t size)
{
	struct child_output output = {0};
	struct child child;
	const char *said;
	int rc = child_start(argv, &child);

	line[0] = '\0';
	if (!rc)
		rc = child_collect(&child, NULL, PROGRAM_MS, &output);
	if (rc < 0)
		return -1;
	said = output.out_len > 0 ? output.out : output.err;
	snprintf(line, size, "%.*s", (int)strcspn(said, "\r\n"), said);
	rc = WIFEXITED(output.status) ? WEXITSTATUS(output.status) : -1;
	free(output.out);
	free(output.err);
	return rc;
}

static long read_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long number = -1;

	if (file && fscanf(file, "%ld", &number) != 1)
		number = -1;
	if (file)
		fclose(file);
	return number;
}

/* -------------------------------------------------------------------------------------------------- one thing each */

static void check_kernel(struct check *check)
{
	check_kernel_is(check, 5, 13);
}

static void check_sandbox(struct check *check)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	if (abi <= 0) {
		check_say(check, CHECK_PROBLEM, "this kernel has no Landlock, and no folder is served without");
		check_advise(check, "boot with `landlock` in lsm= of the kernel's command line "
				    "(CONFIG_SECURITY_LANDLOCK)");
	} else if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0) {
		check_say(check, CHECK_PROBLEM, "this kernel has no seccomp, and no folder is served without");
		check_advise(check, "use a kernel with CONFIG_SECCOMP_FILTER");
	} else {
		check_say(check, CHECK_OK, "Landlock %ld and seccomp", abi);
	}
}

/* Debian's first release that verifies what it decrypts; of others the number alone can be told. */
static void check_libssh(struct check *check)
{
	const char *const query[] = {"dpkg-query", "-W", "-f=${Version}", "libssh-4", NULL};
	const char *here = ssh_login_library();
	char package[128], line[128];

	if (strverscmp(here, LIBSSH) < 0) {
		check_say(check, CHECK_PROBLEM, "%s; %s is the first that will do", here, LIBSSH);
		check_advise(check, "upgrade libssh");
		return;
	}
	if (strcmp(here, LIBSSH) == 0 && ask(query, package, sizeof(package)) == 0 && strstr(package, "+deb12u")) {
		const char *const compare[] = {"dpkg", "--compare-versions", package, "lt", LIBSSH_FIXED, NULL};

		if (ask(compare, line, sizeof(line)) == 0) {
			check_say(check, CHECK_PROBLEM, "%s does not verify what it decrypts", package);
			check_advise(check, "sudo apt-get install libssh-4 (" LIBSSH_FIXED " or later)");
			return;
		}
		here = package;
	}
	check_say(check, CHECK_OK, "%s", here);
}

static void check_ssh(struct check *check)
{
	const char *const argv[] = {"ssh", "-V", NULL};
	char line[128];

	if (ask(argv, line, sizeof(line)) == 0) {
		check_say(check, CHECK_OK, "%s", line);
	} else {
		check_say(check, CHECK_PROBLEM, "the program ssh cannot be run; it reads ssh's configuration");
		check_advise(check, "install OpenSSH's client (sudo apt-get install openssh-client)");
	}
}

static void check_folders(struct check *check)
{
	char shown[RUNTIME_WHY_MAX], why[RUNTIME_WHY_MAX];

	if (runtime_dir_check(shown, why) < 0) {
		check_say(check, CHECK_PROBLEM, "%s", why);
		check_advise(check, "set that right, or XDG_RUNTIME_DIR and XDG_STATE_HOME");
	} else {
		check_say(check, CHECK_OK, "%s", shown);
	}
}

static void check_files(struct check *check)
{
	struct rlimit limit = {0};

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max >= FILES_LEAST) {
		check_say(check, CHECK_OK, "%llu open files a process", (unsigned long long)limit.rlim_max);
		return;
	}
	check_say(check, CHECK_NOTE, "%llu open files a process: enough for some %llu that the guest has open",
		  (unsigned long long)limit.rlim_max, (unsigned long long)limit.rlim_max * 15);
	check_advise(check, "for more: raise nofile in /etc/security/limits.conf, LimitNOFILE= in the unit");
}

static void check_inotify(struct check *check)
{
	int fd = inotify_init1(IN_CLOEXEC), error = errno;
	int watch = fd < 0 ? -1 : inotify_add_watch(fd, "/", IN_CREATE);

	if (fd >= 0 && watch < 0)
		error = errno;
	if (watch < 0) {
		check_say(check, CHECK_NOTE, "none can be had, and `logs -f` follows nothing: %s", strerror(error));
		check_advise(check, "raise fs.inotify.max_user_%s with sysctl", fd < 0 ? "instances" : "watches");
	} else {
		check_say(check, CHECK_OK, "%ld for this user", read_number("/proc/sys/fs/inotify/max_user_watches"));
	}
	if (fd >= 0)
		close(fd);
}

static bool may_bind_low(void)
{
	unsigned long long caps = 0;
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	if (status)
		fclose(status);
	return caps >> 10 & 1; /* CAP_NET_BIND_SERVICE */
}

static void check_low_ports(struct check *check)
{
	long first = read_number("/proc/sys/net/ipv4/ip_unprivileged_port_start");

	if (may_bind_low() || (first >= 0 && first <= 80)) {
		check_say(check, CHECK_OK, "the guest's port 80 can answer here");
	} else {
		check_say(check, CHECK_NOTE, "ports below %ld of the guest cannot answer here at the same number",
			  first);
		check_advise(check, "see LOW PORTS in homeport(1)");
	}
}

static void check_builds(struct check *check)
{
	struct guest_builds builds = {0};
	char list[300];

	guest_builds_find(&builds);
	if (builds.count > 0) {
		check_say(check, CHECK_OK, "for guests that are %s", guest_builds_list(&builds, list, sizeof(list)));
	} else {
		check_say(check, CHECK_PROBLEM, "no homeport-guest is here that could be brought to a guest");
		check_advise(check, "install homeport whole (libexec/homeport/ARCH/homeport-guest)");
	}
	guest_builds_close(&builds);
}

/* ------------------------------------------------------------------------------------------------------- the table */

static const struct {
	const char *name;
	void (*look)(struct check *check);
	bool of_builds;
} checks[] = {
	{"kernel", check_kernel, false},           {"sandbox", check_sandbox, false},
	{"libssh", check_libssh, false},           {"ssh", check_ssh, false},
	{"folders", check_folders, false},         {"descriptors", check_files, false},
	{"inotify watches", check_inotify, false}, {"low ports", check_low_ports, false},
	{"homeport-guest", check_builds, true},
};

void check_host_all(bool own_guest, check_fn *each, void *ctx)
{
	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		struct check check = {0};

		if (checks[i].of_builds && own_guest)
			continue;
		snprintf(check.name, sizeof(check.name), "%s", checks[i].name);
		checks[i].look(&check);
		each(ctx, &check);
	}
}
