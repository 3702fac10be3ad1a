/* The built-in services, log.v1 and file.v1: their few messages written by hand (schemas/log/v1, schemas/file/v1). */
#include "parigot.h"

#include <stdarg.h>
#include <stdio.h>

/* A method of a built-in service, located once. */
typedef struct {
	const char *service;
	const char *method;
	int32_t handle;
	int32_t id;
	bool located;
} method_t;

/* Calls it with `req`, which is freed; with `reply` as parigot_call has it. */
static int32_t call_builtin(method_t *m, parigot_buf_t *req, parigot_buf_t *reply) {
	int32_t status = req->failed ? PARIGOT_RESOURCE_EXHAUSTED : PARIGOT_OK;
	if (status == PARIGOT_OK && !m->located) {
		m->handle = parigot_locate(m->service);
		m->id = m->handle < 0 ? m->handle : parigot_resolve(m->handle, m->method);
		m->located = m->id >= 0;
		status = m->id < 0 ? -m->id : PARIGOT_OK;
	}
	if (status == PARIGOT_OK)
		status = parigot_call(m->handle, m->id, req->data, req->len, reply, 0);
	parigot_buf_free(req);
	return status;
}

/* What cannot be sent is not lost: stderr becomes records too. */
static void log_to_stderr(enum parigot_level level, const char *text, va_list fields) {
	static const char *const names[] = {"INFO", "DEBUG", "INFO", "WARN", "ERROR"};
	fprintf(stderr, "%s %s", names[level <= PARIGOT_ERROR ? level : 0], text);
	for (const char *key = va_arg(fields, const char *); key != NULL; key = va_arg(fields, const char *)) {
		const char *value = va_arg(fields, const char *);
		fprintf(stderr, " %s=%s", key, value == NULL ? "" : value);
		if (value == NULL)
			break;
	}
	fprintf(stderr, "\n");
}

int32_t parigot_log(enum parigot_level level, const char *text, ...) {
	static method_t log_method = {.service = "log.v1.LogService", .method = "Log"};
	parigot_buf_t record = {0};
	va_list fields, again;
	va_start(fields, text);
	va_copy(again, fields);
	pb_put_uint(&record, 1, level);
	pb_put_text(&record, 2, text);
	for (const char *key = va_arg(fields, const char *); key != NULL; key = va_arg(fields, const char *)) {
		const char *value = va_arg(fields, const char *);
		size_t entry = pb_begin(&record, 3);
		pb_put_text(&record, 1, key);
		pb_put_text(&record, 2, value == NULL ? "" : value);
		pb_end(&record, entry);
		if (value == NULL)
			break; /* a key without a value: the list ends here */
	}
	int32_t status = call_builtin(&log_method, &record, NULL);
	if (status != PARIGOT_OK)
		log_to_stderr(level, text, again);
	va_end(again);
	va_end(fields);
	return status;
}

int32_t parigot_file_read(const char *path, parigot_buf_t *content) {
	static method_t read_method = {.service = "file.v1.FileService", .method = "Read"};
	parigot_buf_t req = {0};
	pb_put_text(&req, 1, path);
	int32_t status = call_builtin(&read_method, &req, content);
	if (status != PARIGOT_OK)
		return status;
	pb_reader_t r = pb_read(content->data, content->len);
	const uint8_t *data = content->data;
	size_t len = 0;
	while (pb_next(&r))
		if (r.field == 1 && r.type == PB_BYTES)
			data = r.data, len = r.len;
	memmove(content->data, data, len); /* the content lies within the reply */
	content->len = len;
	content->data[len] = 0;
	return r.malformed ? PARIGOT_INTERNAL : PARIGOT_OK;
}

static int32_t put_file(method_t *method, const char *path, const void *data, size_t len) {
	parigot_buf_t req = {0};
	pb_put_text(&req, 1, path);
	pb_put_bytes(&req, 2, data, len);
	return call_builtin(method, &req, NULL);
}

int32_t parigot_file_write(const char *path, const void *data, size_t len) {
	static method_t write_method = {.service = "file.v1.FileService", .method = "Write"};
	return put_file(&write_method, path, data, len);
}

int32_t parigot_file_append(const char *path, const void *data, size_t len) {
	static method_t append_method = {.service = "file.v1.FileService", .method = "Append"};
	return put_file(&append_method, path, data, len);
}

int32_t parigot_file_delete(const char *path) {
	static method_t delete_method = {.service = "file.v1.FileService", .method = "Delete"};
	return put_file(&delete_method, path, NULL, 0);
}

int32_t parigot_file_list(const char *prefix, parigot_buf_t *paths) {
	static method_t list_method = {.service = "file.v1.FileService", .method = "List"};
	parigot_buf_t req = {0}, reply = {0};
	pb_put_text(&req, 1, prefix);
	int32_t status = call_builtin(&list_method, &req, &reply);
	parigot_buf_clear(paths);
	if (status != PARIGOT_OK)
		parigot_buf_add(paths, parigot_buf_text(&reply), reply.len);
	pb_reader_t r = pb_read(reply.data, reply.len);
	while (status == PARIGOT_OK && pb_next(&r))
		if (r.field == 1 && r.type == PB_BYTES) {
			parigot_buf_add(paths, r.data, r.len);
			parigot_buf_add(paths, "", 1);
		}
	parigot_buf_free(&reply);
	if (status == PARIGOT_OK && (r.malformed || paths->failed))
		status = r.malformed ? PARIGOT_INTERNAL : PARIGOT_RESOURCE_EXHAUSTED;
	return status;
}
