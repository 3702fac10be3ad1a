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
	"math"
	"math/bits"
	"slices"

	"parigot.dev/go/internal/room"
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
	if len(values) == 0 {
		return b
	}
	size := 0
	for _, value := range values {
		size += sizeOf(uint64(value))
	}
	b = binary.AppendUvarint(appendTag(b, field, length), uint64(size))
	for _, value := range values {
		b = binary.AppendUvarint(b, uint64(value))
	}
	return b
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
	b = append(appendTag(b, field, length), 0) // most messages are short: their length takes a byte
	at := len(b)
	b = value.AppendWire(b)
	size := uint64(len(b) - at)
	if more := sizeOf(size) - 1; more > 0 {
		b = append(b, zeros[:more]...)
		copy(b[at+more:], b[at:])
	}
	binary.PutUvarint(b[at-1:], size)
	return b
}

var zeros [binary.MaxVarintLen64]byte

func appendTag(b []byte, field, kind int) []byte {
	return binary.AppendUvarint(b, uint64(field)<<3|uint64(kind))
}

// sizeOf gives how many bytes a varint takes.
func sizeOf(value uint64) int { return (bits.Len64(value|1) + 6) / 7 }

// Field is one field of a message on the wire. What Bytes holds lies in the message's own memory.
type Field struct {
	Number int
	Value  uint64 // integers, enums, bools (1) and the bits of fixed-size numbers
	Bytes  []byte // strings, bytes, messages and packed fields
	packed bool
}

// String gives the value of a string field. A short one lies in a kilobyte with others, all of which is kept with it: who keeps
// few of many for long does better to clone them.
func (f Field) String() string { return texts.String(f.Bytes) }

var texts room.Pieces

// ErrMalformed says that bytes are no protobuf message.
var ErrMalformed = errors.New("malformed protobuf message")

// Read gives each field of a message to a function, until one fails.
func Read(message []byte, each func(Field) error) error {
	for at := 0; at < len(message); {
		// Numbers and lengths of one byte are the usual ones, and quicker to read here than by a function.
		tag := uint64(message[at])
		at++
		if tag >= 0x80 {
			tag, at = uvarint(message, at-1)
		}
		if tag>>3 == 0 || tag>>3 > 1<<29-1 || at >= len(message) {
			return ErrMalformed
		}
		field := Field{Number: int(tag >> 3)}
		value := uint64(message[at])
		next := at + 1
		switch tag & 7 {
		case varint, length:
			if value >= 0x80 {
				if value, next = uvarint(message, at); next == malformed {
					return ErrMalformed
				}
			}
			if tag&7 == varint {
				field.Value = value
				break
			}
			if value > uint64(len(message)-next) {
				return ErrMalformed
			}
			at, next = next, next+int(value)
			field.Bytes, field.packed = message[at:next:next], true
		default:
			next = field.fixed(message, at, tag&7)
		}
		if next > len(message) {
			return ErrMalformed
		}
		if err := each(field); err != nil {
			return err
		}
		at = next
	}
	return nil
}

// malformed is where the next field begins when there is no telling.
const malformed = math.MaxInt

// fixed reads a number of fixed size, and gives where it ends.
func (f *Field) fixed(message []byte, at int, kind uint64) int {
	b := message[at:]
	switch {
	case kind == fixed64 && len(b) >= 8:
		f.Value = binary.LittleEndian.Uint64(b)
		return at + 8
	case kind == fixed32 && len(b) >= 4:
		f.Value = uint64(binary.LittleEndian.Uint32(b))
		return at + 4
	}
	return malformed
}

// Integers adds the values of a repeated field of integers or enums, packed or not, to those read before.
func Integers[I Integer](before []I, field Field) ([]I, error) {
	if !field.packed {
		return append(before, I(field.Value)), nil
	}
	before = slices.Grow(before, count(field.Bytes))
	for at := 0; at < len(field.Bytes); {
		var value uint64
		if value, at = uvarint(field.Bytes, at); at == malformed {
			return nil, ErrMalformed
		}
		before = append(before, I(value))
	}
	return before, nil
}

// count gives how many varints there are: each has one byte that ends it.
func count(b []byte) int {
	n := 0
	for _, each := range b {
		if each < 0x80 {
			n++
		}
	}
	return n
}

// Strings adds the value of a repeated field of strings to those read before.
func Strings(before []string, field Field) []string {
	if before == nil {
		before = make([]string, 0, 4) // two steps less on the way there
	}
	return append(before, field.String())
}

// uvarint reads a varint, and gives where it ends.
func uvarint(b []byte, at int) (uint64, int) {
	value, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, malformed
	}
	return value, at + n
}
