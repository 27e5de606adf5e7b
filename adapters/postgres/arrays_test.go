package postgres

import (
	"math"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/CalloraOrg/callora-backend/db/dbtest"
	"github.com/CalloraOrg/callora-backend/domain/id"
)

func TestAnArrayIsTheSameInBothForms(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t)
	pools := map[string]*sqlx.DB{}
	for name, binary := range map[string]string{"text": "no", "binary": "yes"} {
		db, err := sqlx.ConnectContext(t.Context(), "postgres", address+"&binary_parameters="+binary)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		pools[name] = db
	}
	ids := newIDArray(0)
	for _, u := range []id.ID{{0: 1, 15: 0xff}, {}, {7: 0x80}} {
		ids.addID(u)
	}
	ints := func(a *array, values ...int64) *array {
		for _, n := range values {
			a.addInt(n)
		}
		return a
	}
	for name, c := range map[string]struct {
		array *array
		as    string
		text  string
	}{
		"uuids":     {ids, "uuid[]", "{01000000-0000-0000-0000-0000000000ff,NULL,00000000-0000-0080-0000-000000000000}"},
		"no uuids":  {newIDArray(3), "uuid[]", "{}"},
		"bigints":   {ints(newIntArray(1), math.MinInt64, -1, 0, math.MaxInt64), "bigint[]", "{-9223372036854775808,-1,0,9223372036854775807}"},
		"ints":      {ints(newInt4Array(9), math.MinInt32, 7, math.MaxInt32), "int[]", "{-2147483648,7,2147483647}"},
		"smallints": {ints(newInt2Array(0), -32768, 200, 32767), "smallint[]", "{-32768,200,32767}"},
	} {
		if got := c.array.text(); got != c.text {
			t.Errorf("%s: text %s, want %s", name, got, c.text)
		}
		for form, db := range pools {
			for range 2 { // an argument may be sent again
				var got string
				if err := db.GetContext(t.Context(), &got, "SELECT $1::"+c.as+"::text", c.array); err != nil || got != c.text {
					t.Errorf("%s as %s: %s, %v; want %s", name, form, got, err, c.text)
				}
			}
			var sent int
			if err := db.GetContext(t.Context(), &sent, "SELECT count(*) FROM unnest($1::"+c.as+") WITH ORDINALITY", c.array); err != nil || sent != c.array.n {
				t.Errorf("%s as %s: %d elements, %v", name, form, sent, err)
			}
		}
	}
}
