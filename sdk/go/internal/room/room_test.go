package room

import (
	"bytes"
	"testing"
)

// The pieces of many sizes, each filled with a number of its own, are as they were filled when all have been given.
func TestNoTwoPiecesLieOverEachOther(t *testing.T) {
	var pieces Pieces
	var given [][]byte
	for i := range 5000 {
		piece := pieces.Cut(i * 7 % 300)
		if len(piece) != i*7%300 || cap(piece) != len(piece) {
			t.Fatal(i, len(piece), cap(piece))
		}
		for at := range piece {
			piece[at] = byte(i)
		}
		given = append(given, append(piece, "beyond its end"...)[:len(piece)])
	}
	for i, piece := range given {
		if !bytes.Equal(piece, bytes.Repeat([]byte{byte(i)}, len(piece))) {
			t.Fatal(i, piece)
		}
	}
}

func TestWhatIsEmptyIsNotNil(t *testing.T) {
	var pieces Pieces
	if pieces.Cut(0) == nil || pieces.Clone(nil) == nil {
		t.Error("nil")
	}
	if pieces.String(nil) != "" {
		t.Error("not empty")
	}
}

func TestAStringIsACopy(t *testing.T) {
	var pieces Pieces
	for _, size := range []int{1, Small, Small + 1, 5000} {
		b := bytes.Repeat([]byte("s"), size)
		s, want := pieces.String(b), string(b)
		clear(b)
		if s != want {
			t.Error(size, s)
		}
	}
}
