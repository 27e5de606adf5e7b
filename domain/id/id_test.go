package id

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTextRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var u ID
		copy(u[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes"))
		if back, err := Parse(u.String()); err != nil || back != u {
			t.Fatalf("%s comes back as %s, %v", u, back, err)
		}
		doc, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		var back ID
		if err := json.Unmarshal(doc, &back); err != nil || back != u {
			t.Fatalf("%s comes back as %s, %v", doc, back, err)
		}
	})
}

func TestParseRefusesWhatIsNoUUID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "x", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5bb", "0190a1b2xc3d4-7e5f-8a9b-0c1d2e3f4a5b",
		"0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5g", "{190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", "0190a1b2c3d47e5f8a9b0c1d2e3f4a5b0000",
	} {
		if _, err := Parse(s); !errors.Is(err, ErrSyntax) {
			t.Errorf("Parse(%q): %v", s, err)
		}
	}
	if u, err := Parse("0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B"); err != nil || u.String() != "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" {
		t.Errorf("upper case is read as %s, %v", u, err)
	}
}

func TestTimeIsInTheID(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 10, 30, 0, 123_000_000, time.UTC)
	if got := FirstAt(at).Time(); !got.Equal(at) {
		t.Errorf("time %s, want %s", got, at)
	}
	if FirstAt(time.Unix(-5, 0)) != (ID{}) {
		t.Error("a time before 1970 has an id")
	}
}

func TestColumnsRoundTrip(t *testing.T) {
	t.Parallel()
	u := MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
	v, err := u.Value()
	if err != nil || v != u.String() {
		t.Errorf("value %v, %v", v, err)
	}
	for _, src := range []any{u.String(), []byte(u.String())} {
		var back ID
		if err := back.Scan(src); err != nil || back != u {
			t.Errorf("scan %v: %s, %v", src, back, err)
		}
	}
	back := u
	if err := back.Scan(nil); err != nil || !back.IsZero() {
		t.Errorf("NULL is %s, %v", back, err)
	}
	if v, err := (ID{}).Value(); v != nil || err != nil {
		t.Errorf("no id is stored as %v, %v", v, err)
	}
	if back.Scan(7) == nil || back.Scan("x") == nil {
		t.Error("nonsense was scanned")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse of nonsense does not panic")
		}
	}()
	MustParse("x")
}

func TestIDsSortAsPostgresSortsThem(t *testing.T) {
	t.Parallel()
	low, high := MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"), MustParse("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5c")
	if !low.Before(high) || high.Before(low) || low.Before(low) {
		t.Error("the order is wrong")
	}
}
