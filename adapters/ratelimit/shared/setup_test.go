package shared

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/CalloraOrg/callora-backend/adapters/system"
	"github.com/CalloraOrg/callora-backend/ports"
)

var _ ports.Limiter = (*Limiter)(nil)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is far more than anything takes here that has a bound.
const patience = 30 * time.Second

// embedded is a server in this process, whose clock is set by hand.
func embedded(t *testing.T) (*miniredis.Miniredis, func(time.Duration)) {
	t.Helper()
	m := miniredis.RunT(t)
	now := time.Unix(1_800_000_000, 999_999_000)
	m.SetTime(now)
	m.ClockTTL(true)
	return m, func(d time.Duration) { now = now.Add(d); m.SetTime(now) }
}

// node is a limiter that runs, with what it says.
type node struct {
	*Limiter
	registry *prometheus.Registry
	lines    chan string
	stop     func()
}

// start runs a limiter on the store at an address.
func start(t testing.TB, address string, options ...func(*Config)) *node {
	t.Helper()
	store, err := ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{registry: prometheus.NewRegistry(), lines: make(chan string, 1000)}
	cfg := Config{
		ConnectTimeout: patience, // a busy machine takes its time for a handshake
		Store:          store, Prefix: "callora:test:", Node: system.NewID().String(), Timeout: 5 * time.Second, Now: time.Now,
		Registry: n.registry, Log: zap.New(lineCore{zapcore.DebugLevel, n.lines}),
	}
	for _, o := range options {
		o(&cfg)
	}
	n.Limiter = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { n.Run(ctx) })
	n.stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(n.stop)
	<-n.Ready()
	return n
}

func within(d time.Duration) func(*Config) { return func(c *Config) { c.Timeout = d } }

func connecting(d time.Duration) func(*Config) { return func(c *Config) { c.ConnectTimeout = d } }

// lineCore hands on each line of the log with its fields.
type lineCore struct {
	zapcore.LevelEnabler
	lines chan<- string
}

func (c lineCore) With([]zapcore.Field) zapcore.Core { return c }
func (c lineCore) Sync() error                       { return nil }
func (c lineCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return to.AddCore(e, c)
}

func (c lineCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	b, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "m", LevelKey: "l", EncodeLevel: zapcore.LowercaseLevelEncoder}).EncodeEntry(e, fields)
	if err != nil {
		return err
	}
	c.lines <- b.String()
	return nil
}

// says waits for the next line of the log, which must contain all of words.
func (n *node) says(t testing.TB, words ...string) {
	t.Helper()
	select {
	case line := <-n.lines:
		for _, w := range words {
			if !strings.Contains(line, w) {
				t.Fatalf("the log says %s, want %q", line, w)
			}
		}
	case <-time.After(patience):
		t.Fatalf("the log says nothing, want %q", words)
	}
}

// said is what the log has said, and nobody has waited for.
func (n *node) said() (lines []string) {
	for len(n.lines) > 0 {
		lines = append(lines, <-n.lines)
	}
	return lines
}

const (
	away   = "the rate limits' store is away"
	shares = "rate limits are shared through the store"
)

// metric is the value of a gauge or counter, or the count of a histogram; result selects a label.
func (n *node) metric(t testing.TB, name, result string) float64 {
	t.Helper()
	families, err := n.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
				switch f.GetType() {
				case dto.MetricType_COUNTER:
					return m.GetCounter().GetValue()
				case dto.MetricType_GAUGE:
					return m.GetGauge().GetValue()
				case dto.MetricType_HISTOGRAM:
					return float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	t.Fatalf("no metric %s of %q", name, result)
	return 0
}

// until waits for something that another goroutine brings about.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !so(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
