package main

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
	seedConsumer  = id.MustParse("01980000-0000-7000-8000-000000000001")
	seedSellerOne = id.MustParse("01980000-0000-7000-8000-000000000002")
	seedSellerTwo = id.MustParse("01980000-0000-7000-8000-000000000003")
	seedDevOne    = id.MustParse("01980000-0000-7000-8000-000000000011")
	seedDevTwo    = id.MustParse("01980000-0000-7000-8000-000000000012")
	seedWeather   = id.MustParse("01980000-0000-7000-8000-000000000021")
	seedData      = id.MustParse("01980000-0000-7000-8000-000000000022")
	seedEcho      = id.MustParse("01980000-0000-7000-8000-000000000023")
	seedVault     = id.MustParse("01980000-0000-7000-8000-000000000031")
	seedKey       = id.MustParse("01980000-0000-7000-8000-000000000041")
	seedTime      = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// What the printed examples call, and what it costs.
const (
	paidSlug = "weather"
	paidPath = "/forecast"
)

var (
	paidPrice   = money.MustParse("0.0100000")
	seedBalance = money.MustParse("100")
)

// market is the marketplace that demo and seed start from. Its APIs are served by a demoupstream at upstream.
func market(upstream string, network vault.Network) postgres.Seed {
	api := func(u, developer id.ID, slug, name, category, base, description string, endpoints ...listing.Endpoint) listing.API {
		for i := range endpoints {
			e := &endpoints[i]
			e.ID, e.APIID, e.CreatedAt, e.UpdatedAt = u, u, seedTime, seedTime
			e.ID[10] = byte(i + 1) // the API's id with the endpoint's number in it
		}
		return listing.API{
			ID: u, DeveloperID: developer, Slug: slug, Name: name, Description: description, BaseURL: upstream + base,
			Category: category, Status: listing.Active, CreatedAt: seedTime, UpdatedAt: seedTime, Endpoints: endpoints,
		}
	}
	endpoint := func(method, path, price, description string) listing.Endpoint {
		return listing.Endpoint{Method: method, Path: path, Price: money.MustParse(price), Description: description}
	}
	return postgres.Seed{
		Users: []postgres.SeedUser{{ID: seedConsumer}, {ID: seedSellerOne}, {ID: seedSellerTwo}},
		Developers: []listing.Developer{
			{ID: seedDevOne, UserID: seedSellerOne, Name: "Nimbus Weather", Website: "https://nimbus.example", Description: "Forecasts for everybody", Category: "data"},
			{ID: seedDevTwo, UserID: seedSellerTwo, Name: "Corpus Labs", Website: "https://corpus.example", Description: "Data sets and tools", Category: "developer-tools"},
		},
		APIs: []listing.API{
			api(seedWeather, seedDevOne, paidSlug, "Weather API", "weather", demoupstream.Weather, "Forecasts and live readings",
				endpoint("GET", paidPath, paidPrice.String(), "Forecast for one city (?city=)"),
				endpoint("GET", "/forecast/{city}", "0.0150000", "Forecast by path"),
				endpoint("GET", "/stream", "0.0200000", "Live readings as server-sent events")),
			api(seedData, seedDevTwo, "datasets", "Datasets API", "data", demoupstream.Data, "Large downloads, and the ways an upstream can misbehave",
				endpoint("GET", "/export", "0.0500000", "A large CSV (?mb=)"),
				endpoint("GET", "/slow", "0.0200000", "Answers after a while (?ms=)"),
				endpoint("GET", "/fail", "0.0100000", "Fails, and so costs nothing (?status=)")),
			api(seedEcho, seedDevTwo, "echo", "Echo API", "developer-tools", demoupstream.Echo, "Sends back what it got, on any path",
				endpoint(listing.AnyMethod, listing.AnyPath, "0.0010000", "Anything")),
		},
		Vaults: []vault.Balance{{
			VaultID: seedVault, UserID: seedConsumer, Network: network, Snapshot: seedBalance, Ledger: 1, LastSyncedAt: seedTime,
		}},
	}
}

// marketKey is the consumer's key for the API of the printed examples.
func marketKey(key id.ID, plain string, now time.Time) apikey.Key {
	return apikey.Key{
		ID: key, UserID: seedConsumer, APIID: seedWeather, Prefix: plain[:apikey.PrefixLength], Hash: apikey.HashOf(plain),
		Scopes: []string{apikey.AllScopes}, CreatedAt: now,
	}
}
