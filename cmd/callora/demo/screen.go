package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// referencePath is where a running server shows the contract of /api.
const referencePath = "/api/openapi.yaml"

// Report is what a demo tells when it is ready; with --json it is the one line on stdout.
type Report struct {
	API            string `json:"api"`     // origin of the REST API
	Gateway        string `json:"gateway"` // origin of the gateway: calls go to {gateway}/v1/call/{api_slug}{paid_path}
	APIKey         string `json:"api_key"`
	APISlug        string `json:"api_slug"`
	PaidPath       string `json:"paid_path"`
	PriceUSDC      string `json:"price_usdc"`
	ConsumerToken  string `json:"consumer_token"`
	DeveloperToken string `json:"developer_token"`
	AdminKey       string `json:"admin_key"`
	MetricsKey     string `json:"metrics_key"`
	DatabaseURL    string `json:"database_url"`
	Upstream       string `json:"upstream"`
	Data           string `json:"data"`
}

func (r Report) printJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Curls are the lines to paste: the market, a paid call, what is left and what it was spent on.
func (r Report) Curls() [3]string {
	return [3]string{
		fmt.Sprintf("curl -s '%s/api/apis'", r.API),
		fmt.Sprintf("curl -si '%s/v1/call/%s%s?city=Quito' -H 'X-Api-Key: %s'", r.Gateway, r.APISlug, r.PaidPath, r.APIKey),
		fmt.Sprintf(`curl -s -w '\n' '%s/api/vault/balance' '%s/api/usage' -H 'Authorization: Bearer %s'`, r.API, r.API, r.ConsumerToken),
	}
}

// The user's own API, as the printed lines publish it.
const (
	OwnAPI  = "http://localhost:8080"
	OwnSlug = "mine"
)

// Publish is the line that puts OwnAPI on the market, on every path and method.
func (r Report) Publish() string {
	return fmt.Sprintf(`curl -s '%s/api/apis' -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"name": "Mine", "slug": "%s", `+
		`"base_url": "%s", "category": "tools", "endpoints": [{"method": "*", "path": "*", "price_per_call_usdc": "0.001"}]}'`,
		r.API, r.DeveloperToken, OwnSlug, OwnAPI)
}

// TakeKey is the line that takes a key for the published API.
func (r Report) TakeKey() string {
	return fmt.Sprintf("curl -s -X POST '%s/api/apis/%s/keys' -H 'Authorization: Bearer %s'", r.API, OwnSlug, r.ConsumerToken)
}

func (r Report) print(w io.Writer) error {
	lines := r.Curls()
	_, err := fmt.Fprintf(w, `
  Callora is running, with a small marketplace in it.

    REST API and gateway   %s
    API reference          %s
    Upstreams              %s  (weather, datasets, echo: they are part of the demo)
    PostgreSQL             private, in %s
    The consumer's token   %s
    The developer's token  %s

  Lines to paste into another terminal:

  1. What is on the market
     %s

  2. A paid call: %s USDC from the consumer's 100
     %s

  3. What is left, and what it was spent on
     %s

  Your own API behind the gateway: have it run at %s, or change that, and paste

  4. Publish it, as the developer
     %s

  5. Take a key for it, as the consumer; calls with that key in X-Api-Key go to %s/v1/call/%s/ and your API's paths
     %s

  Ctrl-C stops everything.

`, r.API, r.API+referencePath, r.Upstream, r.Data, r.ConsumerToken, r.DeveloperToken,
		lines[0], strings.TrimRight(r.PriceUSDC, "0"), lines[1], lines[2], OwnAPI, r.Publish(), r.Gateway, OwnSlug, r.TakeKey())
	return err
}
