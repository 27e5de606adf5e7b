package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/CalloraOrg/callora-backend/domain/apikey"
	"github.com/CalloraOrg/callora-backend/domain/fault"
	"github.com/CalloraOrg/callora-backend/domain/money"
)

func TestARefusalBecomesTheFaultItStandsFor(t *testing.T) {
	t.Parallel()
	code := func(c pqerror.Code) error {
		return fmt.Errorf("commit: %w", &pq.Error{Code: c, Constraint: "api_keys_prefix_key"})
	}
	for _, tc := range []struct {
		name string
		give error
		want error
		kind fault.Kind
	}{
		{"broken constraint", code(pqerror.UniqueViolation), apikey.ErrPrefixTaken, fault.Conflict},
		{"unknown constraint", &pq.Error{Code: pqerror.UniqueViolation, Constraint: "other"}, nil, fault.Internal},
		{"same name, not an integrity error", code(pqerror.UndefinedTable), nil, fault.Internal},
		{"sum outside 64 bits", code(pqerror.NumericValueOutOfRange), money.ErrRange, fault.Internal},
		{"NUL in a text", code(pqerror.CharacterNotInRepertoire), ErrText, fault.Invalid},
		{"shutdown", code(pqerror.AdminShutdown), ErrUnavailable, fault.Unavailable},
		{"starting up", code(pqerror.CannotConnectNow), ErrUnavailable, fault.Unavailable},
		{"too many connections", code(pqerror.TooManyConnections), ErrUnavailable, fault.Unavailable},
		{"deadlock to the end", code(pqerror.TRDeadlockDetected), ErrUnavailable, fault.Unavailable},
		{"standby", code(pqerror.ReadOnlySQLTransaction), ErrUnavailable, fault.Unavailable},
		{"dial refused", &net.OpError{Op: "dial", Err: errors.New("refused")}, ErrUnavailable, fault.Unavailable},
		{"dial in vain", &net.OpError{Op: "dial", Err: context.DeadlineExceeded}, ErrUnavailable, fault.Unavailable},
		{"silent network", &net.OpError{Op: "read", Err: errSilent{}}, ErrUnavailable, fault.Unavailable},
		{"bad connection", driver.ErrBadConn, ErrUnavailable, fault.Unavailable},
		{"closed connection", sql.ErrConnDone, ErrUnavailable, fault.Unavailable},
		{"cut connection", io.ErrUnexpectedEOF, ErrUnavailable, fault.Unavailable},
		{"caller hung up", fmt.Errorf("query: %w", context.Canceled), context.Canceled, fault.Internal},
		{"a fault stays itself", apikey.ErrRevoked, apikey.ErrRevoked, fault.Conflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := failed("do it", tc.give, keyRefusals)
			if tc.want != nil && !errors.Is(got, tc.want) {
				t.Errorf("%v is not %v", got, tc.want)
			}
			if !errors.Is(got, tc.give) && pq.As(got) == nil {
				t.Errorf("%v lost its cause", got)
			}
			if kind := fault.KindOf(got); kind != tc.kind {
				t.Errorf("kind = %v, want %v", kind, tc.kind)
			}
		})
	}
	if err := failed("do it", nil, keyRefusals); err != nil {
		t.Errorf("no error became %v", err)
	}
}
