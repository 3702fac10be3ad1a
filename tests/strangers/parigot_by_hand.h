/* The kernel's functions, typed from the tables of schemas/abi.md; no library of the project is used. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARIGOT(name) __attribute__((import_module("parigot"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

PARIGOT("require") int32_t k_require(const char *name, int32_t len);
PARIGOT("export") int32_t k_export(const char *name, int32_t len);
PARIGOT("bind") int32_t k_bind(int32_t service, const char *name, int32_t len, int32_t id);
PARIGOT("launch") int32_t k_launch(void);
PARIGOT("serve") void k_serve(void);
PARIGOT("locate") int32_t k_locate(const char *name, int32_t len);
PARIGOT("method") int32_t k_method(int32_t handle, const char *name, int32_t len);
PARIGOT("call") int64_t k_call(int32_t handle, int32_t method, const void *req, int32_t req_len, void *resp,
                               int32_t resp_cap, int32_t timeout_ms);
PARIGOT("fetch") int32_t k_fetch(void *buf, int32_t cap);
PARIGOT("answer") int32_t k_answer(int32_t call, int32_t status, const void *ptr, int32_t len);
PARIGOT("get") int32_t k_get(int32_t call, const char *key, int32_t key_len, char *buf, int32_t cap);
