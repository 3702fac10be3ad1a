// Package wire writes and reads protobuf messages, field by field, for stubs that want nothing else to depend on: the whole
// of google.golang.org/protobuf is several times the size of a small guest. Either serves; parigot moves bytes.
//
// As in proto3, a field with its zero value is not written, and unknown fields are passed over.
//
// The format: https://protobuf.dev/programming-guides/encoding/
package wire

import (
	"encoding/binary"
	"errors"
)

const (
	varint  = 0
	fixed64 = 1
	length  = 2
	fixed32 = 5
)

// Message is what a stub's messages are.
type Message interface {
	// AppendWire adds the serialised message to b.
	AppendWire(b []byte) []byte
	// ReadWire fills an empty message from its serialised form.
	ReadWire(b []byte) error
}

// Integer is any integer or enum; negative ones are written as protobuf's int32 and int64 are.
type Integer interface {
	~int | ~int32 | ~int64 | ~uint32 | ~uint64
}

// AppendInteger adds a field of an integer or an enum.
func AppendInteger[I Integer](b []byte, field int, value I) []byte {
	if value == 0 {
		return b
	}
	return binary.AppendUvarint(appendTag(b, field, varint), uint64(value))
}

// AppendBool adds a bool field.
func AppendBool(b []byte, field int, value bool) []byte {
	if !value {
		return b
	}
	return append(appendTag(b, field, varint), 1)
}

// AppendIntegers adds a repeated field of integers or enums, packed.
func AppendIntegers[I Integer](b []byte, field int, values []I) []byte {
	var packed []byte
	for _, value := range values {
		packed = binary.AppendUvarint(packed, uint64(value))
	}
	return AppendBytes(b, field, packed)
}

// AppendString adds a string field.
func AppendString(b []byte, field int, value string) []byte {
	if value == "" {
		return b
	}
	b = binary.AppendUvarint(appendTag(b, field, length), uint64(len(value)))
	return append(b, value...)
}

// AppendBytes adds a bytes field.
func AppendBytes(b []byte, field int, value []byte) []byte {
	if len(value) == 0 {
		return b
	}
	b = binary.AppendUvarint(appendTag(b, field, length), uint64(len(value)))
	return append(b, value...)
}

// AppendMessage adds a field that is a message, also an empty one. An absent message is one not appended.
func AppendMessage(b []byte, field int, value Message) []byte {
	inner := value.AppendWire(nil)
	b = binary.AppendUvarint(appendTag(b, field, length), uint64(len(inner)))
	return append(b, inner...)
}

func appendTag(b []byte, field, kind int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(kind))
}

// Field is one field of a message on the wire. What Bytes holds lies in the message's own memory.
type Field struct {
	Number int
	Value  uint64 // integers, enums, bools (1) and the bits of fixed-size numbers
	Bytes  []byte // strings, bytes, messages and packed fields
	packed bool
}

// String gives the value of a string field.
func (f Field) String() string { return string(f.Bytes) }

// ErrMalformed says that bytes are no protobuf message.
var ErrMalformed = errors.New("malformed protobuf message")

// Read gives each field of a message to a function, until one fails.
func Read(message []byte, each func(Field) error) error {
	for len(message) > 0 {
		field, rest, err := next(message)
		if err != nil {
			return err
		}
		if err := each(field); err != nil {
			return err
		}
		message = rest
	}
	return nil
}

func next(b []byte) (Field, []byte, error) {
	tag, b, err := uvarint(b)
	if err != nil || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return Field{}, nil, ErrMalformed
	}
	field := Field{Number: int(tag >> 3)}
	switch tag & 7 {
	case varint:
		field.Value, b, err = uvarint(b)
		return field, b, err
	case fixed64:
		if len(b) < 8 {
			return field, nil, ErrMalformed
		}
		field.Value = binary.LittleEndian.Uint64(b)
		return field, b[8:], nil
	case fixed32:
		if len(b) < 4 {
			return field, nil, ErrMalformed
		}
		field.Value = uint64(binary.LittleEndian.Uint32(b))
		return field, b[4:], nil
	case length:
		size, rest, err := uvarint(b)
		if err != nil || size > uint64(len(rest)) {
			return field, nil, ErrMalformed
		}
		field.Bytes, field.packed = rest[:size:size], true
		return field, rest[size:], nil
	}
	return field, nil, ErrMalformed
}

// Integers adds the values of a repeated field of integers or enums, packed or not, to those read before.
func Integers[I Integer](before []I, field Field) ([]I, error) {
	if !field.packed {
		return append(before, I(field.Value)), nil
	}
	for b := field.Bytes; len(b) > 0; {
		value, rest, err := uvarint(b)
		if err != nil {
			return nil, err
		}
		before, b = append(before, I(value)), rest
	}
	return before, nil
}

func uvarint(b []byte) (uint64, []byte, error) {
	value, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, ErrMalformed
	}
	return value, b[size:], nil
}
