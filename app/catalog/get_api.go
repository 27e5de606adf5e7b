package catalog

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/ports"
)

// GetAPI shows one active API.
type GetAPI struct{ Catalog ports.Catalog }

// Do finds it by id or slug. Fault: listing.ErrNotFound.
func (uc GetAPI) Do(ctx context.Context, ref string) (ports.ListedAPI, error) {
	api, err := uc.Catalog.ListedAPI(ctx, ref)
	if err != nil {
		return ports.ListedAPI{}, fmt.Errorf("get an API: %w", err)
	}
	return api, nil
}
