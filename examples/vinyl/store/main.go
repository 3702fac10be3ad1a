// The store: sells what the catalogue has, and keeps its sales in a file.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	parigot "parigot.dev/go"
	"parigot.dev/go/file"
	"parigot.dev/go/log"
	"vinyl/vvv"
)

func main() {
	if err := parigot.Require(log.Service, file.Service); err != nil {
		panic(err)
	}
	if err := vvv.RequireCatalogueService(); err != nil {
		panic(err)
	}
	vvv.RunStoreService(&store{sales: os.Getenv("STORE_DB")})
}

type store struct {
	log       *log.Client
	file      *file.Client
	catalogue *vvv.CatalogueClient
	sales     string // the path of the file with all sales: a line each, cents, tab, title
}

func (s *store) Ready(ctx context.Context) bool {
	var err error
	if s.log, err = log.LocateLogService(); err != nil {
		return false
	}
	if s.file, err = file.LocateFileService(); err != nil {
		return false
	}
	if s.catalogue, err = vvv.LocateCatalogueService(); err != nil {
		return false
	}
	s.log.Info(ctx, "open for business", "sales", s.sales)
	return s.sales != ""
}

func (s *store) MediaTypesInStock(ctx context.Context) (*vvv.MediaTypesInStockResponse, error) {
	found, err := s.catalogue.Items(ctx, &vvv.ItemsRequest{})
	if err != nil {
		return nil, err
	}
	reply := &vvv.MediaTypesInStockResponse{}
	for _, item := range found.Items {
		reply.Media = append(reply.Media, item.Media)
	}
	slices.Sort(reply.Media)
	reply.Media = slices.Compact(reply.Media)
	return reply, nil
}

func (s *store) BestOfAllTime(ctx context.Context, req *vvv.BestOfAllTimeRequest) (*vvv.BestOfAllTimeResponse, error) {
	found, err := s.catalogue.Items(ctx, &vvv.ItemsRequest{Content: req.Content})
	if err != nil {
		s.log.Warn(ctx, "nothing to recommend", "content", req.Content, "error", err)
		return nil, err
	}
	return &vvv.BestOfAllTimeResponse{Item: found.Items[0]}, nil
}

func (s *store) SoldItem(ctx context.Context, req *vvv.SoldItemRequest) error {
	if req.Item == nil || req.Item.Title == "" {
		return parigot.NewError(parigot.InvalidArgument, "an item without a title cannot be sold")
	}
	line := fmt.Sprintf("%d\t%q\n", req.Item.Cents, req.Item.Title)
	if err := s.file.Append(ctx, s.sales, []byte(line)); err != nil {
		return err
	}
	return s.log.Info(ctx, "sold", "title", req.Item.Title, "cents", req.Item.Cents)
}

func (s *store) SalesToDate(ctx context.Context) (*vvv.SalesToDateResponse, error) {
	content, err := s.file.Read(ctx, s.sales)
	if err != nil && parigot.CodeOf(err) != parigot.NotFound {
		return nil, err
	}
	reply := &vvv.SalesToDateResponse{}
	for line := range strings.Lines(string(content)) {
		sale, err := parse(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, parigot.NewError(parigot.DataLoss, s.sales+": "+err.Error())
		}
		reply.Sales = append(reply.Sales, sale)
	}
	return reply, nil
}

func parse(line string) (*vvv.Sale, error) {
	cents, quoted, _ := strings.Cut(line, "\t")
	amount, err := strconv.ParseInt(cents, 10, 32)
	if err != nil {
		return nil, err
	}
	title, err := strconv.Unquote(quoted)
	return &vvv.Sale{Title: title, Cents: int32(amount)}, err
}
