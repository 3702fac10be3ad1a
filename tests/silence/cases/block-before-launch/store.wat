(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\08\00\00\00\15\00\00\00" "STORE_DB is not set!\0a")
  ;; a subscription to the clock, ten minutes from now
  (data (i32.const 128) "\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00\00\00\00\00\00\b0\8e\f0\1b\00\00\00")
  (func (export "_start") (drop (call $poll (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 300))))
)
