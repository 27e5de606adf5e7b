package access

import (
	"context"
	"fmt"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/ports"
)

// ListKeys shows a consumer's own keys, ended ones included, newest first.
type ListKeys struct{ Keys ports.Keys }

// ListKeysInput selects a page.
type ListKeysInput struct {
	Actor         id.ID
	Limit, Offset int
}

// KeyList is a page of keys and the number of all.
type KeyList struct {
	Items []apikey.Key
	Total int
}

// Do lists the keys.
func (uc ListKeys) Do(ctx context.Context, in ListKeysInput) (KeyList, error) {
	keys, total, err := uc.Keys.OfOwner(ctx, in.Actor, in.Limit, in.Offset)
	if err != nil {
		return KeyList{}, fmt.Errorf("list keys: %w", err)
	}
	return KeyList{Items: keys, Total: total}, nil
}
