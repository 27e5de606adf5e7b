package catalog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// PublishAPI lists a developer's API with its priced endpoints: at once and whole, or not at all.
type PublishAPI struct {
	Store     ports.Publishing
	Upstreams ports.UpstreamCheck
	Gateway   ports.Invalidator
	Now       ports.Clock
	NewID     ports.NewID
}

// PublishInput is an API as its developer states it. An empty slug is made from the name.
type PublishInput struct {
	Actor                                               id.ID
	Slug, Name, Description, BaseURL, LogoURL, Category string
	Endpoints                                           []PublishEndpoint
}

// PublishEndpoint is one operation; Price is a decimal text in USDC.
type PublishEndpoint struct{ Method, Path, Price, Description string }

// Do publishes the API. Faults: listing.ErrNoDeveloper, VALIDATION_ERROR with every wrong field, listing.ErrSlugTaken for
// a slug that was asked for.
func (uc PublishAPI) Do(ctx context.Context, in PublishInput) (listing.API, error) {
	developer, err := uc.Store.DeveloperOf(ctx, in.Actor)
	if err != nil {
		return listing.API{}, fmt.Errorf("publish an API: %w", err)
	}
	api, err := read(ctx, in, uc.Upstreams)
	if err != nil {
		return listing.API{}, err
	}
	now := uc.Now().Truncate(time.Microsecond) // what the store keeps of a time: so an API always shows the same one
	api.ID, api.DeveloperID, api.Status, api.CreatedAt, api.UpdatedAt = uc.NewID(), developer.ID, listing.Active, now, now
	for i := range api.Endpoints {
		e := &api.Endpoints[i]
		e.ID, e.APIID, e.CreatedAt, e.UpdatedAt = uc.NewID(), api.ID, now, now
	}
	if api, err = uc.publish(ctx, api); err != nil {
		return listing.API{}, fmt.Errorf("publish an API: %w", err)
	}
	uc.Gateway.ForgetAPI(api.ID)
	return api, nil
}

// tries bounds how many slugs are made for one name.
const tries = 4

// publish stores the API under the slug it asks for, or under one made of its name that nobody has.
func (uc PublishAPI) publish(ctx context.Context, api listing.API) (listing.API, error) {
	if api.Slug != "" {
		return api, uc.Store.Publish(ctx, api)
	}
	var err error
	for try := range tries {
		api.Slug = listing.SlugOf(api.Name, listing.MaxSlug)
		if try > 0 {
			random := uc.NewID().String()[30:] // a UUIDv7 ends in random digits
			api.Slug = listing.SlugOf(api.Name, listing.MaxSlug-len(random)-1) + "-" + random
		}
		if err = uc.Store.Publish(ctx, api); !errors.Is(err, listing.ErrSlugTaken) {
			return api, err
		}
	}
	return api, err
}
