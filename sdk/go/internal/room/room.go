// Package room gives room for what is small and comes with every call: requests, replies, the strings in them. They are cut
// off larger allocations, since one of its own would cost each of them more than all else that is done with it.
//
// A piece is its owner's for good, and never given out again. As long as it is kept, so is what it was cut off: a kilobyte.
package room

import "unsafe"

const (
	whole = 1024
	// Small is what is cut off at most: what is longer is allocated by itself.
	Small = 128
)

// Pieces is where they are cut off. The zero value is ready.
type Pieces struct {
	sheet *[whole]byte
	left  int
}

// Cut gives room for so many bytes, and no more: it cannot grow into the next piece. What is in it is of no meaning.
func (p *Pieces) Cut(size int) []byte {
	if size >= p.left { // equal, too: it may be 0, before there is a sheet
		return p.anew(size)
	}
	at := whole - p.left
	p.left -= size
	return p.sheet[at : at+size : at+size]
}

// anew leaves what is left of the last sheet: the pieces of one guest are much alike, so it is little.
func (p *Pieces) anew(size int) []byte {
	if size > Small {
		return make([]byte, size)
	}
	p.sheet, p.left = new([whole]byte), whole-size
	return p.sheet[:size:size]
}

// Clone copies bytes; the copy is not nil.
func (p *Pieces) Clone(b []byte) []byte {
	cut := p.Cut(len(b))
	copy(cut, b)
	return cut
}

// String copies bytes into a string.
func (p *Pieces) String(b []byte) string {
	if len(b) == 0 || len(b) > Small {
		return string(b)
	}
	cut := p.Clone(b)
	return unsafe.String(&cut[0], len(cut))
}
