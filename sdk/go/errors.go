package parigot

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
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
	// Details are for programs to read. All of them together may have 16 KiB.
	Details []Detail
}

// Detail is a message beside an error, a google.rpc.RetryInfo for example.
type Detail struct {
	Type  string // its full name
	Value []byte // serialised
}

// NewError makes an error for a handler to return.
func NewError(code Code, message string, details ...Detail) *Error {
	return &Error{Code: code, Message: message, Details: details}
}

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

const typePrefix = "type.googleapis.com/"

// any is the detail as a serialised google.protobuf.Any: type_url = 1, value = 2.
func (d Detail) any() []byte {
	url := typePrefix + d.Type
	b := append(binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(url))), url...)
	return append(binary.AppendUvarint(append(b, 2<<3|2), uint64(len(d.Value))), d.Value...)
}

// readDetails reads what the kernel gives: a google.rpc.Status with nothing but details (3), each an Any.
func readDetails(status string) []Detail {
	var details []Detail
	fields([]byte(status), func(_ uint64, serialised []byte) {
		var detail Detail
		fields(serialised, func(number uint64, value []byte) {
			if number == 1 {
				detail.Type = string(value[strings.LastIndexByte(string(value), '/')+1:])
			} else {
				detail.Value = value
			}
		})
		details = append(details, detail)
	})
	return details
}

// fields takes a message of length-delimited fields apart, as far as it is one: the kernel has seen to it.
func fields(b []byte, each func(number uint64, value []byte)) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		size, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || size > uint64(len(b)-n-m) {
			return
		}
		b = b[n+m:]
		each(tag>>3, b[:size:size])
		b = b[size:]
	}
}

// failure is what a negative result of the kernel means, and nil when there is nothing wrong.
func failure(result int32, doing string) error {
	if result >= 0 {
		return nil
	}
	return &Error{Code: Code(-result), Message: doing}
}
