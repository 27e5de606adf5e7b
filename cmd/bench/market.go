package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"strconv"
	"strings"

	"github.com/lib/pq"

	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/id"
	"github.com/CalloraOrg/callora-backend/domain/money"
	"github.com/CalloraOrg/callora-backend/domain/vault"
)

// market is the size of a marketplace. Key number k opens API k, modulo their number; the upstreams take turns in the
// APIs, and a consumer has as many keys, one after the other, as there are upstreams.
type market struct {
	apis, consumers, keys int
}

const (
	developers   = 20
	priceStroops = 100
	balance      = int64(1) << 50 // of each vault: nobody runs short here
	plainSlug    = "plain-"       // of an API whose upstream is reached over plain HTTP
	secureSlug   = "secure-"      // over TLS
	securePrefix = "/v1/call/" + secureSlug
	network      = vault.Testnet
)

// insert fills an empty database with a marketplace whose APIs live at upstreams, and returns those who may call.
func (m market) insert(ctx context.Context, db *sql.DB, upstreams ...string) ([]buyer, error) {
	p := inserter{ctx: ctx, db: db}
	sellers := ids(developers)
	p.run("developers", `
		WITH u AS (INSERT INTO users (id) SELECT unnest($1::uuid[]))
		INSERT INTO developers (id, user_id, name) SELECT x, x, 'Developer' FROM unnest($1::uuid[]) x`, sellers)

	apis := ids(m.apis)
	slugs := make([]string, m.apis)
	owners, bases := make(pq.StringArray, m.apis), make(pq.StringArray, m.apis)
	for i := range apis {
		owners[i], bases[i] = sellers[i%developers], upstreams[i%len(upstreams)]
		slugs[i] = plainSlug + strconv.Itoa(i)
		if strings.HasPrefix(bases[i], "https:") {
			slugs[i] = secureSlug + strconv.Itoa(i)
		}
	}
	p.run("APIs", `
		INSERT INTO apis (id, developer_id, slug, name, base_url, category, status)
		SELECT id, developer, slug, slug, base, 'finance', 'active'
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) a (id, developer, slug, base)`,
		apis, owners, pq.Array(slugs), bases)
	for _, e := range shapes {
		p.run("endpoints", `
			INSERT INTO api_endpoints (id, api_id, method, path, price_stroops)
			SELECT id, api, $3, $4, $5 FROM unnest($1::uuid[], $2::uuid[]) e (id, api)`,
			ids(m.apis), apis, e.method, e.path, priceStroops)
	}

	consumers := ids(m.consumers)
	p.run("consumers", `
		WITH u AS (INSERT INTO users (id) SELECT unnest($1::uuid[]))
		INSERT INTO vaults (id, user_id, network, contract_id, balance_snapshot)
		SELECT x, x, $2, '', $3 FROM unnest($1::uuid[]) x`, consumers, string(network), balance)

	return m.insertKeys(&p, slugs, apis, consumers, len(upstreams))
}

func (m market) insertKeys(p *inserter, slugs []string, apis, consumers pq.StringArray, each int) ([]buyer, error) {
	buyers := make([]buyer, m.keys)
	users, opens, prefixes := make(pq.StringArray, m.keys), make(pq.StringArray, m.keys), make(pq.StringArray, m.keys)
	hashes := make(pq.ByteaArray, m.keys)
	charge := money.FromStroops(priceStroops).String()
	taken := make(map[string]bool, m.keys)
	for k := range m.keys {
		plain, prefix, hash, err := apikey.Generate(rand.Reader)
		for err == nil && taken[prefix] { // of ten thousand, two are alike once in eighty runs
			plain, prefix, hash, err = apikey.Generate(rand.Reader)
		}
		if err != nil {
			return nil, err
		}
		taken[prefix] = true
		users[k], opens[k] = consumers[k/each%m.consumers], apis[k%m.apis]
		prefixes[k], hashes[k] = prefix, hash[:]
		slug := slugs[k%m.apis]
		buyers[k] = buyer{slug: slug, key: plain, charge: charge, secure: strings.HasPrefix(slug, secureSlug)}
	}
	p.run("keys", `
		INSERT INTO api_keys (id, user_id, api_id, prefix, key_hash, scopes)
		SELECT id, usr, api, prefix, hash, '{*}' FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bytea[])
			k (id, usr, api, prefix, hash)`, ids(m.keys), users, opens, prefixes, hashes)
	return buyers, p.err
}

func ids(n int) pq.StringArray {
	out := make(pq.StringArray, n)
	for i := range out {
		out[i] = newID().String()
	}
	return out
}

func newID() id.ID { return system.NewID() }

// inserter runs statements until one fails.
type inserter struct {
	ctx context.Context
	db  *sql.DB
	err error
}

func (p *inserter) run(what, statement string, args ...any) {
	if p.err != nil {
		return
	}
	if _, err := p.db.ExecContext(p.ctx, statement, args...); err != nil {
		p.err = fmt.Errorf("insert %s: %w", what, err)
	}
}
