;; Requires a service whose name has a random letter in it.
(module
  (import "parigot" "require" (func $require (param i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "demo.v1.Service?")
  (func (export "_start")
    (drop (call $random (i32.const 15) (i32.const 1)))
    (i32.store8 (i32.const 15) (i32.add (i32.const 65) (i32.rem_u (i32.load8_u (i32.const 15)) (i32.const 26))))
    (drop (call $require (i32.const 0) (i32.const 16)))
    (drop (call $launch))))
