package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

// Faults of the store itself.
var (
	// ErrUnavailable means that Postgres is away, or too busy, for now.
	ErrUnavailable = fault.New(fault.Unavailable, "SERVICE_UNAVAILABLE", "Service Unavailable: please try again in a moment")
	// ErrText means that a text holds what Postgres cannot keep, so nothing stored can match it either.
	ErrText = fault.New(fault.Invalid, "VALIDATION_ERROR", "Text must be valid UTF-8 without NUL characters")
)

// refusals are the faults that the constraints of a statement stand for, by their names.
type refusals map[string]*fault.Error

// failed says what was being done when err came, nil for nil. What Postgres refused becomes the fault it stands for: a
// broken constraint the one in byConstraint, a sum outside 64 bits money.ErrRange, an absent server ErrUnavailable. The
// original error stays in the chain, for the log.
func failed(doing string, err error, byConstraint refusals) error {
	if err == nil {
		return nil
	}
	if e := pq.As(err); e != nil {
		if f := byConstraint[e.Constraint]; f != nil && e.Code.Class() == pqerror.ClassIntegrityConstraintViolation {
			return fmt.Errorf("%s: %w", doing, f.Because(err))
		}
		switch e.Code {
		case pqerror.CharacterNotInRepertoire, pqerror.UntranslatableCharacter:
			return fmt.Errorf("%s: %w", doing, ErrText.Because(err))
		case pqerror.NumericValueOutOfRange:
			return fmt.Errorf("%s: %w: %w", doing, money.ErrRange, err)
		}
	}
	if away(err) {
		return fmt.Errorf("%s: %w", doing, ErrUnavailable.Because(err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// away reports whether err says that the server cannot serve now but may later. A context that ended says nothing about
// the server, unless it was the network that had not answered by then.
func away(err error) bool {
	var unreachable *net.OpError
	if errors.Is(err, context.Canceled) {
		return false
	}
	if errors.As(err, &unreachable) {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if e := pq.As(err); e != nil {
		switch e.Code.Class() {
		case pqerror.ClassConnectionException, pqerror.ClassInsufficientResources, pqerror.ClassTransactionRollback:
			return true
		}
		switch e.Code {
		case pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow, pqerror.ReadOnlySQLTransaction:
			return true
		}
		return false
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
