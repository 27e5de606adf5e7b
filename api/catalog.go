package api

import (
	"context"

	"github.com/CalloraOrg/callora-backend/api/edge"
	"github.com/CalloraOrg/callora-backend/api/gen"
	"github.com/CalloraOrg/callora-backend/app/catalog"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/ports"
)

// ListApis serves GET /api/apis.
func (o *operations) ListApis(ctx context.Context, r gen.ListApisRequestObject) (gen.ListApisResponseObject, error) {
	limit, offset := pageOf(r.Params.Limit, r.Params.Offset, r.Params.Page)
	found, err := o.uses.Catalog.List.Do(ctx, ports.ListingQuery{
		Category: orEmpty(r.Params.Category), Search: orEmpty(r.Params.Search), Limit: limit, Offset: offset,
	})
	if err != nil {
		return nil, err
	}
	return gen.ListApis200JSONResponse{Body: gen.ApiList{Data: list(found.Items, listedAPI), Meta: metaOf(found.Total, limit, offset)}}, nil
}

// GetApi serves GET /api/apis/{id}.
func (o *operations) GetApi(ctx context.Context, r gen.GetApiRequestObject) (gen.GetApiResponseObject, error) {
	api, err := o.uses.Catalog.Get.Do(ctx, r.Id)
	if err != nil {
		return nil, err
	}
	return gen.GetApi200JSONResponse{Body: listedAPI(api)}, nil
}

// PublishApi serves POST /api/apis.
func (o *operations) PublishApi(ctx context.Context, r gen.PublishApiRequestObject) (gen.PublishApiResponseObject, error) {
	b := r.Body
	api, err := o.uses.Catalog.Publish.Do(ctx, catalog.PublishInput{
		Actor: edge.Actor(ctx), Slug: orEmpty(b.Slug), Name: b.Name, Description: orEmpty(b.Description), BaseURL: b.BaseUrl,
		LogoURL: orEmpty(b.LogoUrl), Category: b.Category,
		Endpoints: list(b.Endpoints, func(e gen.NewEndpoint) catalog.PublishEndpoint {
			return catalog.PublishEndpoint{Method: string(e.Method), Path: e.Path, Price: e.PricePerCallUsdc, Description: orEmpty(e.Description)}
		}),
	})
	if err != nil {
		return nil, err
	}
	return gen.PublishApi201JSONResponse{Body: shownAPI(api)}, nil
}

func shownAPI(a listing.API) gen.Api {
	return gen.Api{
		Id: gen.Id(a.ID), DeveloperId: gen.Id(a.DeveloperID), Slug: a.Slug, Name: a.Name, Description: orNull(a.Description),
		BaseUrl: a.BaseURL, LogoUrl: orNull(a.LogoURL), Category: a.Category, Status: gen.ApiStatus(a.Status),
		CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(), Endpoints: list(a.Endpoints, shownEndpoint),
	}
}

func shownEndpoint(e listing.Endpoint) gen.Endpoint {
	return gen.Endpoint{
		Id: gen.Id(e.ID), ApiId: gen.Id(e.APIID), Path: e.Path, Method: gen.Method(e.Method), PricePerCallUsdc: e.Price.String(),
		Description: orNull(e.Description), CreatedAt: e.CreatedAt.UTC(), UpdatedAt: e.UpdatedAt.UTC(),
	}
}

// listedAPI shows an API with its seller, of whom it says no more than the seller's own words.
func listedAPI(l ports.ListedAPI) gen.ListedApi {
	a := shownAPI(l.API)
	return gen.ListedApi{
		Id: a.Id, DeveloperId: a.DeveloperId, Slug: a.Slug, Name: a.Name, Description: a.Description, BaseUrl: a.BaseUrl,
		LogoUrl: a.LogoUrl, Category: a.Category, Status: a.Status, CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt, Endpoints: a.Endpoints,
		Developer: gen.Developer{
			Name: orNull(l.Developer.Name), Website: orNull(l.Developer.Website), Description: orNull(l.Developer.Description),
		},
	}
}
