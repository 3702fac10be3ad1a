package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

type color int32

// text is a message that is written as it is.
type text string

func (m text) AppendWire(b []byte) []byte { return append(b, m...) }

func (m text) ReadWire([]byte) error { return nil }

var long = strings.Repeat("a message's ", 20_000/12+1)[:20_000]

// The first three are the examples of https://protobuf.dev/programming-guides/encoding/.
func TestFieldsAreWrittenAsTheFormatHasThem(t *testing.T) {
	for _, it := range []struct {
		written []byte
		want    string
	}{
		{AppendInteger(nil, 1, 150), "\x08\x96\x01"},
		{AppendString(nil, 2, "testing"), "\x12\x07testing"},
		{AppendIntegers(nil, 6, []int32{3, 270, 86942}), "\x32\x06\x03\x8e\x02\x9e\xa7\x05"},
		{AppendInteger(nil, 1, int32(-1)), "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{AppendInteger(nil, 536870911, color(1)), "\xf8\xff\xff\xff\x0f\x01"},
		{AppendBool(nil, 3, true), "\x18\x01"},
		{AppendBytes(nil, 4, []byte{0, 255}), "\x22\x02\x00\xff"},
		{AppendMessage(nil, 5, &Empty{}), "\x2a\x00"},
		{AppendMessage([]byte("before"), 5, text("of one byte")), "before\x2a\x0bof one byte"},
		{AppendMessage([]byte("before"), 5, text(long[:127])), "before\x2a\x7f" + long[:127]},
		{AppendMessage([]byte("before"), 5, text(long[:128])), "before\x2a\x80\x01" + long[:128]},
		{AppendMessage([]byte("before"), 16, text(long)), "before\x82\x01\xa0\x9c\x01" + long},
	} {
		if string(it.written) != it.want {
			t.Errorf("%x is not %x", it.written, it.want)
		}
	}
}

func TestZeroValuesAreNotWritten(t *testing.T) {
	b := AppendInteger(nil, 1, 0)
	b = AppendBool(b, 2, false)
	b = AppendString(b, 3, "")
	b = AppendBytes(b, 4, nil)
	b = AppendIntegers[int32](b, 5, nil)
	if len(b) != 0 {
		t.Errorf("%x", b)
	}
}

func TestWhatWasWrittenIsReadAndUnknownKindsArePassedOver(t *testing.T) {
	b := AppendInteger(nil, 1, int32(-7))
	b = append(b, "\x11\x01\x00\x00\x00\x00\x00\x00\x80"...) // field 2, fixed64
	b = append(b, "\x1d\x02\x00\x00\x00"...)                 // field 3, fixed32
	b = AppendString(b, 4, "a b")
	b = AppendIntegers(b, 5, []color{1, 2})
	b = append(b, "\x28\x03"...) // field 5 again, not packed

	var number int32
	var fixed []uint64
	var text string
	var colors []color
	err := Read(b, func(f Field) (err error) {
		switch f.Number {
		case 1:
			number = int32(f.Value)
		case 2, 3:
			fixed = append(fixed, f.Value)
		case 4:
			text = f.String()
		case 5:
			colors, err = Integers(colors, f)
		}
		return err
	})
	if err != nil || number != -7 || text != "a b" {
		t.Error(err, number, text)
	}
	if !slices.Equal(fixed, []uint64{1<<63 + 1, 2}) || !slices.Equal(colors, []color{1, 2, 3}) {
		t.Error(fixed, colors)
	}
}

func TestWhatIsNoMessageIsMalformed(t *testing.T) {
	for _, b := range []string{"\x08", "\x00\x01", "\x12\x05four", "\x11\x01", "\x1d\x01", "\x0b", "\xff", "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"} {
		if err := (&Empty{}).ReadWire([]byte(b)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := Integers([]int32(nil), Field{Bytes: []byte{0x80}, packed: true}); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestRepeatedStringsAreAddedInTheirOrder(t *testing.T) {
	var b []byte
	var want, got []string
	for i := range 9 {
		want = append(want, strings.Repeat("x", i))
		b = append(b, 6<<3|length, byte(i)) // as AppendString does, but for the empty one
		b = append(b, want[i]...)
	}
	if err := Read(b, func(f Field) error { got = Strings(got, f); return nil }); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %q", err, got)
	}
}

func TestAFieldsBytesCannotGrowIntoTheNext(t *testing.T) {
	b := AppendString(AppendString(nil, 1, "one"), 2, "two")
	before := bytes.Clone(b)
	Read(b, func(f Field) error {
		_ = append(f.Bytes, "xxxxxx"...)
		return nil
	})
	if !bytes.Equal(b, before) {
		t.Error("the message was written to")
	}
}
