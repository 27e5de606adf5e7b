// Package id holds the identifier of every record: a UUIDv7 (RFC 9562 5.7), so that ids sort by the time they were made.
package id

import (
	"bytes"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// ErrSyntax means a text is not a UUID in its 36-character form.
var ErrSyntax = errors.New("not a UUID")

// ID is a UUID. The zero value is no id; see IsZero.
type ID [16]byte

// Parse reads the 36-character form, in either case.
func Parse(s string) (ID, error) {
	var u ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, ErrSyntax
	}
	for i, at := range [16]int{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34} {
		if _, err := hex.Decode(u[i:i+1], []byte(s[at:at+2])); err != nil {
			return ID{}, ErrSyntax
		}
	}
	return u, nil
}

// MustParse is Parse for constants in tests; it panics on an error.
func MustParse(s string) ID {
	u, err := Parse(s)
	if err != nil {
		panic(fmt.Sprintf("%q: %v", s, err))
	}
	return u
}

// IsZero reports whether u is no id.
func (u ID) IsZero() bool { return u == ID{} }

// Before reports whether u sorts before v, here as in Postgres. UUIDv7s sort by the millisecond they were made.
func (u ID) Before(v ID) bool { return bytes.Compare(u[:], v[:]) < 0 }

// Time returns the millisecond a UUIDv7 was made.
func (u ID) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(u[:8]) >> 16)).UTC()
}

// FirstAt returns the smallest UUIDv7-shaped value of a millisecond: the lower bound of all ids made at t or later.
func FirstAt(t time.Time) ID {
	var u ID
	binary.BigEndian.PutUint64(u[:8], uint64(max(t.UnixMilli(), 0))<<16)
	return u
}

// AppendTo appends the 36-character form to b.
func (u ID) AppendTo(b []byte) []byte {
	var text [36]byte
	hex.Encode(text[0:8], u[0:4])
	hex.Encode(text[9:13], u[4:6])
	hex.Encode(text[14:18], u[6:8])
	hex.Encode(text[19:23], u[8:10])
	hex.Encode(text[24:36], u[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(b, text[:]...)
}

// String returns the 36-character form in lower case.
func (u ID) String() string { return string(u.AppendTo(make([]byte, 0, 36))) }

// MarshalText writes the 36-character form.
func (u ID) MarshalText() ([]byte, error) { return u.AppendTo(nil), nil }

// UnmarshalText reads what Parse accepts.
func (u *ID) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// Value stores the id as a UUID; the zero id is NULL.
func (u ID) Value() (driver.Value, error) {
	if u.IsZero() {
		return nil, nil
	}
	return u.String(), nil
}

// Scan reads a UUID column; NULL is the zero id.
func (u *ID) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*u = ID{}
		return nil
	case []byte:
		return u.UnmarshalText(v)
	case string:
		return u.UnmarshalText([]byte(v))
	}
	return fmt.Errorf("%T: %w", src, ErrSyntax)
}
