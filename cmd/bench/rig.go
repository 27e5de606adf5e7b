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
)

// rig is everything that a run needs around it: the program under test, its database server, an upstream and the bare
// proxy. close takes it all down again.
type rig struct {
	opt      options
	dir      string
	program  string // callora
	pg       *pgserver.Server
	tls      certificate
	upstream *child
	bare     *child
	nginx    *child         // nil: there is none on this machine
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
	if r.tls, err = newCertificate(r.dir); err != nil {
		return nil, err
	}
	if r.upstream, err = spawnSelf(roleUpstream, nil, r.tls.cert, r.tls.key); err != nil {
		return nil, err
	}
	r.ends = append(r.ends, r.upstream.stop)
	r.bare, err = spawnSelf(roleBare, []string{"GOGC=" + strconv.Itoa(opt.bareGC), r.tls.trusted()},
		"http://"+r.upstream.addr, "https://"+r.upstream.secure, strconv.Itoa(opt.conns))
	if err != nil {
		return nil, err
	}
	r.ends = append(r.ends, r.bare.stop)
	if r.nginx, err = r.startNginx(ctx); err != nil {
		return nil, err
	}
	if r.nginx == nil {
		say("there is no nginx on this machine to compare with")
	}
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

// database makes an empty database and returns its address.
func (r *rig) database(ctx context.Context, name string) (string, error) {
	server, err := sql.Open("postgres", r.pg.URL("postgres"))
	if err != nil {
		return "", err
	}
	defer server.Close()
	if _, err := server.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", fmt.Errorf("make database %s: %w", name, err)
	}
	return r.pg.URL(name), nil
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
