// Package logging is the program's log: one JSON object per line, buffered, with secrets and keys struck out.
package logging

import (
	"fmt"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// flushEvery bounds how long a line can wait in the buffer; a line at error level never waits.
const (
	flushEvery = 250 * time.Millisecond
	bufferSize = 64 << 10
)

// Levels lists the accepted names, for the words of a configuration mistake.
const Levels = "trace, debug, info, warn, error or fatal"

// Config says what is logged and where to.
type Config struct {
	Level   string    // one of Levels
	Out     io.Writer // one Write per flush
	Secrets []string  // values that must never appear, e.g. JWT_SECRET
}

// ParseLevel reads a level's name. zap has no trace: it means debug.
func ParseLevel(name string) (zapcore.Level, error) {
	switch strings.ToLower(name) {
	case "trace", "debug":
		return zapcore.DebugLevel, nil
	case "info":
		return zapcore.InfoLevel, nil
	case "warn":
		return zapcore.WarnLevel, nil
	case "error":
		return zapcore.ErrorLevel, nil
	case "fatal":
		return zapcore.FatalLevel, nil
	}
	return 0, fmt.Errorf("log level must be %s", Levels)
}

// New returns the logger and a function that flushes it for good; call that last.
func New(cfg Config) (*zap.Logger, func() error, error) {
	level, err := ParseLevel(cfg.Level)
	if err != nil {
		return nil, nil, err
	}
	out := &zapcore.BufferedWriteSyncer{
		WS:            zapcore.AddSync(newRedactor(cfg.Out, cfg.Secrets)),
		Size:          bufferSize,
		FlushInterval: flushEvery,
	}
	core := zapcore.NewCore(zapcore.NewJSONEncoder(encoding), out, level)
	return zap.New(guarded{core}), out.Stop, nil
}

var encoding = zapcore.EncoderConfig{
	TimeKey:        "time",
	LevelKey:       "level",
	NameKey:        "logger",
	MessageKey:     "msg",
	StacktraceKey:  "stack",
	LineEnding:     zapcore.DefaultLineEnding,
	EncodeLevel:    zapcore.LowercaseLevelEncoder,
	EncodeTime:     encodeTime,
	EncodeDuration: zapcore.MillisDurationEncoder,
	EncodeCaller:   zapcore.ShortCallerEncoder,
}

func encodeTime(t time.Time, enc zapcore.PrimitiveArrayEncoder) {
	enc.AppendString(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}
