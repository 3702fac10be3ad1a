// Package vvv has the messages and services of proto/demo/vvv: what a guest implements, and what it calls.
package vvv

import (
	"context"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

const storeService = "demo.vvv.StoreService"

// StoreService is what a guest implements to be the store.
type StoreService interface {
	// Ready is asked once, when everything required is ready; with false the start is aborted.
	Ready(ctx context.Context) bool
	MediaTypesInStock(ctx context.Context) (*MediaTypesInStockResponse, error)
	BestOfAllTime(ctx context.Context, req *BestOfAllTimeRequest) (*BestOfAllTimeResponse, error)
	SoldItem(ctx context.Context, req *SoldItemRequest) error
	SalesToDate(ctx context.Context) (*SalesToDateResponse, error)
}

// RunStoreService exports the store and answers calls. It does not return.
func RunStoreService(s StoreService) {
	parigot.Serve(parigot.Service{
		Name:  storeService,
		Ready: s.Ready,
		Methods: map[string]parigot.Handler{
			"MediaTypesInStock": wire.Handler(func(ctx context.Context, _ *wire.Empty) (*MediaTypesInStockResponse, error) {
				return s.MediaTypesInStock(ctx)
			}),
			"BestOfAllTime": wire.Handler(s.BestOfAllTime),
			"SoldItem": wire.Handler(func(ctx context.Context, req *SoldItemRequest) (*wire.Empty, error) {
				return nil, s.SoldItem(ctx, req)
			}),
			"SalesToDate": wire.Handler(func(ctx context.Context, _ *wire.Empty) (*SalesToDateResponse, error) {
				return s.SalesToDate(ctx)
			}),
		},
	})
}

// StoreClient calls the store.
type StoreClient struct {
	service *parigot.Client
}

// RequireStoreService declares that this guest calls the store.
func RequireStoreService() error { return parigot.Require(storeService) }

// LocateStoreService gives a client, after the launch of a guest that required the service.
func LocateStoreService() (*StoreClient, error) {
	service, err := parigot.Locate(storeService)
	if err != nil {
		return nil, err
	}
	return &StoreClient{service}, nil
}

// MediaTypesInStock says what can be bought at all.
func (c *StoreClient) MediaTypesInStock(ctx context.Context) (*MediaTypesInStockResponse, error) {
	reply := &MediaTypesInStockResponse{}
	return reply, wire.Call(ctx, c.service, "MediaTypesInStock", &wire.Empty{}, reply)
}

// BestOfAllTime gives the best item; the error's code is NotFound when there is nothing with such content.
func (c *StoreClient) BestOfAllTime(ctx context.Context, req *BestOfAllTimeRequest) (*BestOfAllTimeResponse, error) {
	reply := &BestOfAllTimeResponse{}
	return reply, wire.Call(ctx, c.service, "BestOfAllTime", req, reply)
}

// SoldItem keeps a sale, for good.
func (c *StoreClient) SoldItem(ctx context.Context, req *SoldItemRequest) error {
	return wire.Call(ctx, c.service, "SoldItem", req, &wire.Empty{})
}

// SalesToDate gives all that was ever sold, oldest first.
func (c *StoreClient) SalesToDate(ctx context.Context) (*SalesToDateResponse, error) {
	reply := &SalesToDateResponse{}
	return reply, wire.Call(ctx, c.service, "SalesToDate", &wire.Empty{}, reply)
}
