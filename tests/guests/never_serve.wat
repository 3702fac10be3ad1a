;; A service test.v1.Silent/Say that returns from main without having served.
(module
  (import "parigot" "export" (func $export (param i32 i32) (result i32)))
  (import "parigot" "bind" (func $bind (param i32 i32 i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "test.v1.SilentSay")
  (func (export "_start")
    (drop (call $bind (call $export (i32.const 0) (i32.const 14)) (i32.const 14) (i32.const 3) (i32.const 1)))
    (drop (call $launch)))
  (func (export "parigot_handle") (param i32 i32 i32 i32 i32)))
