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

const timeText = len("2006-01-02T15:04:05.999999999Z,")

func newTimeArray(n int) *array { return newArray(n * timeText) }

func (a *array) addTime(t time.Time) { a.b = append(t.UTC().AppendFormat(a.b, time.RFC3339Nano), ',') }
