// Package catalog is the marketplace: what is listed, and how it gets there.
package catalog

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/ports"
)

// ListAPIs searches the marketplace.
type ListAPIs struct{ Catalog ports.Catalog }

// ListedAPIs is a page of the marketplace and the number of all that match.
type ListedAPIs struct {
	Items []ports.ListedAPI
	Total int
}

// Do lists active APIs, newest first.
func (uc ListAPIs) Do(ctx context.Context, q ports.ListingQuery) (ListedAPIs, error) {
	items, total, err := uc.Catalog.ListedAPIs(ctx, q)
	if err != nil {
		return ListedAPIs{}, fmt.Errorf("list APIs: %w", err)
	}
	return ListedAPIs{Items: items, Total: total}, nil
}
