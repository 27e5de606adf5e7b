package postgres

import (
	"strconv"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// array writes the text form of a Postgres array of values that need no quotes. lib/pq's own arrays go through reflection
// and one string per element, which shows at tens of thousands of rows a second.
type array struct{ b []byte }

const idText = 37 // a UUID and its comma

func newIDArray(n int) *array  { return newArray(n * idText) }
func newIntArray(n int) *array { return newArray(n * 8) }
func newArray(size int) *array { return &array{append(make([]byte, 0, size+2), '{')} }

func idArrayOf(ids []id.ID) *array {
	a := newIDArray(len(ids))
	for _, u := range ids {
		a.addID(u)
	}
	return a
}

func (a *array) addID(u id.ID) {
	if u.IsZero() {
		a.b = append(a.b, "NULL,"...)
		return
	}
	a.b = append(u.AppendTo(a.b), ',')
}

func (a *array) addInt(n int64) { a.b = append(strconv.AppendInt(a.b, n, 10), ',') }

func (a *array) text() string {
	if last := len(a.b) - 1; a.b[last] == ',' {
		a.b = a.b[:last]
	}
	return string(append(a.b, '}'))
}
