/*
 * A program that writes far too much. Its first argument says what: "lines" a million short lines to stderr, "long" one line of
 * 200,000 bytes to stderr, "stdout" 4 MiB of the same byte to stdout, "records" so many log records as its second argument says.
 */
#include <parigot.h>
#include <stdio.h>

static void write_lines(void) {
	char block[8000];
	for (int line = 0; line < 1000000; line += 1000) {
		size_t len = 0;
		for (int i = 0; i < 1000; i++)
			len += (size_t)snprintf(block + len, sizeof block - len, "%06d\n", (line + i) % 1000000);
		fwrite(block, 1, len, stderr);
	}
}

static void repeat(FILE *to, size_t bytes) {
	char block[4096];
	memset(block, 'x', sizeof block);
	for (; bytes > 0; bytes -= bytes < sizeof block ? bytes : sizeof block)
		fwrite(block, 1, bytes < sizeof block ? bytes : sizeof block, to);
}

int main(int argc, char **argv) {
	parigot_require("log.v1.LogService");
	parigot_launch();
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "lines") == 0)
		write_lines();
	else if (strcmp(what, "long") == 0)
		repeat(stderr, 200000);
	else if (strcmp(what, "stdout") == 0)
		repeat(stdout, 4 << 20);
	else if (strcmp(what, "records") == 0)
		for (int i = 0; argc > 2 && i < atoi(argv[2]); i++)
			parigot_log(PARIGOT_INFO, "one of many", NULL);
	printf("done\n");
	return 0;
}
