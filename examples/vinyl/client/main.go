// A customer: asks the store for its best, buys it, and says how it went.
//
// Its arguments are what to ask for: music, film, radio-play.
package main

import (
	"context"
	"fmt"
	"os"

	parigot "parigot.dev/go"
	"parigot.dev/go/log"
	"vinyl/vvv"
)

var contents = map[string]vvv.Content{
	"music":      vvv.ContentMusic,
	"film":       vvv.ContentFilm,
	"radio-play": vvv.ContentRadioPlay,
}

func main() {
	must(parigot.Require(log.Service))
	must(vvv.RequireStoreService())
	must(parigot.Launch())

	wishes := os.Args[1:]
	if len(wishes) == 0 {
		wishes = []string{"music", "film", "radio-play"}
	}
	os.Exit(visit(context.Background(), wishes))
}

func visit(ctx context.Context, wishes []string) (exitCode int) {
	records, err := log.LocateLogService()
	must(err)
	store, err := vvv.LocateStoreService()
	must(err)

	stock, err := store.MediaTypesInStock(ctx)
	must(err)
	fmt.Printf("In stock: %v\n", stock.Media)

	for _, wish := range wishes {
		content, known := contents[wish]
		if !known {
			fmt.Fprintf(os.Stderr, "%q is none of music, film, radio-play\n", wish)
			return 2
		}
		fmt.Printf("The best %v of all time: %s\n", content, buy(ctx, store, content))
	}
	must(records.Info(ctx, "going home", "wishes", len(wishes)))
	return 0
}

// buy tells what became of a wish. A call may fail, and that is no reason to fall over.
func buy(ctx context.Context, store *vvv.StoreClient, content vvv.Content) string {
	best, err := store.BestOfAllTime(ctx, &vvv.BestOfAllTimeRequest{Content: content})
	if err != nil {
		return err.Error()
	}
	item := best.Item
	if err := store.SoldItem(ctx, &vvv.SoldItemRequest{Item: item}); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%q by %s (%d, %v) for $%d.%02d. Sold!",
		item.Title, item.Creator, item.Year, item.Media, item.Cents/100, item.Cents%100)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
