;; Sleeps for an hour before it has launched.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (memory (export "memory") 1)
  ;; one subscription at 0: its clock is monotonic (byte 16), its timeout 3,600,000,000,000 ns (byte 24)
  (data (i32.const 16) "\01\00\00\00\00\00\00\00\00\a0\b8\30\46\03\00\00")
  (func (export "_start")
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
    (drop (call $launch))))
