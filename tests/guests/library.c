/*
 * A program that tries the C library itself, and prints what came of it: protobuf by hand, names of codes, the built-in services.
 */
#include <parigot.h>
#include <stdio.h>

/* Not in line: where the compiler sees all that becomes of some memory, it makes do without asking for any. */
__attribute__((noinline)) static void print_hex(const char *what, const parigot_buf_t *b) {
	printf("%s ", what);
	for (size_t i = 0; i < b->len; i++)
		printf("%02x", b->data[i]);
	printf("%s\n", b->failed ? " failed" : "");
}

static void print_fields(const void *data, size_t len) {
	pb_reader_t r = pb_read(data, len);
	while (pb_next(&r)) {
		if (r.type == PB_BYTES)
			printf("  %u: \"%.*s\"\n", (unsigned)r.field, (int)r.len, (const char *)r.data);
		else
			printf("  %u: %llu\n", (unsigned)r.field, (unsigned long long)r.number);
	}
	printf("%s\n", r.malformed ? "malformed" : "whole");
}

static void try_protobuf(void) {
	parigot_buf_t b = {0};
	pb_put_uint(&b, 1, 150);
	pb_put_uint(&b, 2, 0); /* left out */
	pb_put_uint(&b, 536870911, UINT64_MAX);
	pb_put_text(&b, 3, "testing");
	pb_put_text(&b, 4, ""); /* left out */
	pb_add_bytes(&b, 4, NULL, 0);
	size_t inner = pb_begin(&b, 5);
	pb_put_double(&b, 1, 1.5);
	for (int i = 0; i < 60; i++)
		pb_add_uint(&b, 2, 300);
	pb_end(&b, inner);
	print_hex("written", &b);
	print_fields(b.data, b.len);
	print_fields(b.data, 2); /* in the middle of a number */
	print_fields(b.data, b.len - 1);
	print_fields("\x0f", 1); /* no such wire type */
	print_fields("\x00\x01", 2); /* no such field */
	print_fields("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11); /* a length beyond all bytes */
	print_fields("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12); /* a number of more than ten bytes */
	print_fields(NULL, 0);
	parigot_buf_free(&b);
	parigot_buf_reserve(&b, SIZE_MAX / 2);
	pb_put_text(&b, 1, "more");
	print_hex("no memory", &b);
	parigot_buf_free(&b);
}

static void try_names(void) {
	printf("%s %s %s %s\n", parigot_code_name(0), parigot_code_name(16), parigot_code_name(-5), parigot_code_name(17));
	printf("%s\n", parigot_code_name(INT32_MIN));
}

static void print_paths(const char *prefix) {
	parigot_buf_t paths = {0};
	printf("list of \"%s\": %s:", prefix, parigot_code_name(parigot_file_list(prefix, &paths)));
	for (size_t at = 0; at < paths.len; at += strlen((char *)paths.data + at) + 1)
		printf(" %s", paths.data + at);
	printf("\n");
	parigot_buf_free(&paths);
}

static void print_file(const char *path) {
	parigot_buf_t content = {0};
	int32_t status = parigot_file_read(path, &content);
	printf("read of %s: %s, %zu bytes: %.40s\n", path, parigot_code_name(status), content.len, parigot_buf_text(&content));
	parigot_buf_free(&content);
}

static void try_files(void) {
	static char large[100000];
	memset(large, 'y', sizeof large);
	print_paths("");
	printf("write: %s\n", parigot_code_name(parigot_file_write("a/b.txt", "one", 3)));
	printf("write: %s\n", parigot_code_name(parigot_file_write("a/large", large, sizeof large)));
	printf("append: %s\n", parigot_code_name(parigot_file_append("a/b.txt", " two", 4)));
	printf("append: %s\n", parigot_code_name(parigot_file_append("c", "", 0)));
	printf("write outside: %s\n", parigot_code_name(parigot_file_write("../x", "", 0)));
	print_file("a/b.txt");
	print_file("a/large");
	print_file("c");
	print_file("none");
	print_paths("");
	print_paths("a/");
	printf("delete: %s\n", parigot_code_name(parigot_file_delete("a/b.txt")));
	printf("delete: %s\n", parigot_code_name(parigot_file_delete("a/b.txt")));
	print_paths("");
}

int main(void) {
	parigot_require("log.v1.LogService");
	parigot_require("file.v1.FileService");
	try_protobuf();
	try_names();
	parigot_launch();
	try_files();
	printf("log: %s\n", parigot_code_name(parigot_log(PARIGOT_WARN, "two fields", "first", "1", "second", "a b", NULL)));
	return 0;
}
