/* Arguments, environment, descriptors, paths and sockets: what WASI shows. */
#include "detective.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

extern char **environ;

static const char *error_name(int error) {
	switch (error) {
	case 0: return "SUCCESS";
	case EACCES: return "EACCES";
	case EBADF: return "EBADF";
	case EFAULT: return "EFAULT";
	case EINVAL: return "EINVAL";
	case ENOENT: return "ENOENT";
	case ENOSYS: return "ENOSYS";
	case ENOTCAPABLE: return "ENOTCAPABLE";
	case ENOTDIR: return "ENOTDIR";
	case ENOTSOCK: return "ENOTSOCK";
	case ENOTSUP: return "ENOTSUP";
	case EPERM: return "EPERM";
	case ESPIPE: return "ESPIPE";
	default: return "another error";
	}
}

static void say_error(const char *what, int error) { printf("  %s: %s\n", what, error_name(error)); }

/* For functions of the C library, which leave their error in errno. */
static void say_errno(const char *what, int result) { say_error(what, result < 0 ? errno : 0); }

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void look_at_arguments(int argc, char **argv) {
	say_section("arguments and environment");
	for (int i = 0; i < argc; i++)
		printf("  argv[%d]: \"%s\"\n", i, argv[i]);
	size_t count = 0;
	while (environ != NULL && environ[count] != NULL)
		count++;
	if (count > 0)
		qsort(environ, count, sizeof *environ, compare_texts);
	for (size_t i = 0; i < count; i++)
		printf("  %s\n", environ[i]);
}

static void look_at_descriptors(void) {
	say_section("descriptors");
	for (__wasi_fd_t fd = 0; fd < 5; fd++) {
		__wasi_fdstat_t stat;
		__wasi_prestat_t prestat;
		__wasi_errno_t error = __wasi_fd_fdstat_get(fd, &stat);
		if (error == 0)
			printf("  %d: filetype %d, flags %d, ", (int)fd, (int)stat.fs_filetype, (int)stat.fs_flags);
		else
			printf("  %d: fdstat %s, ", (int)fd, error_name(error));
		printf("prestat %s, ", error_name(__wasi_fd_prestat_get(fd, &prestat)));
		printf("isatty %s\n", isatty((int)fd) ? "yes" : "no");
	}
	__wasi_filesize_t at;
	say_error("seek of 1", __wasi_fd_seek(1, 0, __WASI_WHENCE_CUR, &at));
	say_error("close of 9", __wasi_fd_close(9));
	say_error("sync of 1", __wasi_fd_sync(1));
	char byte;
	printf("  read of 0: %zd bytes\n", read(0, &byte, 1));
	say_errno("read of 3", (int)read(3, &byte, 1));
	say_errno("write to 3", (int)write(3, &byte, 1));
}

static void look_at_paths(void) {
	say_section("paths");
	struct stat status;
	__wasi_fd_t fd;
	__wasi_filestat_t filestat;
	say_errno("open /etc/passwd", open("/etc/passwd", O_RDONLY));
	say_errno("open .", open(".", O_RDONLY | O_DIRECTORY));
	say_errno("create new", open("new", O_WRONLY | O_CREAT, 0600));
	say_errno("stat /", stat("/", &status));
	say_errno("mkdir d", mkdir("d", 0700));
	for (__wasi_fd_t folder = 0; folder < 5; folder += 3) {
		printf("  from %d: path_open %s, ", (int)folder, error_name(__wasi_path_open(folder, 0, "x", 0, 0, 0, 0, &fd)));
		printf("filestat %s, ", error_name(__wasi_path_filestat_get(folder, 0, "x", &filestat)));
		printf("create_directory %s, ", error_name(__wasi_path_create_directory(folder, "x")));
		printf("unlink %s, ", error_name(__wasi_path_unlink_file(folder, "x")));
		printf("symlink %s\n", error_name(__wasi_path_symlink("y", folder, "x")));
	}
}

static void look_at_sockets(void) {
	say_section("sockets");
	__wasi_fd_t fd;
	__wasi_size_t count;
	__wasi_roflags_t flags;
	uint8_t byte = 0;
	__wasi_iovec_t in = {.buf = &byte, .buf_len = 1};
	__wasi_ciovec_t out = {.buf = &byte, .buf_len = 1};
	for (__wasi_fd_t socket = 0; socket < 5; socket += 3) {
		printf("  from %d: accept %s, ", (int)socket, error_name(__wasi_sock_accept(socket, 0, &fd)));
		printf("recv %s, ", error_name(__wasi_sock_recv(socket, &in, 1, 0, &count, &flags)));
		printf("send %s, ", error_name(__wasi_sock_send(socket, &out, 1, 0, &count)));
		printf("shutdown %s\n", error_name(__wasi_sock_shutdown(socket, __WASI_SDFLAGS_RD)));
	}
}

void look_at_surroundings(int argc, char **argv) {
	look_at_arguments(argc, argv);
	look_at_descriptors();
	look_at_paths();
	look_at_sockets();
}
