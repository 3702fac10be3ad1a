package vvv

import (
	"context"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

const catalogueService = "demo.vvv.CatalogueService"

// CatalogueService is what a guest implements to be the catalogue.
type CatalogueService interface {
	Items(ctx context.Context, req *ItemsRequest) (*ItemsResponse, error)
}

// RunCatalogueService exports the catalogue and answers calls. It does not return.
func RunCatalogueService(s CatalogueService) {
	parigot.Serve(parigot.Service{
		Name:    catalogueService,
		Methods: map[string]parigot.Handler{"Items": wire.Handler(s.Items)},
	})
}

// CatalogueClient calls the catalogue.
type CatalogueClient struct {
	service *parigot.Client
}

// RequireCatalogueService declares that this guest calls the catalogue.
func RequireCatalogueService() error { return parigot.Require(catalogueService) }

// LocateCatalogueService gives a client, after the launch of a guest that required the service.
func LocateCatalogueService() (*CatalogueClient, error) {
	service, err := parigot.Locate(catalogueService)
	if err != nil {
		return nil, err
	}
	return &CatalogueClient{service}, nil
}

// Items gives what has such content, best first; the error's code is NotFound when nothing has.
func (c *CatalogueClient) Items(ctx context.Context, req *ItemsRequest) (*ItemsResponse, error) {
	reply := &ItemsResponse{}
	return reply, wire.Call(ctx, c.service, "Items", req, reply)
}
