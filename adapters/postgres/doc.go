// Package postgres keeps everything this system knows in PostgreSQL (13 or newer).
//
// Each store is an exported type around one *sqlx.DB. Every SQL statement names its columns, every money sum is computed
// by the database in exact numerics and cast back to bigint, and every error leaves as a fault of the domain or wrapped
// with what was being done.
package postgres
