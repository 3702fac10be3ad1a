;; A service in WebAssembly text, written from schemas/abi.md alone.
;; stranger.v1.Ring: Next counts, Fail answers NOT_FOUND, Later answers after a timer has ended.
(module
  (import "parigot" "export" (func $export (param i32 i32) (result i32)))
  (import "parigot" "bind" (func $bind (param i32 i32 i32 i32) (result i32)))
  (import "parigot" "launch" (func $launch (result i32)))
  (import "parigot" "serve" (func $serve))
  (import "parigot" "timer" (func $timer (param i32) (result i32)))
  (import "parigot" "wait" (func $wait (param i32 i32 i32 i32) (result i64)))
  (import "parigot" "answer" (func $answer (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "stranger.v1.Ring")
  (data (i32.const 32) "Next")
  (data (i32.const 48) "Fail")
  (data (i32.const 64) "Later")
  (data (i32.const 80) "no such ring")
  ;; the replies, as protobuf messages: {uint32 n = 1;} and {string text = 1;}
  (data (i32.const 100) "\08\00")
  (data (i32.const 110) "\0a\04late")
  (global $count (mut i32) (i32.const 0))
  (global $open (mut i32) (i32.const 0))

  (func (export "_start")
    (local $ring i32)
    (local.set $ring (call $export (i32.const 0) (i32.const 16)))
    (drop (call $bind (local.get $ring) (i32.const 32) (i32.const 4) (i32.const 1)))
    (drop (call $bind (local.get $ring) (i32.const 48) (i32.const 4) (i32.const 2)))
    (drop (call $bind (local.get $ring) (i32.const 64) (i32.const 5) (i32.const 3)))
    (drop (call $launch))
    (call $serve))

  ;; every request is looked at by nobody, so all may lie at the same place
  (func (export "parigot_alloc") (param $len i32) (result i32)
    (select (i32.const 1024) (i32.const 0) (i32.lt_u (local.get $len) (i32.const 130000))))

  (func (export "parigot_handle")
    (param $call i32) (param $service i32) (param $method i32) (param $ptr i32) (param $len i32)
    (if (i32.eq (local.get $method) (i32.const 1)) (then
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (i32.store8 (i32.const 101) (global.get $count))
      (drop (call $answer (local.get $call) (i32.const 0) (i32.const 100) (i32.const 2)))))
    (if (i32.eq (local.get $method) (i32.const 2)) (then
      (drop (call $answer (local.get $call) (i32.const 5) (i32.const 80) (i32.const 12)))))
    (if (i32.eq (local.get $method) (i32.const 3)) (then
      (global.set $open (local.get $call))
      (drop (call $timer (i32.const 20))))))

  ;; the timer that Later has set has ended: its result is taken, and the call answered
  (func (export "parigot_resume") (param $timer i32)
    (drop (call $wait (local.get $timer) (i32.const 0) (i32.const 0) (i32.const 0)))
    (drop (call $answer (global.get $open) (i32.const 0) (i32.const 110) (i32.const 6)))))
