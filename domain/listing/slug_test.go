package listing

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestASlugIsMadeFromANameOrIsAPlainOne(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"Weather API": "weather-api", "  --A_b!!c--  ": "a-b-c", "Météo 2": "m-t-o-2", "天気": "api", "": "api", "---": "api",
		strings.Repeat("ab ", 40):              strings.TrimSuffix(strings.Repeat("ab-", 27), "-"),
		"01970a3c-5b7e-7cc1-8a32-0d9d3b6f1a01": "api", // reads as an id
	} {
		if got := SlugOf(name, MaxSlug); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(3, MaxSlug).Draw(t, "most")
		if s := SlugOf(rapid.String().Draw(t, "name"), most); !ValidSlug(s) || len(s) > most {
			t.Fatalf("%q", s)
		}
	})
}

func TestWhatIsNoSlug(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "-", "a-", "-a", "a--b", "A", "a b", "a/b", "é", "..", strings.Repeat("a", 81), "01970A3C-5b7e-7cc1-8a32-0d9d3b6f1a01", "01970a3c-5b7e-7cc1-8a32-0d9d3b6f1a01"} {
		if ValidSlug(s) {
			t.Errorf("%q is taken for a slug", s)
		}
	}
	for _, s := range []string{"a", "7", "a-b-1", strings.Repeat("a", 80)} {
		if !ValidSlug(s) {
			t.Errorf("%q is not taken for a slug", s)
		}
	}
}
