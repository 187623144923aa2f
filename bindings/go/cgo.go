package llmrl

// Why each call is noescape and nocallback: C keeps nothing that it is given, and never calls Go, as it only notes whom to
// wake (wake.go). So arguments stay on the goroutine's stack.

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

// freeWith frees what C has made when its owner is not reachable any more.
func freeWith[T, P any](owner *T, free func(P), c P) {
	runtime.AddCleanup(owner, func(c P) {
		free(c)
		deliver()
	}, c)
}

// chars is where a string's bytes are.
func chars(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s)))
}

// message is room for what C says of an argument.
type message [160]C.char

func (m *message) text() string {
	return C.GoString(&m[0])
}
