package logging

import (
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// struck is what stands where a secret was.
const struck = "[redacted]"

// guarded strikes out fields whose names say that their values are secret, whatever they hold.
type guarded struct{ zapcore.Core }

func (g guarded) With(fields []zap.Field) zapcore.Core { return guarded{g.Core.With(clean(fields))} }

func (g guarded) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if g.Enabled(e.Level) {
		return ce.AddCore(e, g)
	}
	return ce
}

func (g guarded) Write(e zapcore.Entry, fields []zap.Field) error {
	err := g.Core.Write(e, clean(fields))
	if e.Level >= zapcore.ErrorLevel {
		_ = g.Sync() // what explains a crash must not wait in a buffer; the next flush meets the same error
	}
	return err
}

// clean returns the fields unchanged, without a copy, in the usual case that none is secret.
func clean(fields []zap.Field) []zap.Field {
	for i := range fields {
		if secretName(fields[i].Key) {
			out := slices.Clone(fields)
			for j := i; j < len(out); j++ {
				if secretName(out[j].Key) {
					out[j] = zap.String(out[j].Key, struck)
				}
			}
			return out
		}
	}
	return fields
}

var secretNames = map[string]bool{
	"apikey": true, "authorization": true, "proxyauthorization": true, "cookie": true, "setcookie": true, "token": true,
	"accesstoken": true, "refreshtoken": true, "jwt": true, "jwtsecret": true, "secret": true, "secretkey": true,
	"password": true, "dbpassword": true, "databaseurl": true, "adminapikey": true, "metricsapikey": true,
	"xapikey": true, "xadminapikey": true, "privatekey": true, "signature": true,
}

// longestName is the length of the longest of secretNames, with room for its separators.
const longestName = 24

// secretName looks a key up in lower case and without separators. It allocates nothing: it runs for every field.
func secretName(key string) bool {
	if len(key) > longestName {
		return false
	}
	var name [longestName]byte
	n := 0
	for i := 0; i < len(key); i++ {
		c := key[i]
		switch {
		case c == '-' || c == '_':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		name[n] = c
		n++
	}
	return secretNames[string(name[:n])]
}
