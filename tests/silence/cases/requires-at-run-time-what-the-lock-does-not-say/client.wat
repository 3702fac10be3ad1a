;; Requires another service when the clock says that the run is a real one.
(module
  (import "parigot" "require" (func $declare (param i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "demo.v1.Store")
  (data (i32.const 16) "demo.v1.Shop")
  (func (export "_start")
    (drop (call $declare (i32.const 16) (i32.const 12)))
    (drop (call $clock (i32.const 0) (i64.const 0) (i32.const 32)))
    ;; 2020 began so many nanoseconds after 1970
    (if (i64.gt_u (i64.load (i32.const 32)) (i64.const 1577836800000000000))
      (then (drop (call $declare (i32.const 0) (i32.const 13)))))
    (drop (call $launch))))
