package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// dayFacts is what a day's rows add up to.
type dayFacts struct {
	Calls         int64  `db:"calls"`
	Amount        int64  `db:"amount"`
	Digest        string `db:"digest"`
	FreeCalls     int64  `db:"free_calls"`
	FreeDigest    string `db:"free_digest"`
	RevenueRows   int64  `db:"revenue_rows"`
	Revenue       int64  `db:"revenue"`
	RevenueDigest string `db:"revenue_digest"`
}

// checkpoint is a sealed day.
type checkpoint struct {
	Day      time.Time `db:"day"`
	SealedAt time.Time `db:"sealed_at"`
	dayFacts
	Chain []byte `db:"chain"`
}

func (c *checkpoint) name() string { return c.Day.Format(time.DateOnly) }

// link returns what the chain must be for the checkpoint behind another.
func (c *checkpoint) link(before []byte) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%x %s %d %+v", before, c.name(), c.SealedAt.UnixMicro(), c.dayFacts))
	return sum[:]
}

// differs says in which facts the rows found are not the ones sealed; "" for none. Free calls may come late, from streams
// that began that day, and carry no money: more of them is only worth a note.
func (c *checkpoint) differs(found dayFacts) (wrong, note string) {
	switch {
	case found.Calls != c.Calls || found.Amount != c.Amount:
		wrong = fmt.Sprintf("%d charged calls of %s, sealed were %d of %s", found.Calls, usdc(found.Amount), c.Calls, usdc(c.Amount))
	case found.Digest != c.Digest:
		wrong = "a charged call is not what was sealed (the sums are)"
	case found.RevenueRows != c.RevenueRows || found.Revenue != c.Revenue:
		wrong = fmt.Sprintf("%d rows of revenue of %s, sealed were %d of %s", found.RevenueRows, usdc(found.Revenue), c.RevenueRows, usdc(c.Revenue))
	case found.RevenueDigest != c.RevenueDigest:
		wrong = "a row of revenue is not what was sealed (the sums are)"
	case found.FreeCalls > c.FreeCalls:
		note = fmt.Sprintf("%s: %d free calls more than when it was sealed", c.name(), found.FreeCalls-c.FreeCalls)
	case found.FreeCalls < c.FreeCalls:
		wrong = fmt.Sprintf("%d free calls, sealed were %d", found.FreeCalls, c.FreeCalls)
	case found.FreeDigest != c.FreeDigest:
		wrong = "a free call is not what was sealed"
	}
	return wrong, note
}

// checkpoints are the sealed days in order, and the first of them that is not as it was written, from where on nothing is
// trusted.
type checkpoints struct {
	sealed []checkpoint
	broken string // its day
}

func loadCheckpoints(ctx context.Context, db *sqlx.DB) (checkpoints, error) {
	var all []checkpoint
	err := db.SelectContext(ctx, &all, `SELECT * FROM audit_checkpoints ORDER BY day`)
	if err != nil {
		return checkpoints{}, fmt.Errorf("read the checkpoints: %w", err)
	}
	var before []byte
	for i := range all {
		if !sameBytes(all[i].Chain, all[i].link(before)) {
			return checkpoints{sealed: all[:i], broken: all[i].name()}, nil
		}
		before = all[i].Chain
	}
	return checkpoints{sealed: all}, nil
}

func sameBytes(a, b []byte) bool { return string(a) == string(b) }

func (c *checkpoints) last() *checkpoint {
	if len(c.sealed) == 0 {
		return nil
	}
	return &c.sealed[len(c.sealed)-1]
}

func (c *checkpoints) chain() []byte {
	if l := c.last(); l != nil {
		return l.Chain
	}
	return nil
}

// errSealedBeside means that another audit has sealed the day meanwhile.
var errSealedBeside = errors.New("another audit seals at the same time")

// seal writes the next checkpoint.
func (c *checkpoints) seal(ctx context.Context, db *sqlx.DB, next checkpoint) error {
	next.Chain = next.link(c.chain())
	done, err := db.NamedExecContext(ctx, `INSERT INTO audit_checkpoints VALUES (:day, :sealed_at, :calls, :amount, :digest, :free_calls,
		:free_digest, :revenue_rows, :revenue, :revenue_digest, :chain) ON CONFLICT DO NOTHING`, next)
	if err != nil {
		return fmt.Errorf("seal %s: %w", next.name(), err)
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return errors.Join(errSealedBeside, err)
	}
	c.sealed = append(c.sealed, next)
	return nil
}

// mayNotWrite reports that the role or the server only reads.
func mayNotWrite(err error) bool {
	return pq.As(err, pqerror.InsufficientPrivilege, pqerror.ReadOnlySQLTransaction) != nil
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
