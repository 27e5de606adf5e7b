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

// Curls are the three lines to paste: the market, a paid call, what is left and what it was spent on.
func (r Report) Curls() [3]string {
	return [3]string{
		fmt.Sprintf("curl -s '%s/api/apis'", r.API),
		fmt.Sprintf("curl -si '%s/v1/call/%s%s?city=Quito' -H 'X-Api-Key: %s'", r.Gateway, r.APISlug, r.PaidPath, r.APIKey),
		fmt.Sprintf(`curl -s -w '\n' '%s/api/vault/balance' '%s/api/usage' -H 'Authorization: Bearer %s'`, r.API, r.API, r.ConsumerToken),
	}
}

func (r Report) print(w io.Writer) error {
	lines := r.Curls()
	_, err := fmt.Fprintf(w, `
  Callora is running, with a small marketplace in it.

    REST API and gateway   %s
    API reference          %s
    Upstreams              %s  (weather, datasets, echo: they are part of the demo)
    PostgreSQL             private, in %s

  Three lines to paste into another terminal:

  1. What is on the market
     %s

  2. A paid call: %s USDC from the consumer's 100
     %s

  3. What is left, and what it was spent on
     %s

  Ctrl-C stops everything.

`, r.API, r.API+referencePath, r.Upstream, r.Data, lines[0], strings.TrimRight(r.PriceUSDC, "0"), lines[1], lines[2])
	return err
}
