// Package bench has the message of typed calls: benchmarks/proto/bench.proto.
package bench

import "parigot.dev/go/wire"

// Record is bench.v1.Record.
type Record struct {
	Title   string
	Artist  string
	Year    int32
	Cents   int32
	InStock bool
	Tags    []string
}

func (m *Record) AppendWire(b []byte) []byte {
	b = wire.AppendString(b, 1, m.Title)
	b = wire.AppendString(b, 2, m.Artist)
	b = wire.AppendInteger(b, 3, m.Year)
	b = wire.AppendInteger(b, 4, m.Cents)
	b = wire.AppendBool(b, 5, m.InStock)
	for _, tag := range m.Tags {
		b = wire.AppendString(b, 6, tag)
	}
	return b
}

func (m *Record) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		switch f.Number {
		case 1:
			m.Title = f.String()
		case 2:
			m.Artist = f.String()
		case 3:
			m.Year = int32(f.Value)
		case 4:
			m.Cents = int32(f.Value)
		case 5:
			m.InStock = f.Value != 0
		case 6:
			m.Tags = wire.Strings(m.Tags, f)
		}
		return nil
	})
}
