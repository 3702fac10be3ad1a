;; A service test.v1.Own/Say that declares what the kernel must refuse, too. It exits with the number of the first declaration that
;; did not end as schemas/abi.md says; where all did, it serves.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "parigot" "require" (func $require (param i32 i32) (result i32)))
  (import "parigot" "export" (func $export (param i32 i32) (result i32)))
  (import "parigot" "bind" (func $bind (param i32 i32 i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (import "parigot" "serve" (func $serve))
  (import "parigot" "answer" (func $answer (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "test.v1.OwnSay")
  (func $expect (param $number i32) (param $result i32) (param $wanted i32)
    (if (i32.ne (local.get $result) (local.get $wanted)) (then (call $exit (local.get $number)))))
  (func (export "_start")
    (call $expect (i32.const 11) (call $export (i32.const 0) (i32.const 11)) (i32.const 0))
    ;; twice the same: ALREADY_EXISTS
    (call $expect (i32.const 12) (call $export (i32.const 0) (i32.const 11)) (i32.const -6))
    ;; its own export: INVALID_ARGUMENT
    (call $expect (i32.const 13) (call $require (i32.const 0) (i32.const 11)) (i32.const -3))
    (call $expect (i32.const 14) (call $bind (i32.const 0) (i32.const 11) (i32.const 3) (i32.const 9)) (i32.const 0))
    ;; the same method again: ALREADY_EXISTS
    (call $expect (i32.const 15) (call $bind (i32.const 0) (i32.const 11) (i32.const 3) (i32.const 10)) (i32.const -6))
    ;; a service that was never exported: INVALID_ARGUMENT
    (call $expect (i32.const 16) (call $bind (i32.const 1) (i32.const 11) (i32.const 3) (i32.const 9)) (i32.const -3))
    (call $expect (i32.const 17) (call $bind (i32.const -1) (i32.const 11) (i32.const 3) (i32.const 9)) (i32.const -3))
    (call $expect (i32.const 18) (call $launch) (i32.const 0))
    ;; twice: FAILED_PRECONDITION, as is all that belongs before
    (call $expect (i32.const 19) (call $launch) (i32.const -9))
    (call $expect (i32.const 20) (call $export (i32.const 0) (i32.const 7)) (i32.const -9))
    (call $expect (i32.const 21) (call $require (i32.const 0) (i32.const 7)) (i32.const -9))
    (call $expect (i32.const 22) (call $bind (i32.const 0) (i32.const 10) (i32.const 3) (i32.const 9)) (i32.const -9))
    (call $serve))
  (func (export "parigot_handle") (param $call i32) (param $service i32) (param $method i32) (param i32 i32)
    (call $expect (i32.const 23) (local.get $service) (i32.const 0))
    (call $expect (i32.const 24) (local.get $method) (i32.const 9))
    ;; its method's number, as one byte
    (i32.store8 (i32.const 64) (i32.add (i32.const 48) (local.get $method)))
    (drop (call $answer (local.get $call) (i32.const 0) (i32.const 64) (i32.const 1)))))
