package llmrl

/*
#include "bridge.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
)

// What can be the matter, to be asked for with errors.Is. What a call returns is an *Error around one of them, or an
// *ArgumentError.
var (
	// ErrNever: the cost is more than one of the limits can ever hold. Waiting does not help; a smaller request does.
	ErrNever = errors.New("the cost can never fit one of the limits; send a smaller request, or raise Burst")
	// ErrDeadline: not admitted before the deadline; told at once where that is known. Is context.DeadlineExceeded, too.
	ErrDeadline = errors.New("not admitted before the deadline")
	// ErrFull: as many wait, or hold permits, as there is room for; or a map has no room for another key.
	ErrFull = errors.New("full: as many wait or hold permits as MaxWaiters and MaxPermits allow, or a map has no room for the key")
	// ErrClosed: the limiter is closed.
	ErrClosed = errors.New("the limiter is closed")
	// ErrStale: the permit or reservation has ended already.
	ErrStale = errors.New("it has ended already; each permit ends once")
	// ErrNoNode: a router has no node of that name, or none with a weight.
	ErrNoNode = errors.New("the router has no such node, or none with a weight")
	// ErrNeedsPermit: a limiter that counts what is in flight admits with permits only: Acquire or TryAcquire.
	ErrNeedsPermit = errors.New("a limiter with a number in flight needs Acquire or TryAcquire, whose permits come back")
)

// An Error says which call failed, and why.
type Error struct {
	Op     string // the name of the function or method
	Level  int    // of a chain: the limiter that refuses, counted from 0, the first; else -1
	Err    error  // one of the above, or that of the context
	detail string
}

func (e *Error) Error() string {
	text := "llmrl: " + e.Op + ": " + e.Err.Error()
	if e.detail != "" {
		text += ": " + e.detail
	}
	if e.Level >= 0 {
		text += fmt.Sprintf(" (level %d)", e.Level)
	}
	return text
}

// Unwrap is what is the matter.
func (e *Error) Unwrap() error { return e.Err }

// Is makes ErrDeadline a context.DeadlineExceeded, and the other way round.
func (e *Error) Is(target error) bool {
	late := e.Err == ErrDeadline || e.Err == context.DeadlineExceeded
	return late && (target == ErrDeadline || target == context.DeadlineExceeded)
}

// Timeout is true if the deadline is the matter, as net.Error has it.
func (e *Error) Timeout() bool { return e.Is(ErrDeadline) }

// An ArgumentError is a value that cannot be meant. It names the field, the value, and what is accepted.
type ArgumentError struct {
	Op      string
	Message string
}

func (e *ArgumentError) Error() string { return "llmrl: " + e.Op + ": " + e.Message }

var reasons = map[C.llmrl_status]error{
	C.LLMRL_ERR_NEVER:    ErrNever,
	C.LLMRL_ERR_FULL:     ErrFull,
	C.LLMRL_ERR_DEADLINE: ErrDeadline,
	C.LLMRL_ERR_CLOSED:   ErrClosed,
	C.LLMRL_ERR_STALE:    ErrStale,
	C.LLMRL_ERR_NODE:     ErrNoNode,
}

// failed is the error for a status below zero, and nil for others. accepted is what an argument may be.
func failed(op string, status C.llmrl_status, accepted string) error {
	if status >= 0 {
		return nil
	}
	if reason := reasons[status]; reason != nil {
		return &Error{Op: op, Level: -1, Err: reason}
	}
	switch status {
	case C.LLMRL_ERR_RANGE, C.LLMRL_ERR_INDEX, C.LLMRL_ERR_COST, C.LLMRL_ERR_FLAGS, C.LLMRL_ERR_SAVED:
		return &ArgumentError{op, accepted}
	}
	return &Error{Op: op, Level: -1, Err: errors.New(C.GoString(C.llmrl_strerror(status)))}
}

// refused is failed for a request of a cost.
func refused(op string, status C.llmrl_status, cost Cost) error {
	if status >= 0 {
		return nil
	}
	if status == C.LLMRL_ERR_COST {
		return &ArgumentError{op, cost.wrong()}
	}
	return failed(op, status, "")
}

// interrupted is the error for a context that is done.
func interrupted(op string, err error) error { return &Error{Op: op, Level: -1, Err: err} }
