package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// The parts of a run.
const (
	partThroughput = "throughput"
	partLatency    = "latency"
	partSpread     = "spread"
	partNodes      = "nodes"
	partWriter     = "writer"
)

var parts = []string{partThroughput, partLatency, partSpread, partNodes, partWriter}

// options is what the command line says.
type options struct {
	conns         int
	kinds         []traffic
	rounds        int
	slices        int
	roundFor      time.Duration
	warmUp        time.Duration
	cooldown      bool // before a target's next load, its last one's work is done
	latencyRounds int
	latencyFor    time.Duration
	share         float64
	keys          int
	writerFor     time.Duration
	only          []string
	bareGC        int
	logLevel      string
	serveEnv      []string
	program       string
	against       string
	json          bool
	strict        bool
}

// quick is what -quick changes: a run that shows that everything works, not how fast.
func (o *options) quick() {
	o.rounds, o.slices, o.roundFor, o.warmUp, o.cooldown = 1, 1, time.Second/2, time.Second/4, false
	o.latencyRounds, o.latencyFor, o.writerFor, o.keys = 1, time.Second, time.Second, 2000
}

func (o options) does(part string) bool { return len(o.only) == 0 || slices.Contains(o.only, part) }

func parse(args []string) (options, error) {
	o := options{cooldown: true, kinds: kinds}
	var quick bool
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.IntVar(&o.conns, "connections", 64, "keep-alive connections of the load")
	f.Func("kinds", "traffic to send, of "+flagsOf(kinds)+" (default: all)", func(s string) (err error) {
		o.kinds, err = kindsOf(s)
		return err
	})
	f.IntVar(&o.rounds, "rounds", 5, "times that each target is measured")
	f.IntVar(&o.slices, "slices", 2, "parts of a round, in which the targets take turns")
	f.DurationVar(&o.roundFor, "round", 4*time.Second, "how long a target is loaded in a round")
	f.DurationVar(&o.warmUp, "warmup", time.Second, "how long a load lasts before it is measured")
	f.IntVar(&o.latencyRounds, "latency-rounds", 3, "the same for latency")
	f.DurationVar(&o.latencyFor, "latency-round", 5*time.Second, "the same for latency")
	f.Float64Var(&o.share, "load", 0.7, "arrivals for latency, as a share of durable's own throughput")
	f.IntVar(&o.keys, "keys", 10_000, "APIs and keys of the large marketplace")
	f.DurationVar(&o.writerFor, "writer", 6*time.Second, "how long the batch writer writes")
	f.Func("only", "parts to run, separated by commas: "+strings.Join(parts, ", ")+" (default: all)", func(s string) error {
		o.only = strings.Split(s, ",")
		for _, p := range o.only {
			if !slices.Contains(parts, p) {
				return fmt.Errorf("there is no part %q", p)
			}
		}
		return nil
	})
	f.BoolVar(&quick, "quick", false, "a short run that shows that everything works; its figures mean little")
	f.IntVar(&o.bareGC, "bare-gogc", 100, "GOGC of the bare proxy")
	f.StringVar(&o.logLevel, "log-level", "info", "LOG_LEVEL of the gateway; info writes a line per call, as in production")
	f.Func("env", "`NAME=VALUE`: a setting of the gateway to try (may be repeated)", func(s string) error {
		o.serveEnv = append(o.serveEnv, s)
		return nil
	})
	f.StringVar(&o.program, "callora", "", "`FILE`: a callora that is built already (default: build it from these sources)")
	f.StringVar(&o.against, "against", "", "`FILE`: another callora, e.g. of a commit before, to be compared with in the same rounds")
	f.BoolVar(&o.json, "json", false, "print the findings as JSON")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 when a bar is missed")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		return o, err
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if quick {
		o.quick()
	}
	if o.conns < 1 || o.rounds < 1 || o.slices < 1 || o.latencyRounds < 1 || o.keys < 1 || o.share <= 0 {
		return o, errors.New("-connections, -rounds, -slices, -latency-rounds, -keys and -load must be above zero")
	}
	return o, nil
}
