// The catalogue: what the store knows about records.
package main

import (
	"context"
	"fmt"

	parigot "parigot.dev/go"
	"vinyl/vvv"
)

// items are sorted: best first.
var items = []*vvv.Item{
	{Title: "Kind of Blue", Creator: "Miles Davis", Year: 1959, Media: vvv.MediaLP, Content: vvv.ContentMusic, Cents: 2400},
	{Title: "Citizen Kane", Creator: "Orson Welles", Year: 1941, Media: vvv.MediaVHS, Content: vvv.ContentFilm, Cents: 1250},
	{Title: "Blue", Creator: "Joni Mitchell", Year: 1971, Media: vvv.MediaLP, Content: vvv.ContentMusic, Cents: 2200},
	{Title: "OK Computer", Creator: "Radiohead", Year: 1997, Media: vvv.MediaCD, Content: vvv.ContentMusic, Cents: 900},
	{Title: "Purple Rain", Creator: "Prince", Year: 1984, Media: vvv.MediaCassette, Content: vvv.ContentMusic, Cents: 700},
}

func main() {
	vvv.RunCatalogueService(catalogue{})
}

type catalogue struct{}

func (catalogue) Items(_ context.Context, req *vvv.ItemsRequest) (*vvv.ItemsResponse, error) {
	reply := &vvv.ItemsResponse{}
	for _, item := range items {
		if req.Content == vvv.ContentUnspecified || req.Content == item.Content {
			reply.Items = append(reply.Items, item)
		}
	}
	if len(reply.Items) == 0 {
		return nil, parigot.NewError(parigot.NotFound, fmt.Sprintf("the catalogue has no %v", req.Content))
	}
	return reply, nil
}
