;; Requires test.v1.A or test.v1.B or one of two dozen others, as a random number has it: no guest of a well-defined graph.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "parigot" "require" (func $require (param i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "test.v1.?")
  (func (export "_start")
    (drop (call $random (i32.const 16) (i32.const 8)))
    (i32.store8 (i32.const 8) (i32.add (i32.const 65)
      (i32.wrap_i64 (i64.rem_u (i64.load (i32.const 16)) (i64.const 26)))))
    (drop (call $require (i32.const 0) (i32.const 9)))
    (drop (call $launch))))
