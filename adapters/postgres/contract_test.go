package postgres_test

import (
	"testing"

	"github.com/CalloraOrg/callora-backend/adapters/postgres"
	"github.com/CalloraOrg/callora-backend/ports/portstest"
)

func TestKeysInPostgresKeepTheContract(t *testing.T) {
	t.Parallel()
	portstest.KeysContract(t, func(t *testing.T) portstest.KeysWorld {
		m := openMarket(t)
		keys := postgres.NewKeys(m.db)
		return portstest.KeysWorld{Keys: keys, Lookup: keys, API: m.api.ID, NewID: newID}
	})
}
