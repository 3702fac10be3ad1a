package parigot

import (
	"context"
	"errors"
	"strconv"
)

// Code says how a call ended: the codes of gRPC and Connect.
type Code uint8

const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

var codeNames = [...]string{
	"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
	"DATA_LOSS", "UNAUTHENTICATED",
}

// String gives the code's name as protobuf spells it: NOT_FOUND.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return "CODE_" + strconv.Itoa(int(c))
}

// Error is how a call failed.
type Error struct {
	Code    Code
	Message string
	// Retryable: nothing was executed, so trying again is safe. A handler cannot say so.
	Retryable bool
}

// NewError makes an error for a handler to return.
func NewError(code Code, message string) *Error { return &Error{Code: code, Message: message} }

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// CodeOf gives the code of an error: OK of nil, that of the [*Error] in it, those of an ended context, else Unknown.
func CodeOf(err error) Code {
	var failed *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &failed):
		return failed.Code
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return Canceled
	}
	return Unknown
}

// failure is what a negative result of the kernel means, and nil when there is nothing wrong.
func failure(result int32, doing string) error {
	if result >= 0 {
		return nil
	}
	return &Error{Code: Code(-result), Message: doing}
}
