package llmrl

// What is written in each directive holds for all of them: nothing that C is given is kept by it after the call, and it
// never calls Go, as wakes are noted in C (wake.go). So arguments stay on the goroutine's stack.

/*
#cgo CFLAGS: -std=c11 -O2
#cgo linux,amd64 LDFLAGS: ${SRCDIR}/lib/linux_amd64/libllmrl.a
#cgo linux,arm64 LDFLAGS: ${SRCDIR}/lib/linux_arm64/libllmrl.a
#cgo linux LDFLAGS: -lgcc_eh -lpthread -ldl -lm
#include "bridge.h"
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// newest is called when something is made that C frees: when owner is not reachable any more.
func freeWith[T, P any](owner *T, free func(P), c P) {
	runtime.AddCleanup(owner, func(c P) {
		free(c)
		deliver()
	}, c)
}

// chars is where a string's or a slice's bytes are, for calls that do not keep it.
func chars(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s)))
}

// message is room for what C says of an argument.
type message [160]C.char

func (m *message) text() string {
	return C.GoString(&m[0])
}
