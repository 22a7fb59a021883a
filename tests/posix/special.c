/* SPDX-License-Identifier: MIT */
/* FIFOs, sockets and device nodes. */
#include "conform.h"

#include <sys/socket.h>
#include <sys/un.h>

static int unix_socket(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	must(fd >= 0, "socket");
	return fd;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, path);
	return address;
}

static int bind_to(int fd, const char *path)
{
	struct sockaddr_un address = address_of(path);

	return bind(fd, (struct sockaddr *)&address, sizeof(address));
}

static int connect_to(int fd, const char *path)
{
	struct sockaddr_un address = address_of(path);

	return connect(fd, (struct sockaddr *)&address, sizeof(address));
}

CASE(fifo_made, "mkfifo(3), mknod(2)")
{
	R(mkfifo("a", 0666));
	R(mknod("b", S_IFIFO | 0640, 0));
	R(umask(0));
	R(mkfifo("c", 0777));
	look("a"), look("b"), look("c");
	list(".");
}

CASE(fifo_fails, "mkfifo(3) EEXIST ENOENT ENOTDIR")
{
	put("f", "", 0644);
	R(mkfifo("f", 0644));
	R(mkfifo("none/p", 0644));
	R(mkfifo("f/p", 0644));
	R(mkfifo("p/", 0644));
	R(mkfifo("p", 0644));
	R(mkfifo("p", 0644));
	R(mkdir("p", 0755));
	F(open("p/x", O_RDONLY));
}

CASE(fifo_passes_bytes, "fifo(7)")
{
	char data[16] = "";

	must(mkfifo("p", 0644) == 0, "mkfifo");
	F(open("p", O_WRONLY | O_NONBLOCK));
	int in = F(open("p", O_RDONLY | O_NONBLOCK)), out = F(open("p", O_WRONLY | O_NONBLOCK));

	R(write(out, "through", 7));
	R(read(in, data, sizeof(data)));
	tell("%s", data);
	R(read(in, data, sizeof(data)));
	R(close(out));
	R(read(in, data, sizeof(data)));
	R(lseek(in, 0, SEEK_SET));
	R(pread(in, data, 1, 0));
	look_fd(in);
	look("p");
}

CASE(fifo_between_processes, "fifo(7): open waits for the other end")
{
	char data[16] = "";

	must(mkfifo("p", 0644) == 0, "mkfifo");
	pid_t child = start_child();

	if (child == 0) {
		int out = must_open("p", O_WRONLY);

		must(write(out, "hello", 5) == 5, "write");
		leave();
	}
	int in = must_open("p", O_RDONLY);

	R(read(in, data, 16));
	tell("%s", data);
	reap(child);
	R(read(in, data, 16));
}

CASE(fifo_attributes, "chmod(2), utimensat(2), link(2), rename(2) of a FIFO")
{
	const struct timespec times[2] = {{1000, 1}, {2000, 2}};

	must(mkfifo("p", 0644) == 0, "mkfifo");
	R(chmod("p", 0600));
	R(utimensat(AT_FDCWD, "p", times, 0));
	R(link("p", "q"));
	R(rename("p", "r"));
	same_inode("q", "r");
	look("q");
	R(truncate("q", 0));
	F(open("q", O_RDWR | O_CREAT | O_EXCL, 0644));
	F(open("q", O_RDONLY | O_DIRECTORY));
	R(unlink("q")), R(unlink("r"));
	list(".");
}

CASE(fifo_creat_opens_it, "open(2) O_CREAT of a FIFO that is there")
{
	must(mkfifo("p", 0644) == 0, "mkfifo");
	int fd = F(open("p", O_RDWR | O_CREAT | O_TRUNC | O_NONBLOCK, 0644));
	char data[8];

	R(write(fd, "x", 1));
	R(read(fd, data, 8));
}

CASE(fifo_unlinked_while_open, "unlink(2) of a FIFO")
{
	char data[8] = "";

	must(mkfifo("p", 0644) == 0, "mkfifo");
	int fd = must_open("p", O_RDWR | O_NONBLOCK);

	R(unlink("p"));
	R(write(fd, "x", 1));
	R(read(fd, data, 8));
	look_fd(fd);
	nap();
	look_fd(fd);
}

CASE(socket_bound, "unix(7), bind(2) EADDRINUSE")
{
	int a = unix_socket(SOCK_STREAM), b = unix_socket(SOCK_STREAM);

	R(bind_to(a, "s"));
	look("s");
	list(".");
	R(bind_to(b, "s"));
	R(bind_to(b, "none/s"));
	F(open("s", O_RDWR));
	F(open("s", O_PATH));
	R(close(a));
	look("s");
	R(unlink("s"));
	R(bind_to(b, "s"));
}

CASE(socket_connects, "unix(7), connect(2) ECONNREFUSED ENOENT")
{
	int server = unix_socket(SOCK_STREAM), client = unix_socket(SOCK_STREAM), other = unix_socket(SOCK_STREAM);
	char data[8] = "";

	put("f", "", 0644);
	R(connect_to(client, "s"));
	R(connect_to(client, "f"));
	R(bind_to(server, "s"));
	R(connect_to(client, "s"));
	R(listen(server, 4));
	R(connect_to(client, "s"));
	int peer = F(accept(server, NULL, NULL));

	R(write(client, "hi", 2));
	R(read(peer, data, 8));
	tell("%s", data);
	R(rename("s", "t"));
	R(connect_to(other, "t"));
	R(close(server));
	R(connect_to(unix_socket(SOCK_STREAM), "t"));
}

CASE(socket_after_a_while, "unix(7): a name is found again when it is no more remembered")
{
	int server = unix_socket(SOCK_STREAM);

	make_folder("d", 0755);
	R(bind_to(server, "d/s"));
	R(listen(server, 4));
	usleep(1200000);
	R(connect_to(unix_socket(SOCK_STREAM), "d/s"));
	list("d");
	look("d/s");
}

CASE(socket_datagram, "unix(7) SOCK_DGRAM")
{
	int server = unix_socket(SOCK_DGRAM), client = unix_socket(SOCK_DGRAM);
	char data[8] = "";

	R(bind_to(server, "s"));
	R(connect_to(client, "s"));
	R(write(client, "dgram", 5));
	R(read(server, data, 8));
	tell("%s", data);
}

CASE(socket_made, "mknod(2) S_IFSOCK")
{
	R(mknod("s", S_IFSOCK | 0600, 0));
	look("s");
	R(connect_to(unix_socket(SOCK_STREAM), "s"));
	F(open("s", O_RDONLY));
	R(unlink("s"));
}

CASE(node_regular, "mknod(2)")
{
	R(mknod("a", S_IFREG | 0640, 0));
	R(mknod("b", 0604, 0));
	R(mknod("a", S_IFREG | 0640, 0));
	R(mknod("c", S_IFDIR | 0755, 0));
	R(mknod("d", S_IFLNK | 0755, 0));
	R(mknod("e", 0170000 | 0755, 0));
	look("a"), look("b");
	list(".");
}

CASE(node_device_as_a_user, "mknod(2) EPERM")
{
	if (am_root())
		return;
	R(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
	R(mknod("b", S_IFBLK | 0600, makedev(7, 0)));
	list(".");
}

CASE_OF_ROOT(node_devices, "mknod(2) S_IFCHR S_IFBLK; mount(8) nodev")
{
	R(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	R(mknod("loop", S_IFBLK | 0660, makedev(7, 0)));
	R(mknod("far", S_IFCHR | 0600, makedev(4095, 1048575)));
	R(mknod("white", S_IFCHR | 0, makedev(0, 0)));
	look("null"), look("loop"), look("far"), look("white");
	list(".");
	F(open("null", O_RDWR));
	F(open("loop", O_RDONLY));
	F(open("null", O_PATH));
	R(chmod("null", 0600));
	R(chown("null", ALICE.uid, ALICE.gid));
	R(link("null", "null2"));
	look("null2");
	R(rename("null2", "null3"));
	R(truncate("null", 0));
	R(unlink("null"));
}

CASE_OF_ROOT(node_devices_by_others, "mknod(2) EPERM")
{
	make_folder("open", 0777);
	AS(ALICE)
	{
		R(mknod("open/null", S_IFCHR | 0666, makedev(1, 3)));
		R(mknod("open/white", S_IFCHR | 0666, makedev(0, 0)));
		R(mkfifo("open/p", 0644));
	}
	list("open");
	look("open/p");
}

CASE_OF_ROOT(fifo_of_others, "fifo(7), open(2) EACCES")
{
	must(mkfifo("p", 0600) == 0, "mkfifo");
	AS(ALICE)
	{
		F(open("p", O_RDONLY | O_NONBLOCK));
	}
	R(chmod("p", 0666));
	AS(ALICE)
	{
		F(open("p", O_RDONLY | O_NONBLOCK));
	}
}
