//go:build wasip1

package parigot

import "unsafe"

// The kernel's functions, as schemas/abi.md describes them; its entries are where //go:wasmexport stands. Pointers given to them escape to the heap, which Go never moves.

//go:wasmimport parigot require
func abiRequire(name unsafe.Pointer, length int32) int32

//go:wasmimport parigot export
func abiExport(name unsafe.Pointer, length int32) int32

//go:wasmimport parigot bind
func abiBind(service int32, name unsafe.Pointer, length, id int32) int32

//go:wasmimport parigot launch
func abiLaunch() int32

//go:wasmimport parigot serve
func abiServe()

//go:wasmimport parigot locate
func abiLocate(name unsafe.Pointer, length int32) int32

//go:wasmimport parigot method
func abiMethod(handle int32, name unsafe.Pointer, length int32) int32

//go:wasmimport parigot call
func abiCall(handle, method int32, req unsafe.Pointer, reqLen int32, resp unsafe.Pointer, respCap, timeoutMs int32) int64

//go:wasmimport parigot dispatch
func abiDispatch(handle, method int32, req unsafe.Pointer, reqLen, timeoutMs int32) int32

//go:wasmimport parigot timer
func abiTimer(ms int32) int32

//go:wasmimport parigot wait
func abiWait(call int32, resp unsafe.Pointer, respCap, timeoutMs int32) int64

//go:wasmimport parigot fetch
func abiFetch(buf unsafe.Pointer, capacity int32) int32

//go:wasmimport parigot answer
func abiAnswer(call, status int32, text unsafe.Pointer, length int32) int32

//go:wasmimport parigot get
func abiGet(call int32, key unsafe.Pointer, keyLen int32, buf unsafe.Pointer, capacity int32) int32

//go:wasmimport parigot set
func abiSet(call int32, key unsafe.Pointer, keyLen int32, value unsafe.Pointer, length int32) int32

//go:wasmimport parigot enter
func abiEnter(call int32) int32
