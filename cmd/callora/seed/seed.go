// Package seed is the marketplace that `callora demo` and `callora seed` start from.
package seed

import (
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/demoupstream"
	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/listing"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// The people and things of the seeded marketplace have ids that never change, so that seeding twice is harmless.
var (
	Consumer  = id.MustParse("01980000-0000-7000-8000-000000000001")
	SellerOne = id.MustParse("01980000-0000-7000-8000-000000000002")
	SellerTwo = id.MustParse("01980000-0000-7000-8000-000000000003")
	devOne    = id.MustParse("01980000-0000-7000-8000-000000000011")
	devTwo    = id.MustParse("01980000-0000-7000-8000-000000000012")
	weather   = id.MustParse("01980000-0000-7000-8000-000000000021")
	datasets  = id.MustParse("01980000-0000-7000-8000-000000000022")
	echo      = id.MustParse("01980000-0000-7000-8000-000000000023")
	vaultID   = id.MustParse("01980000-0000-7000-8000-000000000031")
	KeyID     = id.MustParse("01980000-0000-7000-8000-000000000041")
	madeAt    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// What the printed examples call, and what it costs.
const (
	PaidSlug = "weather"
	PaidPath = "/forecast"
)

var (
	PaidPrice = money.MustParse("0.0100000")
	balance   = money.MustParse("100")
)

// Marketplace is two sellers, three APIs and one consumer with money. The APIs are served by a demoupstream at upstream.
func Marketplace(upstream string, network vault.Network) postgres.Seed {
	api := func(u, developer id.ID, slug, name, category, base, description string, endpoints ...listing.Endpoint) listing.API {
		for i := range endpoints {
			e := &endpoints[i]
			e.ID, e.APIID, e.CreatedAt, e.UpdatedAt = u, u, madeAt, madeAt
			e.ID[10] = byte(i + 1) // the API's id with the endpoint's number in it
		}
		return listing.API{
			ID: u, DeveloperID: developer, Slug: slug, Name: name, Description: description, BaseURL: upstream + base,
			Category: category, Status: listing.Active, CreatedAt: madeAt, UpdatedAt: madeAt, Endpoints: endpoints,
		}
	}
	endpoint := func(method, path, price, description string) listing.Endpoint {
		return listing.Endpoint{Method: method, Path: path, Price: money.MustParse(price), Description: description}
	}
	return postgres.Seed{
		Users: []postgres.SeedUser{{ID: Consumer}, {ID: SellerOne}, {ID: SellerTwo}},
		Developers: []listing.Developer{
			{ID: devOne, UserID: SellerOne, Name: "Nimbus Weather", Website: "https://nimbus.example", Description: "Forecasts for everybody", Category: "data"},
			{ID: devTwo, UserID: SellerTwo, Name: "Corpus Labs", Website: "https://corpus.example", Description: "Data sets and tools", Category: "developer-tools"},
		},
		APIs: []listing.API{
			api(weather, devOne, PaidSlug, "Weather API", "weather", demoupstream.Weather, "Forecasts and live readings",
				endpoint("GET", PaidPath, PaidPrice.String(), "Forecast for one city (?city=)"),
				endpoint("GET", "/forecast/{city}", "0.0150000", "Forecast by path"),
				endpoint("GET", "/stream", "0.0200000", "Live readings as server-sent events")),
			api(datasets, devTwo, "datasets", "Datasets API", "data", demoupstream.Data, "Large downloads, and the ways an upstream can misbehave",
				endpoint("GET", "/export", "0.0500000", "A large CSV (?mb=)"),
				endpoint("GET", "/slow", "0.0200000", "Answers after a while (?ms=)"),
				endpoint("GET", "/fail", "0.0100000", "Fails, and so costs nothing (?status=)")),
			api(echo, devTwo, "echo", "Echo API", "developer-tools", demoupstream.Echo, "Sends back what it got, on any path",
				endpoint(listing.AnyMethod, listing.AnyPath, "0.0010000", "Anything")),
		},
		Vaults: []vault.Balance{{
			VaultID: vaultID, UserID: Consumer, Network: network, Snapshot: balance, Ledger: 1, LastSyncedAt: madeAt,
		}},
	}
}

// Key is the consumer's key for the API of the printed examples.
func Key(key id.ID, plain string, now time.Time) apikey.Key {
	return apikey.Key{
		ID: key, UserID: Consumer, APIID: weather, Prefix: plain[:apikey.PrefixLength], Hash: apikey.HashOf(plain),
		Scopes: []string{apikey.AllScopes}, CreatedAt: now,
	}
}
