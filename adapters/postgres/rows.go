package postgres

import (
	"database/sql"
	"time"
)

// toDomain turns each row into what it stands for.
func toDomain[Row, Noun any](rows []Row, convert func(Row) Noun) []Noun {
	nouns := make([]Noun, len(rows))
	for i, r := range rows {
		nouns[i] = convert(r)
	}
	return nouns
}

// nullTime stores the zero time as NULL, timeOf reads it back; all times are UTC inside.
func nullTime(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

func timeOf(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// timeArray writes the text of a timestamptz[].
type timeArray struct{ b []byte }

const timeText = len("2006-01-02T15:04:05.999999999Z,")

func newTimeArray(n int) *timeArray { return &timeArray{append(make([]byte, 0, n*timeText+2), '{')} }

func (a *timeArray) addTime(t time.Time) {
	if len(a.b) > 1 {
		a.b = append(a.b, ',')
	}
	a.b = t.UTC().AppendFormat(a.b, time.RFC3339Nano)
}

func (a *timeArray) text() string { return string(append(a.b, '}')) }
