/*
 * A program of plain WASI, with no library of ours: says what it was given, and tries for what it was not.
 * Of the arguments alone: "trap" crashes, "sleep" ends well after 0.3 s.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static void told(const char *what, int got) { printf("%s: %s\n", what, got ? "REACHED" : "out of reach"); }

int main(int argc, char **argv) {
	char line[100];
	if (argc == 2 && strcmp(argv[1], "trap") == 0)
		__builtin_trap();
	if (argc == 2 && strcmp(argv[1], "sleep") == 0)
		return usleep(300000);
	for (int i = 1; i < argc; i++)
		printf("argument %s\n", argv[i]);
	printf("COLOUR=%s\n", getenv("COLOUR") != NULL ? getenv("COLOUR") : "");
	if (fgets(line, sizeof line, stdin) != NULL)
		printf("stdin %s", line);
	fprintf(stderr, "to stderr\n");
	told("a file", fopen("/etc/hostname", "r") != NULL || fopen("/plain.wasm", "r") != NULL);
	told("a new file", fopen("/tmp/new", "w") != NULL);
	told("a folder", opendir("/") != NULL);
	__wasi_prestat_t folder;
	__wasi_fd_t peer;
	int any = 0;
	for (int fd = 3; fd < 20; fd++)
		any |= __wasi_fd_prestat_get(fd, &folder) == 0 || __wasi_sock_accept(fd, 0, &peer) == 0;
	told("a descriptor", any);
	return argc + 1;
}
