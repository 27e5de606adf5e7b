package main

import "slices"

const (
	charging = "./app/charging"
	stores   = "./adapters/postgres"
	gateway  = "./adapters/gateway"
	wire     = "./adapters/gateway/upstream"
	contract = "TestPostgresKeepsTheChargingContract"
	meeting  = "TestWhatMeetsTheExpiryPassFindsTheLeaseClosed"
	node     = "./cmd/callora"
	rest     = "./api"
)

// guards are all rules that must be held, by the room they are in.
var guards = slices.Concat(ofAmounts, ofCharging, ofStores, ofSchema, ofGateway, ofNode)
