;; Imports a function that no kernel has.
(module
  (import "env" "open_door" (func (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")))
