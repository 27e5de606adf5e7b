// Package db is the database's schema: goose migrations, embedded, and the commands that move a database along them.
package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var files embed.FS

// Schema errors. Match with errors.Is.
var (
	ErrOld = errors.New("the database schema is older than this program")
	ErrNew = errors.New("the database schema is newer than this program")

	// ErrRefused is a step down that would lose money. The refusals of the SQL begin with this word.
	ErrRefused = errors.New("refused")
)

// askTimeout bounds questions about the schema. Migrations take the time they need.
const askTimeout = 30 * time.Second

// Step is one migration and whether it is applied.
type Step struct {
	Version int64
	Name    string
	Applied bool
}

// Up applies all migrations that are missing and returns how many. Of programs that start at once, one migrates and the
// others wait for it.
func Up(ctx context.Context, db *sql.DB) (int, error) {
	p, err := provider(db)
	if err != nil {
		return 0, err
	}
	done, err := p.Up(ctx)
	if err != nil {
		return len(done), fmt.Errorf("migrate up: %w", err)
	}
	return len(done), nil
}

// Down takes the last migration back, or all of them, and returns how many. A step that would lose money refuses in its
// SQL (ErrRefused); then the steps before it, which lost nothing, are applied again, so that nothing has changed.
func Down(ctx context.Context, db *sql.DB, all bool) (int, error) {
	p, err := provider(db)
	if err != nil {
		return 0, err
	}
	if !all {
		_, err = p.Down(ctx)
		switch {
		case errors.Is(err, goose.ErrNoNextVersion):
			return 0, nil
		case err != nil:
			return 0, fmt.Errorf("migrate down: %w", refusal(err))
		}
		return 1, nil
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the schema's version: %w", err)
	}
	done, err := p.DownTo(ctx, 0)
	if err == nil {
		return len(done), nil
	}
	err = fmt.Errorf("migrate down: %w", refusal(err))
	if _, again := p.UpTo(ctx, at); again != nil {
		return 0, errors.Join(err, fmt.Errorf("apply again what was taken back (`callora migrate up` does it): %w", again))
	}
	return 0, err
}

// refusal is the sentence alone when a migration's SQL has refused; the rest of the error is that SQL.
func refusal(err error) error {
	var failed *goose.PartialError
	refused := pq.As(err, pqerror.RaiseException)
	if refused == nil || !errors.As(err, &failed) {
		return err
	}
	return fmt.Errorf("version %d %w%s", failed.Failed.Source.Version, ErrRefused, strings.TrimPrefix(refused.Message, ErrRefused.Error()))
}

// Status lists all migrations that this program knows.
func Status(ctx context.Context, db *sql.DB) ([]Step, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	found, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of migrations: %w", err)
	}
	steps := make([]Step, len(found))
	for i, s := range found {
		steps[i] = Step{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied}
	}
	return steps, nil
}

// Wanted returns the version of the schema that this program needs.
func Wanted() (int64, error) {
	names, err := fs.Glob(files, "migrations/*.sql") // in the order of their numbers
	if err != nil || len(names) == 0 {
		return 0, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return goose.NumericComponent(names[len(names)-1])
}

// Version returns the version the database is at and the one this program wants. An empty database is at 0.
func Version(ctx context.Context, db *sql.DB) (at, want int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	p, err := provider(db)
	if err != nil {
		return 0, 0, err
	}
	at, want, err = p.GetVersions(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	return at, want, nil
}

// Check returns nil when the schema is the one this program wants. A newer one (ErrNew) may still serve while a new
// release rolls out; an older one (ErrOld) may not.
func Check(ctx context.Context, db *sql.DB) error {
	at, want, err := Version(ctx, db)
	switch {
	case err != nil:
		return err
	case at < want:
		return fmt.Errorf("%w: it is at version %d, version %d is needed; run `callora migrate up`", ErrOld, at, want)
	case at > want:
		return fmt.Errorf("%w: it is at version %d, this program knows up to %d", ErrNew, at, want)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120)) // tries each second, for two minutes
	if err != nil {
		return nil, fmt.Errorf("make the migration lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, migrations, goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}
