//go:build !wasip1

package parigot

import "unsafe"

// Outside a guest there is no kernel: these let handlers and editors compile for the machine at hand, and every one of them
// answers that parigot is not there.

const noKernel = -int32(Unavailable)

func abiRequire(unsafe.Pointer, int32) int32                           { return noKernel }
func abiExport(unsafe.Pointer, int32) int32                            { return noKernel }
func abiBind(int32, unsafe.Pointer, int32, int32) int32                { return noKernel }
func abiLaunch() int32                                                 { return noKernel }
func abiServe()                                                        {}
func abiLocate(unsafe.Pointer, int32) int32                            { return noKernel }
func abiMethod(int32, unsafe.Pointer, int32) int32                     { return noKernel }
func abiDispatch(int32, int32, unsafe.Pointer, int32, int32) int32     { return noKernel }
func abiTimer(int32) int32                                             { return noKernel }
func abiWait(int32, unsafe.Pointer, int32, int32) int64                { return int64(Unavailable) << 32 }
func abiFetch(unsafe.Pointer, int32) int32                             { return 0 }
func abiAnswer(int32, int32, unsafe.Pointer, int32) int32              { return noKernel }
func abiGet(int32, unsafe.Pointer, int32, unsafe.Pointer, int32) int32 { return -int32(NotFound) }
func abiSet(int32, unsafe.Pointer, int32, unsafe.Pointer, int32) int32 { return noKernel }
func abiEnter(int32) int32                                             { return noKernel }
func abiCall(int32, int32, unsafe.Pointer, int32, unsafe.Pointer, int32, int32) int64 {
	return int64(Unavailable) << 32
}
