package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	plainKey  = "ck_live_0123456789abcdef0123456789abcdef0123456789abcdef"
	jwt       = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	configKey = `admin "key" with quotes`
)

// logged returns what the log holds after do, flushed.
func logged(t *testing.T, level string, do func(*zap.Logger)) string {
	t.Helper()
	var out bytes.Buffer
	log, stop, err := New(Config{Level: level, Out: &out, Secrets: []string{"", "s3cret-of-config", configKey}})
	if err != nil {
		t.Fatal(err)
	}
	do(log)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestNoSecretReachesTheLog(t *testing.T) {
	for name, do := range map[string]func(*zap.Logger){
		"a key in a message":         func(l *zap.Logger) { l.Info("call with " + plainKey) },
		"a key in a string field":    func(l *zap.Logger) { l.Info("call", zap.String("note", plainKey)) },
		"a key in an error":          func(l *zap.Logger) { l.Info("call", zap.Error(fmt.Errorf("key %s is odd", plainKey))) },
		"a key in a nested value":    func(l *zap.Logger) { l.Info("call", zap.Any("v", map[string][]string{"k": {plainKey}})) },
		"a key among the context":    func(l *zap.Logger) { l.With(zap.String("by", plainKey)).Info("call") },
		"a token":                    func(l *zap.Logger) { l.Info("got " + jwt) },
		"a bearer header's text":     func(l *zap.Logger) { l.Info("sent Authorization: Bearer s3cretopaque") },
		"a database URL":             func(l *zap.Logger) { l.Info("dial postgres://me:hunter2@db:5432/x failed") },
		"a libpq connection string":  func(l *zap.Logger) { l.Info("dial host=db password=hunter2 failed") },
		"a quoted password":          func(l *zap.Logger) { l.Info("dial password='hunter2 x' failed") },
		"a configured secret":        func(l *zap.Logger) { l.Error("odd", zap.Error(errors.New("s3cret-of-config was refused"))) },
		"a secret that JSON escapes": func(l *zap.Logger) { l.Info("x", zap.String("v", configKey)) },
		"a field named api_key":      func(l *zap.Logger) { l.Info("x", zap.String("api_key", "s3cretvalue")) },
		"a field named X-Api-Key":    func(l *zap.Logger) { l.With(zap.String("X-Api-Key", "s3cretvalue")).Info("x") },
		"a field named password":     func(l *zap.Logger) { l.Info("x", zap.Int("n", 1), zap.ByteString("password", []byte("hunter2"))) },
		"a field named databaseUrl":  func(l *zap.Logger) { l.Info("x", zap.Any("databaseUrl", []string{"hunter2"})) },
	} {
		t.Run(name, func(t *testing.T) {
			got := logged(t, "info", do)
			if !strings.Contains(got, "[redacted]") {
				t.Errorf("nothing was struck: %s", got)
			}
			for _, secret := range []string{plainKey[16:], jwt[10:], "s3cret", "hunter2", "with quotes"} {
				if strings.Contains(got, secret) {
					t.Errorf("%q is in the log: %s", secret, got)
				}
			}
			if !json.Valid([]byte(got)) {
				t.Errorf("not a JSON object any more: %s", got)
			}
		})
	}
}

func TestWhatHelpsAnOperatorStays(t *testing.T) {
	got := logged(t, "info", func(l *zap.Logger) {
		l.Info("call", zap.String("keyPrefix", plainKey[:16]), zap.String("requestId", "0198c0de-0000-7000-8000-000000000001"),
			zap.String("upstream", "http://10.0.0.1:80/x"), zap.String("a-name-longer-than-any-secret", "v"))
	})
	for _, want := range []string{plainKey[:16], "0198c0de-0000-7000-8000-000000000001", "http://10.0.0.1:80/x", `"level":"info"`, `"msg":"call"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing: %s", want, got)
		}
	}
	if strings.Contains(got, "redacted") {
		t.Errorf("struck without need: %s", got)
	}
}

func TestLevels(t *testing.T) {
	for name, want := range map[string]zapcore.Level{
		"trace": zapcore.DebugLevel, "debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "WARN": zapcore.WarnLevel,
		"error": zapcore.ErrorLevel, "fatal": zapcore.FatalLevel,
	} {
		if got, err := ParseLevel(name); err != nil || got != want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	if _, err := ParseLevel("loud"); err == nil {
		t.Error("an unknown level was accepted")
	}
	if _, _, err := New(Config{Level: "loud"}); err == nil {
		t.Error("a logger with an unknown level was made")
	}
	if got := logged(t, "warn", func(l *zap.Logger) { l.Info("quiet"); l.Warn("heard") }); strings.Contains(got, "quiet") || !strings.Contains(got, "heard") {
		t.Errorf("wrong lines at warn: %s", got)
	}
}

func TestAnErrorIsWrittenAtOnce(t *testing.T) {
	var out bytes.Buffer
	log, stop, err := New(Config{Level: "info", Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("before")
	log.Error("now")
	if got := out.String(); !strings.Contains(got, "before") || !strings.Contains(got, "now") {
		t.Errorf("an error waited in the buffer: %q", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAFullDiskIsReported(t *testing.T) {
	_, err := newRedactor(full{}, nil).Write([]byte("x"))
	if err == nil {
		t.Error("a failed write was kept silent")
	}
}

func BenchmarkLine(b *testing.B) {
	log, stop, err := New(Config{Level: "info", Out: discard{}, Secrets: []string{"s3cret-of-config", "another-secret-of-config"}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = stop() }()
	b.ReportAllocs()
	for b.Loop() {
		log.Info("call", zap.String("requestId", "0198c0de-0000-7000-8000-000000000001"), zap.String("keyPrefix", plainKey[:16]),
			zap.String("method", "GET"), zap.Int("statusCode", 200), zap.Float64("durationMs", 1.5))
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
