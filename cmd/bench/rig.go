package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/CalloraOrg/callora-backend/adapters/pgserver"
	"github.com/CalloraOrg/callora-backend/db"
)

// rig is everything that a run needs around it: the program under test, its database server, an upstream and the bare
// proxy. close takes it all down again.
type rig struct {
	opt      options
	dir      string
	program  string // callora
	pg       *pgserver.Server
	upstream *child
	bare     *child
	ends     []func() error // in the order of starts
}

// newRig builds and starts. On an error everything that was started has ended.
func newRig(ctx context.Context, opt options, say func(string, ...any)) (_ *rig, err error) {
	r := &rig{opt: opt}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if r.dir, err = os.MkdirTemp("", "callora-bench-"); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, func() error { return os.RemoveAll(r.dir) })

	if r.program = opt.program; r.program == "" {
		say("building callora")
		r.program = filepath.Join(r.dir, "callora")
		build := exec.CommandContext(ctx, "go", "build", "-o", r.program, "github.com/CalloraOrg/callora-backend/cmd/callora")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build callora: %w\n%s", err, out)
		}
	}
	say("starting PostgreSQL, fsync on")
	if r.pg, err = pgserver.Start(ctx, pgserver.Config{Durable: true}); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, r.pg.Stop)
	if r.upstream, err = spawnSelf(roleUpstream, nil); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, r.upstream.stop)
	r.bare, err = spawnSelf(roleBare, []string{"GOGC=" + strconv.Itoa(opt.bareGC)}, "http://"+r.upstream.addr, strconv.Itoa(opt.conns))
	if err != nil {
		return nil, err
	}
	r.ends = append(r.ends, r.bare.stop)
	return r, nil
}

// close ends everything, the last started first.
func (r *rig) close() (err error) {
	for i := len(r.ends) - 1; i >= 0; i-- {
		err = errors.Join(err, r.ends[i]())
	}
	r.ends = nil
	return err
}

// direct and proxied are the loads that nothing is charged for. They send what paid calls send, to the byte.
func (r *rig) direct() load { return r.plain(r.upstream) }

func (r *rig) proxied() load { return r.plain(r.bare) }

func (r *rig) plain(c *child) load {
	const key = "ck_live_000000000000000000000000000000000000000000000000"
	return load{addr: c.addr, conns: r.opt.conns, lead: r.opt.warmUp, requests: []request{newRequest("/v1/call/quotes-0"+quotePath, key, "")}}
}

// database makes a migrated database and returns its address.
func (r *rig) database(ctx context.Context, name string) (string, error) {
	server, err := sql.Open("postgres", r.pg.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer server.Close()
	if _, err := server.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("make database %s: %w", name, err)
	}
	url := r.pg.URL(name)
	handle, err := sql.Open("postgres", url)
	if err != nil {
		return "", err
	}
	defer handle.Close()
	_, err = db.Up(ctx, handle)
	return url, err
}

// freeAddr is an address on this machine that nobody listens on at the moment.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// waitUntil waits for ok, asking a few times a second.
func waitUntil(ctx context.Context, most time.Duration, ok func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
