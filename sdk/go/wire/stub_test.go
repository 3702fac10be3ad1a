package wire

import (
	"bytes"
	"context"
	"strings"
	"testing"

	parigot "parigot.dev/go"
)

// kept is a message that has its serialised form already, and gives that in place of adding it.
type kept struct{ raw []byte }

func (m *kept) AppendWire([]byte) []byte { return m.raw }

func (m *kept) ReadWire(b []byte) error {
	m.raw = b
	return nil
}

// words is a message whose field is given as often as it says.
type words struct{ word string }

func (m *words) AppendWire(b []byte) []byte { return AppendString(b, 1, m.word) }

func (m *words) ReadWire(b []byte) error {
	return Read(b, func(f Field) error {
		m.word = strings.Repeat(f.String(), 2)
		return nil
	})
}

func same[M any](_ context.Context, m M) (M, error) { return m, nil }

func TestAReplyStaysAsItIsWhenOthersFollow(t *testing.T) {
	handler := Handler(same[*words])
	var replies, want [][]byte
	for _, size := range []int{1, 50, 63, 64, 100, 255, 256, 1000, 40_000, 3, 30, 700_000, 5, 2} {
		reply, err := handler(context.Background(), AppendString(nil, 1, strings.Repeat("w", size)))
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, reply)
		want = append(want, AppendString(nil, 1, strings.Repeat("w", 2*size)))
	}
	for i := range replies {
		if !bytes.Equal(replies[i], want[i]) {
			t.Errorf("%d: %d bytes, not %d", i, len(replies[i]), len(want[i]))
		}
	}
}

func TestMemoryOfAMessageIsNotWrittenTo(t *testing.T) {
	raw := []byte("as it is kept by the message")
	if _, err := Handler(same[*kept])(context.Background(), raw); err != nil {
		t.Fatal(err)
	}
	Call(context.Background(), &parigot.Client{}, "Any", &kept{raw}, &Empty{}) // there is no kernel here
	for range 3 {
		if _, err := Handler(same[*words])(context.Background(), AppendString(nil, 1, "another one, and longer than that")); err != nil {
			t.Fatal(err)
		}
	}
	if string(raw) != "as it is kept by the message" {
		t.Errorf("%q", raw)
	}
}

func TestAHandlersFailureAndNoReplyAreAnswers(t *testing.T) {
	for _, it := range []struct {
		reply *words
		err   error
		code  parigot.Code
	}{
		{nil, nil, parigot.OK},
		{nil, parigot.NewError(parigot.NotFound, "none"), parigot.NotFound},
	} {
		handler := Handler(func(context.Context, *Empty) (*words, error) { return it.reply, it.err })
		if reply, err := handler(context.Background(), nil); parigot.CodeOf(err) != it.code || len(reply) != 0 {
			t.Error(reply, err)
		}
	}
	_, err := Handler(same[*words])(context.Background(), []byte("\xff"))
	if parigot.CodeOf(err) != parigot.InvalidArgument {
		t.Error(err)
	}
}
