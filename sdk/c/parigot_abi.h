/*
 * The kernel's functions as they are, one declaration each; schemas/abi.md says what they do.
 *
 * Most guests want parigot.h instead, which is made of these. A function that is not called is not imported.
 * Pointers and lengths are those of this guest's memory; names are UTF-8 and need no terminator; a result below 0 is minus a
 * status code. The 64-bit results hold the status in the high half and a length in the low one.
 */
#ifndef PARIGOT_ABI_H
#define PARIGOT_ABI_H

#include <stdint.h>

#define PARIGOT_IMPORT(name) __attribute__((import_module("parigot"), import_name(name)))
#define PARIGOT_EXPORT(name) __attribute__((export_name(name)))

/* Before launch: what this guest calls, and what it offers. */
PARIGOT_IMPORT("require") int32_t parigot_sys_require(const char *name, uint32_t len);
PARIGOT_IMPORT("export") int32_t parigot_sys_export(const char *name, uint32_t len);
PARIGOT_IMPORT("bind") int32_t parigot_sys_bind(int32_t service, const char *name, uint32_t len, int32_t id);

PARIGOT_IMPORT("launch") int32_t parigot_sys_launch(void);
PARIGOT_IMPORT("serve") _Noreturn void parigot_sys_serve(void);

/* After launch: calling others. */
PARIGOT_IMPORT("locate") int32_t parigot_sys_locate(const char *name, uint32_t len);
PARIGOT_IMPORT("method") int32_t parigot_sys_method(int32_t handle, const char *name, uint32_t len);
PARIGOT_IMPORT("call")
int64_t parigot_sys_call(int32_t handle, int32_t method, const void *req, uint32_t req_len, void *resp, uint32_t resp_cap,
                         int32_t timeout_ms);
PARIGOT_IMPORT("dispatch")
int32_t parigot_sys_dispatch(int32_t handle, int32_t method, const void *req, uint32_t req_len, int32_t timeout_ms);
PARIGOT_IMPORT("timer") int32_t parigot_sys_timer(int32_t ms);
PARIGOT_IMPORT("wait") int64_t parigot_sys_wait(int32_t call, void *resp, uint32_t resp_cap, int32_t timeout_ms);
PARIGOT_IMPORT("fetch") int32_t parigot_sys_fetch(void *buf, uint32_t cap);

/* Calls that came in. */
PARIGOT_IMPORT("answer") int32_t parigot_sys_answer(int32_t call, int32_t status, const void *data, uint32_t len);
PARIGOT_IMPORT("get")
int32_t parigot_sys_get(int32_t call, const char *key, uint32_t key_len, void *buf, uint32_t cap);
PARIGOT_IMPORT("set")
int32_t parigot_sys_set(int32_t call, const char *key, uint32_t key_len, const void *value, uint32_t len);
PARIGOT_IMPORT("enter") int32_t parigot_sys_enter(int32_t call);

#endif
