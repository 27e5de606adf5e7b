package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Error is every mistake of the environment, each in words for the person who has to mend it.
type Error []string

// Error gives one mistake per line.
func (e Error) Error() string {
	return "the configuration is wrong:\n  - " + strings.Join(e, "\n  - ") + "\nSee .env.example for every variable."
}

// and adds mistakes of variables that e does not name yet: what could not be read cannot be judged.
func (e Error) and(more Error) Error {
	variable := func(mistake string) string { name, _, _ := strings.Cut(mistake, " "); return name }
	for _, m := range more {
		if !slices.ContainsFunc(e, func(have string) bool { return variable(have) == variable(m) }) {
			e = append(e, m)
		}
	}
	return e
}

// Purpose is what a command wants the configuration for.
type Purpose bool

// Commands that serve need the secrets; those that only work on the database do not.
const (
	Serving      Purpose = true
	DatabaseOnly Purpose = false
)

// Load reads and checks the environment, with the file .env of the working folder under it.
func Load(p Purpose) (*Config, error) {
	lines, err := readDotenv(dotenv)
	if err != nil {
		return nil, err
	}
	outer := env.ToMap(os.Environ())
	notes := append(misnamed(dotenv, lines), misspelt(outer)...)
	environ := map[string]string{}
	for _, l := range lines {
		environ[l.key] = l.value
	}
	maps.Copy(environ, outer)
	c, err := Parse(environ, p)
	var mistakes Error
	if errors.As(err, &mistakes) {
		return nil, append(mistakes, notes...) // a name that is wrong may be why another is missing
	}
	if err != nil {
		return nil, err
	}
	c.Notes = append(notes, c.Notes...)
	return c, nil
}

// CheckAddress is where a server with these settings is reached from its own machine. Nothing else is read or judged.
func CheckAddress() (string, error) {
	lines, err := readDotenv(dotenv)
	if err != nil {
		return "", err
	}
	host, port := os.Getenv("HOST"), os.Getenv("PORT")
	for _, l := range lines {
		switch {
		case l.key == "HOST" && host == "":
			host = l.value
		case l.key == "PORT" && port == "":
			port = l.value
		}
	}
	switch addr, err := netip.ParseAddr(host); {
	case host == "", err == nil && addr.IsUnspecified() && addr.Is4():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, cmp.Or(port, "3000")), nil
}

// dotenv is the file of the working folder that is read under the environment.
const dotenv = ".env"

// Parse returns the configuration, or a Error with all that is wrong with it. An empty variable counts as
// unset, so that a line left blank in a file means the default.
func Parse(environ map[string]string, p Purpose) (*Config, error) {
	given := make(map[string]string, len(environ))
	for k, v := range environ {
		if v = strings.TrimSpace(v); v != "" {
			given[k] = v
		}
	}
	for name, alias := range aliases {
		if _, ok := given[name]; !ok && given[alias] != "" {
			given[name] = given[alias]
		}
	}
	var c Config
	var mistakes Error
	if err := env.ParseWithOptions(&c, env.Options{Environment: given}); err != nil {
		mistakes = inWords(err)
	}
	c.Origins, c.Gateway.HostAllowlist = trimmed(c.Origins), trimmed(c.Gateway.HostAllowlist)
	mistakes = mistakes.and(c.check(given, p))
	if len(mistakes) > 0 {
		slices.Sort(mistakes)
		return nil, slices.Compact(mistakes)
	}
	c.Database.URL = Secret(c.Database.connectionURL())
	if p == Serving && c.Production() && given["STELLAR_NETWORK"] == "" {
		c.Notes = append(c.Notes, "STELLAR_NETWORK is left out in production: consumers pay with testnet money, which is worth nothing")
	}
	return &c, nil
}

// inWords turns the parser's errors, which name fields and types of Go, into sentences about variables.
func inWords(err error) Error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return Error{err.Error()}
	}
	names := map[string]string{}
	eachVariable(reflect.TypeFor[Config](), func(f reflect.StructField, name string) { names[f.Name] = name })
	var out Error
	for _, e := range all.Errors {
		var p env.ParseError
		if !errors.As(e, &p) {
			out = append(out, e.Error())
			continue
		}
		out = append(out, names[p.Name]+" "+accepted(p))
	}
	return out
}

func accepted(p env.ParseError) string {
	switch p.Type.Kind() {
	case reflect.Int:
		if p.Type == reflect.TypeFor[int]() {
			return "must be a whole number"
		}
	case reflect.Bool:
		return "must be true or false"
	}
	if inner := errors.Unwrap(p.Err); inner != nil {
		return inner.Error()
	}
	return p.Err.Error()
}

// eachVariable calls visit for every field that a variable fills.
func eachVariable(t reflect.Type, visit func(f reflect.StructField, name string)) {
	for f := range t.Fields() {
		if name, ok := f.Tag.Lookup("env"); ok {
			visit(f, name)
		} else if f.Type.Kind() == reflect.Struct {
			eachVariable(f.Type, visit)
		}
	}
}

func trimmed(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// readDotenv reads KEY=VALUE lines; a missing file is an empty one. Quotes around a value are taken off, a comment after
// a value needs a space before its #.
func readDotenv(path string) (out []line, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for n, s := range strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n") {
		s = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(s), "export "))
		if s == "" || s[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, fmt.Errorf("%s, line %d: want KEY=VALUE", path, n+1)
		}
		out = append(out, line{n + 1, strings.TrimSpace(key), dotenvValue(strings.TrimSpace(value))})
	}
	return out, nil
}

func dotenvValue(v string) string {
	if v != "" && (v[0] == '"' || v[0] == '\'') {
		if end := strings.IndexByte(v[1:], v[0]); end >= 0 {
			return v[1 : 1+end]
		}
	}
	if strings.HasPrefix(v, "#") {
		return ""
	}
	if i := strings.Index(v, " #"); i >= 0 {
		v = v[:i]
	}
	return strings.TrimSpace(v)
}
