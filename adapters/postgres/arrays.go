package postgres

import (
	"database/sql/driver"
	"encoding/binary"
	"strconv"

	"github.com/CalloraOrg/callora-backend/domain/id"
)

// array is a Postgres array of UUIDs or integers as a parameter. It is kept in the form in which the server keeps it, and sent so where
// the connection takes binary parameters, as ours do: reading arrays from text is a seventh of what a batch of usage
// events costs the server. lib/pq's own arrays go through reflection and one string per element.
type array struct {
	of    element
	n     int
	nulls bool
	b     []byte // of each element its size, 4 bytes, and its bytes
}

// element is a type of elements: its number in pg_type, and its size in bytes.
type element struct{ oid, size uint32 }

var (
	uuids = element{2950, 16}
	int2s = element{21, 2}
	int4s = element{23, 4}
	int8s = element{20, 8}
)

const arrayHeader = 20 // bytes

func newIDArray(n int) *array   { return newArray(uuids, n) }
func newIntArray(n int) *array  { return newArray(int8s, n) }
func newInt4Array(n int) *array { return newArray(int4s, n) }
func newInt2Array(n int) *array { return newArray(int2s, n) }

func newArray(of element, n int) *array {
	return &array{of: of, b: make([]byte, arrayHeader, arrayHeader+n*(4+int(of.size)))}
}

func idArrayOf(ids []id.ID) *array {
	a := newIDArray(len(ids))
	for _, u := range ids {
		a.addID(u)
	}
	return a
}

const null = 0xffffffff // the size of NULL

func (a *array) addID(u id.ID) {
	a.n++
	if u.IsZero() {
		a.nulls = true
		a.b = binary.BigEndian.AppendUint32(a.b, null)
		return
	}
	a.b = append(binary.BigEndian.AppendUint32(a.b, 16), u[:]...)
}

func (a *array) addInt(n int64) {
	a.n++
	a.b = binary.BigEndian.AppendUint32(a.b, a.of.size)
	switch a.of {
	case int2s:
		a.b = binary.BigEndian.AppendUint16(a.b, uint16(n))
	case int4s:
		a.b = binary.BigEndian.AppendUint32(a.b, uint32(n))
	default:
		a.b = binary.BigEndian.AppendUint64(a.b, uint64(n))
	}
}

// BinaryValue is what lib/pq sends on a connection that takes binary parameters.
func (a *array) BinaryValue() ([]byte, error) {
	dimensions, flags := 1, 0
	if a.n == 0 {
		dimensions = 0
	}
	if a.nulls {
		flags = 1
	}
	for i, field := range [...]uint32{uint32(dimensions), uint32(flags), a.of.oid, uint32(a.n), 1} {
		binary.BigEndian.PutUint32(a.b[4*i:], field)
	}
	if a.n == 0 {
		return a.b[:12], nil
	}
	return a.b, nil
}

// Value implements driver.Valuer, for all other connections.
func (a *array) Value() (driver.Value, error) { return a.text(), nil }

// text is the array as SQL has it in a literal.
func (a *array) text() string {
	out := append(make([]byte, 0, 2+37*a.n), '{')
	for i, rest := 0, a.b[arrayHeader:]; i < a.n; i++ {
		if i > 0 {
			out = append(out, ',')
		}
		size := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if size == null {
			out = append(out, "NULL"...)
			continue
		}
		switch e := rest[:size]; a.of {
		case uuids:
			out = id.ID(e).AppendTo(out)
		case int2s:
			out = strconv.AppendInt(out, int64(int16(binary.BigEndian.Uint16(e))), 10)
		case int4s:
			out = strconv.AppendInt(out, int64(int32(binary.BigEndian.Uint32(e))), 10)
		default:
			out = strconv.AppendInt(out, int64(binary.BigEndian.Uint64(e)), 10)
		}
		rest = rest[size:]
	}
	return string(append(out, '}'))
}
