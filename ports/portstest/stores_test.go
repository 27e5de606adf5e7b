package portstest

import "testing"

func TestKeysInMemoryKeepTheContract(t *testing.T) {
	t.Parallel()
	KeysContract(t, func(*testing.T) KeysWorld {
		keys := NewKeys()
		return KeysWorld{Keys: keys, Lookup: keys, API: newID(), NewID: newID}
	})
}
