package vvv

import "parigot.dev/go/wire"

// The messages of proto/demo/vvv. They are written by hand, with the SDK's small wire package; what protoc-gen-go makes of
// the same files would serve as well, in guests three times the size.

type Media int32

const (
	MediaUnspecified Media = iota
	MediaLP
	MediaCassette
	MediaCD
	MediaVHS
)

func (m Media) String() string {
	return nameOf(m, "unspecified", "LP", "cassette", "CD", "VHS")
}

type Content int32

const (
	ContentUnspecified Content = iota
	ContentMusic
	ContentFilm
	ContentRadioPlay
)

func (c Content) String() string {
	return nameOf(c, "unspecified", "music", "film", "radio play")
}

func nameOf[E ~int32](value E, names ...string) string {
	if value < 0 || int(value) >= len(names) {
		return "unknown"
	}
	return names[value]
}

type Item struct {
	Title   string
	Creator string
	Year    int32
	Media   Media
	Content Content
	Cents   int32
}

func (m *Item) AppendWire(b []byte) []byte {
	b = wire.AppendString(b, 1, m.Title)
	b = wire.AppendString(b, 2, m.Creator)
	b = wire.AppendInteger(b, 3, m.Year)
	b = wire.AppendInteger(b, 4, m.Media)
	b = wire.AppendInteger(b, 5, m.Content)
	return wire.AppendInteger(b, 6, m.Cents)
}

func (m *Item) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		switch f.Number {
		case 1:
			m.Title = f.String()
		case 2:
			m.Creator = f.String()
		case 3:
			m.Year = int32(f.Value)
		case 4:
			m.Media = Media(f.Value)
		case 5:
			m.Content = Content(f.Value)
		case 6:
			m.Cents = int32(f.Value)
		}
		return nil
	})
}

type MediaTypesInStockResponse struct {
	Media []Media
}

func (m *MediaTypesInStockResponse) AppendWire(b []byte) []byte {
	return wire.AppendIntegers(b, 1, m.Media)
}

func (m *MediaTypesInStockResponse) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) (err error) {
		if f.Number == 1 {
			m.Media, err = wire.Integers(m.Media, f)
		}
		return err
	})
}

type BestOfAllTimeRequest struct {
	Content Content
}

func (m *BestOfAllTimeRequest) AppendWire(b []byte) []byte {
	return wire.AppendInteger(b, 1, m.Content)
}

func (m *BestOfAllTimeRequest) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		if f.Number == 1 {
			m.Content = Content(f.Value)
		}
		return nil
	})
}

type BestOfAllTimeResponse struct {
	Item *Item
}

func (m *BestOfAllTimeResponse) AppendWire(b []byte) []byte {
	return appendItem(b, m.Item)
}

func (m *BestOfAllTimeResponse) ReadWire(b []byte) error { return readItem(b, &m.Item) }

type SoldItemRequest struct {
	Item *Item
}

func (m *SoldItemRequest) AppendWire(b []byte) []byte { return appendItem(b, m.Item) }

func (m *SoldItemRequest) ReadWire(b []byte) error { return readItem(b, &m.Item) }

type SalesToDateResponse struct {
	Sales []*Sale
}

func (m *SalesToDateResponse) AppendWire(b []byte) []byte {
	for _, sale := range m.Sales {
		b = wire.AppendMessage(b, 1, sale)
	}
	return b
}

func (m *SalesToDateResponse) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		if f.Number != 1 {
			return nil
		}
		sale := &Sale{}
		m.Sales = append(m.Sales, sale)
		return sale.ReadWire(f.Bytes)
	})
}

type Sale struct {
	Title string
	Cents int32
}

func (m *Sale) AppendWire(b []byte) []byte {
	return wire.AppendInteger(wire.AppendString(b, 1, m.Title), 2, m.Cents)
}

func (m *Sale) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		switch f.Number {
		case 1:
			m.Title = f.String()
		case 2:
			m.Cents = int32(f.Value)
		}
		return nil
	})
}

type ItemsRequest struct {
	Content Content
}

func (m *ItemsRequest) AppendWire(b []byte) []byte {
	return wire.AppendInteger(b, 1, m.Content)
}

func (m *ItemsRequest) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		if f.Number == 1 {
			m.Content = Content(f.Value)
		}
		return nil
	})
}

type ItemsResponse struct {
	Items []*Item
}

func (m *ItemsResponse) AppendWire(b []byte) []byte {
	for _, item := range m.Items {
		b = wire.AppendMessage(b, 1, item)
	}
	return b
}

func (m *ItemsResponse) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		if f.Number != 1 {
			return nil
		}
		item := &Item{}
		m.Items = append(m.Items, item)
		return item.ReadWire(f.Bytes)
	})
}

func appendItem(b []byte, item *Item) []byte {
	if item == nil {
		return b
	}
	return wire.AppendMessage(b, 1, item)
}

func readItem(b []byte, item **Item) error {
	return wire.Read(b, func(f wire.Field) error {
		if f.Number != 1 {
			return nil
		}
		*item = &Item{}
		return (*item).ReadWire(f.Bytes)
	})
}
