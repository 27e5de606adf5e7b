package apikey

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestGenerateDrawsASecretThatOnlyItsHashKnows(t *testing.T) {
	t.Parallel()
	plain, prefix, hash, err := Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(plain) != 56 || !strings.HasPrefix(plain, prefix) || len(prefix) != PrefixLength {
		t.Errorf("key of %d with prefix %q", len(plain), prefix)
	}
	k := Key{Prefix: prefix, Hash: hash}
	if !k.Matches(plain) || k.Matches(plain[:55]+"x") || k.Matches("") {
		t.Error("the hash matches the wrong secret")
	}
	if got, ok := PrefixOf(plain); !ok || got != prefix {
		t.Errorf("prefix of the key is %q", got)
	}
	if k.Masked() != prefix+"****************" {
		t.Errorf("shown as %q", k.Masked())
	}
	other, _, _, err := Generate(rand.Reader)
	if err != nil || other == plain {
		t.Errorf("a second key is %q, %v", other, err)
	}
	broken := errors.New("no entropy")
	if _, _, _, err := Generate(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if plain, _, _, _ := Generate(bytes.NewReader(make([]byte, 24))); plain != Mark+strings.Repeat("0", 48) {
		t.Errorf("a key is not its random bits: %q", plain)
	}
}

func TestPrefixOfRefusesOtherShapes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "ck_live_", "ck_live_" + strings.Repeat("a", 47), "ck_test_" + strings.Repeat("a", 48), strings.Repeat("a", 5000)} {
		if _, ok := PrefixOf(s); ok {
			t.Errorf("%.20q has the shape of a key", s)
		}
	}
}

func TestAKeyEndsWhenRevokedOrPastItsGrace(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name string
		key  Key
		want bool
	}{
		{"a fresh key lives", Key{}, false},
		{"a revoked key has ended", Key{RevokedAt: now.Add(-time.Hour)}, true},
		{"in its grace a rotated key lives", Key{ExpiresAt: now.Add(1)}, false},
		{"at the end of its grace it has ended", Key{ExpiresAt: now}, true},
	} {
		if got := tt.key.Ended(now); got != tt.want {
			t.Errorf("%s: ended %v", tt.name, got)
		}
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		scope, method, path string
		want                bool
	}{
		{"*", "DELETE", "/a", true},
		{"read", "GET", "/a", true},
		{"read", "HEAD", "/a", true},
		{"read", "POST", "/a", false},
		{"write", "POST", "/a", true},
		{"write", "OPTIONS", "/a", false},
		{"GET:/a", "GET", "/a", true},
		{"GET:/a", "HEAD", "/a", true},
		{"GET:/a", "GET", "/a/b", false},
		{"GET:/a", "POST", "/a", false},
		{"*:/a/{x}", "PUT", "/a/{x}", true},
		{"POST:*", "POST", "*", true},
		{"POST:*", "GET", "/a", false},
		{"nonsense", "GET", "/a", false},
	} {
		if got := (&Key{Scopes: []string{tt.scope}}).Allows(tt.method, tt.path); got != tt.want {
			t.Errorf("%s allows %s %s: %v", tt.scope, tt.method, tt.path, got)
		}
	}
	if (&Key{}).Allows("GET", "/a") {
		t.Error("a key without scopes opens something")
	}
	for scope, want := range map[string]bool{
		"*": true, "read": true, "write": true, "GET:/a": true, "*:*": true, "PATCH:*": true, "": false, "admin": false, "TRACE:/a": false,
		"get:/a": false, "GET:a": false, "GET:": false, "GET:/a\x00": false, "GET:/\xff": false, "GET:/" + strings.Repeat("a", 600): false,
	} {
		if ValidScope(scope) != want {
			t.Errorf("scope %.20q valid: %v", scope, !want)
		}
	}
}
